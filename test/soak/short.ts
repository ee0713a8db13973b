/** The short form of a promise in the test suite: it is kept, and each sabotage that is named is seen. */
import t from 'tap';
import { type Promised, runPromise } from './soak.ts';

export const short = (promise: Promised, sabotages: readonly string[] = []): void => {
  t.test(`${promise.id}: ${promise.title}`, async (t) => {
    const { figures, broken } = await runPromise(promise);
    t.same(broken, []);
    t.comment(JSON.stringify(figures));
  });
  for (const what of sabotages) {
    t.test(`${promise.id} is seen broken where ${what}`, async (t) => {
      const sabotage = promise.sabotages.find((each) => each.what === what);
      if (sabotage === undefined) throw new Error(`${promise.id} has no sabotage ${what}`);
      const { broken } = await runPromise(promise, { sabotage });
      t.ok(
        broken.some((each) => sabotage.shows.test(each)),
        `it said ${broken.join('; ') || 'nothing'}`,
      );
    });
  }
};
