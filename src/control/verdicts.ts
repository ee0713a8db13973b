/**
 * Where each split that is judged stands: what the data plane has counted, what was decided of it, and what of that is kept. It remembers
 * between reports; the rules are in `verdict/`. It knows no processes and no timers.
 */
import type { SplitCounts } from '../domain/snapshot.ts';
import { type Decision, decide } from '../verdict/judge.ts';
import { type Figures, figuresIn, type Reading, remember } from '../verdict/window.ts';
import { isOfSplit, type JudgedSplit, type Overlay } from './judged-splits.ts';
import type { KeptStanding, VerdictMove, VerdictRecord } from './verdict-record.ts';

interface Judged {
  readonly split: JudgedSplit;
  readonly standing: KeptStanding;
  /** Monotonic milliseconds: since when it is counted at this share. */
  readonly since: number;
  readonly readings: readonly Reading[];
}

/** What is known of a verdict at one moment, for the status. */
export interface VerdictView {
  readonly standing: KeptStanding;
  readonly split: JudgedSplit;
  /** In the window. */
  readonly figures: Figures;
  /** Counted up. undefined: nothing yet. */
  readonly counts: SplitCounts | undefined;
  /** What it waits for, or why it ended. */
  readonly message: string;
  /** The next step. undefined: there is none. */
  readonly next: number | undefined;
}

export class Verdicts {
  readonly #record: Pick<VerdictRecord, 'standings' | 'keep'>;
  /** By `application/step`. */
  readonly #judged = new Map<string, Judged>();

  constructor(record: Pick<VerdictRecord, 'standings' | 'keep'>) {
    this.#record = record;
  }

  /**
   * What serves may have changed. What the file or the code of a canary says anew begins anew; all else goes on.
   * @param isAwaited whether an application of the config does not serve just now: what was decided of it is kept
   * @param now monotonic milliseconds
   * @param at the time of day
   */
  follow(splits: ReadonlyMap<string, JudgedSplit>, isAwaited: (application: string) => boolean, now: number, at: Date): void {
    const { standings } = this.#record;
    for (const [key, split] of splits) {
      const known = this.#judged.get(key);
      const { identity } = split;
      if (identity !== undefined && known?.split.identity === identity) continue;
      const standing = [known?.standing, standings.get(key)].find((each) => each !== undefined && isAbout(split, each.identity));
      const fresh = { state: 'progressing', percent: split.declared, at: at.toISOString(), why: '' } as const;
      if (standing !== undefined) this.#judged.set(key, { split, standing, since: now, readings: [] });
      else if (identity === undefined) this.#judged.delete(key);
      else this.#judged.set(key, { split, standing: { ...fresh, identity }, since: now, readings: [] });
    }
    for (const key of this.#judged.keys()) if (!splits.has(key)) this.#judged.delete(key);
    const stays = ([key, { identity }]: readonly [string, KeptStanding]) => {
      const split = splits.get(key);
      if (split === undefined) return isAwaited(applicationOf(key));
      return isAbout(split, identity);
    };
    const left = new Map([...standings].filter(stays));
    if (left.size < standings.size) this.#record.keep(left, []);
  }

  /** The weights in force of a step. undefined: it is not judged. */
  overlayOf(application: string, step: string): Overlay | undefined {
    const key = `${application}/${step}`;
    const judged = this.#judged.get(key);
    if (judged === undefined) return undefined;
    const { standing, split } = judged;
    const percent = standing.percent === split.declared ? undefined : standing.percent;
    // Calls of a canary that does not run, or not one thing only, are no evidence.
    return { judgedAs: split.identity === undefined ? undefined : judgedAs(key, standing.identity), percent };
  }

  /**
   * What the data plane has counted.
   * @param counted by `judgedAs`
   * @returns what changes by it
   */
  observe(counted: Readonly<Record<string, SplitCounts>>, now: number, at: Date): readonly VerdictMove[] {
    const moves: VerdictMove[] = [];
    const standings = new Map(this.#record.standings);
    for (const [key, judged] of this.#judged) {
      const counts = counted[judgedAs(key, judged.standing.identity)];
      if (counts === undefined) continue;
      const { spec } = judged.split;
      const first = judged.readings.length === 0;
      const readings = remember(judged.readings, { at: now, counts }, spec.windowMs);
      const next = { ...judged, readings, since: first ? now : judged.since };
      this.#judged.set(key, next);
      const decision = decisionOn(next, now);
      if (decision.type === 'hold') continue;
      const { standing, move } = moved(next, decision, at);
      // What was counted until now was at another share.
      this.#judged.set(key, { split: judged.split, standing, since: now, readings: readings.slice(-1) });
      standings.set(key, standing);
      moves.push(move);
    }
    if (moves.length > 0) this.#record.keep(standings, moves);
    return moves;
  }

  /** @param now monotonic milliseconds */
  viewOf(application: string, step: string, now: number): VerdictView | undefined {
    const judged = this.#judged.get(`${application}/${step}`);
    if (judged === undefined) return undefined;
    const { split, standing, readings } = judged;
    const { spec } = split;
    const isOpen = standing.state === 'progressing';
    return {
      split,
      standing,
      figures: figuresIn(readings, spec.windowMs, now),
      counts: readings.at(-1)?.counts,
      message: !isOpen ? standing.why : split.identity === undefined ? NOT_NOW : decisionOn(judged, now).why,
      next: isOpen && spec.promoteWhen !== undefined ? spec.steps.find((percent) => percent > standing.percent) : undefined,
    };
  }
}

const NOT_NOW = 'its canary does not serve, or a rollout exchanges its replicas: nothing is counted meanwhile';

const judgedAs = (key: string, identity: string): string => `${key}@${identity}`;

/** Whether what was decided holds of a split; while nobody knows what its canary runs, what the file says is enough. */
const isAbout = (split: JudgedSplit, identity: string): boolean =>
  split.identity === undefined ? isOfSplit(identity, split) : identity === split.identity;

const applicationOf = (key: string): string => key.slice(0, key.indexOf('/'));

const decisionOn = ({ split: { spec }, standing, readings, since }: Judged, now: number): Decision =>
  decide(spec, standing, figuresIn(readings, spec.windowMs, now), readings.length === 0 ? 0 : now - since);

const moved = (
  { split, standing }: Judged,
  decision: Exclude<Decision, { type: 'hold' }>,
  date: Date,
): { readonly standing: KeptStanding; readonly move: VerdictMove } => {
  const at = date.toISOString();
  const { application, step, canary } = split;
  const { why } = decision;
  const percent = decision.type === 'abort' ? 0 : decision.percent;
  const state = decision.type === 'abort' ? 'aborted' : decision.isLast ? 'promoted' : 'progressing';
  return {
    standing: { ...standing, state, percent, at, why },
    move: { at, application, step, canary, from: standing.percent, to: percent, state, why },
  };
};
