/**
 * A closed loop of requests of every kind, each of which ends in one way that both sides can tell: small, large, streamed, failing, unknown,
 * too late, left before the answer, and left in the midst of it. Plain sockets: the client is to cost less than what it measures.
 */
import { type PlainAnswer, PlainClient } from './plain-client.ts';

/** The applications that the traffic asks; `Held` runs until nobody waits for it any more. */
export const MIXED_CODE = `const until = (signal) => new Promise((resolve) => {
  if (signal.aborted) resolve(); else signal.addEventListener('abort', () => resolve(), { once: true });
});
const LINE = 'a line of some length, as models give them\\n';
export class Work {
  call(input) {
    if (input.fail) throw new Error('as asked');
    if (input.lines) return (async function* () { for (let n = 0; n < input.lines; n++) yield LINE; })();
    return input;
  }
  reconfigure() {}
}
export class Held {
  async call(input, { signal }) {
    if (input.endless) return (async function* () { while (!signal.aborted) { yield LINE; await new Promise((resolve) => setTimeout(resolve, 5)); } })();
    await until(signal);
  }
}
`;
export const MIXED_APPLICATIONS = [
  { name: 'work', deployments: [{ name: 'Only', import_path: './mixed.ts:Work', max_ongoing_requests: 100 }] },
  { name: 'held', deployments: [{ name: 'Only', import_path: './mixed.ts:Held', max_ongoing_requests: 500 }] },
].map((each) => ({ ...each, route_prefix: `/${each.name}` }));

const LINE = 'a line of some length, as models give them\n';
const LINES = 20;
const LARGE_BYTES = 65_536;

type Kind = 'small' | 'other' | 'large' | 'streamed' | 'failing' | 'unknown' | 'late' | 'left' | 'left midway';

/** In a thousand. */
const SHARES: readonly (readonly [Kind, number])[] = [
  ['small', 700],
  ['other', 100],
  ['large', 20],
  ['streamed', 50],
  ['failing', 50],
  ['unknown', 25],
  ['late', 5],
  ['left', 30],
  ['left midway', 20],
];

/** `application status`, as `/metrics` has them, and how a request ends that is answered as it should be. */
const ENDS: Readonly<Record<Kind, string>> = {
  small: 'work 200',
  other: 'other 200',
  large: 'work 200',
  streamed: 'work 200',
  failing: 'work 500',
  unknown: ' 404',
  late: 'held 408',
  left: 'held 499',
  'left midway': 'held 499',
};

/** Every kind in turn, spread over a thousand by a step that meets each place once. */
const ORDER: readonly Kind[] = (() => {
  const all = SHARES.flatMap(([kind, share]) => Array.from({ length: share }, () => kind));
  return all.map((_, index) => all[(index * 617) % all.length] as Kind);
})();

const PAD = 'x'.repeat(LARGE_BYTES);

const bodyOf = (kind: Kind, n: number): string => {
  switch (kind) {
    case 'small':
    case 'other':
      return `{"n":${n},"text":"some words"}`;
    case 'large':
      return `{"n":${n},"pad":"${PAD}"}`;
    case 'streamed':
      return `{"lines":${LINES}}`;
    case 'failing':
      return '{"fail":true}';
    case 'left midway':
      return '{"endless":true}';
    case 'unknown':
    case 'late':
    case 'left':
      return '{}';
    default:
      return kind satisfies never;
  }
};

export interface MixedOptions {
  readonly port: number;
  readonly clients: number;
  /** Where the kind `other` goes. */
  readonly other: string;
}

/** Sends until it has sent so many, or is stopped. */
export class MixedTraffic {
  sent = 0;
  /** `application status` → how many, by what the clients saw. */
  readonly ends: Record<string, number> = {};
  /** What went otherwise than it should → how often. */
  readonly wrong = new Map<string, number>();
  /** Clients that went before they had their answer. */
  left = 0;
  readonly #options: MixedOptions;
  #most = 0;

  constructor(options: MixedOptions) {
    this.#options = options;
  }

  /** Resolves when so many more have been sent, and each has come to its end. */
  async send(requests: number): Promise<void> {
    this.#most = this.sent + requests;
    await Promise.all(Array.from({ length: this.#options.clients }, () => this.#client()));
  }

  async #client(): Promise<void> {
    let kept: PlainClient | undefined;
    while (this.sent < this.#most) {
      const n = this.sent++;
      const kind = ORDER[n % ORDER.length] as Kind;
      try {
        if (kind === 'left' || kind === 'left midway') {
          await this.#leave(kind, n);
          continue;
        }
        if (kept === undefined || kept.isOver) kept = await PlainClient.open(this.#options.port);
        const answer = await kept.ask(this.#textOf(kind, n));
        this.#count(`${ENDS[kind].slice(0, -3)}${answer.status}`);
        const wrong = wrongWith(kind, n, answer);
        if (wrong !== undefined) this.#tell(`${kind}: ${wrong}`);
      } catch (error) {
        kept?.close();
        kept = undefined;
        this.#tell(`${kind}: ${(error as NodeJS.ErrnoException).code ?? ''} ${(error as Error).message}`);
      }
    }
    kept?.close();
  }

  /** All that it sends is on its way before it goes, and nothing has come that it leaves unread: its end is no reset. */
  async #leave(kind: 'left' | 'left midway', n: number): Promise<void> {
    const connection = await PlainClient.open(this.#options.port);
    if (kind === 'left') await connection.write(this.#textOf(kind, n));
    else await connection.begin(this.#textOf(kind, n));
    connection.close();
    this.left += 1;
    this.#count(ENDS[kind]);
  }

  #textOf(kind: Kind, n: number): string {
    const path = kind === 'unknown' ? '/nowhere' : kind === 'other' ? this.#options.other : `/${ENDS[kind].slice(0, -4)}`;
    const body = bodyOf(kind, n);
    const limit = kind === 'late' ? 'x-request-timeout-seconds: 0.02\r\n' : '';
    return `POST ${path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n${limit}content-length: ${body.length}\r\n\r\n${body}`;
  }

  #count(end: string): void {
    this.ends[end] = (this.ends[end] ?? 0) + 1;
  }

  #tell(text: string): void {
    const key = text.slice(0, 160);
    this.wrong.set(key, (this.wrong.get(key) ?? 0) + 1);
  }
}

const wrongWith = (kind: Kind, n: number, { status, bytes, text }: PlainAnswer): string | undefined => {
  if (String(status) !== ENDS[kind].slice(-3)) return `${status} ${text.slice(0, 80)}`;
  const body = bodyOf(kind, n);
  if ((kind === 'small' || kind === 'other') && text !== body) return 'the answer to another request';
  if (kind === 'large' && (bytes !== body.length || !text.startsWith(`{"n":${n},`))) return `${bytes} bytes of ${body.length}`;
  if (kind === 'streamed' && bytes !== LINES * LINE.length) return `${bytes} bytes of ${LINES} lines`;
  return undefined;
};

/** `application status` → how many, by the daemon's count. */
export const toldByMetrics = (text: string): Record<string, number> => {
  const counts: Record<string, number> = {};
  for (const [, application, code, value] of text.matchAll(
    /^serve_http_requests_total\{application="(\w*)",route="[^"]*",code="(\d+)"\} (\d+)$/gm,
  ))
    if (Number(value) > 0) counts[`${application} ${code}`] = Number(value);
  return counts;
};
