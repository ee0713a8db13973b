/** Streamed answers: events at once, slow readers that hold their producers back, many of them in little memory, clients that leave. On both drivers. */
import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import t from 'tap';
import { type DaemonRig, startDaemon, until } from '../support/daemon-rig.ts';
import { configOf, HEAD, single } from './configs.ts';

t.setTimeout(180_000);

const KIB = 1024;
const MIB = 1024 * 1024;
const READERS = 1000;

const CODE = `let made = 0;
let ended = 0;
let open = 0;
let next = () => {};
const text = (value) => new TextEncoder().encode(value);
const events = async function* () {
  for (let i = 0; i < 5; i++) {
    yield text('data: ' + i + '\\n\\n');
    // Not before the client says that it has the last one.
    await new Promise((resolve) => { next = resolve; });
  }
};
const chunk = new Uint8Array(${64 * KIB});
const endless = async function* () {
  open += 1;
  try { while (true) { made += 1; yield chunk; } } finally { ended += 1; open -= 1; }
};
const large = async function* () { for (let i = 0; i < ${(16 * MIB) / (64 * KIB)}; i++) { made += 1; yield chunk; } };
const fetched = (stream) => new Response(ReadableStream.from(stream), { headers: { 'content-type': 'text/event-stream' } });
export const site = {
  async fetch(request) {
    const { pathname } = new URL(request.url);
    switch (pathname.slice(pathname.lastIndexOf('/'))) {
      case '/next': next(); return new Response('ok');
      case '/counts': { const counts = { made, ended, open }; return Response.json(counts); }
      case '/reset': made = 0; return new Response('ok');
      case '/events': return fetched(events());
      case '/endless': return fetched(endless());
      case '/large': return fetched(large());
      default: return new Response('?', { status: 404 });
    }
  },
};
export class Generator { async *call() { yield* endless(); } async counts() { return { made, ended, open }; } }
export async function* generated(input) {
  if (input === 'counts') yield { made, ended, open };
  else yield* endless();
}
`;

const config = (server: string): string =>
  configOf(
    [
      single('site', '/site', { import_path: './code.ts:site', max_ongoing_requests: READERS + 10 }),
      single('generated', '/generated', { import_path: './code.ts:generated', max_ongoing_requests: 2 }),
    ],
    HEAD.replace('port: 0}', `port: 0, server: ${server}}`),
  );

/** A client that reads only when it is told to. */
const reader = async (daemon: DaemonRig, path: string): Promise<Socket> => {
  const { hostname, port } = new URL(daemon.url);
  const socket = connect(Number(port), hostname);
  socket.on('error', () => {});
  await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject));
  socket.pause();
  socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`);
  return socket;
};

interface Counts {
  readonly made: number;
  readonly ended: number;
  readonly open: number;
}

const counts = async (daemon: DaemonRig): Promise<Counts> => JSON.parse((await daemon.ask('/site/counts')).text) as Counts;

/** When nothing has been produced for a while, the producers wait: there is no event that would tell it. */
const stalled = async (daemon: DaemonRig): Promise<number> => {
  let before = -1;
  for (;;) {
    const { made } = await counts(daemon);
    if (made === before) return made;
    before = made;
    await pause(400);
  }
};

const residentMib = (pid: number): number =>
  Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1]) / 1024;

for (const server of ['uws', 'node'] as const) {
  t.test(`${server}: streamed answers`, async (t) => {
    await using daemon = await startDaemon(config(server), { files: { 'code.ts': CODE } });

    await t.test('each server-sent event is with the client before the next is produced', async (t) => {
      const socket = await reader(daemon, '/site/events');
      let text = '';
      socket.on('data', (part: Buffer) => {
        text += part.toString();
      });
      socket.resume();
      for (let i = 0; i < 5; i++) {
        await until(`event ${i} has come`, () => text.includes(`data: ${i}\n\n`));
        t.notOk(text.includes(`data: ${i + 1}`));
        await daemon.ask('/site/next');
      }
      await until('the end has come', () => /\r\n0\r\n/.test(text));
      t.match(text, /content-type: text\/event-stream/i);
      socket.destroy();
    });

    await t.test('a slow reader stops its producer, and a client that leaves ends it', async (t) => {
      for (const path of ['/site/endless', '/generated']) {
        await daemon.ask('/site/reset');
        const socket = await reader(daemon, path);
        if (path === '/site/endless') {
          await until('it is produced', async () => (await counts(daemon)).made > 0);
          const made = await stalled(daemon);
          // The kernel's buffers take some: on some machines up to 40 MiB.
          t.ok(made * 64 * KIB < 64 * MIB, `${made} chunks of 64 KiB were produced for nobody`);
        } else {
          const generated = async () => JSON.parse((await daemon.post('/generated', 'counts')).text) as Counts;
          await until('it is produced', async () => (await generated()).made > 0);
        }
        socket.destroy();
        await daemon.when(
          'its place is free',
          ({ applications }) => applications[path.split('/')[1] ?? '']?.deployments['Only']?.ongoing === 0,
        );
      }
      t.match(await counts(daemon), { ended: 1, open: 0 }, 'its `finally` has run');
      const last = await daemon.post('/generated', 'counts');
      t.match(JSON.parse(last.text), { ended: 1, open: 0 }, 'that of a generator too');
    });

    await t.test(`${READERS} slow readers of 16 MiB each cost little memory, and each gets all of it`, async (t) => {
      await daemon.ask('/site/reset');
      const idle = residentMib(daemon.pid);
      const sockets: Socket[] = [];
      for (let i = 0; i < READERS; i++) sockets.push(await reader(daemon, '/site/large'));
      await until('all are in work', async () => (await counts(daemon)).made >= READERS, 60_000);
      await stalled(daemon);
      const more = residentMib(daemon.pid) - idle;
      t.ok(more < 600, `${Math.round(more)} MiB more than idle, where ${READERS * 16} are to be sent`);
      for (const socket of sockets.slice(1)) socket.destroy();
      const [kept] = sockets as [Socket];
      let bytes = 0;
      kept.on('data', (part: Buffer) => {
        bytes += part.length;
      });
      kept.resume();
      await until('one that reads on gets it all', () => bytes > 16 * MIB, 60_000);
      kept.destroy();
      await daemon.when(
        'all places are free',
        ({ applications }) => applications['site']?.deployments['Only']?.ongoing === 0,
        60_000,
      );
    });
  });
}
