/** Replicas that hang, and code that cannot live, in the short form. */
import t from 'tap';
import { hang } from './r07-hang.ts';
import { crashLoop } from './r08-crash-loop.ts';
import { short } from './short.ts';

t.setTimeout(240_000);

short(hang);
short(crashLoop, ['there is no back-off']);
