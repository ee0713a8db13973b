/**
 * (k) One application in code, in `calls` and in `steps`, in turns; what a chain of ten adds to one; how busy a fan-out keeps its replicas,
 * by what they note of themselves; and how soon work ends whose client has left.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { until } from '../support/daemon-rig.ts';
import { type BenchDaemon, cpuMs, LOAD_TOOL, type LoadResult, load, median, startDaemon } from './support.ts';

const ROUNDS = Number(process.env['BENCH_ROUNDS'] ?? 5);
const SECONDS = Number(process.env['BENCH_SECONDS'] ?? 2);
const CHAIN = 10;
const ITEMS = 100;
const REPLICAS = 4;
const CANCELS = 50;
const WAYS = ['code', 'calls', 'steps'] as const;
const BODY = JSON.stringify({ text: 'one two three', n: [1, 2, 3] });

const CODE = `import { appendFileSync } from 'node:fs';
import { deployment } from 'serve-daemon';
const now = () => performance.timeOrigin + performance.now();
export class Stage { async work(input) { return input; } async call(input) { return input; } }
/** Calls its stages one behind the other. */
export class Front {
  constructor(stages) { this.stages = Object.values(stages); }
  async call(input) { for (const stage of this.stages) input = await stage.work(input); return input; }
}
const front = (count) => deployment(Front, { maxOngoingRequests: 100 }).bind(
  Object.fromEntries(Array.from({ length: count }, (_, n) => ['s' + n, deployment(Stage, { name: 'S' + n, maxOngoingRequests: 100 }).bind()])));
export const app2 = front(2);
export const app3 = front(3);
/** Calls the one behind it, which calls the one behind it. */
export class Link { constructor({ next }) { this.next = next; } async call(input) { return this.next === undefined ? input : this.next.call(input); } }
export class Item { async work() { const from = now(); await new Promise((done) => setTimeout(done, 5)); return [process.pid, from, now()]; } }
export class Fan { constructor({ item }) { this.item = item; } async call(items) { return Promise.all(items.map((each) => this.item.work(each))); } }
export class Waits {
  async work({ file }, { signal }) {
    signal.addEventListener('abort', () => appendFileSync(file, 'aborted ' + now() + '\\n'));
    appendFileSync(file, 'began\\n');
    await new Promise((done) => signal.addEventListener('abort', done));
  }
}
export class Asks { constructor({ waits }) { this.waits = waits; } async call(input) { return this.waits.work(input); } }
`;

const deployment = (name: string, export_: string, more: object = {}): object => ({
  name,
  import_path: `./graph.ts:${export_}`,
  max_ongoing_requests: 100,
  ...more,
});
const names = (prefix: string, count: number): readonly string[] => Array.from({ length: count }, (_, n) => `${prefix}${n}`);
const application = (name: string, more: object): object => ({ name, route_prefix: `/${name}`, ...more });
const stages = (count: number) => names('S', count).map((name) => deployment(name, 'Stage'));
/** Each takes what the one before gave. */
const steps = (count: number): object =>
  Object.fromEntries(
    names('s', count).map((name, n) => [name, { call: `S${n}.work`, input: n === 0 ? '$request.json' : `$s${n - 1}` }]),
  );

const inThreeWays = (count: number): readonly object[] => [
  application(`code${count}`, { import_path: `./graph.ts:app${count}` }),
  application(`calls${count}`, {
    deployments: [deployment('Front', 'Front'), ...stages(count)],
    graph: { ingress: 'Front', calls: { Front: Object.fromEntries(names('s', count).map((name, n) => [name, `S${n}`])) } },
  }),
  application(`steps${count}`, { deployments: stages(count), graph: { steps: steps(count) } }),
];

const item = (ongoing: number): object => deployment('Item', 'Item', { num_replicas: REPLICAS, max_ongoing_requests: ongoing });
const fans = (ongoing: number): readonly object[] => [
  application(`fan-calls-${ongoing}`, {
    deployments: [deployment('Fan', 'Fan'), item(ongoing)],
    graph: { ingress: 'Fan', calls: { Fan: { item: 'Item' } } },
  }),
  application(`fan-steps-${ongoing}`, {
    deployments: [item(ongoing)],
    graph: { steps: { each: { call: 'Item.work', for_each: '$request.json', input: '$item' } } },
  }),
];

const HEAD = { http_options: { port: 0 }, admin_options: { port: 0 }, logging_config: { enable_access_log: false } };
const configOf = (applications: readonly object[]): string =>
  JSON.stringify({ ...HEAD, resources: { num_cpus: 64 }, applications });

interface Sample extends LoadResult {
  readonly cpuUs: number;
}

const start = async (applications: readonly object[]): Promise<BenchDaemon> => {
  const daemon = await startDaemon(configOf(applications), { 'graph.ts': CODE });
  const health = async () => (await fetch(`http://127.0.0.1:${daemon.port}/-/healthz`)).text();
  await until('every application serves', async () => (await health()) === 'success', 60_000);
  return daemon;
};

const measure = async (daemon: BenchDaemon, pids: readonly number[], path: string, connections: number): Promise<Sample> => {
  const before = cpuMs(pids);
  const result = await load(daemon.port, connections, SECONDS, BODY, 'application/json', path);
  if (result.errors > 0) throw new Error(`${result.errors} of ${result.requests} requests of ${path} failed`);
  return { ...result, cpuUs: ((cpuMs(pids) - before) * 1000) / result.requests };
};

const each = (samples: readonly Sample[], key: keyof Sample): number => median(samples.map((sample) => sample[key]));

/** What a request costs one way against another, round by round. */
const cost = (ours: readonly Sample[], theirs: readonly Sample[], key: 'cpuUs' | 'p50Ms'): string =>
  median(ours.map((sample, round) => sample[key] / (theirs[round] as Sample)[key])).toFixed(2);

const threeWays = async (count: number): Promise<void> => {
  await using daemon = await start(inThreeWays(count));
  const pids = [daemon.pid, ...(await daemon.pids())];
  for (const way of WAYS) await measure(daemon, pids, `/${way}${count}`, 64);
  for (const connections of [1, 64]) {
    const samples = new Map<string, Sample[]>(WAYS.map((way) => [way, []]));
    for (let round = 0; round < ROUNDS; round++)
      for (const way of WAYS) samples.get(way)?.push(await measure(daemon, pids, `/${way}${count}`, connections));
    const of = (way: (typeof WAYS)[number]): readonly Sample[] => samples.get(way) ?? [];
    const texts = WAYS.map(
      (way) =>
        `${way} ${each(of(way), 'rps').toFixed(0)}/s (p50 ${each(of(way), 'p50Ms').toFixed(3)} ms, ${each(of(way), 'cpuUs').toFixed(0)} µs CPU)`,
    );
    console.log(`    ${count} steps, ${connections} at once: ${texts.join(', ')}`);
    for (const [key, what] of [
      ['cpuUs', 'CPU'],
      ['p50Ms', 'p50'],
    ] as const)
      console.log(
        `      ${what}: code ÷ calls ${cost(of('code'), of('calls'), key)}, wanted 0.9 to 1.1; steps ÷ calls ${cost(of('steps'), of('calls'), key)}, wanted ≤ 1`,
      );
  }
};

const chain = async (): Promise<void> => {
  const links = names('L', CHAIN).map((name) => deployment(name, 'Link'));
  const calls = Object.fromEntries(links.slice(1).map((_, n) => [`L${n}`, { next: `L${n + 1}` }]));
  await using daemon = await start([
    application('one', { deployments: [deployment('Stage', 'Stage')] }),
    application('chain-calls', { deployments: links, graph: { ingress: 'L0', calls } }),
    application('chain-steps', { deployments: stages(CHAIN), graph: { steps: steps(CHAIN) } }),
  ]);
  const pids = [daemon.pid, ...(await daemon.pids())];
  const paths = ['/one', '/chain-calls', '/chain-steps'];
  const p50 = new Map<string, number[]>(paths.map((path) => [path, []]));
  for (const path of paths) await measure(daemon, pids, path, 1);
  for (let round = 0; round < ROUNDS; round++)
    for (const path of paths) p50.get(path)?.push((await measure(daemon, pids, path, 1)).p50Ms);
  const added = (path: string): string =>
    median((p50.get(path) ?? []).map((ms, round) => ms - (p50.get('/one')?.[round] as number))).toFixed(3);
  console.log(
    `    a chain of ${CHAIN} adds to one deployment at p50, 1 at once: calls ${added('/chain-calls')} ms, steps ${added('/chain-steps')} ms, wanted ≤ 1`,
  );
};

/**
 * Of what replicas note of themselves: the share of the time in which each had work, while there was work for all, from the beginning of the
 * first item to that of the last. The least of them.
 */
const busyShare = (spans: readonly (readonly [pid: number, from: number, to: number])[]): number => {
  const began = Math.min(...spans.map(([, from]) => from));
  const ended = Math.max(...spans.map(([, from]) => from));
  const shares = [...new Set(spans.map(([pid]) => pid))].map((pid) => {
    let busy = 0;
    let until = 0;
    for (const [, from, to] of spans.filter(([of]) => of === pid).sort((a, b) => a[1] - b[1])) {
      busy += Math.max(0, Math.min(to, ended) - Math.max(from, until));
      until = Math.max(until, to);
    }
    return busy / (ended - began);
  });
  return shares.length < REPLICAS ? 0 : Math.min(...shares);
};

const fanOut = async (): Promise<void> => {
  await using daemon = await start([...fans(1), ...fans(2)]);
  const items = JSON.stringify(Array.from({ length: ITEMS }, (_, n) => n));
  const headers = { 'content-type': 'application/json' };
  for (const ongoing of [1, 2])
    for (const way of ['calls', 'steps']) {
      const shares: number[] = [];
      for (let run = 0; run < 4 * ROUNDS; run++) {
        const answer = await fetch(`http://127.0.0.1:${daemon.port}/fan-${way}-${ongoing}`, {
          method: 'POST',
          headers,
          body: items,
        });
        shares.push(busyShare((await answer.json()) as [number, number, number][]));
      }
      const [least = 0] = shares.sort((a, b) => a - b);
      console.log(
        `    ${ITEMS} items of 5 ms to ${REPLICAS} replicas, ${ongoing} at once in each, in ${way}: the least busy one ${(100 * median(shares)).toFixed(1)} % of the time (worst run ${(100 * least).toFixed(1)} %), wanted ≥ 95 %`,
      );
    }
};

const cancels = async (): Promise<void> => {
  await using daemon = await start([
    application('leave-calls', {
      deployments: [deployment('Asks', 'Asks'), deployment('Waits', 'Waits')],
      graph: { ingress: 'Asks', calls: { Asks: { waits: 'Waits' } } },
    }),
    application('leave-steps', {
      deployments: [deployment('Stage', 'Stage'), deployment('Waits', 'Waits')],
      graph: {
        steps: { first: { call: 'Stage.work', input: '$request.json' }, second: { call: 'Waits.work', input: '$first' } },
      },
    }),
  ]);
  const folder = mkdtempSync(join(tmpdir(), 'serve-bench-'));
  try {
    for (const way of ['calls', 'steps']) {
      const took: number[] = [];
      for (let run = 0; run < CANCELS; run++) {
        const file = join(folder, `${way}${run}`);
        const lines = (): readonly string[] => (existsSync(file) ? readFileSync(file, 'utf8').split('\n') : []);
        const leaves = new AbortController();
        const headers = { 'content-type': 'application/json' };
        const options = { method: 'POST', headers, body: JSON.stringify({ file }), signal: leaves.signal };
        const answer = fetch(`http://127.0.0.1:${daemon.port}/leave-${way}`, options).catch(() => {});
        await until('it works', () => lines().includes('began'));
        const left = performance.timeOrigin + performance.now();
        leaves.abort();
        const told = await until('it is told', () => lines().find((line) => line.startsWith('aborted')));
        took.push(Number(told.split(' ')[1]) - left);
        await answer;
      }
      const most = Math.max(...took);
      console.log(
        `    from a client that leaves to the signal of the second deployment, in ${way}: p50 ${median(took).toFixed(1)} ms, at most ${most.toFixed(1)} ms of ${CANCELS}, wanted ≤ 50`,
      );
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
};

export const run = async (): Promise<void> => {
  console.log(`(k) graphs and handles, ${LOAD_TOOL}, ${ROUNDS} rounds of ${SECONDS} s in turns`);
  await threeWays(2);
  await threeWays(3);
  await chain();
  await fanOut();
  await cancels();
};
