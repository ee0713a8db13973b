/** What a replica is told to run, or to describe: the START message. */
import type { ModelOptions, StateSpecs } from '../domain/desired.ts';
import type { Json } from '../domain/json.ts';

export interface DeploymentRun {
  readonly application: string;
  readonly deployment: string;
  readonly runs:
    | {
        readonly kind: 'module';
        readonly entry: string;
        readonly source: string;
        readonly export: string;
        /** The export is an application (or builds one, with these arguments), and this is the name of one of its deployments. */
        readonly bound?: { readonly deployment: string; readonly args: Readonly<Record<string, Json>> };
      }
    | ModelRun;
  readonly initArgs: Readonly<Record<string, Json>>;
  /** Names of the handles that the constructor gets beside `initArgs`. */
  readonly handles: readonly string[];
  /** Absent: `reconfigure` is not called. */
  readonly userConfig?: Json;
  readonly numCpus: number | null;
  /** Of the replica, among those of its version: 0 to n − 1. Absent: 0. */
  readonly rank?: number;
  /** Of a model: name of an input → what ragged ones are filled up with; absent: none. */
  readonly pad?: Readonly<Record<string, number>>;
  /** Of a model: what it keeps of a sequence; absent: nothing. */
  readonly states?: StateSpecs;
  /** Of the states of all its sequences; absent where there are none. */
  readonly maxStateBytes?: number;
}

/** One or more versions of one model. */
export interface ModelRun {
  readonly kind: 'model';
  /** At least one, the oldest first: the last is the one for callers that name none. */
  readonly versions: readonly { readonly version: string; readonly path: string }[];
  /** Absent: as the config has it by default. */
  readonly options?: Pick<ModelOptions, 'providers' | 'session' | 'warmup'>;
}

/** Threads of a model's session: as many as CPUs it has whole, and one where nothing is said. */
export const threadsOf = (numCpus: number | null): number => Math.max(1, Math.floor(numCpus ?? 1));

/** Asks what the application behind an export consists of: the answer is DESCRIBED or FAILED, and nothing is run. */
export interface DescribeRun {
  readonly application: string;
  readonly runs: {
    readonly kind: 'application';
    readonly entry: string;
    readonly source: string;
    readonly export: string;
    readonly args: Readonly<Record<string, Json>>;
  };
}
