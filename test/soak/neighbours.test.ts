/** Neighbours, leaks and health, in the short form. */
import t from 'tap';
import { fairNeighbours } from './r16-neighbours.ts';
import { noLeaks } from './r17-leaks.ts';
import { truthfulHealth } from './r23-health.ts';
import { short } from './short.ts';

t.setTimeout(240_000);

short(fairNeighbours, ['a death for want of memory is told as any other']);
short(noLeaks, ['clients that leave are not counted']);
short(truthfulHealth, ['a daemon that starts says that all is well']);
