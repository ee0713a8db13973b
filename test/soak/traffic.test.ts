/** Overload, clients that leave, retries, malformed messages, and what is counted of all this, in the short form. */
import t from 'tap';
import { overload } from './r12-overload.ts';
import { wastedWork } from './r13-wasted-work.ts';
import { retryStorm } from './r14-retry-storm.ts';
import { malformed } from './r20-malformed.ts';
import { truthfulNumbers } from './r24-numbers.ts';
import { short } from './short.ts';

t.setTimeout(240_000);

short(overload, ['the queue has no bound']);
short(wastedWork, ['a client that leaves is not noticed']);
short(retryStorm, ['tries again have no budget']);
short(malformed);
short(truthfulNumbers, ['clients that leave are not counted']);
