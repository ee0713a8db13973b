/** All promises, in their order. */
import { reload, thousandReloads } from './r01-reload.ts';
import { replicaDeath } from './r05-replica-death.ts';
import { poison } from './r09-poison.ts';
import type { Promised } from './soak.ts';

export const PROMISES: readonly Promised[] = [reload, replicaDeath, poison, thousandReloads];
