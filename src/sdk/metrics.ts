/** Metrics of the user's own, as code sees them. They come out at the daemon's `/metrics`. */

/** Values by the names of labels; what is not given is empty. */
export type MetricLabels = Readonly<Record<string, string | number | boolean>>;

export interface MetricOptions {
  /** What it means, for people. */
  help?: string;
  /** Names of its labels; application, deployment and replica are there without being named. */
  labels?: readonly string[];
}

export interface HistogramOptions extends MetricOptions {
  /** Upper bounds, rising; from half a millisecond to a minute, in seconds, where they are not given. */
  buckets?: readonly number[];
}

/** Only goes up. */
export interface Counter {
  /** @param value ≥ 0; 1 where it is not given */
  inc(value?: number, labels?: MetricLabels): void;
}

export interface Gauge {
  set(value: number, labels?: MetricLabels): void;
  inc(value?: number, labels?: MetricLabels): void;
  dec(value?: number, labels?: MetricLabels): void;
}

export interface Histogram {
  observe(value: number, labels?: MetricLabels): void;
}

/** The same name asked for again is the same metric. All throw a TypeError that says what was expected. */
export interface Metrics {
  counter(name: string, options?: MetricOptions): Counter;
  gauge(name: string, options?: MetricOptions): Gauge;
  histogram(name: string, options?: HistogramOptions): Histogram;
}
