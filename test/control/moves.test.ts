/** Applications move alone, and together where a route passes between them. */
import fc from 'fast-check';
import t from 'tap';
import { movesOf } from '../../src/control/moves.ts';
import type { Serving } from '../../src/control/plan.ts';
import type { TargetApplication } from '../../src/control/target.ts';

const app = (name: string, routePrefix: string | null, version = 'v1'): TargetApplication =>
  ({ spec: { name, routePrefix }, deployments: [], hash: `${name} ${routePrefix} ${version}` }) as unknown as TargetApplication;

const servingOf = (targets: readonly TargetApplication[]): ReadonlyMap<string, Serving> =>
  new Map(targets.map((target) => [target.spec.name, { target, generation: 1 }]));

const names = ({ serve, remove, held }: ReturnType<typeof movesOf>) => ({
  serve: serve.map(({ spec }) => spec.name),
  remove,
  held,
});

t.test('an application that leaves serves until the heir of its route can', async (t) => {
  const serving = servingOf([app('old', '/h')]);
  t.same(names(movesOf([app('new', '/h')], serving, () => false)), { serve: [], remove: [], held: ['old'] });
  t.same(names(movesOf([app('new', '/h')], serving, () => true)), { serve: ['new'], remove: ['old'], held: [] });
});

t.test('two applications that exchange their routes move together or not at all', async (t) => {
  const serving = servingOf([app('a', '/a'), app('b', '/b')]);
  const targets = [app('a', '/b', 'v2'), app('b', '/a')];
  t.same(names(movesOf(targets, serving, ({ spec }) => spec.name === 'b')), { serve: [], remove: [], held: [] });
  t.same(names(movesOf(targets, serving, () => true)), { serve: ['a', 'b'], remove: [], held: [] });
});

t.test('an application whose route nobody else has waits for nobody', async (t) => {
  const serving = servingOf([app('a', '/a'), app('b', '/b')]);
  const targets = [app('a', '/a', 'v2'), app('c', '/c')];
  t.same(names(movesOf(targets, serving, ({ spec }) => spec.name === 'c')), { serve: ['c'], remove: ['b'], held: [] });
});

t.test('a route that is served and wanted is served throughout, by one application', async () => {
  const routes = fc.constantFrom('/a', '/b', '/c', '/d');
  const config = fc
    .uniqueArray(fc.record({ name: fc.constantFrom('p', 'q', 'r', 's'), route: routes }), {
      selector: ({ name }) => name,
      maxLength: 4,
    })
    .map((apps) => {
      const taken = new Set<string>();
      return apps.filter(({ route }) => !taken.has(route) && taken.add(route)).map(({ name, route }) => app(name, route));
    });
  fc.assert(
    fc.property(config, config, fc.array(fc.constantFrom('p', 'q', 'r', 's')), (before, after, ready) => {
      const serving = servingOf(before);
      const { serve, remove } = movesOf(after, serving, ({ spec }) => ready.some((name) => name === spec.name));
      const now = new Map([...serving].map(([name, { target }]) => [name, target.spec.routePrefix]));
      for (const name of remove) now.delete(name);
      for (const { spec } of serve) now.set(spec.name, spec.routePrefix);
      const served = [...now.values()];
      if (new Set(served).size !== served.length) return false;
      const wanted = new Set(after.map(({ spec }) => spec.routePrefix));
      return before.every(({ spec }) => !wanted.has(spec.routePrefix) || served.includes(spec.routePrefix));
    }),
    { numRuns: 2000 },
  );
});
