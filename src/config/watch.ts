/** Tells when files have changed and have been quiet for a while: saves, renames over, symlink swaps and bursts all look alike. */
import { dirname } from 'node:path';
import { type FSWatcher, watch } from 'chokidar';

/** A file is read once it has not changed for this long: editors and copies write in pieces. */
const QUIET_MS = 150;

export class FolderWatcher {
  readonly #watcher: FSWatcher;
  readonly #folders = new Set<string>();
  readonly #onQuiet: () => void;
  #timer: NodeJS.Timeout | undefined;

  /** @param onQuiet something in a watched folder changed, and nothing has for a moment; whether it matters is for the receiver to see */
  constructor(onQuiet: () => void, onError: (error: Error) => void) {
    this.#onQuiet = onQuiet;
    // Folders, not files: what replaces a file by a rename or swaps a symlink beside it is seen too.
    this.#watcher = watch([], { depth: 0, ignoreInitial: true, followSymlinks: true, atomic: false });
    this.#watcher.on('all', () => this.#changed());
    this.#watcher.on('error', (error) => onError(error as Error));
  }

  /** Watches the folders of these files, and no others. */
  follow(files: Iterable<string>): void {
    const wanted = new Set([...files].map((file) => dirname(file)));
    for (const folder of wanted) {
      if (this.#folders.has(folder)) continue;
      this.#folders.add(folder);
      this.#watcher.add(folder);
    }
    for (const folder of this.#folders) {
      if (wanted.has(folder)) continue;
      this.#folders.delete(folder);
      this.#watcher.unwatch(folder);
    }
  }

  async close(): Promise<void> {
    clearTimeout(this.#timer);
    await this.#watcher.close();
  }

  #changed(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(this.#onQuiet, QUIET_MS);
  }
}
