/** What is counted where requests pass: plain numbers, read when somebody asks. */

/** Upper bounds in seconds: from what a call through the daemon costs to the longest time-outs that people set. */
export const SECONDS: readonly number[] = [
  0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60,
];
/** Upper bounds of rows or items. */
export const SIZES: readonly number[] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512];

export interface HistogramCounts {
  readonly bounds: readonly number[];
  /** Of each bucket for itself; the last is for what is above every bound. */
  readonly counts: readonly number[];
  readonly sum: number;
}

export class Histogram implements HistogramCounts {
  readonly bounds: readonly number[];
  readonly counts: number[];
  sum = 0;

  constructor(bounds: readonly number[]) {
    this.bounds = bounds;
    this.counts = new Array<number>(bounds.length + 1).fill(0);
  }

  observe(value: number): void {
    const { bounds, counts } = this;
    let bucket = 0;
    while (bucket < bounds.length && value > (bounds[bucket] as number)) bucket += 1;
    counts[bucket] = (counts[bucket] as number) + 1;
    this.sum += value;
  }
}

/** Requests over HTTP of one application; with '' for a name, those of none. */
export interface HttpMetrics {
  readonly application: string;
  readonly route: string;
  /** Status → how many were answered with it; 499: the client had gone. */
  readonly statuses: Readonly<Record<number, number>>;
  readonly duration: HistogramCounts;
}

/** What a response cache has done and holds. */
export interface CacheCounts {
  /** Calls: answered from memory; answered with another's answer; that began the work; that it left alone. */
  readonly requests: Readonly<Record<'hit' | 'shared' | 'miss' | 'bypass', number>>;
  readonly entries: number;
  /** Of its entries, what is around them included. */
  readonly bytes: number;
  /** Entries that went: to make room, or because their time was over. */
  readonly evictions: Readonly<Record<'size' | 'expired', number>>;
}

/** Calls of one deployment: from HTTP, from steps of graphs, and from other replicas. */
export interface DeploymentMetrics {
  readonly application: string;
  readonly deployment: string;
  /** `OK`, or the code of the error that a call ended with. */
  readonly results: Readonly<Record<string, number>>;
  readonly queueWait: HistogramCounts;
  readonly processing: HistogramCounts;
  readonly batchSize: HistogramCounts;
  /** Rows with which a batch is whole at this moment; undefined where nothing is batched. */
  readonly batchSizeInForce: number | undefined;
  /** Why batches left. */
  readonly dispatches: Readonly<Record<string, number>>;
  /** Calls that were sent again, by why. */
  readonly retries: Readonly<Record<string, number>>;
  /** Calls that were given up before they ran, as they could not have been answered in time. */
  readonly dropped: number;
  readonly queued: number;
  readonly ongoing: number;
  /** Open WebSockets. */
  readonly websockets: number;
  /** Absent where its model keeps none. */
  readonly sequences?: SequenceMetrics;
  /** undefined: it has no response cache. */
  readonly cache: CacheCounts | undefined;
}

export interface SequenceMetrics {
  readonly open: number;
  readonly started: number;
  /** By why. */
  readonly ended: Readonly<Record<string, number>>;
}

/** Metrics that the code of a replica keeps. */
export interface UserMetrics {
  readonly application: string;
  readonly deployment: string;
  readonly replica: string;
  readonly metrics: readonly UserMetric[];
}

export interface UserMetric {
  readonly name: string;
  readonly kind: 'counter' | 'gauge' | 'histogram';
  readonly help: string;
  readonly labels: readonly string[];
  /** Of a histogram. */
  readonly buckets?: readonly number[];
  /** Of a histogram how many fell into each bucket, how many lay above all, and their sum. */
  readonly series: readonly (readonly [labels: readonly string[], value: number | readonly number[]])[];
}

/** The names that the lines of a metric have: no other metric may have any of them. */
export const lineNames = ({ name, kind }: Pick<UserMetric, 'name' | 'kind'>): readonly string[] =>
  kind === 'histogram' ? [name, `${name}_bucket`, `${name}_sum`, `${name}_count`] : [name];

/** Seconds that the event loop of a thread was late, over the last while. */
export interface LoopDelay {
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

/** Of clients. */
export interface ConnectionCounts {
  readonly open: number;
  /** Closed at once, for want of descriptors. */
  readonly refused: number;
}

export interface DataPlaneMetrics {
  readonly http: readonly HttpMetrics[];
  readonly inFlight: number;
  readonly connections: ConnectionCounts;
  readonly deployments: readonly DeploymentMetrics[];
  readonly loopDelay: LoopDelay;
}
