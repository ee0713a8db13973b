/** How much of `/metrics` one replica may fill. Both sides count it the same way. */
import { lineNames } from '../domain/metrics.ts';
import { MAX_LINES, MAX_METRICS, MAX_SERIES, MAX_TEXT_BYTES, type MetricShape } from './user-metrics.ts';

export class MetricRoom {
  /** Whose lines have a name. */
  readonly #owners = new Map<string, string>();
  #metrics = 0;
  #series = 0;
  #lines = 0;
  #textBytes = 0;

  /** Makes room for a metric that is not there yet. @returns what is wrong with it, as `expected …`; undefined: it has its room */
  addMetric(shape: MetricShape): string | undefined {
    if (this.#metrics >= MAX_METRICS)
      return `expected at most ${MAX_METRICS} metrics in a replica, got \`${shape.name}\` beside them: use labels`;
    const names = lineNames(shape);
    const owner = names.map((name) => this.#owners.get(name)).find((each) => each !== undefined);
    if (owner !== undefined)
      return `expected another name than \`${shape.name}\`: its lines and those of \`${owner}\` would have one (a histogram \`x\` has \`x_bucket\`, \`x_sum\` and \`x_count\`)`;
    for (const name of names) this.#owners.set(name, shape.name);
    this.#metrics += 1;
    return undefined;
  }

  /** Makes room for a series that is not there yet. @returns which limit it would pass; undefined: it has its room */
  addSeries({ name, labels, buckets }: MetricShape, values: readonly string[]): string | undefined {
    const lines = buckets === undefined ? 1 : buckets.length + 3;
    const text = [name, ...labels, ...values].reduce((sum, each) => sum + Buffer.byteLength(each), 0);
    if (this.#series >= MAX_SERIES) return `${MAX_SERIES} series`;
    if (this.#lines + lines > MAX_LINES) return `${MAX_LINES} lines`;
    if (this.#textBytes + lines * text > MAX_TEXT_BYTES) return `${MAX_TEXT_BYTES} bytes of names and labels`;
    this.#series += 1;
    this.#lines += lines;
    this.#textBytes += lines * text;
    return undefined;
  }
}
