/** Keeps a service manager informed of a daemon: ready, reloading, stopping, how far it is, and that it is alive. */
import type { DeploymentProgress } from '../control/progress.ts';
import type { RunningDaemon } from '../daemon.ts';
import type { ServiceManager } from '../telemetry/notify.ts';

/** A status text that changes more often is nobody's help. */
const STATUS_EVERY_MS = 1000;
const LONGEST_REASON = 120;

export class ServiceReport {
  readonly #manager: ServiceManager;
  #daemon: RunningDaemon | undefined;
  #status = '';
  #ready = false;
  #reloading = false;
  #stopping = false;
  readonly #timers: NodeJS.Timeout[] = [];

  constructor(manager: ServiceManager) {
    this.#manager = manager;
    manager.tell({ STATUS: 'starting' });
  }

  /** @param watchdogMs a sign of life is due so often; undefined: nobody waits for one */
  follow(daemon: RunningDaemon, watchdogMs: number | undefined): void {
    this.#daemon = daemon;
    this.#every(STATUS_EVERY_MS, () => this.#tellStatus());
    if (watchdogMs !== undefined) this.#every(watchdogMs, () => void this.#signOfLife(daemon, watchdogMs));
    this.#tellStatus();
    void daemon.ready.then(() => {
      this.#ready = true;
      if (this.#stopping || this.#reloading) return;
      this.#status = statusText(daemon.progress());
      this.#manager.tell({ READY: '1', STATUS: this.#status });
    });
  }

  /** A config is read; nothing is refused meanwhile. */
  reloading(): void {
    if (this.#stopping || this.#reloading) return;
    this.#reloading = true;
    // Before it is ready, that it starts is all there is to say.
    if (this.#ready) this.#manager.tell({ RELOADING: '1', MONOTONIC_USEC: `${process.hrtime.bigint() / 1000n}` });
  }

  /** It was applied, or rejected: what serves, serves. */
  reloaded(): void {
    if (this.#stopping || !this.#reloading) return;
    this.#reloading = false;
    if (this.#ready) this.#manager.tell({ READY: '1' });
    this.#tellStatus();
  }

  /** Resolves when the manager knows. */
  stopping(): Promise<void> {
    if (!this.#stopping) {
      this.#stopping = true;
      this.#manager.tell({ STOPPING: '1', STATUS: 'finishing what was accepted' });
    }
    return this.#manager.told();
  }

  /** Nothing more is told. */
  end(): void {
    for (const timer of this.#timers) clearInterval(timer);
  }

  /** The timer alone would only prove that timers run: the answer comes from the thread that serves. */
  async #signOfLife(daemon: RunningDaemon, withinMs: number): Promise<void> {
    if (await daemon.responds(withinMs)) this.#manager.tell({ WATCHDOG: '1' });
  }

  #tellStatus(): void {
    if (this.#stopping || this.#daemon === undefined) return;
    const status = statusText(this.#daemon.progress());
    if (status === this.#status) return;
    this.#status = status;
    this.#manager.tell({ STATUS: status });
  }

  #every(ms: number, work: () => void): void {
    this.#timers.push(setInterval(work, ms).unref());
  }
}

/** One line for `systemctl status`. */
export const statusText = (deployments: readonly DeploymentProgress[]): string => {
  const ready = deployments.filter(({ stage }) => stage === 'ready').length;
  const count = `${ready} of ${deployments.length} deployment${deployments.length === 1 ? '' : 's'} ready`;
  const failed = deployments.filter(({ stage }) => stage === 'failed');
  const [first] = failed;
  if (first === undefined) return count;
  const name = first.deployment === undefined ? first.application : `${first.application}/${first.deployment}`;
  const reason = first.reason.length > LONGEST_REASON ? `${first.reason.slice(0, LONGEST_REASON)}…` : first.reason;
  return `${count}; ${name} failed: ${reason}${failed.length === 1 ? '' : `; and ${failed.length - 1} more failed`}`;
};
