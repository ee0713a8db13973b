/** (a) JSON echo: through the daemon with one replica, against the same handler in a Fastify server in one process. */
import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { cpuMs, LOAD_TOOL, load, median, ROOT, startDaemon, versionsText } from './support.ts';

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
`;

const FASTIFY = `import fastify from ${JSON.stringify(join(ROOT, 'node_modules', 'fastify', 'fastify.js'))};
const app = fastify();
app.post('/', async (request) => request.body);
const address = await app.listen({ port: 0, host: '127.0.0.1' });
console.log(address);
`;

export const run = async (): Promise<void> => {
  await using daemon = await startDaemon(CONFIG, { 'echo.ts': 'export async function echo(input: unknown) { return input; }\n' });
  await daemon.line('application is serving');
  const program = join(ROOT, 'node_modules', '.bench-fastify.mjs');
  writeFileSync(program, FASTIFY);
  const fastify = spawn(process.execPath, [program], { stdio: ['ignore', 'pipe', 'inherit'] });
  try {
    const address = await new Promise<string>((resolve) =>
      fastify.stdout.once('data', (chunk: Buffer) => resolve(chunk.toString().trim())),
    );
    const fastifyPort = Number(new URL(address).port);
    const ours = [daemon.pid, ...(await daemon.pids())];
    const theirs = [fastify.pid as number];
    const measure = async (port: number, pids: readonly number[], connections: number) => {
      const before = cpuMs(pids);
      const result = await load(port, connections, SECONDS, BODY, 'application/json');
      if (result.errors > 0) throw new Error(`${result.errors} of ${result.requests} requests failed`);
      return { ...result, cpuUs: ((cpuMs(pids) - before) * 1000) / result.requests };
    };
    await measure(fastifyPort, theirs, 64);
    await measure(daemon.port, ours, 64);
    console.log(`(a) JSON echo, 64 connections, ${LOAD_TOOL}, ${versionsText(['fastify'])}; neither writes a line a request`);
    for (const connections of [64, 1]) {
      const rounds: {
        ratio: number;
        ours: number;
        theirs: number;
        oursP50: number;
        theirsP50: number;
        oursCpu: number;
        theirsCpu: number;
      }[] = [];
      for (let round = 0; round < ROUNDS; round++) {
        const a = await measure(fastifyPort, theirs, connections);
        const b = await measure(daemon.port, ours, connections);
        rounds.push({
          ratio: b.rps / a.rps,
          ours: b.rps,
          theirs: a.rps,
          oursP50: b.p50Ms,
          theirsP50: a.p50Ms,
          oursCpu: b.cpuUs,
          theirsCpu: a.cpuUs,
        });
      }
      const of = (key: keyof (typeof rounds)[number]) => median(rounds.map((each) => each[key]));
      console.log(
        `    ${String(connections).padStart(2)} connections: daemon ${of('ours').toFixed(0)}/s (p50 ${of('oursP50').toFixed(3)} ms, ${of('oursCpu').toFixed(1)} µs CPU), Fastify ${of('theirs').toFixed(0)}/s (p50 ${of('theirsP50').toFixed(3)} ms, ${of('theirsCpu').toFixed(1)} µs CPU); ratio ${of('ratio').toFixed(2)} (${rounds.map(({ ratio }) => ratio.toFixed(2)).join(' ')})${connections === 64 ? ', wanted ≥ 1.0' : ''}`,
      );
    }
  } finally {
    fastify.kill();
  }
};
