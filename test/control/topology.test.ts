import t from 'tap';
import { topologyOf } from '../../src/control/topology.ts';
import type { ApplicationSpec } from '../../src/domain/desired.ts';
import { compileGraph, type GraphSource } from '../../src/graph/compile.ts';

const ofGraph = (source: GraphSource) => {
  const names = ['A', 'B', 'C'];
  const other = { name: 'other', deployments: ['Far'] };
  const { ingress, calls, mistakes } = compileGraph(source, { name: 'app', deployments: names }, [other]);
  if (ingress === undefined) throw new Error(JSON.stringify(mistakes));
  const spec = { name: 'app', deployments: names.map((name) => ({ name })), ingress, calls };
  return topologyOf(spec as unknown as ApplicationSpec);
};
const ingresses = ({ nodes }: ReturnType<typeof ofGraph>) =>
  Object.values(nodes).flatMap(({ name, is_ingress }) => (is_ingress ? [name] : []));

t.test('code that calls code: an edge for each handle', async (t) => {
  const topology = ofGraph({ ingress: 'A', calls: { A: { helper: 'B', far: 'other/Far' } } });
  t.equal(topology.ingress_deployment, 'A');
  t.same(ingresses(topology), ['A']);
  t.same(topology.edges, [
    { from: 'A', to: 'B', via: 'helper' },
    { from: 'A', to: 'other/Far', via: 'far' },
  ]);
});

t.test('a flow: an edge for all that a step may call, whatever its weight, and its shadow as such', async (t) => {
  const targets = [
    { call: 'A', weight: 100 },
    { call: 'B', weight: 0 },
  ];
  const topology = ofGraph({
    steps: {
      first: { split: { targets }, input: 1, shadow: { call: 'C' } },
      next: { call: 'other/Far', input: '$first' },
    },
  });
  t.equal(topology.ingress_deployment, null);
  t.same(ingresses(topology), ['A', 'B'], 'a shadow is no ingress');
  t.same(topology.edges, [
    { from: 'request', to: 'first', via: 'A' },
    { from: 'request', to: 'first', via: 'B' },
    { from: 'request', to: 'first', via: 'C', shadow: true },
    { from: 'first', to: 'next', via: 'other/Far' },
  ]);
});
