/** What `npm run bench` is asked to do. Pure. */
import { parseArgs } from 'node:util';

/** Name → what it measures, in the order in which they run. */
export const BENCHES = {
  echo: 'a JSON echo over 64 connections, against Fastify and bare uWebSockets.js',
  ocr: 'pages through the OCR example',
  model: 'what serving adds to the run of a model',
  batching: 'a model with batching and without',
  graph: 'one application in code, in calls and in steps; chains, fan-out, and clients that leave',
  footprint: 'the time to start, and what it costs to be there',
  config: 'how long configs take to be read',
  quota: 'how exactly CPU limits and shares are kept',
  reload: 'latency while configs are reloaded',
  traffic: 'large bodies, streams, overload, connections, health',
  ray: 'the same JSON echo in Ray Serve, which is installed into a folder of its own for it',
} as const;

export type BenchName = keyof typeof BENCHES;

/** Installs what is no part of this project, so it runs only when it is named. */
const ASKED_FOR: readonly BenchName[] = ['ray'];
const LONG_REQUESTS = 2_000_000;

export interface BenchOptions {
  readonly names: readonly BenchName[];
  /** So many requests of every kind in place of the benches of `traffic`. */
  readonly long: number | undefined;
}

export const HELP = `usage: npm run bench -- [echo …] [--long] [--requests N]

Runs the benches that are named, or all but ray: ratios measured in one run, in turn. Nothing else should run on the machine.

  --long          traffic: two million requests of every kind, with the memory of the daemon, its open files, and each request accounted for
  --requests <N>  so many of them

${Object.entries(BENCHES)
  .map(([name, what]) => `  ${name.padEnd(11)}${what}`)
  .join('\n')}`;

/** @returns undefined: help was asked for @throws Error with what is wrong, in a line */
export const optionsOf = (args: readonly string[]): BenchOptions | undefined => {
  const { values, positionals } = parseArgs({
    args: [...args],
    options: { help: { type: 'boolean', short: 'h' }, long: { type: 'boolean' }, requests: { type: 'string' } },
    allowPositionals: true,
  });
  if (values.help === true) return undefined;
  const known = Object.keys(BENCHES) as BenchName[];
  const unknown = positionals.filter((name) => !known.some((bench) => bench === name));
  if (unknown.length > 0) throw new Error(`there is no bench ${unknown.join(', ')}; there are ${known.join(', ')}`);
  const names = known.filter((name) => (positionals.length === 0 ? !ASKED_FOR.includes(name) : positionals.includes(name)));
  if (values.long !== true) {
    if (values.requests !== undefined) throw new Error('--requests says how long --long is, and needs it');
    return { names, long: undefined };
  }
  if (!names.includes('traffic')) throw new Error('--long is for traffic');
  const long = Number(values.requests ?? LONG_REQUESTS);
  if (!(Number.isInteger(long) && long > 0)) throw new Error(`expected --requests above 0, got ${values.requests}`);
  return { names, long };
};
