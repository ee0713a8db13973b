/** Runs the daemon of this repository as its users do: a process of its own, a folder of its own, free ports, real replicas. */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, existsSync, ftruncateSync, openSync, readdirSync, readFileSync, writeSync } from 'node:fs';
import { mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { Agent, request as httpRequest, type IncomingHttpHeaders } from 'node:http';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { DeploymentStatus, ReplicaStatus, Status } from '../../src/control/status.ts';

const PROGRAM = fileURLToPath(new URL('../../bin/serve-daemon', import.meta.url));

/** A test that is killed leaves no daemon behind, where there is a means. */
const ENDS_WITH_US = existsSync('/usr/bin/setpriv') ? ['/usr/bin/setpriv', '--pdeathsig', 'KILL'] : [];

/** How long anything that is waited for may take on a busy machine, unless the test says otherwise. */
export const DEADLINE_MS = 20_000;

export interface DaemonOptions {
  /** Beside the config, by path: code and models. */
  readonly files?: Readonly<Record<string, string | Uint8Array>>;
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** A folder that exists, in place of a fresh one: what an earlier daemon left is in it. */
  readonly folder?: string;
  /** Another program than that of this repository. */
  readonly program?: string | undefined;
  /** False: resolves when both listeners are up, not when every application serves or has failed. */
  readonly ready?: boolean;
  /** A command that runs the daemon's: limits, another standard output. */
  readonly through?: readonly string[];
  /** In place of `--config` and the file: run in the folder of the code. */
  readonly command?: readonly string[];
  /** Options of Node's own. */
  readonly node?: readonly string[];
}

/** A line of the daemon's log, as JSON where it is. */
export interface LogLine {
  readonly level: number;
  readonly msg: string;
  readonly [field: string]: unknown;
}

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
  readonly text: string;
}

export interface AskOptions {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array;
  readonly agent?: Agent | false;
  readonly signal?: AbortSignal;
}

export interface Exit {
  readonly code: number | null;
  readonly signal: string | null;
}

/** The state of a process: a letter of `/proc`, or undefined when it has gone. A zombie has gone: it waits for its parent only. */
export const processState = (pid: number): string | undefined => {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const state = text.slice(text.lastIndexOf(')') + 2, text.lastIndexOf(')') + 3);
    return state === 'Z' || state === 'X' ? undefined : state;
  } catch {
    return undefined;
  }
};

export const isGone = (pid: number): boolean => processState(pid) === undefined;

const turn = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Looks again and again until it is so. @throws with what was seen last when the time is over */
export const until = async <T>(
  what: string,
  look: () => T | undefined | false | Promise<T | undefined | false>,
  withinMs = DEADLINE_MS,
  seen: () => string | Promise<string> = () => '',
): Promise<T> => {
  const deadline = performance.now() + withinMs;
  while (true) {
    const found = await look();
    if (found !== undefined && found !== false) return found;
    if (performance.now() > deadline) throw new Error(`not within ${withinMs / 1000} s: ${what}. ${await seen()}`);
    await turn(15);
  }
};

export const allGone = (pids: readonly number[], withinMs: number): Promise<true> =>
  until(`processes ${pids.join(', ')} gone`, () => pids.every(isGone), withinMs);

/** Processes that carry a mark in the environment they were started with. */
const marked = (mark: string): number[] => {
  const found: number[] = [];
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      if (readFileSync(`/proc/${name}/environ`, 'latin1').split('\0').includes(mark) && !isGone(Number(name)))
        found.push(Number(name));
    } catch {
      // It has gone, or belongs to somebody else.
    }
  }
  return found;
};

let count = 0;

/** Resolves when the daemon listens and every application serves or has failed. @throws when it ends before */
export const startDaemon = async (config: string | undefined, options: DaemonOptions = {}): Promise<DaemonRig> => {
  const daemon = await launchDaemon(config, options);
  try {
    await Promise.race([
      daemon.waitForLog('admin API is up'),
      daemon.exited.then(({ code }) => Promise.reject(new Error(`the daemon ended with ${code}: ${daemon.errors}`))),
    ]);
    if (options.ready !== false) {
      await until(
        'every application serves or has failed',
        async () => (await daemon.ask('/readyz', {}, daemon.adminUrl)).status === 200,
      );
    }
    if (!config?.includes('proxy_location: Disabled')) await daemon.waitForLog('listening for HTTP');
    return daemon;
  } catch (error) {
    await daemon[Symbol.asyncDispose]();
    throw error;
  }
};

/** Starts it and waits for nothing: for configs with which it does not come up. */
export const launchDaemon = async (config: string | undefined, options: DaemonOptions = {}): Promise<DaemonRig> => {
  const root = options.folder ?? (await mkdtemp(join(tmpdir(), 'sd-e2e-')));
  await mkdir(join(root, 'app'), { recursive: true });
  await mkdir(join(root, 'run'), { recursive: true });
  const daemon = new DaemonRig(root, options);
  for (const [name, content] of Object.entries(options.files ?? {})) await daemon.write(name, content);
  if (config !== undefined) await daemon.write('config.yaml', config);
  daemon.launch();
  return daemon;
};

export class DaemonRig implements AsyncDisposable {
  readonly root: string;
  readonly log: LogLine[] = [];
  readonly agent = new Agent({ keepAlive: true, timeout: 5000 });
  readonly exited: Promise<Exit>;
  /** Standard error, and lines of standard output that are no JSON. */
  errors = '';
  readonly #options: DaemonOptions;
  readonly #mark: string;
  readonly #watchers = new Set<() => void>();
  #child!: ChildProcess;
  #ended!: (exit: Exit) => void;
  #exit: Exit | undefined;

  constructor(root: string, options: DaemonOptions) {
    this.root = root;
    this.#options = options;
    this.#mark = `SERVE_E2E=${process.pid}-${count++}`;
    this.exited = new Promise((resolve) => {
      this.#ended = resolve;
    });
  }

  launch(): void {
    const { PATH, HOME } = process.env;
    const [name, value] = this.#mark.split('=') as [string, string];
    const env = {
      PATH,
      HOME,
      XDG_STATE_HOME: join(this.root, 'state'),
      XDG_RUNTIME_DIR: join(this.root, 'run'),
      ...this.#options.env,
      [name]: value,
    };
    // The test runner adds options of its own to the environment of every process; a user's daemon has none.
    const clean = [
      '-u',
      'NODE_OPTIONS',
      ...ENDS_WITH_US,
      ...(this.#options.through ?? []),
      process.execPath,
      ...(this.#options.node ?? []),
      this.#options.program ?? PROGRAM,
      ...(this.#options.command ?? ['--config', this.config]),
      ...(this.#options.args ?? []),
    ];
    const cwd = this.#options.command === undefined ? undefined : this.folder;
    this.#child = spawn('/usr/bin/env', clean, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
    let rest = '';
    this.#child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
      const lines = (rest + chunk).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) this.#take(line);
      for (const look of this.#watchers) look();
    });
    this.#child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
      this.errors += chunk;
    });
    this.#child.on('close', (code, signal) => {
      this.#exit = { code, signal };
      this.#ended(this.#exit);
      for (const look of this.#watchers) look();
    });
  }

  #take(line: string): void {
    try {
      this.log.push(JSON.parse(line) as LogLine);
    } catch {
      this.errors += `${line}\n`;
    }
  }

  get folder(): string {
    return join(this.root, 'app');
  }

  get config(): string {
    return join(this.folder, 'config.yaml');
  }

  get pid(): number {
    return this.#child.pid ?? -1;
  }

  get url(): string {
    return this.log.findLast(({ msg }) => msg === 'listening for HTTP')?.['url'] as string;
  }

  get adminUrl(): string {
    return this.log.findLast(({ msg }) => msg === 'admin API is up')?.['url'] as string;
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  // Files.

  /** Beside it, then renamed over it, as most editors do. */
  async write(name: string, content: string | Uint8Array): Promise<void> {
    const path = this.path(name);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(`${path}.new`, content);
    await rename(`${path}.new`, path);
  }

  save(config: string): Promise<void> {
    return this.write('config.yaml', config);
  }

  /** Truncated and written anew, in so many pieces, synchronously. */
  saveInPlace(config: string, pieces = 1): void {
    const file = openSync(this.config, 'r+');
    ftruncateSync(file, 0);
    const size = Math.ceil(config.length / pieces);
    for (let at = 0; at < config.length; at += size) writeSync(file, config.slice(at, at + size));
    closeSync(file);
  }

  /** Saves, and waits until that has been applied and every application runs it. */
  async apply(config: string): Promise<void> {
    const before = this.log.length;
    await this.save(config);
    await this.waitForLog('config applied', before);
    await this.running();
  }

  // The log.

  /**
   * A line of the log: one that is there from `from` on, or the first that comes.
   * @param which its message, or a test of the whole line
   */
  waitForLog(which: string | ((line: LogLine) => boolean), from = 0, withinMs = DEADLINE_MS): Promise<LogLine> {
    const fits = typeof which === 'string' ? (line: LogLine) => line.msg === which : which;
    return new Promise((resolve, reject) => {
      let at = from;
      const done = () => {
        clearTimeout(timer);
        this.#watchers.delete(look);
      };
      const look = () => {
        for (; at < this.log.length; at++) {
          const line = this.log[at] as LogLine;
          if (!fits(line)) continue;
          done();
          return resolve(line);
        }
        if (this.#exit === undefined) return;
        done();
        reject(
          new Error(
            `the daemon ended with ${this.#exit.code ?? this.#exit.signal} before it logged ${which.toString()}: ${this.errors}`,
          ),
        );
      };
      const timer = setTimeout(() => {
        done();
        const last = this.log.slice(-8).map((line) => JSON.stringify(line));
        reject(new Error(`not within ${withinMs / 1000} s: a log line ${which.toString()}; the last ones:\n${last.join('\n')}`));
      }, withinMs);
      this.#watchers.add(look);
      look();
    });
  }

  /** The access-log line of one request. */
  access(requestId: string): Promise<LogLine> {
    return this.waitForLog((line) => line.msg === 'request' && line['requestId'] === requestId);
  }

  // The status.

  async status(): Promise<Status> {
    return JSON.parse((await this.ask('/api/serve/applications/', {}, this.adminUrl)).text) as Status;
  }

  /** @returns the first status of which it is so */
  async when(what: string, holds: (status: Status) => boolean, withinMs = DEADLINE_MS): Promise<Status> {
    let last: Status | undefined;
    return until(
      what,
      async () => {
        last = await this.status();
        return holds(last) && last;
      },
      withinMs,
      () => JSON.stringify(last, undefined, 1),
    );
  }

  /** Every application runs what is wanted, with no replica too many. */
  running(withinMs = DEADLINE_MS): Promise<Status> {
    return this.when(
      'every application RUNNING',
      ({ applications }) => Object.values(applications).every(({ status }) => status === 'RUNNING'),
      withinMs,
    );
  }

  async replicas(application: string, deployment: string): Promise<readonly ReplicaStatus[]> {
    const { applications } = await this.status();
    return applications[application]?.deployments[deployment]?.replicas ?? [];
  }

  async pids(application: string, deployment: string): Promise<readonly number[]> {
    return pidsOf((await this.status()).applications[application]?.deployments[deployment]);
  }

  // Requests.

  ask(path: string, options: AskOptions = {}, base = this.url): Promise<Answer> {
    return ask(base + path, { agent: this.agent, ...options });
  }

  post(path: string, value: unknown, headers: Readonly<Record<string, string>> = {}): Promise<Answer> {
    return this.ask(path, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify(value),
    });
  }

  // Its end.

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM', withinMs = DEADLINE_MS): Promise<Exit> {
    this.signal(signal);
    return until(
      `the daemon ended after ${signal}`,
      () => this.#exit,
      withinMs,
      () =>
        this.log
          .slice(-5)
          .map((line) => JSON.stringify(line))
          .join('\n'),
    );
  }

  /** The daemon and everything that it or its replicas started. */
  processes(): number[] {
    return marked(this.#mark);
  }

  /** Kills the daemon, and sees that no replica outlives it. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.agent.destroy();
    if (this.#exit === undefined) this.signal('SIGKILL');
    try {
      await this.exited;
      await until(
        'no replica is left',
        () => this.processes().length === 0,
        4000,
        () => this.processes().map(commandOf).join('; '),
      );
    } finally {
      for (const pid of this.processes()) process.kill(pid, 'SIGKILL');
      if (this.#options.folder === undefined) await rm(this.root, { recursive: true, force: true });
    }
  }
}

const commandOf = (pid: number): string => {
  try {
    return `${pid} ${readFileSync(`/proc/${pid}/cmdline`, 'latin1').replaceAll('\0', ' ')}`;
  } catch {
    return `${pid}`;
  }
};

export const pidsOf = (deployment: DeploymentStatus | undefined): readonly number[] =>
  (deployment?.replicas ?? []).flatMap(({ pid, state }) => (pid === null || state !== 'RUNNING' ? [] : [pid]));

/** One request. @throws when the connection fails or the answer is cut off */
export const ask = (url: string, { method = 'GET', headers = {}, body, agent, signal }: AskOptions = {}): Promise<Answer> =>
  new Promise((resolve, reject) => {
    const length = body === undefined ? {} : { 'content-length': String(Buffer.byteLength(body)) };
    const outgoing = httpRequest(url, { method, headers: { ...length, ...headers }, agent, signal }, (incoming) => {
      const chunks: Buffer[] = [];
      incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
      incoming.on('error', reject);
      incoming.on('aborted', () => reject(new Error('the answer was cut off')));
      incoming.on('end', () => {
        const all = Buffer.concat(chunks);
        resolve({ status: incoming.statusCode ?? 0, headers: incoming.headers, body: all, text: all.toString('utf8') });
      });
    });
    outgoing.on('error', reject);
    outgoing.end(body);
  });

/** Clients that ask one after the other, each on a connection of its own that is kept, until they are stopped. */
export class Load implements AsyncDisposable {
  /** Answers that were as they should be. */
  good = 0;
  /** What went wrong, in order. */
  readonly failures: string[] = [];
  readonly #agent: Agent;
  readonly #clients: Promise<void>[];
  /** Requests that have no answer yet, and since when. */
  readonly #open = new Map<number, number>();
  #going = true;

  /**
   * @param each makes request number `n`
   * @returns undefined when the answer is right, else what is wrong with it
   */
  constructor(clients: number, each: (n: number, agent: Agent) => Promise<string | undefined>) {
    this.#agent = new Agent({ keepAlive: true, timeout: 5000, maxSockets: clients, scheduling: 'lifo' });
    let next = 0;
    const client = async () => {
      while (this.#going) {
        const n = next++;
        this.#open.set(n, performance.now());
        try {
          const wrong = await each(n, this.#agent);
          if (wrong === undefined) this.good += 1;
          else this.failures.push(`${n}: ${wrong}`);
        } catch (error) {
          this.failures.push(`${n}: ${(error as NodeJS.ErrnoException).code ?? ''} ${(error as Error).message}`);
          // Nobody is there any more: asking on would only keep the test busy.
          if (this.failures.length > 1000) return;
        } finally {
          this.#open.delete(n);
        }
      }
    };
    this.#clients = Array.from({ length: clients }, client);
  }

  /** So many more good answers have come. */
  async more(answers: number, withinMs = DEADLINE_MS): Promise<void> {
    const wanted = this.good + answers;
    await until(
      `${answers} more good answers`,
      () => this.good >= wanted,
      withinMs,
      () => `${this.failures.length} failures, the last: ${this.failures.at(-1)}`,
    );
  }

  /** Begins nothing more, and waits for the answers to what has begun. */
  async stop(withinMs = DEADLINE_MS): Promise<void> {
    this.#going = false;
    await until(
      'every request has its answer',
      () => this.#open.size === 0,
      withinMs,
      () => this.#pending(),
    );
    await Promise.all(this.#clients);
    this.#agent.destroy();
  }

  #pending(): string {
    const now = performance.now();
    return `no answer to ${[...this.#open].map(([n, since]) => `${n} for ${Math.round(now - since)} ms`).join(', ')}`;
  }

  /** Ends it whatever is under way. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#going = false;
    this.#agent.destroy();
    await Promise.all(this.#clients);
  }
}

/** Compares an answer with what was expected of its request. */
export const differs = (answer: Answer, status: number, text: string): string | undefined =>
  answer.status === status && answer.text === text
    ? undefined
    : `expected ${status} ${text.slice(0, 80)}, got ${answer.status} ${answer.text.slice(0, 200)}`;

/** Runs the program with these arguments to its end, as a shell would. */
export const runProgram = (
  args: readonly string[],
  {
    cwd,
    env = {},
    program = PROGRAM,
  }: { readonly cwd?: string; readonly env?: Readonly<Record<string, string>>; readonly program?: string } = {},
): Promise<Exit & { readonly out: string; readonly errors: string }> =>
  new Promise((resolve, reject) => {
    const { PATH, HOME } = process.env;
    const command = ['-u', 'NODE_OPTIONS', ...ENDS_WITH_US, process.execPath, program, ...args];
    const child = spawn('/usr/bin/env', command, { cwd, env: { PATH, HOME, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
    let out = '';
    let errors = '';
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      out += chunk;
    });
    child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
      errors += chunk;
    });
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code, signal, out, errors }));
  });
