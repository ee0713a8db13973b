/** All promises, in their order. */

import { fifty } from './fifty.ts';
import { reload, thousandReloads } from './r01-reload.ts';
import { badConfig } from './r02-bad-config.ts';
import { halfWritten } from './r03-half-written.ts';
import { atomic } from './r04-atomic.ts';
import { replicaDeath } from './r05-replica-death.ts';
import { hang } from './r07-hang.ts';
import { crashLoop } from './r08-crash-loop.ts';
import { poison } from './r09-poison.ts';
import { daemonDeath } from './r10-daemon-death.ts';
import { gracefulStop } from './r11-graceful-stop.ts';
import { overload } from './r12-overload.ts';
import { wastedWork } from './r13-wasted-work.ts';
import { retryStorm } from './r14-retry-storm.ts';
import { fairNeighbours } from './r16-neighbours.ts';
import { noLeaks } from './r17-leaks.ts';
import { slowClients } from './r18-slow-clients.ts';
import { slowReaders } from './r19-slow-readers.ts';
import { malformed } from './r20-malformed.ts';
import { clockJumps } from './r21-clock.ts';
import { limits } from './r22-limits.ts';
import { truthfulHealth } from './r23-health.ts';
import { truthfulNumbers } from './r24-numbers.ts';
import { sameStatus } from './r25-status.ts';
import type { Promised } from './soak.ts';

export const PROMISES: readonly Promised[] = [
  reload,
  badConfig,
  halfWritten,
  atomic,
  replicaDeath,
  hang,
  crashLoop,
  poison,
  daemonDeath,
  gracefulStop,
  thousandReloads,
  overload,
  wastedWork,
  retryStorm,
  fairNeighbours,
  noLeaks,
  slowClients,
  slowReaders,
  malformed,
  clockJumps,
  limits,
  truthfulHealth,
  truthfulNumbers,
  sameStatus,
  fifty,
];
