/** Counts of the Open Inference Protocol's statistics, for each model and version. Of what came over the protocol; times of success and failure are a client's. */
import type { CacheUse } from '../dispatch/pending.ts';
import type { Json } from '../domain/json.ts';
import type { RunReport } from '../protocol/run-report.ts';

/** Nanoseconds in a millisecond. */
const NS = 1_000_000;

export interface InferenceTimes {
  readonly queueMs: number;
  /** From the request's head to its answer. */
  readonly totalMs: number;
  /** Of that, looking into the response cache. */
  readonly cacheMs: number;
}

class Duration {
  #count = 0;
  #ms = 0;

  add(ms: number, count = 1): void {
    this.#count += count;
    this.#ms += ms * count;
  }

  /** Shares of runs add up to whole ones, save for what rounding left. */
  read(): Json {
    return { count: Math.round(this.#count), ns: Math.round(this.#ms * NS) };
  }
}

interface BatchCounts {
  readonly input: Duration;
  readonly infer: Duration;
  readonly output: Duration;
}

class VersionCounts {
  readonly success = new Duration();
  readonly fail = new Duration();
  readonly queue = new Duration();
  readonly input = new Duration();
  readonly infer = new Duration();
  readonly output = new Duration();
  readonly hit = new Duration();
  readonly miss = new Duration();
  readonly batches = new Map<number, BatchCounts>();
  inferences = 0;
  executions = 0;
  /** Milliseconds since the epoch. */
  last = 0;

  /** @param share of the run that was for this request: a run of many is counted once */
  ran({ rows, runRows, inputMs, inferMs, outputMs }: RunReport): void {
    const share = rows / runRows;
    this.inferences += rows;
    this.executions += share;
    this.input.add(inputMs);
    this.infer.add(inferMs);
    this.output.add(outputMs);
    let batch = this.batches.get(runRows);
    if (batch === undefined) {
      if (this.batches.size >= MAX_BATCH_SIZES) return;
      batch = { input: new Duration(), infer: new Duration(), output: new Duration() };
      this.batches.set(runRows, batch);
    }
    batch.input.add(inputMs, share);
    batch.infer.add(inferMs, share);
    batch.output.add(outputMs, share);
  }
}

/** Clients choose how many rows a request has. */
const MAX_BATCH_SIZES = 256;

export class InferenceStats {
  readonly #counts = new Map<string, Map<string, VersionCounts>>();

  /** Forgets models that are not served any more. */
  keep(models: ReadonlySet<string>): void {
    for (const model of this.#counts.keys()) if (!models.has(model)) this.#counts.delete(model);
  }

  /**
   * @param model `application/Deployment`
   * @param report of the run that the answer comes from
   * @param cache undefined: there is no response cache
   */
  succeeded(
    model: string,
    report: RunReport,
    { queueMs, totalMs, cacheMs }: InferenceTimes,
    cache: CacheUse | undefined,
    now: number,
  ): void {
    const counts = this.#of(model, report.version);
    counts.success.add(totalMs);
    counts.queue.add(queueMs);
    counts.last = now;
    if (cache === 'hit' || cache === 'shared') return counts.hit.add(cacheMs);
    counts.ran(report);
    if (cache === 'miss') counts.miss.add(cacheMs);
  }

  failed(model: string, version: string, totalMs: number): void {
    this.#of(model, version).fail.add(totalMs);
  }

  /** @param name as clients know it */
  read(name: string, model: string, version: string): Json {
    const counts = this.#counts.get(model)?.get(version) ?? new VersionCounts();
    return {
      name,
      version,
      last_inference: counts.last,
      inference_count: counts.inferences,
      execution_count: Math.round(counts.executions),
      inference_stats: {
        success: counts.success.read(),
        fail: counts.fail.read(),
        queue: counts.queue.read(),
        compute_input: counts.input.read(),
        compute_infer: counts.infer.read(),
        compute_output: counts.output.read(),
        cache_hit: counts.hit.read(),
        cache_miss: counts.miss.read(),
      },
      batch_stats: [...counts.batches]
        .sort(([a], [b]) => a - b)
        .map(([size, { input, infer, output }]) => ({
          batch_size: size,
          compute_input: input.read(),
          compute_infer: infer.read(),
          compute_output: output.read(),
        })),
      response_stats: {},
      memory_usage: [],
    };
  }

  #of(model: string, version: string): VersionCounts {
    let versions = this.#counts.get(model);
    if (versions === undefined) {
      versions = new Map();
      this.#counts.set(model, versions);
    }
    let counts = versions.get(version);
    if (counts === undefined) {
      counts = new VersionCounts();
      versions.set(version, counts);
    }
    return counts;
  }
}
