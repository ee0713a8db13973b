/** Bad, half-written and impossible configs, in the short form. */
import t from 'tap';
import { badConfig } from './r02-bad-config.ts';
import { halfWritten } from './r03-half-written.ts';
import { atomic } from './r04-atomic.ts';
import { short } from './short.ts';

t.setTimeout(240_000);

short(badConfig);
short(halfWritten);
short(atomic);
