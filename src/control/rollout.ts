/**
 * How many replicas of the old and of the new versions there are while a rollout is under way. As a rule all new ones come up beside all old
 * ones, and one switch moves the application. Where the quota has no room for that, or the file asks for less, replicas are exchanged in
 * steps, and meanwhile both versions take work. Pure and level-triggered: the step follows from what is ready now.
 */
import type { DeploymentSpec, RolloutSpec } from '../domain/desired.ts';
import { type Amounts, askOf } from '../quota/amounts.ts';
import { Ledger, NOTHING_RESERVED, type Reservation } from '../quota/ledger.ts';
import { movingGroups } from './moves.ts';
import type { ActualReplica, ActualState } from './plan.ts';
import { restartKey } from './restart.ts';
import type { TargetApplication, TargetDeployment } from './target.ts';

/** All keys are those of `restartKey`. */
export interface Steps {
  /** Replicas that a version is to have now, where that is not what the config says. */
  readonly counts: ReadonlyMap<string, number>;
  /** New version → the old one whose requests it takes too. */
  readonly standsFor: ReadonlyMap<string, string>;
  /** Old version → why replicas of it go before others have come. */
  readonly whys: ReadonlyMap<string, string>;
  /** Versions that have to go altogether before what comes in their place can: requests for them are refused meanwhile. */
  readonly closed: ReadonlySet<string>;
  /** New versions for which room is being made: nobody else takes it meanwhile. */
  readonly claims: ReadonlySet<string>;
  /** New versions that come before whatever else is to be started. */
  readonly first: ReadonlySet<string>;
}

type CountOf = (application: string, spec: DeploymentSpec) => number;

/** One version of one deployment, old or new, in a group of applications that move together. */
interface Side {
  readonly key: string;
  readonly application: string;
  readonly deployment: TargetDeployment;
  readonly ask: Amounts;
  readonly count: number;
}

const NO_ROOM = 'the quota has no room for both versions at once';
const AS_ASKED = 'rolling_update asks for steps';

/** @param rolls whether a target is being rolled out: it was not given up */
export const stepsOf = (
  targets: readonly TargetApplication[],
  actual: ActualState,
  countOf: CountOf,
  rolls: (target: TargetApplication) => boolean,
): Steps => {
  const steps: MutableSteps = {
    counts: new Map(),
    standsFor: new Map(),
    whys: new Map(),
    closed: new Set(),
    claims: new Set(),
    first: new Set(),
  };
  if (actual.serving.size === 0) return steps;
  const scene = sceneOf(actual);
  const byName = new Map(targets.map((target) => [target.spec.name, target]));
  const sidesOf = ({ spec, deployments }: TargetApplication): readonly Side[] =>
    deployments.map((deployment) => ({
      key: restartKey(spec.name, deployment.spec.name, deployment.version),
      application: spec.name,
      deployment,
      ask: askOf(deployment.spec),
      count: countOf(spec.name, deployment.spec),
    }));
  // By what serves and what is wanted, not by what runs at this moment: so the way is not changed by walking on it.
  const served = new Ledger(actual.offer);
  const held = new Map(
    [...actual.serving].map(([name, { target }]) => [name, sidesOf(target).flatMap((side) => reserveAll(side, served))]),
  );
  for (const names of movingGroups(targets, actual.serving)) {
    const group = names.flatMap((name) => byName.get(name) ?? []);
    const serving = names.flatMap((name) => actual.serving.get(name)?.target ?? []);
    if (group.length === 0 || serving.length === 0 || !group.every(rolls)) continue;
    const empty = served.copy();
    for (const name of names) for (const each of held.get(name) ?? []) empty.give(each);
    const old = serving.flatMap(sidesOf);
    const wanted = group.flatMap(sidesOf);
    // Also a version that goes on is new where none of it is left: one of it has to be there before the group can move.
    const nexts = wanted.flatMap((side): Side[] => {
      if (old.every(({ key }) => key !== side.key)) return [side];
      return side.count > 0 && seen([side], scene).live === 0 ? [{ ...side, count: 1 }] : [];
    });
    for (const side of wanted) if (nexts.every(({ key }) => key !== side.key)) reserveAll(side, empty);
    const olds = old.filter(({ key }) => wanted.every((side) => side.key !== key));
    addSteps(olds, nexts, empty, scene, steps);
  }
  return steps;
};

/** What runs, found by key, as thousands of deployments may be planned at every event. */
interface Scene {
  readonly byKey: ReadonlyMap<string, readonly ActualReplica[]>;
  /** What is free at this moment. */
  readonly now: Ledger;
  /** What goes anyway may leave room enough: whoever it belongs to, it is waited for. */
  readonly isAnyGoing: boolean;
}

const sceneOf = ({ replicas, offer }: ActualState): Scene => {
  const byKey = new Map<string, ActualReplica[]>();
  const now = new Ledger(offer);
  for (const replica of replicas) {
    now.hold(replica.reserved ?? NOTHING_RESERVED);
    const key = restartKey(replica.application, replica.deployment, replica.version);
    const same = byKey.get(key);
    if (same === undefined) byKey.set(key, [replica]);
    else same.push(replica);
  }
  return { byKey, now, isAnyGoing: replicas.some((replica) => !isLive(replica)) };
};

type MutableSteps = {
  counts: Map<string, number>;
  standsFor: Map<string, string>;
  whys: Map<string, string>;
  closed: Set<string>;
  claims: Set<string>;
  first: Set<string>;
};

/** @param empty the room that a group has as a whole */
const addSteps = (olds: readonly Side[], nexts: readonly Side[], empty: Ledger, scene: Scene, steps: MutableSteps): void => {
  const room = empty.copy();
  const held = new Map(olds.map((old) => [old.key, reserveAll(old, room)]));
  const heldBy = (sides: readonly Side[]) => sides.flatMap(({ key }) => held.get(key) ?? []);
  const successors = new Map(nexts.map((next) => [next, olds.find((old) => isBefore(old, next))]));
  const leaving = olds.filter((old) => ![...successors.values()].includes(old));
  const before = steps.whys.size;
  for (const next of nexts) {
    const old = successors.get(next);
    const { surge, unavailable } = limitsOf(next.deployment.spec.rollout, next.count);
    const asked = Math.min(surge, next.count);
    const beside = room.takeUpTo(next.ask, asked);
    const fits = scene.now.copy().take(next.ask) !== undefined;
    const isMissing = seen([next], scene).live < next.count;
    // Devices may be divided in a way that leaves none whole, though there is room in sum.
    if (next.count === 0 || (asked > 0 && beside === next.count && (fits || !isMissing))) {
      steps.first.add(next.key);
      continue;
    }
    // Nothing goes for what could not come in its place.
    const goers = beside > 0 || fitsWithout(next, old === undefined ? [] : heldBy([old]), room) ? (old ? [old] : []) : leaving;
    if (goers === leaving && !fitsWithout(next, heldBy(leaving), room)) {
      if (fitsAfterAll(nexts, empty)) return allGo(olds, leaving, nexts, successors, scene, steps);
      continue;
    }
    // Those behind it find what will be left when it is done.
    if (old !== undefined) for (const each of held.get(old.key) ?? []) room.give(each);
    room.takeUpTo(next.ask, next.count - beside);
    steps.first.add(next.key);
    if (goers === leaving) makeRoom(next, leaving, fits, scene, steps);
    // Of what leaves nothing may be left to go.
    const isLeft = goers === leaving && seen(leaving, scene).live > 0;
    if (!isLeft && old !== undefined && old.count > 0)
      exchange(
        old,
        next,
        { asked, unavailable, fits, why: asked > 0 && (beside < asked || !fits) ? NO_ROOM : AS_ASKED },
        scene,
        steps,
      );
  }
  if (steps.whys.size === before) return;
  // Nothing old is started anew in the room that was made.
  for (const old of olds) steps.counts.set(old.key, Math.min(seen([old], scene).live, steps.counts.get(old.key) ?? old.count));
};

const isLive = ({ state }: ActualReplica): boolean => state !== 'DRAINING' && state !== 'STOPPING';

/** Replicas of some versions: those that live, and how many of them are ready; and whether any is on its way in or out. */
const seen = (sides: readonly Side[], { byKey }: Scene): { live: number; ready: number; moves: boolean } => {
  const mine = sides.flatMap(({ key }) => byKey.get(key) ?? []);
  const live = mine.filter(isLive);
  const starting = live.filter(({ state }) => state === 'STARTING').length;
  return { live: live.length, ready: live.length - starting, moves: starting > 0 || live.length < mine.length };
};

/** The next step from an old version to its successor. Old replicas that have gone, or died, are not started anew. */
const exchange = (
  old: Side,
  next: Side,
  limits: { readonly asked: number; readonly unavailable: number; readonly fits: boolean; readonly why: string },
  scene: Scene,
  steps: MutableSteps,
): void => {
  const before = seen([old], scene);
  const after = seen([next], scene);
  let kept = Math.min(before.live, Math.max(0, Math.min(old.count, next.count) - limits.unavailable - after.ready));
  const stands = kept === before.live && !after.moves && !scene.isAnyGoing;
  // Nothing moves, and something is missing that has no room: one goes first.
  if (stands && !limits.fits && after.live < next.count) kept = Math.max(0, kept - 1);
  steps.counts.set(old.key, kept);
  steps.counts.set(next.key, Math.min(next.count, Math.max(after.live, next.count + limits.asked - kept)));
  steps.standsFor.set(next.key, old.deployment.version);
  steps.whys.set(old.key, limits.why);
  if (before.live > 0 || before.moves) steps.claims.add(next.key);
};

/** Replicas of deployments that nobody will want go, one by one, until what is new has room. */
const makeRoom = (next: Side, leaving: readonly Side[], fits: boolean, scene: Scene, steps: MutableSteps): void => {
  const after = seen([next], scene);
  if (after.live >= next.count) return;
  const stands = !fits && !after.moves && !scene.isAnyGoing;
  steps.claims.add(next.key);
  const goer = leaving.findLast((side) => seen([side], scene).live > 0 && !steps.counts.has(side.key));
  for (const side of leaving) {
    const { live } = seen([side], scene);
    const kept = stands && side === goer ? live - 1 : Math.min(live, steps.counts.get(side.key) ?? live);
    steps.counts.set(side.key, kept);
    steps.whys.set(side.key, NO_ROOM);
    if (kept === 0) steps.closed.add(side.key);
  }
};

const isBefore = (old: Side, next: Side): boolean =>
  old.application === next.application && old.deployment.spec.name === next.deployment.spec.name;

const reserveAll = ({ ask, count }: Side, room: Ledger): readonly Reservation[] => {
  const all: Reservation[] = [];
  while (all.length < count) {
    const taken = room.take(ask);
    if (taken === undefined) break;
    all.push(taken);
  }
  return all;
};

/** Whether one more has room once others have gone. */
const fitsWithout = (next: Side, going: readonly Reservation[], room: Ledger): boolean => {
  const tried = room.copy();
  for (const each of going) tried.give(each);
  return tried.take(next.ask) !== undefined;
};

/** Whether one of each that is new has room once all that is old has gone: then better all go than that none can ever come. */
const fitsAfterAll = (nexts: readonly Side[], empty: Ledger): boolean => {
  const tried = empty.copy();
  return nexts.every(({ ask }) => tried.take(ask) !== undefined);
};

const allGo = (
  olds: readonly Side[],
  leaving: readonly Side[],
  nexts: readonly Side[],
  successors: ReadonlyMap<Side, Side | undefined>,
  scene: Scene,
  steps: MutableSteps,
): void => {
  for (const { key } of olds) {
    steps.counts.set(key, 0);
    steps.whys.set(key, NO_ROOM);
  }
  for (const { key } of leaving) steps.closed.add(key);
  // One of each first, so that none takes the room of another.
  const isFirst = nexts.some((next) => next.count > 0 && seen([next], scene).live === 0);
  for (const next of nexts) {
    steps.first.add(next.key);
    if (isFirst) steps.counts.set(next.key, Math.min(next.count, Math.max(1, seen([next], scene).live)));
    const old = successors.get(next);
    if (old !== undefined) steps.standsFor.set(next.key, old.deployment.version);
  }
};

/** Ray Serve's and Kubernetes' rounding: what comes beside is rounded up, what may be missing down, and one of them moves. */
const limitsOf = ({ maxSurge, maxUnavailable }: RolloutSpec, count: number): { surge: number; unavailable: number } => {
  const surge = 'share' in maxSurge ? Math.ceil(maxSurge.share * count) : maxSurge.replicas;
  const unavailable = 'share' in maxUnavailable ? Math.floor(maxUnavailable.share * count) : maxUnavailable.replicas;
  return surge === 0 && unavailable === 0 ? { surge, unavailable: 1 } : { surge, unavailable };
};
