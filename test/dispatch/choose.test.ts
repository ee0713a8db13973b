import fc from 'fast-check';
import t from 'tap';
import { chooseForSocket, chooseForStart, chooseLeastLoaded } from '../../src/dispatch/choose.ts';

const roomOf = ({ room }: { room: number }) => room;
const candidates = fc.array(fc.record({ load: fc.integer({ min: 0, max: 4 }), room: fc.integer({ min: -2, max: 2 }) }), {
  maxLength: 8,
});

t.test('the replica with the least work among those with room is chosen', async (t) => {
  fc.assert(
    fc.property(candidates, fc.integer({ min: -1, max: 7 }), (all, after) => {
      const free = all.filter(({ room }) => room > 0);
      const chosen = chooseLeastLoaded(all, roomOf, after);
      if (chosen === undefined) return free.length === 0;
      const { load, room } = all[chosen] ?? { load: Number.NaN, room: 0 };
      return room > 0 && free.every((each) => load <= each.load);
    }),
  );
  t.pass();
});

t.test('idle replicas take turns', async (t) => {
  const idle = Array.from({ length: 3 }, () => ({ load: 0, room: 1 }));
  const order: (number | undefined)[] = [];
  let last = -1;
  for (let turn = 0; turn < 6; turn++) {
    last = chooseLeastLoaded(idle, roomOf, last) ?? -1;
    order.push(last);
  }
  t.same(order, [0, 1, 2, 0, 1, 2]);
});

t.test('with no candidates, or none with room, nothing is chosen', async (t) => {
  t.equal(chooseLeastLoaded([], roomOf, -1), undefined);
  t.equal(chooseLeastLoaded([{ load: 1, room: 0 }], roomOf, 0), undefined);
});

t.test('a WebSocket goes to the fewest open ones with room, and among equals to the least work', async (t) => {
  const replica = (openSockets: number, load: number, room = 1) => ({ openSockets, load, room });
  t.equal(chooseForSocket([replica(2, 0), replica(1, 9), replica(1, 8)], roomOf, -1), 2);
  t.equal(chooseForSocket([replica(0, 0, 0), replica(5, 3), replica(6, 0)], roomOf, -1), 1, 'one without room does not count');
  t.equal(chooseForSocket([replica(0, 1), replica(0, 1)], roomOf, 0), 1, 'idle ones take turns');
  t.equal(chooseForSocket([], roomOf, -1), undefined);
  t.equal(chooseForSocket([replica(0, 0, 0)], roomOf, -1), undefined);
});

t.test('a sequence starts where the fewest are, and among equals where there is the least work', async (t) => {
  const replica = (sequences: number, load: number, room = 1) => ({ sequences, load, room });
  t.equal(chooseForStart([replica(2, 0), replica(1, 9), replica(1, 8)], roomOf, -1), 2);
  t.equal(chooseForStart([replica(0, 0, 0), replica(5, 3), replica(6, 0)], roomOf, -1), 1, 'one without room does not count');
});
