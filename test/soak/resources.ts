/** What keeps the loops of a daemon's threads alive: timers, sockets, watches. */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type DaemonRig, until } from '../support/daemon-rig.ts';

/** Thread → kind of resource → how many. */
export type Resources = Readonly<Record<string, Readonly<Record<string, number>>>>;

const THREADS = ['main', 'data plane'] as const;

export class ResourceReports implements Disposable {
  readonly #folder = mkdtempSync(join(tmpdir(), 'sd-resources-'));

  /** For the daemon that is to be asked. */
  readonly node = ['--import', fileURLToPath(new URL('./tell-resources.mjs', import.meta.url))];
  readonly env = { SOAK_RESOURCES: this.#folder };

  async ask(daemon: DaemonRig): Promise<Resources> {
    const path = (thread: string) => join(this.#folder, thread);
    for (const thread of THREADS) rmSync(path(thread), { force: true });
    daemon.signal('SIGUSR2');
    await until('both threads have told', () => THREADS.every((thread) => existsSync(path(thread))));
    return Object.fromEntries(
      THREADS.map((thread) => [thread, JSON.parse(readFileSync(path(thread), 'utf8')) as Record<string, number>]),
    );
  }

  [Symbol.dispose](): void {
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
