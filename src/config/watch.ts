/** Tells when files have changed and have been quiet for a while: saves, renames over, symlink swaps and bursts all look alike. */
import { lstatSync, readlinkSync, statSync } from 'node:fs';
import { dirname, join, parse, resolve, sep } from 'node:path';
import { type FSWatcher, watch } from 'chokidar';
import { QUIET_MS } from '../domain/limits.ts';

/** Events come in bursts; the files are looked at once for so many of them. */
const LOOK_MS = 30;
/** As many as Linux follows. */
const MAX_LINKS = 40;
/** File systems stamp changes with a clock that runs in steps. */
const CLOCK_STEP_MS = 20;

/** Files that are waited for together, until none of them changes any more. */
export interface Followed {
  readonly files: Iterable<string>;
  /** They have been found changing: to be told when they are quiet, whether they change again or not. */
  readonly unsettled?: boolean | undefined;
}

export class FileWatcher {
  readonly #watcher: FSWatcher;
  /** By path, which folder it was when it was last watched: one that goes and comes again is another, of which nothing would be told. */
  readonly #folders = new Map<string, string>();
  readonly #onQuiet: () => void;
  /** By group and file, what it was when it was last looked at. */
  #stamps: ReadonlyMap<string, Map<string, string>> = new Map();
  #look: NodeJS.Timeout | undefined;
  /** By group. */
  readonly #quiet = new Map<string, NodeJS.Timeout>();

  /** @param onQuiet a followed file has changed, and none of its group has since for a moment; whether it matters is for the receiver to see */
  constructor(onQuiet: () => void, onError: (error: Error) => void) {
    this.#onQuiet = onQuiet;
    // Folders, not files: what replaces a file by a rename or swaps a symlink is seen too. What else is in them is not looked at.
    this.#watcher = watch([], { depth: 0, ignored: (path) => !this.#folders.has(path), followSymlinks: false, atomic: false });
    this.#watcher.on('all', () => this.#lookSoon());
    this.#watcher.on('raw', () => this.#lookSoon());
    // It may come again, as it was or another.
    this.#watcher.on('unlinkDir', (path) => this.#folders.has(path) && this.#folders.set(path, GONE));
    this.#watcher.on('error', (error) => onError(error as Error));
  }

  /**
   * Follows these files, and no others.
   * @param groups by a name of their own: a group that goes on changing keeps no other from being told
   * @param since milliseconds since the epoch: one that changed after it has not been read as it is
   */
  follow(groups: ReadonlyMap<string, Followed>, since: number): void {
    const stamps = new Map<string, Map<string, string>>();
    const wanted = new Set<string>();
    const missed = new Set<string>();
    for (const [group, { files, unsettled }] of groups) {
      const before = this.#stamps.get(group);
      const own = new Map<string, string>();
      stamps.set(group, own);
      if (unsettled) missed.add(group);
      for (const file of files) {
        own.set(file, before?.get(file) ?? stampOf(file));
        if (changedAt(file) >= since - CLOCK_STEP_MS) missed.add(group);
        for (const folder of foldersOf(file)) wanted.add(folder);
      }
    }
    this.#stamps = stamps;
    for (const [group, timer] of this.#quiet) {
      if (stamps.has(group)) continue;
      clearTimeout(timer);
      this.#quiet.delete(group);
    }
    for (const folder of wanted) {
      const [before, now] = [this.#folders.get(folder), identityOf(folder)];
      if (before === now) continue;
      if (before !== undefined) {
        this.#watcher.unwatch(folder);
        // Of one that is known already no event comes when it is watched: what changed until then is seen by looking.
        this.#lookSoon();
      }
      this.#folders.set(folder, now);
      this.#watcher.add(folder);
    }
    for (const folder of this.#folders.keys()) {
      if (wanted.has(folder)) continue;
      this.#folders.delete(folder);
      this.#watcher.unwatch(folder);
    }
    for (const group of missed) this.#wait(group);
  }

  async close(): Promise<void> {
    clearTimeout(this.#look);
    for (const timer of this.#quiet.values()) clearTimeout(timer);
    this.#quiet.clear();
    await this.#watcher.close();
  }

  /** Another file in the same folder, written all the time, must not keep a change from being told. */
  #lookSoon(): void {
    this.#look ??= setTimeout(() => {
      this.#look = undefined;
      for (const group of this.#stamps.keys()) if (this.#hasChanged(group)) this.#wait(group);
    }, LOOK_MS);
  }

  #wait(group: string): void {
    clearTimeout(this.#quiet.get(group));
    const timer = setTimeout(() => {
      this.#quiet.delete(group);
      if (this.#hasChanged(group)) this.#wait(group);
      else this.#onQuiet();
    }, QUIET_MS);
    this.#quiet.set(group, timer);
  }

  #hasChanged(group: string): boolean {
    const stamps = this.#stamps.get(group);
    let changed = false;
    for (const [file, before] of stamps ?? []) {
      const now = stampOf(file);
      if (now === before) continue;
      stamps?.set(file, now);
      changed = true;
      // The watcher may not have known it yet, and then says nothing of its going.
      if (this.#folders.has(file) && identityOf(file) === GONE) this.#folders.set(file, GONE);
    }
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

const GONE = '';

const identityOf = (folder: string): string => {
  try {
    const { dev, ino } = statSync(folder);
    return `${dev} ${ino}`;
  } catch {
    return GONE;
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
