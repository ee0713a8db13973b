/**
 * Who decides what is served: the file, the admin API, a rollback — the last writer wins. Takes one at a time; a burst of changes of the
 * file is one. What has mistakes is told and changes nothing.
 */
import { createHash } from 'node:crypto';
import type { DesiredState } from '../domain/desired.ts';
import type { Diagnostic } from '../domain/diagnostic.ts';
import { type After, type ApplicationChange, type Before, type Difference, difference } from './difference.ts';
import type { ConfigText, Goal, GoalFiles, GoalOutcome, Outcome } from './goal.ts';
import type { ConfigSource, History, Revision } from './history.ts';

export interface ReloaderOptions {
  readonly goal: Goal;
  readonly history: History;
  readonly log: () => {
    info(fields: object, message: string): void;
    warn(fields: object, message: string): void;
    error(fields: object, message: string): void;
  };
  /** Tells what is wrong with a config. @param verdict what becomes of one with errors; absent: it is applied, but for broken applications */
  readonly report: (diagnostics: readonly Diagnostic[], verdict?: string) => void;
  /** A goal was taken: first what it says of the daemon itself, then its applications. */
  readonly apply: (outcome: GoalOutcome, before: DesiredState, retry: boolean) => Promise<void>;
  /** @param since milliseconds since the epoch: when reading them began */
  readonly follow: (files: GoalFiles, since: number) => void;
  /** What is known of the config is otherwise. */
  readonly changed: () => void;
  readonly serving: () => Omit<Before, 'desired'>;
  /** The file is read anew; it was applied or rejected. */
  readonly onReload?: ((state: 'begins' | 'ends') => void) | undefined;
  /** Replicas by deployment with this goal, and the room for them. */
  readonly roomIf: (outcome: GoalOutcome) => Pick<After, 'counts' | 'room'>;
}

/** What is served, and what is known of the file. */
export interface Applied {
  readonly config: ConfigText;
  readonly source: ConfigSource;
  readonly hash: string;
  /** ISO 8601. */
  readonly at: string;
  /** In the history. */
  readonly revision: number;
}

export interface Deployed {
  /** Milliseconds since the epoch. */
  readonly at: number;
  readonly change: ApplicationChange;
}

export type Submitted =
  | { readonly accepted: true; readonly revision: number }
  | { readonly accepted: false; readonly diagnostics: readonly Diagnostic[] };

export type Preview =
  | { readonly valid: true; readonly difference: Difference; readonly diagnostics: readonly Diagnostic[] }
  | { readonly valid: false; readonly diagnostics: readonly Diagnostic[] };

const sha256 = (text: Uint8Array): string => createHash('sha256').update(text).digest('hex');

export class Reloader {
  readonly #options: ReloaderOptions;
  #desired!: DesiredState;
  #applied!: Applied;
  #start: { readonly outcome: GoalOutcome; readonly since: number } | undefined;
  /** Errors of what was refused last, or warnings of what was applied. */
  #errors: readonly Diagnostic[] = [];
  #rejected: ReadonlyMap<string, string> = new Map();
  /** Of the file as it was read last; '' when it could not be. */
  #fileHash = '';
  /** Of the file when it was applied, or when another writer came after it: only another content of it counts. */
  #settledHash = '';
  /** By application: when it was last changed, and how. */
  readonly #deployed = new Map<string, Deployed>();
  #files: GoalFiles = { code: [], certificate: [], models: new Map() };
  /** Why applications could not be built when the config was last taken. */
  #broken: ReadonlyMap<string, string> = new Map();
  #turn: Promise<unknown> = Promise.resolve();
  #waiting: { retry: boolean } | undefined;
  /** Reloads that have been asked for and are not done. */
  #open = 0;
  #closed = false;
  readonly #results = { applied: 0, unchanged: 0, rejected: 0, rolled_back: 0 };

  constructor(options: ReloaderOptions) {
    this.#options = options;
  }

  get desired(): DesiredState {
    return this.#desired;
  }

  get applied(): Applied {
    return this.#applied;
  }

  get errors(): readonly Diagnostic[] {
    return this.#errors;
  }

  /** Applications whose code or model on disk is broken now, while an older version serves. */
  get rejected(): ReadonlyMap<string, string> {
    return this.#rejected;
  }

  /** How often configs were read, by what became of them. */
  get results(): Readonly<Record<string, number>> {
    return this.#results;
  }

  get deployed(): ReadonlyMap<string, Deployed> {
    return this.#deployed;
  }

  /** What is served is not what the file says, where there is one. */
  get drift(): boolean {
    return this.#options.goal.source === 'file' && this.#fileHash !== this.#applied.hash;
  }

  /**
   * Reads what is to be served first; `begin` takes it.
   * @param lastGood a file with errors is reported, and what was applied last is served
   * @returns what is wrong, when nothing can be served
   */
  async read(lastGood: boolean, understood: (desired: DesiredState) => void): Promise<readonly Diagnostic[]> {
    const since = Date.now();
    const { goal, history } = this.#options;
    const text = await goal.readOrigin(true);
    const config = text instanceof Uint8Array ? { text, confined: false } : undefined;
    const outcome: Outcome =
      config === undefined
        ? { type: 'rejected', diagnostics: [text as Diagnostic], problems: new Map(), files: undefined }
        : // Code that is run without a file is all there is: the daemon has nothing to do until it is mended.
          await goal.read(config, goal.source === 'file', understood);
    this.#fileHash = config === undefined ? '' : sha256(config.text);
    this.#settledHash = this.#fileHash;
    if (outcome.type === 'goal') {
      this.#begin(outcome, { config: config as ConfigText, source: goal.source }, since);
      return [];
    }
    const { newest } = history;
    if (!lastGood || newest === undefined) return outcome.diagnostics;
    this.#errors = outcome.diagnostics;
    const kept = textOf(newest);
    const before = await goal.read(kept, true, understood);
    if (before.type === 'rejected') return outcome.diagnostics;
    this.#begin(before, { config: kept, source: newest.source }, since);
    return [];
  }

  #begin(outcome: GoalOutcome, writer: Pick<Applied, 'config' | 'source'>, since: number): void {
    this.#desired = outcome.desired;
    this.#applied = { ...writer, hash: outcome.hash, at: new Date().toISOString(), revision: 0 };
    this.#start = { outcome, since };
  }

  /** Takes what was read first. */
  async begin(): Promise<void> {
    if (this.#start === undefined) throw new Error('there is nothing to begin with');
    const { outcome, since } = this.#start;
    this.#start = undefined;
    // With --last-good: what is said of the file counts.
    if (this.#errors.length > 0)
      this.#options.report(this.#errors, 'the config has errors: what was applied last is served (--last-good)');
    else {
      this.#errors = outcome.diagnostics;
      this.#options.report(outcome.diagnostics);
    }
    await this.#take(outcome, this.#applied, this.#desired, false);
    this.#follow(outcome.files, since);
  }

  /** The file, code or a model may have changed. @param retry also what has not: what had been given up is tried again */
  reload(retry: boolean): void {
    if (this.#closed) return;
    if (this.#waiting !== undefined) {
      this.#waiting.retry ||= retry;
      return;
    }
    const waiting = { retry };
    this.#waiting = waiting;
    if (this.#open++ === 0) this.#options.onReload?.('begins');
    void this.#next(() => {
      this.#waiting = undefined;
      return this.#readAgain(waiting.retry);
    })
      .catch((error: Error) => {
        if (!this.#closed) this.#options.log().error({ err: error }, 'reload failed');
      })
      .finally(() => {
        if (--this.#open === 0) this.#options.onReload?.('ends');
      });
  }

  /** Another writer than the file. The file stays as it is; its next change wins. */
  submit(config: ConfigText, source: 'api' | 'rollback'): Promise<Submitted> {
    return this.#next(async () => {
      const since = Date.now();
      const outcome = await this.#options.goal.read(config, false);
      if (outcome.type === 'rejected') {
        this.#results.rejected += 1;
        return { accepted: false, diagnostics: outcome.diagnostics };
      }
      this.#settledHash = this.#fileHash;
      await this.#accept(outcome, { config, source }, false);
      this.#follow(outcome.files, since);
      return { accepted: true, revision: this.#applied.revision };
    });
  }

  /** What would happen if this were saved. @param text absent: the file as it is */
  preview(text?: Uint8Array): Promise<Preview> {
    return this.#next(async () => {
      const { goal } = this.#options;
      const read = text ?? (await goal.readOrigin(false));
      if (!(read instanceof Uint8Array)) return { valid: false, diagnostics: [read] };
      const outcome = await goal.read({ text: read, confined: false }, false);
      if (outcome.type === 'rejected') return { valid: false, diagnostics: outcome.diagnostics };
      return { valid: true, difference: this.#compare(this.#desired, outcome), diagnostics: outcome.diagnostics };
    });
  }

  /** What was waiting for its turn is dropped. */
  close(): void {
    this.#closed = true;
  }

  /** One after the other: the compiler of code, and what the goal was before, are shared. */
  #next<T>(work: () => Promise<T>): Promise<T> {
    const mine = this.#turn.then(() => {
      if (this.#closed) throw new Error('the daemon is stopping');
      return work();
    });
    this.#turn = mine.catch(() => {});
    return mine;
  }

  async #readAgain(retry: boolean): Promise<void> {
    const since = Date.now();
    const { goal, log } = this.#options;
    const text = await goal.readOrigin(false);
    this.#fileHash = text instanceof Uint8Array ? sha256(text) : '';
    const { config, source } = this.#applied;
    const writer =
      text instanceof Uint8Array && this.#fileHash !== this.#settledHash
        ? { config: { text, confined: false }, source: goal.source }
        : { config, source };
    const outcome: Outcome =
      !(text instanceof Uint8Array) && source === 'file'
        ? { type: 'rejected', diagnostics: [text], problems: new Map(), files: undefined }
        : await goal.read(writer.config, false);
    if (this.#closed) return;
    this.#follow(outcome.files, since);
    if (outcome.type === 'rejected') {
      this.#results.rejected += 1;
      const news = retry || JSON.stringify(outcome.diagnostics) !== JSON.stringify(this.#errors);
      this.#errors = outcome.diagnostics;
      this.#rejected = outcome.problems;
      this.#options.changed();
      if (news) this.#options.report(outcome.diagnostics, 'the config was rejected: what served before goes on serving');
      return;
    }
    const mended = hasErrors(this.#errors) && !hasErrors(outcome.diagnostics);
    if (writer.source === goal.source) this.#settledHash = this.#fileHash;
    if (!(await this.#accept(outcome, writer, retry)) && mended)
      log().info({}, 'the config is good again; it says what is already served');
  }

  /** @returns whether there was anything to apply */
  async #accept(outcome: GoalOutcome, writer: Pick<Applied, 'config' | 'source'>, retry: boolean): Promise<boolean> {
    const before = this.#desired;
    const known = new Set(retry || outcome.hash !== this.#applied.hash ? [] : this.#errors.map((each) => JSON.stringify(each)));
    const news = outcome.diagnostics.filter((each) => !known.has(JSON.stringify(each)));
    this.#errors = outcome.diagnostics;
    if (!outcome.changed && !retry) {
      this.#rejected = outcome.held;
      this.#results.unchanged += 1;
      this.#applied = { ...this.#applied, ...writer, hash: outcome.hash };
      return false;
    }
    this.#results[writer.source === 'rollback' ? 'rolled_back' : 'applied'] += 1;
    // Of a folder of models that changes all the time, what is known is not told again and again.
    this.#options.report(news);
    this.#desired = outcome.desired;
    await this.#take(outcome, writer, before, retry);
    return true;
  }

  async #take(
    outcome: GoalOutcome,
    { config, source }: Pick<Applied, 'config' | 'source'>,
    before: DesiredState,
    retry: boolean,
  ): Promise<void> {
    const { goal, history, log, apply } = this.#options;
    this.#remember(this.#compare(before, outcome));
    goal.take(outcome);
    const { hash } = outcome;
    this.#tellBroken(outcome, retry || hash !== this.#applied.hash);
    const at = new Date().toISOString();
    const known = history.newest?.hash === hash ? history.newest : undefined;
    const text = Buffer.from(config.text).toString();
    const { revision } = known ?? history.add({ at, source, hash, text, confined: config.confined });
    this.#applied = { config, source, hash, at, revision };
    await apply(outcome, before, retry);
    log().info(
      { applications: outcome.targets.length + outcome.broken.length, hash: hash.slice(0, 12), source, revision },
      'config applied',
    );
  }

  /** @param all also what has been told before */
  #tellBroken({ broken, held }: GoalOutcome, all: boolean): void {
    const before = new Map([...this.#broken, ...this.#rejected]);
    this.#broken = new Map(broken.map(({ spec, problem }) => [spec.name, problem]));
    this.#rejected = held;
    const log = this.#options.log();
    for (const [application, problem] of this.#broken)
      if (all || before.get(application) !== problem) log.error({ application }, `application cannot be deployed: ${problem}`);
    for (const [application, problem] of held)
      if (all || before.get(application) !== problem)
        log.error({ application }, `what served before goes on serving: ${problem}`);
  }

  #compare(desired: DesiredState, outcome: GoalOutcome): Difference {
    const { serving, roomIf } = this.#options;
    return difference({ desired, ...serving() }, { ...outcome, ...roomIf(outcome) });
  }

  #remember({ applications }: Difference): void {
    const at = Date.now();
    for (const [name, change] of Object.entries(applications)) {
      if (change.change === 'stop') this.#deployed.delete(name);
      else if (change.change !== 'nothing' || !this.#deployed.has(name)) this.#deployed.set(name, { at, change });
    }
  }

  #follow(files: Partial<GoalFiles> | undefined, since: number): void {
    const { code, certificate, models } = this.#files;
    this.#files = {
      code: files?.code ?? code,
      certificate: files?.certificate ?? certificate,
      // Of a text that says nothing of them they are not read: what was unsettled is read with the next one that does.
      models: files?.models ?? new Map([...models].map(([name, each]) => [name, { ...each, unsettled: false }])),
    };
    this.#options.follow(this.#files, since);
  }
}

/** A config of the history, to be applied again. */
export const textOf = ({ text, confined }: Revision): ConfigText => ({ text: Buffer.from(text), confined });

const hasErrors = (diagnostics: readonly Diagnostic[]): boolean => diagnostics.some(({ severity }) => severity === 'error');
