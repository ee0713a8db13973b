/** Tells when files have changed and have been quiet for a while: saves, renames over, symlink swaps and bursts all look alike. */
import { lstatSync, readlinkSync, statSync } from 'node:fs';
import { dirname, join, parse, resolve, sep } from 'node:path';
import { type FSWatcher, watch } from 'chokidar';

/** A file is read once it has not changed for this long: editors and copies write in pieces. */
const QUIET_MS = 150;
/** Events come in bursts; the files are looked at once for so many of them. */
const LOOK_MS = 30;
/** As many as Linux follows. */
const MAX_LINKS = 40;
/** File systems stamp changes with a clock that runs in steps. */
const CLOCK_STEP_MS = 20;

export class FileWatcher {
  readonly #watcher: FSWatcher;
  readonly #folders = new Set<string>();
  readonly #onQuiet: () => void;
  /** By file, what it was when it was last looked at. */
  #stamps: ReadonlyMap<string, string> = new Map();
  #look: NodeJS.Timeout | undefined;
  #quiet: NodeJS.Timeout | undefined;

  /** @param onQuiet a followed file has changed, and none has since for a moment; whether it matters is for the receiver to see */
  constructor(onQuiet: () => void, onError: (error: Error) => void) {
    this.#onQuiet = onQuiet;
    // Folders, not files: what replaces a file by a rename or swaps a symlink is seen too. What else is in them is not looked at.
    this.#watcher = watch([], { depth: 0, ignored: (path) => !this.#folders.has(path), followSymlinks: false, atomic: false });
    this.#watcher.on('all', () => this.#lookSoon());
    this.#watcher.on('raw', () => this.#lookSoon());
    this.#watcher.on('error', (error) => onError(error as Error));
  }

  /**
   * Follows these files, and no others.
   * @param since milliseconds since the epoch: one that changed after it has not been read as it is
   */
  follow(files: Iterable<string>, since: number): void {
    const stamps = new Map<string, string>();
    const wanted = new Set<string>();
    let missed = false;
    for (const file of files) {
      stamps.set(file, this.#stamps.get(file) ?? stampOf(file));
      missed ||= changedAt(file) >= since - CLOCK_STEP_MS;
      for (const folder of foldersOf(file)) wanted.add(folder);
    }
    this.#stamps = stamps;
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
    if (missed) this.#wait();
  }

  async close(): Promise<void> {
    clearTimeout(this.#look);
    clearTimeout(this.#quiet);
    await this.#watcher.close();
  }

  /** Another file in the same folder, written all the time, must not keep a change from being told. */
  #lookSoon(): void {
    this.#look ??= setTimeout(() => {
      this.#look = undefined;
      if (this.#haveChanged()) this.#wait();
    }, LOOK_MS);
  }

  #wait(): void {
    clearTimeout(this.#quiet);
    this.#quiet = setTimeout(() => {
      if (this.#haveChanged()) this.#wait();
      else this.#onQuiet();
    }, QUIET_MS);
  }

  #haveChanged(): boolean {
    const now = new Map([...this.#stamps.keys()].map((file) => [file, stampOf(file)]));
    const changed = [...now].some(([file, stamp]) => this.#stamps.get(file) !== stamp);
    this.#stamps = now;
    return changed;
  }
}

/** Differs whenever the file is another one or has another content. */
const stampOf = (file: string): string => {
  try {
    const { dev, ino, size, mtimeMs, ctimeMs } = statSync(file);
    return `${dev} ${ino} ${size} ${mtimeMs} ${ctimeMs}`;
  } catch (error) {
    return String((error as NodeJS.ErrnoException).code);
  }
};

/** 0 for what is not there, or cannot be looked at: a circle of symlinks, a folder without permission. */
const changedAt = (file: string): number => {
  try {
    return statSync(file).ctimeMs;
  } catch {
    return 0;
  }
};

/** Where a change of what the path means would be seen: the folder of the file, and of each symlink on the way to it. */
const foldersOf = (file: string): ReadonlySet<string> => {
  const folders = new Set<string>();
  let links = 0;
  let at = parse(file).root;
  const rest = file.slice(at.length).split(sep);
  while (rest.length > 0) {
    const next = join(at, rest.shift() as string);
    const target = linkOf(next);
    if (target === undefined || links++ > MAX_LINKS) {
      at = next;
      continue;
    }
    folders.add(at);
    const leadsTo = resolve(at, target);
    at = parse(leadsTo).root;
    rest.unshift(...leadsTo.slice(at.length).split(sep));
  }
  return folders.add(dirname(at));
};

/** Where a symlink leads; undefined for anything else, or nothing. */
const linkOf = (path: string): string | undefined => {
  try {
    return lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() ? readlinkSync(path) : undefined;
  } catch {
    return undefined;
  }
};
