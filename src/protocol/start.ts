/** What a replica is told to run: the START message. */
import type { Json } from '../domain/json.ts';

export interface DeploymentRun {
  readonly application: string;
  readonly deployment: string;
  readonly runs:
    | { readonly kind: 'module'; readonly entry: string; readonly source: string; readonly export: string }
    | { readonly kind: 'model'; readonly path: string };
  readonly initArgs: Readonly<Record<string, Json>>;
  /** Names of the handles that the constructor gets beside `initArgs`. */
  readonly handles: readonly string[];
  /** Absent: `reconfigure` is not called. */
  readonly userConfig?: Json;
  readonly numCpus: number | null;
}

/** Threads of a model's session: as many as CPUs it has whole, and one where nothing is said. */
export const threadsOf = (numCpus: number | null): number => Math.max(1, Math.floor(numCpus ?? 1));
