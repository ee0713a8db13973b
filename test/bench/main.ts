/** Runs the benches that are named, or all that install nothing. */
import { type BenchOptions, HELP, optionsOf } from './options.ts';
import { loadAverage, machineText } from './support.ts';

const told = (): ReturnType<typeof optionsOf> => {
  try {
    return optionsOf(process.argv.slice(2));
  } catch (error) {
    console.error(`${(error as Error).message}\nSee \`npm run bench -- --help\`.`);
    process.exit(2);
  }
};
const options = told();
if (options === undefined) {
  console.log(HELP);
  process.exit(0);
}
console.log(`${machineText()}; load before: ${loadAverage()}`);
for (const name of options.names) {
  const bench = (await import(`./${name}.bench.ts`)) as { run(options: BenchOptions): Promise<void> };
  await bench.run(options);
}
