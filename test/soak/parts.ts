/** What the promises share: replicas that answer with a checksum of what they were asked, a ledger of what was run, and a killer. */
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { type Answer, type DaemonRig, pidsOf } from '../support/daemon-rig.ts';
import type { Stream } from './open-loop.ts';
import { type Patch, pause } from './soak.ts';

/** One line for each request would be most of what a long run writes. */
export const QUIET = `http_options: {host: 127.0.0.1, port: 0}
admin_options: {port: 0}
logging_config: {enable_access_log: false}
`;

/**
 * `Echo`: {n, sum} of its input. `Many`: the same, in batches. Each run is first written to the ledger, where there is one.
 * @param version told in each answer, and making another version of the code
 */
export const code = (version = 0): string => `import { createHash } from 'node:crypto';
import { appendFileSync } from 'node:fs';
const sum = (input) => createHash('sha1').update(JSON.stringify(input)).digest('hex').slice(0, 12);
const note = (input) => { if (process.env.LEDGER) appendFileSync(process.env.LEDGER, input.n + '\\n'); };
const answer = (input) => ({ n: input.n, sum: sum(input), v: ${version} });
export class Echo {
  async call(input) {
    if (input.die) process.kill(process.pid, 'SIGKILL');
    note(input);
    for (const end = performance.now() + (input.busy ?? 0); performance.now() < end; );
    if (input.ms) await new Promise((r) => setTimeout(r, input.ms));
    return answer(input);
  }
  reconfigure() {}
}
export class Many { async call(inputs) { for (const input of inputs) note(input); return inputs.map(answer); } reconfigure() {} }
`;

/** Requests of different sizes, each with a text of its own. */
const bodyOf = (n: number, more: object): object => ({ n, pad: `${n} `.repeat(n % 50), ...more });

const sumOf = (body: object): string => createHash('sha1').update(JSON.stringify(body)).digest('hex').slice(0, 12);

/** What is wrong with an answer of `Echo` or `Many`. */
export const wrongEcho = (n: number, answer: Answer, more: object = {}): string | undefined => {
  if (answer.status !== 200) return `${answer.status} ${answer.headers['x-serve-error'] ?? ''} ${answer.text.slice(0, 100)}`;
  try {
    const given = JSON.parse(answer.text) as { n: number; sum: string };
    return given.n === n && given.sum === sumOf(bodyOf(n, more)) ? undefined : 'the answer to another request';
  } catch {
    return `no JSON: ${answer.text.slice(0, 60)}`;
  }
};

export const echoes = (
  name: string,
  path: string,
  perSecond: number,
  connection: Stream['connection'] = 'kept',
  more: object = {},
): Stream => ({
  name,
  perSecond,
  connection,
  request: (n) => ({ path, body: bodyOf(n, more) }),
  wrong: (n, answer) => wrongEcho(n, answer, more),
});

/** Where replicas write down what they run. */
export class Ledger implements Disposable {
  readonly path = join(mkdtempSync(join(tmpdir(), 'sd-ledger-')), 'ledger');

  /** Request numbers that were run, with how often. */
  read(): ReadonlyMap<string, number> {
    const runs = new Map<string, number>();
    if (!existsSync(this.path)) return runs;
    for (const line of readFileSync(this.path, 'utf8').split('\n')) if (line !== '') runs.set(line, (runs.get(line) ?? 0) + 1);
    return runs;
  }

  [Symbol.dispose](): void {
    rmSync(dirname(this.path), { recursive: true, force: true });
  }
}

export interface Kill {
  readonly application: string;
  readonly pid: number;
  /** Milliseconds since the epoch. */
  readonly at: number;
}

/** Kills replicas at random, one in each period, until it is stopped. */
export class Killer implements AsyncDisposable {
  readonly kills: Kill[] = [];
  readonly #done: Promise<void>;
  #going = true;

  /** @param least an application with fewer running replicas is spared for now */
  constructor(daemon: DaemonRig, applications: readonly string[], periodMs: number, least: number, rand: () => number) {
    const run = async () => {
      while (this.#going) {
        await pause(periodMs);
        const status = await daemon.status().catch(() => undefined);
        const running = applications.flatMap((application) => {
          const pids = Object.values(status?.applications[application]?.deployments ?? {}).flatMap(pidsOf);
          return pids.length < least ? [] : pids.map((pid) => ({ application, pid }));
        });
        const one = running[Math.floor(rand() * running.length)];
        if (!this.#going || one === undefined) continue;
        try {
          process.kill(one.pid, 'SIGKILL');
          this.kills.push({ ...one, at: Date.now() });
        } catch {
          // It has gone by itself meanwhile.
        }
      }
    };
    this.#done = run();
  }

  stop(): Promise<void> {
    this.#going = false;
    return this.#done;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }
}

/** Posts this, and leaves once the daemon has it. Resolves when the connection is gone. */
export const abandon = (url: string, value: unknown): Promise<void> =>
  new Promise((resolve) => {
    const outgoing = request(url, { method: 'POST', agent: false, headers: { 'content-type': 'application/json' } });
    outgoing.on('error', () => {});
    outgoing.on('close', resolve);
    outgoing.end(JSON.stringify(value), () => setTimeout(() => outgoing.destroy(), 25));
  });

/** Resident memory in MB. */
export const residentMb = (pid: number): number =>
  Math.round(Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) / 102.4) / 10;

/** What a process holds of the system, by kind: open files, sockets, watches, threads. */
export const holdings = (pid: number): Readonly<Record<string, number>> => {
  const held: Record<string, number> = { watches: 0 };
  for (const fd of readdirSync(`/proc/${pid}/fd`)) {
    try {
      const kind = readlinkSync(`/proc/${pid}/fd/${fd}`)
        .replace(/:?\[.*/, '')
        .replace(/^\/.*/, 'file');
      held[kind] = (held[kind] ?? 0) + 1;
      if (kind === 'anon_inode:inotify' || kind === 'anon_inode')
        held['watches'] =
          (held['watches'] ?? 0) + (readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'utf8').match(/^inotify wd:/gm)?.length ?? 0);
    } catch {
      // Closed while we looked.
    }
  }
  held['threads'] = readdirSync(`/proc/${pid}/task`).length;
  return held;
};

/** The socket that listens on a port: another one is another listener. */
export const listenerOf = (port: number): string | undefined => {
  const hex = port.toString(16).toUpperCase().padStart(4, '0');
  for (const line of readFileSync('/proc/net/tcp', 'utf8').split('\n')) {
    const fields = line.trim().split(/\s+/);
    if (fields[1]?.endsWith(`:${hex}`) && fields[3] === '0A') return fields[9];
  }
  return undefined;
};

/** Sabotage: a stream goes on whether its reader takes anything or not. */
export const READERS_IGNORED: Patch = {
  file: 'proxy/ingress-request.js',
  from: 'if (!this.#stalled)\n            this.#giveCredit(CREDIT_PORTION);',
  to: 'this.#giveCredit(1);',
};
