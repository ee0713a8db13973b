/**
 * (a) JSON echo: through the daemon with one replica, against the same handler in a Fastify server and in bare uWebSockets.js, each in one
 * process; and what one hop costs, and one more from deployment to deployment.
 */
import { hasUws, type Server, startServer } from './servers.ts';
import { cpuMs, LOAD_TOOL, type LoadResult, load, median, startDaemon, versionsText } from './support.ts';

const ROUNDS = 5;
const SECONDS = 4;
const BODY = '{"hello":"world","n":[1,2,3]}';
const CONFIG = `http_options: {port: 0}
admin_options: {port: 0}
logging_config: {enable_access_log: false}
applications:
- name: echo
  deployments:
  - {name: Echo, import_path: ./echo.ts:echo, max_ongoing_requests: 100}
- name: two
  route_prefix: /two
  deployments:
  - {name: Front, import_path: ./echo.ts:Front, max_ongoing_requests: 100}
  - {name: Back, import_path: ./echo.ts:echo, max_ongoing_requests: 100}
  graph: {ingress: Front, calls: {Front: {back: Back}}}
`;
const CODE = `export async function echo(input: unknown) { return input; }
export class Front {
  constructor(private readonly args: { back: { call(input: unknown): Promise<unknown> } }) {}
  async call(input: unknown) { return this.args.back.call(input); }
}
`;

interface Sample extends LoadResult {
  readonly cpuUs: number;
}

const measure = async (port: number, pids: readonly number[], connections: number, path = '/'): Promise<Sample> => {
  const before = cpuMs(pids);
  const result = await load(port, connections, SECONDS, BODY, 'application/json', path);
  if (result.errors > 0) throw new Error(`${result.errors} of ${result.requests} requests failed`);
  return { ...result, cpuUs: ((cpuMs(pids) - before) * 1000) / result.requests };
};

const text = (name: string, samples: readonly Sample[]): string => {
  const of = (key: keyof Sample) => median(samples.map((each) => each[key]));
  return `${name} ${of('rps').toFixed(0)}/s (p50 ${of('p50Ms').toFixed(3)} ms, ${of('cpuUs').toFixed(1)} µs CPU)`;
};

const ratioText = (ours: readonly Sample[], theirs: readonly Sample[], wanted: string): string => {
  const ratios = ours.map(({ rps }, round) => rps / (theirs[round] as Sample).rps);
  return `${median(ratios).toFixed(2)} (${ratios.map((each) => each.toFixed(2)).join(' ')}), wanted ${wanted}`;
};

export const run = async (): Promise<void> => {
  await using daemon = await startDaemon(CONFIG, { 'echo.ts': CODE });
  await daemon.line('"application":"echo"');
  await daemon.line('"application":"two","route"');
  await using fastify = await startServer('fastify');
  await using bare = hasUws() ? await startServer('uws') : undefined;
  const own = { pid: daemon.pid, port: daemon.port };
  const sides: (readonly [string, Pick<Server, 'pid' | 'port'>, readonly number[]])[] = [
    ['Fastify', fastify, [fastify.pid]],
    ...(bare === undefined ? [] : ([['bare uWebSockets.js', bare, [bare.pid]]] as const)),
    ['daemon', own, [daemon.pid, ...(await daemon.pids())]],
  ];
  for (const [, { port }, pids] of sides) await measure(port, pids, 64);
  await measure(daemon.port, sides.at(-1)?.[2] ?? [], 64, '/two');
  console.log(`(a) JSON echo, ${LOAD_TOOL}, ${versionsText(['fastify'])}; metrics and limits on, no line a request on any side`);
  for (const connections of [64, 1]) {
    const samples = new Map<string, Sample[]>(sides.map(([name]) => [name, []]));
    const two: Sample[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      for (const [name, { port }, pids] of sides) samples.get(name)?.push(await measure(port, pids, connections));
      if (connections === 1) two.push(await measure(daemon.port, sides.at(-1)?.[2] ?? [], 1, '/two'));
    }
    const of = (name: string): readonly Sample[] => samples.get(name) ?? [];
    console.log(
      `    ${connections} connection${connections === 1 ? '' : 's'}: ${sides.map(([name]) => text(name, of(name))).join(', ')}`,
    );
    if (connections === 64) {
      console.log(`    daemon ÷ Fastify ${ratioText(of('daemon'), of('Fastify'), '≥ 1.3')}`);
      if (bare !== undefined) console.log(`    daemon ÷ bare ${ratioText(of('daemon'), of('bare uWebSockets.js'), '≥ 0.6')}`);
      continue;
    }
    const added = (a: readonly Sample[], b: readonly Sample[]) =>
      (1000 * median(a.map(({ p50Ms }, round) => p50Ms - (b[round] as Sample).p50Ms))).toFixed(0);
    if (bare !== undefined)
      console.log(`    p50 added by the daemon over bare: ${added(of('daemon'), of('bare uWebSockets.js'))} µs, wanted ≤ 60`);
    console.log(`    p50 added by deployment → deployment: ${added(two, of('daemon'))} µs, wanted ≤ 60`);
  }
};
