/**
 * Which applications may move now. An application moves to its target, or goes, alone — unless its route passes to or from another: then
 * all that the route touches move in one snapshot, so that a route which is served is served throughout. Pure.
 */
import type { Serving } from './plan.ts';
import type { TargetApplication } from './target.ts';

export interface Moves {
  readonly serve: readonly TargetApplication[];
  /** Applications that leave. */
  readonly remove: readonly string[];
  /** Applications that would leave, and serve until the heir of their route can. */
  readonly held: readonly string[];
}

/** @param isReady whether everything that a target needs runs */
export const movesOf = (
  targets: readonly TargetApplication[],
  serving: ReadonlyMap<string, Serving>,
  isReady: (target: TargetApplication) => boolean,
): Moves => {
  const wanted = byName(targets);
  const serve: TargetApplication[] = [];
  const remove: string[] = [];
  const held: string[] = [];
  for (const group of movingGroups(targets, serving)) {
    const ready = group.every((name) => {
      const target = wanted.get(name);
      return target === undefined || isReady(target);
    });
    for (const name of group) {
      const target = wanted.get(name);
      if (target === undefined) (ready ? remove : held).push(name);
      else if (ready) serve.push(target);
    }
  }
  return { serve, remove, held };
};

const byName = (targets: readonly TargetApplication[]) => new Map(targets.map((target) => [target.spec.name, target]));

/** Names of the applications that are to move, those together that must: one wants the route that another serves. */
export const movingGroups = (
  targets: readonly TargetApplication[],
  serving: ReadonlyMap<string, Serving>,
): readonly (readonly string[])[] => {
  const wanted = byName(targets);
  const moving = [...new Set([...serving.keys(), ...wanted.keys()])].filter(
    (name) => wanted.get(name)?.hash !== serving.get(name)?.target.hash,
  );
  const groups = new Map(moving.map((name) => [name, [name]]));
  for (const heir of moving) {
    const route = wanted.get(heir)?.spec.routePrefix ?? null;
    const holder =
      route === null ? undefined : moving.find((name) => name !== heir && serving.get(name)?.target.spec.routePrefix === route);
    const [own, other] = [groups.get(heir), holder === undefined ? undefined : groups.get(holder)];
    if (own === undefined || other === undefined || own === other) continue;
    own.push(...other);
    for (const name of other) groups.set(name, own);
  }
  return [...new Set(groups.values())];
};
