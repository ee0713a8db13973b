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
  readonly #stamp: (file: string) => string;
  /** By group and file, what it was when it was last looked at. */
  #stamps: ReadonlyMap<string, Map<string, string>> = new Map();
  #look: NodeJS.Timeout | undefined;
  /** Of the next look. */
  #due = new Set<string>();
  /** By folder: groups with a file whose change would be seen there. */
  #groups: ReadonlyMap<string, ReadonlySet<string>> = new Map();
  /** By group. */
  readonly #quiet = new Map<string, NodeJS.Timeout>();

  /**
   * @param onQuiet a followed file has changed, and none of its group has since for a moment; whether it matters is for the receiver to see
   * @param stamp what a file is; differs whenever it is another one or has another content
   */
  constructor(onQuiet: () => void, onError: (error: Error) => void, stamp: (file: string) => string = stampOf) {
    this.#onQuiet = onQuiet;
    this.#stamp = stamp;
    // Folders, not files: what replaces a file by a rename or swaps a symlink is seen too. What else is in them is not looked at.
    this.#watcher = watch([], { depth: 0, ignored: (path) => !this.#folders.has(path), followSymlinks: false, atomic: false });
    this.#watcher.on('all', (_, path) => this.#lookSoon(path));
    this.#watcher.on('raw', (_, __, from) => this.#lookSoon((from as { watchedPath?: string }).watchedPath));
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
    const wanted = new Map<string, Set<string>>();
    const known: KnownFolders = new Map();
    const missed = new Set<string>();
    for (const [group, { files, unsettled }] of groups) {
      const before = this.#stamps.get(group);
      const own = new Map<string, string>();
      stamps.set(group, own);
      if (unsettled) missed.add(group);
      for (const file of files) {
        own.set(file, before?.get(file) ?? this.#stamp(file));
        if (changedAt(file) >= since - CLOCK_STEP_MS) missed.add(group);
        for (const folder of foldersOf(file, known)) {
          const others = wanted.get(folder);
          if (others === undefined) wanted.set(folder, new Set([group]));
          else others.add(group);
        }
      }
    }
    this.#stamps = stamps;
    this.#groups = wanted;
    for (const [group, timer] of this.#quiet) {
      if (stamps.has(group)) continue;
      clearTimeout(timer);
      this.#quiet.delete(group);
    }
    for (const folder of wanted.keys()) {
      const [before, now] = [this.#folders.get(folder), identityOf(folder)];
      if (before === now) continue;
      if (before !== undefined) {
        this.#watcher.unwatch(folder);
        // Of one that is known already no event comes when it is watched: what changed until then is seen by looking.
        this.#lookSoon(folder);
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

  /**
   * Another file in the same folder, written all the time, must not keep a change from being told.
   * @param folder where something has happened: as there may be thousands of files, those of others are not looked at
   */
  #lookSoon(folder: string | undefined): void {
    const groups = folder === undefined ? undefined : this.#groups.get(folder);
    for (const group of groups ?? this.#stamps.keys()) this.#due.add(group);
    this.#look ??= setTimeout(() => {
      const due = this.#due;
      this.#due = new Set();
      this.#look = undefined;
      for (const group of due) if (this.#hasChanged(group)) this.#wait(group);
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
      const now = this.#stamp(file);
      if (now === before) continue;
      stamps?.set(file, now);
      changed = true;
      // The watcher may not have known it yet, and then says nothing of its going.
      if (this.#folders.has(file) && identityOf(file) === GONE) this.#folders.set(file, GONE);
    }
    return changed;
  }
}

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

/** By folder: what `foldersOf` says of each file in it that is no link. */
type KnownFolders = Map<string, ReadonlySet<string>>;

/** Where a change of what the path means would be seen: the folder of the file, and of each symlink on the way to it. */
const foldersOf = (file: string, known: KnownFolders): ReadonlySet<string> => {
  // A link at the end leads on from there; all before it is the same for each file of the folder.
  if (linkOf(file) !== undefined) return wayTo(file);
  const folder = dirname(file);
  const before = known.get(folder);
  if (before !== undefined) return before;
  const folders = wayTo(file);
  known.set(folder, folders);
  return folders;
};

const wayTo = (file: string): ReadonlySet<string> => {
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
