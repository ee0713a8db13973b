/**
 * An open-loop load: requests leave at a constant rate whether or not earlier ones were answered, and an answer's time counts from the
 * instant at which its request was due, so that a stall of either side shows in full.
 */
import { Agent, request as httpRequest } from 'node:http';
import type { Socket } from 'node:net';
import { createHistogram, type RecordableHistogram } from 'node:perf_hooks';
import { type Answer, until } from '../support/daemon-rig.ts';

export interface Stream {
  readonly name: string;
  readonly perSecond: number;
  /** `kept`: connections are used again. `new`: each request comes on one of its own. */
  readonly connection: 'kept' | 'new';
  readonly request: (n: number) => { readonly path: string; readonly body: unknown };
  /** @returns undefined when the answer is right, else what is wrong with it; an equal text is counted with its like */
  readonly wrong: (n: number, answer: Answer) => string | undefined;
  /** Whether a request that failed on its connection does not count: it was never accepted. */
  readonly excused?: (error: NodeJS.ErrnoException, reused: boolean) => boolean;
}

export interface Tally {
  readonly name: string;
  sent: number;
  good: number;
  excused: number;
  /** Which they were. */
  readonly numbers: number[];
  /** What went wrong → how often. */
  readonly failures: Map<string, number>;
  /** Of good answers. */
  readonly latencyUs: RecordableHistogram;
}

const TICK_MS = 4;
/** A request without an answer for so long is lost. */
const LOST_AFTER_MS = 30_000;
/** Beyond it the daemon has stopped answering, and asking on would only exhaust this machine. */
const MAX_UNDER_WAY = 20_000;

export class OpenLoop implements AsyncDisposable {
  readonly tallies: readonly Tally[];
  readonly #url: () => string;
  /** It drops an idle connection before the daemon does: a request that crosses with that would be lost. */
  readonly #agent = new Agent({ keepAlive: true, scheduling: 'lifo', timeout: 5000 });
  readonly #open = new Set<{ readonly dueAt: number; readonly give: (error: Error) => void }>();
  /** When a connection had its last answer. */
  readonly #usedAt = new WeakMap<Socket, number>();
  readonly #timer: NodeJS.Timeout;
  #n = 0;

  constructor(url: () => string, streams: readonly Stream[]) {
    this.#url = url;
    this.tallies = streams.map(({ name }) => ({
      name,
      sent: 0,
      good: 0,
      excused: 0,
      numbers: [],
      failures: new Map(),
      latencyUs: createHistogram(),
    }));
    const next = streams.map(() => performance.now());
    this.#timer = setInterval(() => {
      const now = performance.now();
      for (const [index, stream] of streams.entries()) {
        for (; (next[index] as number) <= now; next[index] = (next[index] as number) + 1000 / stream.perSecond)
          this.#send(stream, this.tallies[index] as Tally, next[index] as number);
      }
      for (const one of this.#open) {
        if (now - one.dueAt < LOST_AFTER_MS) break;
        one.give(new Error(`no answer within ${LOST_AFTER_MS / 1000} s`));
      }
    }, TICK_MS);
  }

  get sent(): number {
    return this.tallies.reduce((sum, { sent }) => sum + sent, 0);
  }

  get good(): number {
    return this.tallies.reduce((sum, { good }) => sum + good, 0);
  }

  /** What went wrong over all streams, with how often. */
  get failures(): readonly string[] {
    return this.tallies.flatMap(({ name, failures }) => [...failures].map(([text, count]) => `${name}: ${count} × ${text}`));
  }

  p99Ms(name: string): number {
    const tally = this.tallies.find((each) => each.name === name);
    return Math.round((tally?.latencyUs.percentile(99) ?? 0) / 10) / 100;
  }

  /** From now on percentiles are of what comes. */
  resetLatency(): void {
    for (const { latencyUs } of this.tallies) latencyUs.reset();
  }

  /** So many more good answers have come. */
  async more(answers: number): Promise<void> {
    const wanted = this.good + answers;
    await until(
      `${answers} more good answers`,
      () => this.good >= wanted,
      undefined,
      () => this.failures.join('; '),
    );
  }

  /** Sends nothing more, and waits for the answers to what was sent. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await until('every request has its answer', () => this.#open.size === 0, LOST_AFTER_MS + 5000).catch(() => {
      for (const one of this.#open) one.give(new Error('no answer at all'));
    });
    this.#agent.destroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    for (const one of this.#open) one.give(new Error('the load was ended'));
    this.#agent.destroy();
  }

  #send(stream: Stream, tally: Tally, dueAt: number): void {
    const n = this.#n++;
    tally.sent += 1;
    tally.numbers.push(n);
    const fail = (text: string) => tally.failures.set(text.slice(0, 160), (tally.failures.get(text.slice(0, 160)) ?? 0) + 1);
    if (this.#open.size >= MAX_UNDER_WAY) return void fail('not sent: too many have no answer');
    const { path, body } = stream.request(n);
    const text = Buffer.from(JSON.stringify(body));
    const headers = { 'content-type': 'application/json', 'content-length': text.length };
    const kept = stream.connection === 'kept';
    const outgoing = httpRequest(this.#url() + path, {
      method: 'POST',
      headers: kept ? headers : { ...headers, connection: 'close' },
      agent: kept ? this.#agent : false,
    });
    let connection = '';
    const one = {
      dueAt,
      give: (error: Error) => {
        if (!this.#open.delete(one)) return;
        if (stream.excused?.(error, outgoing.reusedSocket) === true) tally.excused += 1;
        else fail(`${(error as NodeJS.ErrnoException).code ?? ''} ${error.message} ${connection}`.trim());
        outgoing.destroy();
      },
    };
    this.#open.add(one);
    outgoing.on('error', one.give);
    outgoing.on('socket', (socket) => {
      const usedAt = this.#usedAt.get(socket);
      connection =
        usedAt === undefined ? '(a new connection)' : `(idle for ${Math.floor((performance.now() - usedAt) / 1000)} s before)`;
    });
    outgoing.on('response', (incoming) => {
      const chunks: Buffer[] = [];
      incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
      incoming.on('error', one.give);
      incoming.on('aborted', () => one.give(new Error('the answer was cut off')));
      incoming.on('end', () => {
        if (outgoing.socket !== null) this.#usedAt.set(outgoing.socket, performance.now());
        if (!this.#open.delete(one)) return;
        const all = Buffer.concat(chunks);
        const answer = { status: incoming.statusCode ?? 0, headers: incoming.headers, body: all, text: all.toString('utf8') };
        const wrong = stream.wrong(n, answer);
        if (wrong !== undefined) return void fail(wrong);
        tally.good += 1;
        tally.latencyUs.record(Math.max(1, Math.round((performance.now() - dueAt) * 1000)));
      });
    });
    outgoing.end(text);
  }
}
