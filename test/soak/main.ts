/**
 * `npm run soak [R1 …] [--scale 0.1] [--no-sabotage | --sabotage-only]`: every promise at its full size, then each sabotage at the small
 * one, under which it must be seen broken. One line of JSON for each run; exit code 1 when anything is not as it should be.
 */
import { cpus } from 'node:os';
import { helpText, optionsOf } from './options.ts';
import { PROMISES } from './promises.ts';
import { type RunOptions, runPromise, type Verdict } from './soak.ts';

const told = (): ReturnType<typeof optionsOf> => {
  try {
    const ids = PROMISES.map(({ id }) => id);
    return optionsOf(process.argv.slice(2), ids);
  } catch (error) {
    console.error(`${(error as Error).message}\nSee \`npm run soak -- --help\`.`);
    process.exit(2);
  }
};
const options = told();
if (options === undefined) {
  console.log(helpText(Object.fromEntries(PROMISES.map(({ id, title }) => [id, title]))));
  process.exit(0);
}
const { ids, scale, sabotage: sabotages } = options;
const chosen = PROMISES.filter(({ id }) => ids.length === 0 || ids.includes(id));

let failed = false;
const tell = (fields: object, ok: boolean): void => {
  failed ||= !ok;
  console.log(JSON.stringify({ ok, ...fields }));
};
const judged = async (promise: (typeof PROMISES)[number], options: RunOptions): Promise<Verdict & { seconds: number }> => {
  const began = performance.now();
  const verdict = await runPromise(promise, options).catch(
    (error: Error): Verdict => ({ figures: {}, broken: [`it could not be run to its end: ${error.message.slice(0, 600)}`] }),
  );
  return { ...verdict, seconds: Math.round((performance.now() - began) / 1000) };
};

console.error(`${cpus().length} × ${cpus()[0]?.model ?? 'unknown'}, node ${process.versions.node}`);
for (const promise of chosen) {
  if (sabotages !== 'only') {
    const { figures, broken, seconds } = await judged(promise, { scale });
    tell({ promise: promise.id, title: promise.title, seconds, figures, broken }, broken.length === 0);
  }
  if (sabotages === 'no') continue;
  for (const sabotage of promise.sabotages) {
    const { broken, seconds } = await judged(promise, { sabotage });
    const seen = broken.some((each) => sabotage.shows.test(each));
    tell({ promise: promise.id, sabotage: sabotage.what, seconds, seen, broken }, seen);
  }
}
process.exit(failed ? 1 : 0);
