/** Clocks that jump, disks that are full, and fifty deployments, in the short form. */
import t from 'tap';
import { fifty } from './fifty.ts';
import { clockJumps } from './r21-clock.ts';
import { limits } from './r22-limits.ts';
import { short } from './short.ts';

t.setTimeout(240_000);

short(clockJumps);
short(limits);
short(fifty);
