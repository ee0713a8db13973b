/** R18: clients that send their head or body byte by byte, or do not read: others notice nothing, and each is cut off in its time. */
import { connect, type Socket } from 'node:net';
import { configOf, single } from '../e2e/configs.ts';
import { startDaemon } from '../support/daemon-rig.ts';
import { OpenLoop } from './open-loop.ts';
import { code, echoes, READERS_IGNORED, residentMb } from './parts.ts';
import { Findings, type Promised, pause, type World } from './soak.ts';

const CODE = `const PIECE = Buffer.alloc(65536, 1);
export async function* flood() { while (true) yield PIECE; }
`;
const config = (server: string) =>
  configOf(
    [
      single('echo', '/echo', { import_path: './code.ts:Echo', max_ongoing_requests: 50 }),
      single('flood', '/flood', { import_path: './flood.ts:flood', max_ongoing_requests: 1000 }),
    ],
    `http_options: {host: 127.0.0.1, port: 0, server: ${server}}\nadmin_options: {port: 0}\nlogging_config: {enable_access_log: false}\n`,
  );

interface Slow {
  readonly socket: Socket;
  readonly closed: Promise<number>;
}

const open = (port: number, first: string, drip: string | undefined, reads: boolean): Promise<Slow> =>
  new Promise((resolve, reject) => {
    const began = performance.now();
    const socket = connect(port, '127.0.0.1', () => {
      socket.write(first);
      const timer =
        drip === undefined
          ? undefined
          : setInterval(() => {
              if (socket.writable) socket.write(drip);
            }, 1000);
      const closed = new Promise<number>((gone) => {
        socket.on('close', () => {
          clearInterval(timer);
          gone((performance.now() - began) / 1000);
        });
      });
      resolve({ socket, closed });
    });
    if (reads) socket.resume();
    else socket.pause();
    socket.on('error', () => {});
    socket.once('error', reject);
  });

const HEAD = 'POST /echo HTTP/1.1\r\nHost: x\r\n';

const run = async ({ size, pace, strict, program }: World) => {
  const found = new Findings();
  const figures: Record<string, number> = {};
  for (const server of ['uws', 'node']) {
    await using daemon = await startDaemon(config(server), { files: { 'code.ts': code(), 'flood.ts': CODE }, program });
    await daemon.running();
    const port = Number(new URL(daemon.url).port);
    await using load = new OpenLoop(() => daemon.url, [echoes('good', '/echo', pace(100, 40))]);
    await pause(strict ? 5000 : 500);
    const aloneP99 = load.p99Ms('good');
    load.resetLatency();
    const before = residentMb(daemon.pid);
    const [heads, posts, readers] = [size(1000, 40), size(500, 20), size(500, 20)];
    const slow: Record<string, Slow[]> = { heads: [], posts: [], readers: [] };
    for (let n = 0; n < heads; n++) slow['heads']?.push(await open(port, HEAD, 'X-More: 1\r\n', true));
    for (let n = 0; n < posts; n++) slow['posts']?.push(await open(port, `${HEAD}Content-Length: 100000\r\n\r\n`, 'x', true));
    for (let n = 0; n < readers; n++)
      slow['readers']?.push(await open(port, 'GET /flood HTTP/1.1\r\nHost: x\r\n\r\n', undefined, false));
    await pause(2000);
    const held = residentMb(daemon.pid) - before;
    const all = heads + posts + readers;
    figures[`${server}_mb`] = Math.round(held);
    // What a reader that takes nothing may hold: the buffers of its socket, and the window of its stream.
    const most = 30 + (all * 64 + readers * 512) / 1024;
    found.expect(held <= most, `${server}: ${all} slow clients cost ${held.toFixed(0)} MB, expected at most ${most.toFixed(0)}`);
    // Of those that send a head: nobody may take longer than ten seconds and the grain of the driver's clock for it.
    const late = await Promise.all(
      (slow['heads'] ?? []).map(({ closed }) => Promise.race([closed, pause(45_000).then(() => Number.POSITIVE_INFINITY)])),
    );
    figures[`${server}_head_s`] = Math.round(Math.max(...late));
    found.expect(Math.max(...late) <= 45, `${server}: a head may take longer than 45 s`);
    for (const each of Object.values(slow).flat()) each.socket.destroy();
    await load.more(20);
    await load.stop();
    figures[`${server}_good_p99_ms`] = load.p99Ms('good');
    found.expect(load.failures.length === 0, `${server}: good requests failed: ${load.failures.join('; ').slice(0, 300)}`);
    found.expect(
      !strict || load.p99Ms('good') <= 1.5 * aloneP99 + 2,
      `${server}: p99 of good requests went from ${aloneP99} to ${load.p99Ms('good')} ms`,
    );
  }
  return { figures, broken: found.broken };
};

export const slowClients: Promised = {
  id: 'R18',
  title: 'slow clients cost little, are cut off, and keep nobody waiting',
  run,
  sabotages: [
    {
      what: 'a stream takes no notice of its reader',
      patches: [READERS_IGNORED],
      shows: /slow clients cost/,
    },
  ],
};
