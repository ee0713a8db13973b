import fc from 'fast-check';
import t from 'tap';
import { HeldModels } from '../../src/dispatch/held-models.ts';

const asked = (limit = 3) => {
  const models = new HeldModels();
  models.allow(limit);
  return models;
};

t.test('a model is held from when a request for it was given, and as long as the replica says', async (t) => {
  const models = asked();
  models.given('a');
  t.same([models.has('a'), models.count], [true, 1]);
  models.take({ added: ['a'] });
  models.answered('a');
  t.same([models.has('a'), models.count, models.ids], [true, 1, ['a']]);
  models.take({ removed: ['a'] });
  t.same([models.has('a'), models.count, models.ids], [false, 0, []]);
});

t.test('one that could not be loaded is forgotten with its last request', async (t) => {
  const models = asked();
  models.given('a');
  models.given('a');
  models.take({ added: ['a'] });
  models.take({ removed: ['a'] });
  models.answered('a');
  t.ok(models.has('a'));
  models.answered('a');
  t.same([models.has('a'), models.count], [false, 0]);
});

t.test('requests for so many models at once find a place, and no more', async (t) => {
  const models = asked(2);
  models.given('a');
  models.given('b');
  t.same(
    ['a', 'c'].map((id) => models.hasPlaceFor(id, 2)),
    [true, false],
  );
  models.answered('b');
  t.ok(models.hasPlaceFor('c', 2));
});

t.test('what no replica says that keeps to its limit is refused', async (t) => {
  t.throws(() => new HeldModels().take({ added: ['a'] }), /was told no limit/);
  t.throws(() => asked(1).take({ added: ['a', 'b'] }), /may hold 1 models says that it holds more/);
  for (const ids of ['a', [1], [''], ['x'.repeat(257)], {}, null])
    t.throws(() => asked().take({ added: ids }), /ids are not texts of 1 to 256 characters/, JSON.stringify(ids));
  const lowered = asked(2);
  lowered.allow(1);
  t.doesNotThrow(() => lowered.take({ added: ['a', 'b'] }), 'what was on its way when the limit was lowered');
  t.doesNotThrow(() => lowered.take({ added: ['c'], removed: ['a'] }), 'an exchange in one frame');
});

t.test('the count is that of the different ones, whatever comes in whatever order', async () => {
  const id = fc.constantFrom('a', 'b', 'c');
  const step = fc.tuple(fc.constantFrom('given', 'answered', 'added', 'removed'), id);
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const models = asked();
      const told = new Set<string>();
      const inWork: string[] = [];
      for (const [what, id] of steps) {
        if (what === 'added' || what === 'removed') {
          models.take({ [what]: [id] });
          if (what === 'added') told.add(id);
          else told.delete(id);
        } else if (what === 'given') {
          models.given(id);
          inWork.push(id);
        } else if (inWork.includes(id)) {
          models.answered(id);
          inWork.splice(inWork.indexOf(id), 1);
        }
      }
      return models.count === new Set([...told, ...inWork]).size;
    }),
  );
});
