/** Files of the log, by what lines are about: bounded in size and number. Whatever is wrong with them harms nothing else. */
import { readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type FileBounds, LogFile } from './log-file.ts';

export interface FolderBounds extends FileBounds {
  /** Replicas whose files nobody writes to any more: of so many they are kept, the newest. */
  readonly replicas: number;
}

const BOUNDS: FolderBounds = { maxBytes: 10 * 1024 * 1024, kept: 4, replicas: 100 };

/** A file that nobody wrote to for so long is closed. */
const IDLE_MS = 60_000;
/** A disk that takes nothing must not hold up the end. */
const WRITTEN_WITHIN_MS = 2000;

export class LogFiles {
  readonly #failed: (path: string, error: Error) => void;
  readonly #bounds: FolderBounds;
  readonly #files = new Map<string, LogFile>();
  #sweeping: Promise<void> = Promise.resolve();
  /** Whether a file is of a replica that lives: it may write again, however long it has been quiet. */
  isAlive: (name: string) => boolean = () => false;

  constructor(failed: (path: string, error: Error) => void, bounds: FolderBounds = BOUNDS) {
    this.#failed = failed;
    this.#bounds = bounds;
  }

  /**
   * @param name without `.log`
   * @param lines finished, newline at each end
   */
  write(directory: string, name: string, lines: string): void {
    const path = join(directory, `${name}.log`);
    (this.#files.get(path) ?? this.#add(directory, path)).write(lines);
  }

  /** What was written is on disk, as far as the disk takes it in time. */
  async written(): Promise<void> {
    let late: NodeJS.Timeout | undefined;
    const over = new Promise<void>((resolve) => {
      late = setTimeout(resolve, WRITTEN_WITHIN_MS);
    });
    const all = Promise.all([...this.#files.values()].map((file) => file.written()));
    await Promise.race([all.then(() => this.#sweeping), over]);
    clearTimeout(late);
  }

  #add(directory: string, path: string): LogFile {
    for (const [other, file] of this.#files) {
      if (file.idleMs < IDLE_MS) continue;
      this.#files.delete(other);
      void file.close();
    }
    const file = new LogFile(path, this.#bounds, (error) => this.#failed(path, error));
    this.#files.set(path, file);
    this.#sweeping = this.#sweeping.then(() => this.#sweep(directory));
    return file;
  }

  /** Replicas come and go; so that a crash loop does not fill the disk, the oldest of those that have gone go. */
  async #sweep(directory: string): Promise<void> {
    try {
      const gone = new Map<string, string[]>();
      for (const name of await readdir(directory)) {
        const [base] = /^replica\..*\.log(?=$|\.\d+$)/.exec(name) ?? [];
        if (base === undefined || this.#files.has(join(directory, base)) || this.isAlive(base.slice(0, -'.log'.length))) continue;
        gone.set(base, [...(gone.get(base) ?? []), join(directory, name)]);
      }
      if (gone.size <= this.#bounds.replicas) return;
      const dated = await Promise.all(
        [...gone.values()].map(async (paths) => {
          const times = await Promise.all(paths.map(async (path) => (await stat(path)).mtimeMs));
          return { paths, at: Math.max(...times) };
        }),
      );
      dated.sort((a, b) => b.at - a.at);
      for (const { paths } of dated.slice(this.#bounds.replicas)) for (const path of paths) await rm(path, { force: true });
    } catch {
      // There is no folder, or somebody else takes files away too: the next new file sweeps again.
    }
  }
}
