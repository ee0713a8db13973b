/** Sabotage that no longer fits the program would prove nothing: each must find its place. */
import t from 'tap';
import { PROMISES } from './promises.ts';
import { applied } from './soak.ts';

for (const { id, sabotages } of PROMISES) {
  for (const { what, patches = [] } of sabotages) {
    t.test(`${id}: ${what}`, async (t) => {
      for (const patch of patches) t.doesNotThrow(() => applied(patch));
      t.pass();
    });
  }
}
