/** The configs that were applied, newest last, kept in the state folder for `history`, `rollback` and `--last-good`. Serving never waits for it, nor fails with it. */
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Who asked for a config: the last writer wins. `run`: the command line, which named code. */
export type ConfigSource = 'file' | 'run' | 'api' | 'rollback';

export interface Revision {
  /** Counts up; never used twice in one folder. */
  readonly revision: number;
  /** When it was applied, ISO 8601. */
  readonly at: string;
  readonly source: ConfigSource;
  /** SHA-256 of the text, in hex. */
  readonly hash: string;
  readonly text: string;
  /** Its paths must stay inside the config's folder. */
  readonly confined: boolean;
}

const MAX_REVISIONS = 50;
/** Characters over all texts. The newest two are kept whatever they have. */
const MAX_TEXT = 8 * 1024 * 1024;

export class History {
  readonly #folder: string;
  readonly #complain: (message: string) => void;
  #revisions: readonly Revision[];

  /** @param complain told once for each thing that is wrong with the folder */
  constructor(folder: string, complain: (message: string) => void) {
    this.#folder = folder;
    this.#complain = complain;
    this.#revisions = bounded(this.#read());
  }

  /** Oldest first. */
  get revisions(): readonly Revision[] {
    return this.#revisions;
  }

  get newest(): Revision | undefined {
    return this.#revisions.at(-1);
  }

  add(entry: Omit<Revision, 'revision'>): Revision {
    const added = { revision: (this.newest?.revision ?? 0) + 1, ...entry };
    const before = this.#revisions;
    this.#revisions = bounded([...before, added]);
    try {
      mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
      const path = this.#path(added.revision);
      writeFileSync(`${path}.new`, JSON.stringify(added), { mode: 0o600 });
      renameSync(`${path}.new`, path);
      for (const { revision } of before)
        if (!this.#revisions.some((kept) => kept.revision === revision)) rmSync(this.#path(revision), { force: true });
    } catch (error) {
      this.#complain(`the config that was applied cannot be kept in ${this.#folder}: ${(error as Error).message}`);
    }
    return added;
  }

  #path(revision: number): string {
    return join(this.#folder, `${String(revision).padStart(8, '0')}.json`);
  }

  #read(): readonly Revision[] {
    let names: string[];
    try {
      names = readdirSync(this.#folder)
        .filter((name) => /^\d{8,}\.json$/.test(name))
        .sort()
        .slice(-MAX_REVISIONS);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT')
        this.#complain(`earlier configs cannot be read from ${this.#folder}: ${(error as Error).message}`);
      return [];
    }
    return names.flatMap((name) => {
      try {
        const read: unknown = JSON.parse(readFileSync(join(this.#folder, name), 'utf8'));
        if (isRevision(read)) return [read];
        this.#complain(`${name} in ${this.#folder} is no config that was applied: left out`);
      } catch (error) {
        this.#complain(`${name} in ${this.#folder} cannot be read, and is left out: ${(error as Error).message}`);
      }
      return [];
    });
  }
}

const bounded = (revisions: readonly Revision[]): readonly Revision[] => {
  const kept: Revision[] = [];
  let size = 0;
  for (const revision of [...revisions].reverse()) {
    size += revision.text.length;
    if (kept.length >= MAX_REVISIONS || (kept.length >= 2 && size > MAX_TEXT)) break;
    kept.unshift(revision);
  }
  return kept;
};

const SOURCES: readonly ConfigSource[] = ['file', 'run', 'api', 'rollback'];

const isRevision = (value: unknown): value is Revision => {
  if (typeof value !== 'object' || value === null) return false;
  const { revision, at, source, hash, text, confined } = value as Record<string, unknown>;
  return (
    Number.isSafeInteger(revision) &&
    typeof at === 'string' &&
    SOURCES.some((known) => known === source) &&
    typeof hash === 'string' &&
    typeof text === 'string' &&
    typeof confined === 'boolean'
  );
};
