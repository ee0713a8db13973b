/** Changes of the status, as events: what an operator would see if the status were asked for all the time. */
import type { Status } from './status.ts';

export interface StatusEvent {
  readonly type: 'config' | 'application' | 'deployment' | 'replica' | 'verdict';
  readonly [field: string]: unknown;
}

/** What there is, by a key of its own. */
export type Facts = ReadonlyMap<string, StatusEvent>;

export const factsOf = ({ config, applications }: Status): Facts => {
  const facts = new Map<string, StatusEvent>();
  const { hash, source, revision, drift, errors } = config;
  facts.set('config', { type: 'config', hash, source, revision, drift, errors: errors.length });
  for (const { name: application, status, message, deployments, splits } of Object.values(applications)) {
    facts.set(`application ${application}`, { type: 'application', application, status, message });
    for (const [step, { targets, verdict }] of Object.entries(splits)) {
      if (verdict === null) continue;
      const percents = Object.fromEntries(targets.map(({ call, percent }) => [call, percent]));
      facts.set(`verdict ${application}/${step}`, { type: 'verdict', application, step, state: verdict.state, percents });
    }
    for (const { name: deployment, replicas, ...each } of Object.values(deployments)) {
      const { status: word, status_trigger, message: why, target_num_replicas } = each;
      const about = { application, deployment, status: word, status_trigger, message: why, target_num_replicas };
      facts.set(`deployment ${application}/${deployment}`, { type: 'deployment', ...about });
      for (const { replica_id, pid, state } of replicas)
        facts.set(`replica ${replica_id}`, { type: 'replica', application, deployment, replica_id, pid, state });
    }
  }
  return facts;
};

/** @returns what is new or other, and with `gone: true` what is no more */
export const eventsBetween = (before: Facts, after: Facts): readonly StatusEvent[] => {
  const events: StatusEvent[] = [];
  for (const [key, fact] of after) if (JSON.stringify(before.get(key)) !== JSON.stringify(fact)) events.push(fact);
  for (const [key, fact] of before) if (!after.has(key)) events.push({ ...fact, gone: true });
  return events;
};

/** Looks only while somebody listens, and not more often than this. */
const LOOK_MS = 100;

export class StatusFeed {
  readonly #status: () => Promise<Status>;
  readonly #readers = new Map<(events: readonly StatusEvent[]) => void, Facts>();
  #timer: NodeJS.Timeout | undefined;

  constructor(status: () => Promise<Status>) {
    this.#status = status;
  }

  /** First all that there is, then what changes. @returns ends it */
  follow(read: (events: readonly StatusEvent[]) => void): () => void {
    this.#readers.set(read, new Map());
    this.changed();
    return () => this.#readers.delete(read);
  }

  /** Something may be otherwise. */
  changed(): void {
    if (this.#readers.size === 0) return;
    this.#timer ??= setTimeout(() => void this.#look(), LOOK_MS).unref();
  }

  async #look(): Promise<void> {
    const facts = factsOf(await this.#status());
    this.#timer = undefined;
    for (const [read, seen] of this.#readers) {
      this.#readers.set(read, facts);
      const events = eventsBetween(seen, facts);
      if (events.length > 0) read(events);
    }
  }
}
