/** (i) The same JSON echo through the daemon and through Ray Serve, both with their defaults, by the same client, in turn. */
import { startRayServe } from './ray-serve.ts';
import { cpuMs, LOAD_TOOL, type LoadResult, load, median, startDaemon } from './support.ts';

const ROUNDS = 5;
const SECONDS = 5;
const CONNECTIONS = 64;
const BODY = '{"hello":"world","n":[1,2,3]}';
const CONFIG = `http_options: {port: 0}
admin_options: {port: 0}
applications:
- {name: echo, deployments: [{name: Echo, import_path: ./echo.ts:echo}]}
`;
const CODE = 'export async function echo(input: unknown) { return input; }\n';

interface Sample extends LoadResult {
  readonly cpuUs: number;
}

const measure = async (port: number, pids: () => readonly number[]): Promise<Sample> => {
  const before = new Map(pids().map((pid) => [pid, cpuMs([pid])]));
  const result = await load(port, CONNECTIONS, SECONDS, BODY, 'application/json');
  const used = pids().reduce((sum, pid) => sum + cpuMs([pid]) - (before.get(pid) ?? 0), 0);
  return { ...result, cpuUs: (used * 1000) / Math.max(1, result.requests) };
};

const text = (name: string, samples: readonly Sample[]): string => {
  const of = (key: keyof Sample) => median(samples.map((each) => each[key]));
  const errors = samples.reduce((sum, each) => sum + each.errors, 0);
  return `    ${name}: ${of('rps').toFixed(0)}/s, p50 ${of('p50Ms').toFixed(2)} ms, p99 ${of('p99Ms').toFixed(2)} ms, ${of('cpuUs').toFixed(0)} µs CPU a request, ${errors} failed`;
};

export const run = async (): Promise<void> => {
  console.log('(i) installing Ray Serve, which takes a minute and some 500 MB …');
  const ray = await startRayServe();
  if (typeof ray === 'string') {
    console.log(`(i) Ray Serve: skipped, it cannot be had here: ${ray}`);
    return;
  }
  await using theirs = ray;
  await using daemon = await startDaemon(CONFIG, { 'echo.ts': CODE });
  await daemon.line('"application":"echo","route"');
  const replicas = await daemon.pids();
  const sides = [
    { samples: [] as Sample[], port: theirs.port, pids: () => theirs.pids() },
    { samples: [] as Sample[], port: daemon.port, pids: () => [daemon.pid, ...replicas] },
  ] as const;
  for (const { port, pids } of sides) await measure(port, pids);
  for (let round = 0; round < ROUNDS; round++)
    for (const { samples, port, pids } of sides) samples.push(await measure(port, pids));
  const [ofRay, ours] = sides.map(({ samples }) => samples) as [Sample[], Sample[]];
  console.log(`(i) JSON echo over ${CONNECTIONS} connections, ${LOAD_TOOL}, each with its defaults`);
  console.log(text(`Ray Serve ${theirs.version}`, ofRay));
  console.log(text('daemon', ours));
  const ratios = ours.map(({ rps }, round) => rps / (ofRay[round] as Sample).rps);
  console.log(
    `    daemon ÷ Ray Serve ${median(ratios).toFixed(0)} (${ratios.map((each) => each.toFixed(0)).join(' ')}), wanted ≥ 100; CPU a request ${(median(ofRay.map(({ cpuUs }) => cpuUs)) / median(ours.map(({ cpuUs }) => cpuUs))).toFixed(0)} to 1`,
  );
};
