/** Access-log lines on their way to the main thread: together, but for those of applications that log in a way of their own. */
import type { RoutingSnapshot } from '../domain/snapshot.ts';
import { type AccessRecord, jsonLine, textLine } from './access-log.ts';

type Encoding = 'TEXT' | 'JSON';

/** Lines leave at the latest after this long, or when there are so many characters. */
const FLUSH_MS = 100;
const FLUSH_CHARS = 65_536;

export class AccessLines {
  /** Where an application says nothing else. */
  encoding: Encoding;
  readonly #post: (lines: string, application?: string) => void;
  #lines = '';
  #flushing: NodeJS.Timeout | undefined;
  /** By application. */
  #own: ReadonlyMap<string, { readonly encoding: Encoding | null }> = new Map();
  readonly #ownLines = new Map<string, string>();
  /** `application/Deployment`: calls of it do not show. */
  #silent: ReadonlySet<string> = new Set();

  constructor(encoding: Encoding, post: (lines: string, application?: string) => void) {
    this.encoding = encoding;
    this.#post = post;
  }

  follow({ applications }: Pick<RoutingSnapshot, 'applications'>): void {
    this.#own = new Map(applications.flatMap(({ name, ownLog }) => (ownLog === undefined ? [] : [[name, ownLog]])));
    this.#silent = new Set(
      applications.flatMap(({ name, deployments }) =>
        deployments.flatMap((each) => (each.silent ? [`${name}/${each.name}`] : [])),
      ),
    );
  }

  add(record: AccessRecord): void {
    const heard = this.#silent.size === 0 ? record : this.#heard(record);
    if (heard === undefined) return;
    const own = this.#own.size === 0 ? undefined : this.#own.get(record.application);
    if (own === undefined) {
      this.#lines += this.encoding === 'JSON' ? jsonLine(heard) : textLine(heard);
      if (this.#lines.length > FLUSH_CHARS) return this.flush();
    } else {
      const line = (own.encoding ?? this.encoding) === 'JSON' ? jsonLine(heard) : textLine(heard, true);
      const lines = (this.#ownLines.get(record.application) ?? '') + line;
      this.#ownLines.set(record.application, lines);
      if (lines.length > FLUSH_CHARS) return this.flush();
    }
    this.#flushing ??= setTimeout(() => this.flush(), FLUSH_MS);
  }

  flush(): void {
    clearTimeout(this.#flushing);
    this.#flushing = undefined;
    if (this.#lines !== '') this.#post(this.#lines);
    this.#lines = '';
    for (const [application, lines] of this.#ownLines) this.#post(lines, application);
    this.#ownLines.clear();
  }

  /** Without the calls of silent deployments; undefined: they were all there was. */
  #heard(record: AccessRecord): AccessRecord | undefined {
    const traces = record.traces.filter(({ deployment }) => !this.#silent.has(deployment));
    if (traces.length === record.traces.length) return record;
    return traces.length === 0 ? undefined : { ...record, traces };
  }
}
