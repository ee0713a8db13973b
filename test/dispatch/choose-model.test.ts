import fc from 'fast-check';
import t from 'tap';
import { chooseForModel } from '../../src/dispatch/choose-model.ts';

interface Fake {
  readonly load: number;
  readonly models: number;
  readonly holds: boolean;
  readonly room: number;
}

const limits = { maxNumModelsPerReplica: 3, targetReplicasPerModel: 1 };
const choose = (all: readonly Fake[], given: Partial<typeof limits> = {}, after = -1) =>
  chooseForModel(
    all,
    ({ holds }) => holds,
    { ...limits, ...given },
    ({ room }) => room,
    after,
  );
const warm = (load: number, room = 1): Fake => ({ load, models: 1, holds: true, room });
const cold = (load: number, models = 0, room = 1): Fake => ({ load, models, holds: false, room });

t.test('the least loaded of the replicas that hold the model, also where one that does not has nothing to do', async (t) => {
  t.equal(choose([cold(0), warm(3), warm(2)]), 2);
});

t.test('a cold model goes to the least loaded replica with a free place', async (t) => {
  t.equal(choose([cold(0, 3), cold(2, 2), cold(1, 1)]), 2, 'not to the idle one that would have to drop a model');
});

t.test('where no place is free, to the one with the fewest models, and of those to the least loaded', async (t) => {
  t.equal(choose([cold(0, 5), cold(4, 3), cold(2, 3)]), 2);
});

t.test('a model whose replicas have no room goes to one that has', async (t) => {
  t.equal(choose([warm(5, 0), cold(4)]), 1);
  t.equal(choose([warm(5, 0), cold(4, 0, 0)]), undefined);
});

t.test('it spreads to as many replicas as are wanted, to those with less to do', async (t) => {
  t.equal(choose([warm(1), cold(0)], { targetReplicasPerModel: 2 }), 1);
  t.equal(choose([warm(0), cold(0)], { targetReplicasPerModel: 2 }), 0, 'not where the one that holds it has nothing to do');
  t.equal(choose([warm(1), cold(1)], { targetReplicasPerModel: 2 }), 0);
  t.equal(choose([warm(2), warm(1), cold(0)], { targetReplicasPerModel: 2 }), 1, 'and to no more');
  t.equal(choose([warm(2, 0), warm(1), cold(0)], { targetReplicasPerModel: 2 }), 1, 'one without room counts');
});

t.test('equals take turns', async (t) => {
  t.equal(choose([warm(0), warm(0)], {}, 0), 1);
  t.equal(choose([warm(0), warm(0)], {}, 1), 0);
});

const fakes = fc.array(
  fc.record({
    load: fc.integer({ min: 0, max: 4 }),
    models: fc.integer({ min: 0, max: 4 }),
    holds: fc.boolean(),
    room: fc.integer({ min: -1, max: 2 }),
  }),
  { maxLength: 8 },
);

t.test('never a fuller replica where an emptier one that is as warm has room, and always one where any has room', async () => {
  fc.assert(
    fc.property(fakes, fc.integer({ min: 1, max: 4 }), fc.integer({ min: -1, max: 7 }), (all, target, after) => {
      const chosen = choose(all, { targetReplicasPerModel: target }, after);
      const free = all.filter(({ room }) => room > 0);
      if (chosen === undefined) return free.length === 0;
      const one = all[chosen] as Fake;
      const copies = all.filter(({ holds }) => holds).length;
      const place = ({ models }: Fake) => (models < 3 ? 0 : models);
      const alike = free.filter((each) => each.holds === one.holds && (one.holds || place(each) === place(one)));
      const warmFree = free.filter(({ holds }) => holds);
      return (
        one.room > 0 &&
        alike.every(({ load }) => one.load <= load) &&
        (one.holds || free.every((each) => each.holds || place(one) <= place(each))) &&
        (one.holds || warmFree.length === 0 || (copies < target && warmFree.every(({ load }) => one.load < load)))
      );
    }),
  );
});
