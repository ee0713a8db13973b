/**
 * How many replicas each deployment is to have: what the file says, what the load asks for, what an external scaler has set. It remembers
 * between reports; the rules are in `scaling/`. It knows no processes and no timers.
 */
import type { AutoscalingSpec, DeploymentSpec } from '../domain/desired.ts';
import type { LoadReport } from '../domain/snapshot.ts';
import {
  atCapacity,
  type Bounds,
  boundsOf,
  type CapacityGoal,
  type Direction,
  directionOf,
  within,
} from '../scaling/capacity.ts';
import { aggregate, type Load, type LoadSample, remember } from '../scaling/load.ts';
import { autoscale, NO_WISH, type ScaleMemory, wishFor } from '../scaling/policy.ts';
import type { TargetApplication } from './target.ts';

/** A deployment that autoscales. */
interface Scaled {
  readonly application: string;
  spec: DeploymentSpec;
  autoscaling: AutoscalingSpec;
  bounds: Bounds;
  memory: ScaleMemory;
  samples: readonly LoadSample[];
}

/** What an external scaler has set, in force until what the file says there changes. */
interface Overlay {
  readonly count: number;
  readonly numReplicas: number;
}

export interface Move {
  /** `application/Deployment`. */
  readonly key: string;
  readonly from: number;
  readonly to: number;
}

/** What code that decides in place of the targets is told of. */
export interface PolicyQuestion {
  readonly application: string;
  readonly spec: DeploymentSpec;
  readonly load: Load;
  readonly running: number;
  readonly target: number;
  readonly bounds: Bounds;
}

/** @returns the replicas that it wants; undefined: nothing is known, and nothing changes */
export type AskPolicy = (key: string, question: PolicyQuestion) => number | undefined;

export class Scaler {
  readonly #askPolicy: AskPolicy;
  readonly #scaled = new Map<string, Scaled>();
  readonly #overlays = new Map<string, Overlay>();
  readonly #moved = new Map<string, 'up' | 'down'>();
  #counts: ReadonlyMap<string, number> = new Map();
  #capacity: CapacityGoal | undefined;
  #direction: Direction = null;

  constructor(askPolicy: AskPolicy = () => undefined) {
    this.#askPolicy = askPolicy;
  }

  /** By `application/Deployment`; of every deployment that is wanted or serves. */
  get counts(): ReadonlyMap<string, number> {
    return this.#counts;
  }

  /** Where scaling moved a deployment last. */
  movedOf(key: string): 'up' | 'down' | undefined {
    return this.#moved.get(key);
  }

  /** What the counts would be with this goal. */
  countsIf(targets: readonly TargetApplication[], percent: number | null): ReadonlyMap<string, number> {
    const direction = directionOf(this.#capacity, capacityGoal(targets, percent), this.#direction);
    const counts = new Map<string, number>();
    for (const { spec: application, deployments } of targets) {
      for (const { spec } of deployments) {
        const key = `${application.name}/${spec.name}`;
        const said = atCapacity(spec.numReplicas, percent);
        const overlay = this.#overlayOf(key, application.externalScaler, spec);
        if (spec.autoscaling === null) counts.set(key, overlay?.count ?? said);
        else counts.set(key, within(this.#counts.get(key) ?? said, boundsOf(spec.autoscaling, percent, direction)));
      }
    }
    return counts;
  }

  /** As long as the application takes an external scaler, and the file says the same number as when it was set. */
  #overlayOf(key: string, externalScaler: boolean, { numReplicas }: DeploymentSpec): Overlay | undefined {
    const overlay = this.#overlays.get(key);
    return externalScaler && overlay?.numReplicas === numReplicas ? overlay : undefined;
  }

  /**
   * A new goal. What scales already goes on from where it is, within its new bounds; what begins to scale begins with what it has.
   * @param percent `target_capacity`
   * @param serves applications that leave the goal keep their counts as long as they serve
   */
  follow(targets: readonly TargetApplication[], percent: number | null, serves: (application: string) => boolean): void {
    const goal = capacityGoal(targets, percent);
    const next = this.countsIf(targets, percent);
    this.#direction = directionOf(this.#capacity, goal, this.#direction);
    this.#capacity = goal;
    const wanted = new Set(goal.applications);
    const isLeaving = (key: string) => !wanted.has(applicationOf(key)) && serves(applicationOf(key));
    const counts = new Map([...[...this.#counts].filter(([key]) => isLeaving(key)), ...next]);
    const scaling = new Set<string>();
    for (const { spec: application, deployments } of targets) {
      for (const { spec } of deployments) {
        const key = `${application.name}/${spec.name}`;
        if (spec.autoscaling !== null) {
          scaling.add(key);
          this.#adopt(key, application.name, spec, spec.autoscaling, percent);
          continue;
        }
        this.#moved.delete(key);
        if (this.#overlayOf(key, application.externalScaler, spec) === undefined) this.#overlays.delete(key);
      }
    }
    for (const key of this.#scaled.keys()) {
      if (scaling.has(key)) continue;
      this.#scaled.delete(key);
      this.#moved.delete(key);
    }
    for (const key of this.#overlays.keys()) if (!counts.has(key)) this.#overlays.delete(key);
    this.#counts = counts;
  }

  #adopt(key: string, application: string, spec: DeploymentSpec, autoscaling: AutoscalingSpec, percent: number | null): void {
    const bounds = boundsOf(autoscaling, percent, this.#direction);
    const known = this.#scaled.get(key);
    if (known === undefined) {
      this.#scaled.set(key, { application, spec, autoscaling, bounds, memory: NO_WISH, samples: [] });
    } else Object.assign(known, { spec, autoscaling, bounds });
  }

  /** An external scaler sets a number of replicas. The caller has seen that it may. */
  set(application: string, spec: DeploymentSpec, count: number): void {
    const key = `${application}/${spec.name}`;
    this.#overlays.set(key, { count, numReplicas: spec.numReplicas });
    this.#counts = new Map(this.#counts).set(key, count);
  }

  /**
   * What the data plane measured.
   * @param running replicas of a deployment that take work
   * @param now monotonic milliseconds
   * @returns what changes by it
   */
  observe(reports: Readonly<Record<string, LoadReport>>, running: (key: string) => number, now: number): readonly Move[] {
    const moves: Move[] = [];
    for (const [key, report] of Object.entries(reports)) {
      const scaled = this.#scaled.get(key);
      const from = this.#counts.get(key);
      if (scaled === undefined || from === undefined) continue;
      const to = this.#decide(key, scaled, from, report, running(key), now);
      if (to !== from) moves.push({ key, from, to });
    }
    if (moves.length === 0) return moves;
    this.#counts = new Map([...this.#counts, ...moves.map(({ key, to }) => [key, to] as const)]);
    for (const { key, from, to } of moves) this.#moved.set(key, to > from ? 'up' : 'down');
    return moves;
  }

  #decide(key: string, scaled: Scaled, target: number, report: LoadReport, running: number, now: number): number {
    const { application, spec, autoscaling, bounds } = scaled;
    scaled.samples = remember(scaled.samples, report, autoscaling.lookBackMs, now);
    const load = aggregate(scaled.samples, autoscaling.aggregation, autoscaling.lookBackMs, now);
    if (load === undefined) return target;
    const raw =
      autoscaling.policy === null
        ? wishFor(autoscaling, load, running, spec.maxOngoingRequests)
        : this.#askPolicy(key, { application, spec, load, running, target, bounds });
    const waiting = load.latest.requests;
    const decision = autoscale({ spec: autoscaling, bounds, running, target, waiting, raw, memory: scaled.memory, now });
    scaled.memory = decision.memory;
    return decision.target;
  }
}

const capacityGoal = (targets: readonly TargetApplication[], percent: number | null): CapacityGoal => ({
  percent,
  applications: targets.map(({ spec }) => spec.name),
});

const applicationOf = (key: string): string => key.slice(0, key.indexOf('/'));
