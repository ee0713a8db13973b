import t from 'tap';
import { Connections, ownDescriptors } from '../../src/proxy/connections.ts';

/** Descriptors of which the test says how many are in use beside the connections. */
const rig = (limit: number, others: number) => {
  const state = { now: 0, others, counted: 0, told: [] as Readonly<Record<string, unknown>>[] };
  const connections: Connections = new Connections(
    {
      limit,
      inUse: () => {
        state.counted += 1;
        return state.others + connections.counts.open;
      },
    },
    () => state.now,
    (_message, fields) => state.told.push(fields),
  );
  const open = (count: number) => Array.from({ length: count }, () => connections.opened());
  return { state, connections, open };
};

t.test('connections are closed where a sixteenth and more would be taken of what the daemon needs', async (t) => {
  const { connections, open, state } = rig(90, 50);
  const taken = open(40).filter(Boolean).length;
  t.equal(taken, 90 - 50 - 16);
  t.same(state.told, [{ connections: 24, otherDescriptors: 50, limit: 90 }], 'told once');
  for (let n = 0; n < 16; n++) connections.closed();
  t.same(connections.counts, { open: 24, refused: 16 });
  t.same(open(1), [false]);
  connections.closed();
  connections.closed();
  t.same(open(1), [true], 'as soon as one leaves, there is room');
});

t.test('what else takes descriptors is counted anew, once a second', async (t) => {
  const { connections, open, state } = rig(200, 100);
  t.same([...new Set(open(50))], [true]);
  t.equal(state.counted, 1);
  state.others = 150;
  t.same(open(1), [true], 'not known yet');
  state.now = 1000;
  t.same(open(1), [false]);
  connections.closed();
  state.others = 20;
  state.now = 1999;
  t.same(open(1), [false]);
  connections.closed();
  state.now = 2000;
  t.same(open(1), [true]);
});

t.test('it is told again after a while', async (t) => {
  const { open, state } = rig(30, 20);
  open(2);
  state.now = 9999;
  open(2);
  t.equal(state.told.length, 1);
  state.now = 10_000;
  open(1);
  t.equal(state.told.length, 2);
});

t.test('far from the limit nothing is counted after the first', async (t) => {
  const { open, state } = rig(100_000, 60);
  for (let n = 0; n < 40; n++) {
    t.same([...new Set(open(1000))], [true]);
    state.now += 1000;
  }
  t.equal(state.counted, 1);
});

t.test('where the system does not tell, all are taken', async (t) => {
  const connections = new Connections(undefined, () => 0, t.fail);
  for (let n = 0; n < 1000; n++) t.equal(connections.opened(), true);
  t.same(connections.counts, { open: 1000, refused: 0 });
});

t.test('this process has a limit, and fewer', { skip: process.platform !== 'linux' && 'needs /proc' }, async (t) => {
  const descriptors = ownDescriptors();
  t.ok(descriptors !== undefined && descriptors.inUse() > 2 && descriptors.inUse() < descriptors.limit);
});
