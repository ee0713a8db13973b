/** What verdicts have decided, kept in the state folder: where each split stands, and the moves that led there. Serving never waits for it, nor fails with it. */
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import type { Standing } from '../verdict/judge.ts';

/** One change of the weights of a split. */
export interface VerdictMove {
  /** ISO 8601. */
  readonly at: string;
  readonly application: string;
  readonly step: string;
  /** Its deployment. */
  readonly canary: string;
  /** Percents that the canary got and gets. */
  readonly from: number;
  readonly to: number;
  readonly state: Standing['state'];
  readonly why: string;
}

export interface KeptStanding extends Standing {
  /** As in `JudgedSplit`. */
  readonly identity: string;
  /** Of its last move: ISO 8601, and what was said. */
  readonly at: string;
  readonly why: string;
}

/** The newest are kept. */
const MAX_MOVES = 200;

export class VerdictRecord {
  readonly #path: string;
  readonly #complain: (message: string) => void;
  #standings: ReadonlyMap<string, KeptStanding> = new Map();
  #moves: readonly VerdictMove[] = [];

  /** @param complain told when the file cannot be read or written */
  constructor(path: string, complain: (message: string) => void) {
    this.#path = path;
    this.#complain = complain;
    this.#read();
  }

  /** Of splits that have moved, by `application/step`. */
  get standings(): ReadonlyMap<string, KeptStanding> {
    return this.#standings;
  }

  /** Oldest first. */
  get moves(): readonly VerdictMove[] {
    return this.#moves;
  }

  keep(standings: ReadonlyMap<string, KeptStanding>, moves: readonly VerdictMove[]): void {
    this.#standings = standings;
    this.#moves = [...this.#moves, ...moves].slice(-MAX_MOVES);
    try {
      const text = JSON.stringify({ standings: Object.fromEntries(standings), moves: this.#moves });
      // Of its own: another daemon that is still ending may write too.
      const fresh = `${this.#path}.${process.pid}.new`;
      writeFileSync(fresh, text, { mode: 0o600 });
      renameSync(fresh, this.#path);
    } catch (error) {
      this.#complain(`what a verdict has decided cannot be kept in ${this.#path}: ${(error as Error).message}`);
    }
  }

  #read(): void {
    try {
      const { standings, moves } = JSON.parse(readFileSync(this.#path, 'utf8')) as Record<string, unknown>;
      this.#standings = new Map(
        Object.entries(standings ?? {}).filter((entry): entry is [string, KeptStanding] => isStanding(entry[1])),
      );
      this.#moves = (Array.isArray(moves) ? moves : []).filter(isMove).slice(-MAX_MOVES);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') this.#setAside(error as Error);
    }
  }

  /** What cannot be read is not written over: somebody may mend it. */
  #setAside({ message }: Error): void {
    const aside = `${this.#path}.unreadable`;
    let where = `it is kept as ${aside}`;
    try {
      renameSync(this.#path, aside);
    } catch (error) {
      where = `it cannot be kept: ${(error as Error).message}`;
    }
    this.#complain(`what verdicts decided before cannot be read from ${this.#path}: ${message}; ${where}`);
  }
}

const STATES: readonly unknown[] = ['progressing', 'promoted', 'aborted'] satisfies readonly Standing['state'][];

const isPercent = (value: unknown): boolean => typeof value === 'number' && value >= 0 && value <= 100;

const areTexts = (...values: readonly unknown[]): boolean => values.every((value) => typeof value === 'string');

const isStanding = (value: unknown): value is KeptStanding => {
  if (typeof value !== 'object' || value === null) return false;
  const { state, percent, identity, at, why } = value as Record<string, unknown>;
  return STATES.includes(state) && isPercent(percent) && areTexts(identity, at, why);
};

const isMove = (value: unknown): value is VerdictMove => {
  if (typeof value !== 'object' || value === null) return false;
  const { state, from, to, at, application, step, canary, why } = value as Record<string, unknown>;
  return STATES.includes(state) && isPercent(from) && isPercent(to) && areTexts(at, application, step, canary, why);
};
