/** What the daemon is measured against, each in a process of its own: the same echo in Fastify, and in bare uWebSockets.js. */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadUws } from '../../src/proxy/http-driver.ts';
import { ROOT } from './support.ts';

const FASTIFY = `import fastify from ${JSON.stringify(join(ROOT, 'node_modules', 'fastify', 'fastify.js'))};
const app = fastify({ bodyLimit: 2 ** 26 });
app.post('/', async (request) => request.body);
console.log(await app.listen({ port: 0, host: '127.0.0.1' }));
`;

/** With the library's own ways: a body in pieces is put together, the answer is written under one cork. */
const BARE = `import { createRequire } from 'node:module';
import { loadUws } from ${JSON.stringify(join(ROOT, 'dist', 'proxy', 'http-driver.js'))};
const { uws: uWS } = loadUws(createRequire(${JSON.stringify(join(ROOT, 'package.json'))}));
uWS.App().post('/*', (res) => {
  let body;
  let gone = false;
  res.onAborted(() => { gone = true; });
  res.onData((chunk, isLast) => {
    const part = Buffer.from(chunk);
    if (!isLast) return void (body = body === undefined ? Buffer.from(part) : Buffer.concat([body, part]));
    const text = (body === undefined ? part : Buffer.concat([body, part])).toString();
    const answer = JSON.stringify(JSON.parse(text));
    if (!gone) res.cork(() => res.writeHeader('content-type', 'application/json').end(answer));
  });
}).listen('127.0.0.1', 0, (socket) => console.log('http://127.0.0.1:' + uWS.us_socket_local_port(socket)));
`;

const PROGRAMS = { fastify: FASTIFY, uws: BARE } as const;

/** Whether uWebSockets.js loads here. */
export const hasUws = (): boolean => loadUws(createRequire(join(ROOT, 'package.json'))).uws !== undefined;

export interface Server extends AsyncDisposable {
  readonly pid: number;
  readonly port: number;
}

export const startServer = async (kind: keyof typeof PROGRAMS): Promise<Server> => {
  const folder = mkdtempSync(join(tmpdir(), `serve-bench-${kind}-`));
  const program = join(folder, 'server.mjs');
  writeFileSync(program, PROGRAMS[kind]);
  const child = spawn(process.execPath, [program], { stdio: ['ignore', 'pipe', 'inherit'] });
  const address = await new Promise<string>((resolve, reject) => {
    child.stdout.once('data', (chunk: Buffer) => resolve(chunk.toString().trim()));
    child.once('exit', () => reject(new Error(`${kind} did not start`)));
  });
  return {
    pid: child.pid as number,
    port: Number(new URL(address).port),
    [Symbol.asyncDispose]: async () => {
      const gone = new Promise((resolve) => child.once('exit', resolve));
      child.kill('SIGKILL');
      await gone;
      rmSync(folder, { recursive: true, force: true });
    },
  };
};
