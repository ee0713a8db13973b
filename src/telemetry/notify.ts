/** What systemd is told, through `systemd-notify`: Node cannot send a Unix datagram itself (ADR 10). */
import { execFile } from 'node:child_process';

/** The program was started with these where systemd wants to hear of it; nobody it starts may speak in its name. */
export const NOTIFY_VARIABLES = ['NOTIFY_SOCKET', 'WATCHDOG_USEC', 'WATCHDOG_PID'] as const;

type Environment = Readonly<Record<string, string | undefined>>;

/** @see sd_notify(3) */
export type Assignments = Readonly<Record<string, string>>;

/** A manager that does not answer within this is not there. */
const SEND_WITHIN_MS = 5000;

/** Sends one message. @throws when it did not get through */
export type Send = (assignments: readonly string[]) => Promise<void>;

const bySystemdNotify =
  (socket: string, path: string | undefined): Send =>
  (assignments) =>
    new Promise((resolve, reject) => {
      execFile(
        'systemd-notify',
        [...assignments],
        { env: { PATH: path, NOTIFY_SOCKET: socket }, timeout: SEND_WITHIN_MS, killSignal: 'SIGKILL' },
        (error) => (error === null ? resolve() : reject(error)),
      );
    });

export class ServiceManager {
  readonly #send: Send;
  readonly #failed: (error: Error) => void;
  #pending: Assignments[] = [];
  #sending: Promise<void> | undefined;
  #hasFailed = false;

  /** @param failed told once: a manager that cannot be reached must not fill the log */
  constructor(send: Send, failed: (error: Error) => void) {
    this.#send = send;
    this.#failed = failed;
  }

  /** @returns undefined: nobody wants to hear */
  static from(env: Environment, failed: (error: Error) => void): ServiceManager | undefined {
    const socket = env['NOTIFY_SOCKET'];
    return socket === undefined || socket === '' ? undefined : new ServiceManager(bySystemdNotify(socket, env['PATH']), failed);
  }

  /** Messages go in order. Of texts and signs of life that wait behind one that is under way, only the last matters. */
  tell(assignments: Assignments): void {
    if (Object.keys(assignments).every((key) => key === 'STATUS' || key === 'WATCHDOG'))
      this.#pending = this.#pending.filter((each) => Object.keys(each).some((key) => !(key in assignments)));
    this.#pending.push(assignments);
    this.#sending ??= this.#sendAll().finally(() => {
      this.#sending = undefined;
    });
  }

  /** Everything told so far has been sent, or has failed. */
  async told(): Promise<void> {
    await this.#sending;
  }

  async #sendAll(): Promise<void> {
    for (let next = this.#pending.shift(); next !== undefined; next = this.#pending.shift()) {
      try {
        await this.#send(Object.entries(next).map(([key, value]) => `${key}=${value.replace(/\s+/g, ' ')}`));
      } catch (error) {
        if (!this.#hasFailed) this.#failed(error as Error);
        this.#hasFailed = true;
      }
    }
  }
}

/**
 * How often the watchdog wants a sign of life: half of its patience, as sd_watchdog_enabled(3) says.
 * @returns undefined: it wants none, or not of this process
 */
export const watchdogPeriodMs = (env: Environment, pid: number): number | undefined => {
  const patience = Number(env['WATCHDOG_USEC']);
  const whom = env['WATCHDOG_PID'];
  if (!Number.isFinite(patience) || patience <= 0 || (whom !== undefined && whom !== `${pid}`)) return undefined;
  return patience / 1000 / 2;
};
