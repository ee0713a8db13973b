/** Bad, half-written and impossible configs, and the status that comes of them, in the short form. */
import t from 'tap';
import { badConfig } from './r02-bad-config.ts';
import { halfWritten } from './r03-half-written.ts';
import { atomic } from './r04-atomic.ts';
import { sameStatus } from './r25-status.ts';
import { short } from './short.ts';

t.setTimeout(240_000);

short(badConfig);
short(halfWritten);
short(atomic);
short(sameStatus, ['a start that fails is forgotten']);
