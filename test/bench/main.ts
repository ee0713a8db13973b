/** Runs the benches that are named, or all. */
import { loadAverage, machineText } from './support.ts';

const BENCHES = ['echo', 'ocr', 'batching', 'footprint', 'config', 'quota', 'reload', 'traffic'] as const;

const named = process.argv.slice(2);
const unknown = named.filter((name) => !BENCHES.some((bench) => bench === name));
if (unknown.length > 0) {
  console.error(`there is no bench ${unknown.join(', ')}; there are ${BENCHES.join(', ')}`);
  process.exit(2);
}
console.log(`${machineText()}; load before: ${loadAverage()}`);
for (const name of BENCHES) {
  if (named.length > 0 && !named.includes(name)) continue;
  const bench = (await import(`./${name}.bench.ts`)) as { run(): Promise<void> };
  await bench.run();
}
