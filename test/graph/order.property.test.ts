import fc from 'fast-check';
import t from 'tap';
import { orderOf } from '../../src/graph/order.ts';

const names = fc.integer({ min: 0, max: 9 }).map((number) => `n${number}`);
const graphs = fc.dictionary(names, fc.array(names, { maxLength: 4 }), { noNullPrototype: true });

t.test('any graph has either an order, each name behind all it points at, or a cycle along its own edges', async (t) => {
  fc.assert(
    fc.property(graphs, (graph) => {
      const edges = new Map(Object.entries(graph));
      const ordered = orderOf(edges);
      if ('cycle' in ordered) {
        const { cycle } = ordered;
        if (cycle.length < 2 || cycle[0] !== cycle.at(-1)) return false;
        return cycle.slice(1).every((next, index) => edges.get(cycle[index] ?? '')?.includes(next));
      }
      const places = new Map(ordered.order.map((name, index) => [name, index]));
      if (places.size !== edges.size || ordered.order.length !== edges.size) return false;
      return [...edges].every(([name, targets]) =>
        targets.every((target) => !edges.has(target) || Number(places.get(target)) < Number(places.get(name))),
      );
    }),
  );
  t.pass();
});

t.test('a long chain does not overflow the stack', async (t) => {
  const length = 50_000;
  const edges = new Map(Array.from({ length }, (_, index) => [`n${index}`, [`n${index + 1}`]]));
  const ordered = orderOf(edges);
  t.equal('order' in ordered && ordered.order.length, length);
});
