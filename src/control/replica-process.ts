/** One replica from its start to its death, seen from the control plane: the process, its control link, and what it owes an answer to. */
import type { Socket } from 'node:net';
import { isDeepStrictEqual } from 'node:util';
import { errorFromShape } from '../domain/errors.ts';
import type { Json } from '../domain/json.ts';
import { encodeFrame, FRAME, type Frame, type FrameType, ProtocolError } from '../protocol/frame.ts';
import type { ReadyMeta, SettingsMeta } from '../protocol/messages.ts';
import type { FrameReader } from '../protocol/reader.ts';
import type { DeploymentRun } from '../protocol/start.ts';
import type { ReplicaQuota } from '../quota/enforcer.ts';
import type { Limits } from '../quota/group.ts';
import { launchReplica, type ReplicaHandle } from './launch.ts';
import { HeldMetrics } from './replica-metrics.ts';

/** Why a replica is no more. */
export interface Death {
  readonly cause: 'exit' | 'signal' | 'oom' | 'heap' | 'crash' | 'unresponsive' | 'stuck' | 'startup' | 'health' | 'stopped';
  readonly exitCode: number | null;
  readonly signal: string | null;
  /** What it told as its reason, where it did. */
  readonly error: string | undefined;
  readonly stderr: readonly string[];
}

export interface ReplicaEvents {
  onReady(ready: ReadyMeta): void;
  onLine(stream: 'stdout' | 'stderr', line: string): void;
  /** Something of what it told of its metrics cannot be so; told once. */
  onOddMetrics(why: string): void;
  onDeath(death: Death): void;
}

export interface ReplicaOptions {
  readonly entry: string;
  readonly cwd: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly run: DeploymentRun;
  readonly startupTimeoutMs: number;
  /** Makes the group that holds it to its quota. */
  readonly openQuota: (onBreach: (why: string) => void) => ReplicaQuota;
  /** What it is told at its start and whenever it changes. */
  readonly settings: () => SettingsMeta;
}

const KEPT_STDERR_LINES = 20;
/** Between SIGTERM and SIGKILL. */
const TERM_MS = 2000;

export class ReplicaProcess {
  readonly #options: ReplicaOptions;
  readonly #events: ReplicaEvents;
  readonly #handle: ReplicaHandle;
  /** What it is held to, and by what means. */
  readonly quota: ReplicaQuota;
  /** Those of its code. */
  readonly metrics = new HeldMetrics();
  #toldOfMetrics = false;
  readonly #stderr: string[] = [];
  readonly #waiting = new Map<number, { resolve: () => void; reject: (error: Error) => void }>();
  readonly #startup: NodeJS.Timeout;
  #told: SettingsMeta | undefined;
  #socket: Socket | undefined;
  #nextId = 1;
  #verdict: Death['cause'] | undefined;
  #error: string | undefined;
  #dead = false;
  #escalation: NodeJS.Timeout | undefined;

  constructor(options: ReplicaOptions, events: ReplicaEvents) {
    this.#options = options;
    this.#events = events;
    this.#startup = setTimeout(
      () => this.kill('startup', `it was not ready within ${options.startupTimeoutMs / 1000} s`),
      options.startupTimeoutMs,
    );
    this.quota = options.openQuota((why) => this.kill('oom', why));
    this.#handle = launchReplica({
      enter: this.quota.prefix,
      entry: options.entry,
      cwd: options.cwd,
      env: options.env,
      onLine: (stream, line) => {
        if (stream === 'stderr') {
          this.#stderr.push(line);
          if (this.#stderr.length > KEPT_STDERR_LINES) this.#stderr.shift();
        }
        events.onLine(stream, line);
      },
      onExit: (exitCode, signal) => this.#exited(exitCode, signal),
    });
    if (this.#handle.pid !== undefined) this.quota.entered(this.#handle.pid);
  }

  get pid(): number | undefined {
    return this.#handle.pid;
  }

  get connected(): boolean {
    return this.#socket !== undefined;
  }

  /** The replica has connected and proven who it is. */
  attach(socket: Socket, reader: FrameReader): void {
    if (this.#dead || this.#socket !== undefined) return void socket.destroy();
    this.#socket = socket;
    socket.on('data', (chunk: Buffer) => {
      try {
        reader.push(chunk, (frame) => this.#take(frame));
      } catch (error) {
        // Whatever it is: what a replica sends must not end the daemon.
        this.kill('crash', `it broke the replica protocol: ${(error as Error).message}`);
      }
    });
    socket.on('error', () => socket.destroy());
    this.tellSettings();
    this.#send(FRAME.START, this.#options.run);
  }

  /** Its settings may have changed. */
  tellSettings(): void {
    const settings = this.#options.settings();
    if (this.#socket === undefined || isDeepStrictEqual(this.#told, settings)) return;
    this.#told = settings;
    this.#send(FRAME.SETTINGS, settings);
  }

  /** @throws what the code threw; the old value is then in force */
  reconfigure(userConfig: Json | undefined): Promise<void> {
    return this.#ask(FRAME.RECONFIGURE, { userConfig: userConfig ?? null });
  }

  /** @throws when it is not healthy */
  check(): Promise<void> {
    return this.#ask(FRAME.CHECK, {});
  }

  /** Asks it to end; then SIGTERM, then SIGKILL. */
  stop(withinMs: number): void {
    this.#verdict ??= 'stopped';
    if (this.#socket === undefined || withinMs === 0) return this.#handle.kill('SIGKILL');
    this.#send(FRAME.STOP, {});
    this.#escalation ??= setTimeout(() => {
      this.#handle.kill('SIGTERM');
      this.#escalation = setTimeout(() => this.#handle.kill('SIGKILL'), TERM_MS);
    }, withinMs);
  }

  /** Ends it at once, for a reason that its status will show. */
  kill(cause: Death['cause'], error?: string): void {
    this.#verdict ??= cause;
    this.#error ??= error;
    this.#handle.kill('SIGKILL');
    this.quota.kill();
  }

  /** It goes on with other limits. */
  requota(limits: Limits): void {
    this.quota.change(limits);
  }

  #ask(type: FrameType, meta: Record<string, unknown>): Promise<void> {
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#send(type, { ...meta, id });
    });
  }

  #send(type: FrameType, meta: object): void {
    const { socket } = { socket: this.#socket };
    if (socket === undefined || socket.destroyed) return;
    for (const buffer of encodeFrame(type, meta)) socket.write(buffer);
  }

  #take({ type, meta }: Frame): void {
    switch (type) {
      case FRAME.READY:
        clearTimeout(this.#startup);
        this.quota.ready();
        return this.#events.onReady(meta as unknown as ReadyMeta);
      case FRAME.FAILED: {
        const error = errorFromShape(meta['error']);
        this.#verdict ??= 'startup';
        this.#error ??= error.name === 'ServeError' ? error.message : `${error.name}: ${error.message}`;
        return;
      }
      case FRAME.METRICS: {
        const odd = this.metrics.take(meta);
        if (odd === undefined || this.#toldOfMetrics) return;
        this.#toldOfMetrics = true;
        return this.#events.onOddMetrics(odd);
      }
      case FRAME.RECONFIGURED:
      case FRAME.CHECKED: {
        const id = meta['id'] as number;
        const waiting = this.#waiting.get(id);
        this.#waiting.delete(id);
        if (meta['error'] === undefined) waiting?.resolve();
        else waiting?.reject(errorFromShape(meta['error']));
        return;
      }
      default:
        throw new ProtocolError(`a frame of type ${type} has no place on a control link`);
    }
  }

  #exited(exitCode: number | null, signal: NodeJS.Signals | null): void {
    this.#dead = true;
    clearTimeout(this.#startup);
    clearTimeout(this.#escalation);
    this.#socket?.destroy();
    for (const { reject } of this.#waiting.values()) reject(new Error('the replica died'));
    this.#waiting.clear();
    // What it started must not outlive it.
    this.#handle.kill('SIGKILL');
    const oom = this.#verdict === undefined ? this.quota.oom() : undefined;
    this.quota.close();
    this.#events.onDeath({
      cause: this.#verdict ?? (oom === undefined ? causeOf(exitCode, signal, this.#stderr) : 'oom'),
      exitCode,
      signal,
      error: this.#error ?? oom,
      stderr: [...this.#stderr],
    });
  }
}

/** What an exit code or a signal that nobody here sent says. */
const causeOf = (exitCode: number | null, signal: string | null, stderr: readonly string[]): Death['cause'] => {
  if (signal === 'SIGABRT' || exitCode === 134)
    return stderr.some((line) => line.includes('heap out of memory')) ? 'heap' : 'crash';
  if (signal === 'SIGSEGV' || signal === 'SIGBUS' || signal === 'SIGILL' || exitCode === 139) return 'crash';
  return signal === null ? 'exit' : 'signal';
};

/** A death in one line, for logs, statuses and back-off. */
export const deathText = ({ cause, exitCode, signal, error, stderr }: Death): string => {
  if (error !== undefined) return error;
  const how = signal === null ? `exit code ${exitCode ?? 'unknown'}` : signal;
  const lines = stderr.filter((line) => line.trim() !== '' && !/^Node\.js v\d/.test(line));
  const last = lines.findLast((line) => /^(?:Uncaught )?[A-Za-z]*Error\b.*:/.test(line)) ?? lines.at(-1);
  return last === undefined ? `${cause}: ${how}` : `${cause}: ${how}; its last words: ${last}`;
};
