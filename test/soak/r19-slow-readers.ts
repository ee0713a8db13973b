/**
 * R19: a hundred streams whose producer never waits, and whose readers take 1 KB/s: the producer is held, what is buffered is bounded, a
 * reader that wants more gets it, and in the end each stream is cut.
 */
import { connect, type Socket } from 'node:net';
import { configOf, single } from '../e2e/configs.ts';
import { type DaemonRig, startDaemon, until } from '../support/daemon-rig.ts';
import { OpenLoop } from './open-loop.ts';
import { code, echoes, holdings, READERS_IGNORED, residentMb } from './parts.ts';
import { Findings, type Promised, pause, type World } from './soak.ts';

const CODE = `const PIECE = Buffer.alloc(16_384, 'x');
const streams = new Map();
async function* flood(id) {
  const one = { bytes: 0, ended: false };
  streams.set(id, one);
  try { while (true) { yield PIECE; one.bytes += PIECE.length; } } finally { one.ended = true; }
}
export class Flood { call({ id }) { return id === undefined ? Object.fromEntries(streams) : flood(id); } }
`;
const MB = 2 ** 20;
const PIECE = 16_384;
/** Of one stream: what a socket's buffers in the kernel come to on loopback, both ends together, and a window of credit. */
const MOST_MB = 12;
/** Of memory, for each stream: what the promise says may be buffered; and what the heap of a process may take for what it has let go. */
const HELD_MB = 1;
const SLACK_MB = 80;

const config = (server: string, timeoutS: number) =>
  configOf(
    [
      single('flood', '/flood', { import_path: './flood.ts:Flood', max_ongoing_requests: 1000 }),
      single('echo', '/echo', { import_path: './code.ts:Echo', max_ongoing_requests: 50 }),
    ],
    `http_options: {host: 127.0.0.1, port: 0, server: ${server}, request_timeout_s: ${timeoutS}}
admin_options: {port: 0}
logging_config: {enable_access_log: false}
`,
  );

interface Produced {
  readonly bytes: number;
  readonly ended: boolean;
}

const produced = async (daemon: DaemonRig): Promise<Readonly<Record<string, Produced>>> =>
  JSON.parse((await daemon.post('/flood', {})).text) as Record<string, Produced>;

const sumOf = (streams: Readonly<Record<string, Produced>>): number =>
  Object.values(streams).reduce((sum, { bytes }) => sum + bytes, 0);

/** A client that takes so much a second, and no more. */
class SlowReader implements Disposable {
  taken = 0;
  readonly #socket: Socket;
  readonly #timer: NodeJS.Timeout;

  constructor(port: number, id: number, perSecond: number) {
    const body = JSON.stringify({ id: `s${id}` });
    this.#socket = connect(port, '127.0.0.1', () =>
      this.#socket.write(
        `POST /flood HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
      ),
    );
    this.#socket.on('error', () => {});
    // It reads no further ahead than its own buffer.
    this.#socket.on('readable', () => {});
    this.#timer = setInterval(() => {
      const piece = this.#socket.read(Math.min(perSecond, this.#socket.readableLength)) as Buffer | null;
      this.taken += piece?.length ?? 0;
    }, 1000);
  }

  /** From now on it takes whatever comes. */
  hurry(): void {
    clearInterval(this.#timer);
    this.#socket.removeAllListeners('readable');
    this.#socket.on('data', (piece: Buffer) => {
      this.taken += piece.length;
    });
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    this.#socket.destroy();
  }
}

const run = async (world: World) => {
  const found = new Findings();
  const figures: Record<string, number> = {};
  for (const server of ['uws', 'node']) await drive(server, world, found, figures);
  return { figures, broken: found.broken };
};

const drive = async (server: string, { size, pace, program }: World, found: Findings, figures: Record<string, number>) => {
  const timeoutS = pace(40, 6);
  await using daemon = await startDaemon(config(server, timeoutS), { files: { 'code.ts': code(), 'flood.ts': CODE }, program });
  await daemon.running();
  const port = Number(new URL(daemon.url).port);
  const [replica] = (await daemon.pids('flood', 'Only')) as [number];
  await using load = new OpenLoop(() => daemon.url, [echoes('other', '/echo', pace(50, 20))]);
  await load.more(20);
  await produced(daemon);
  const base = { daemon: residentMb(daemon.pid), replica: residentMb(replica) };
  let [peakMb, peakReplicaMb] = [0, 0];
  const look = () => {
    peakMb = Math.max(peakMb, residentMb(daemon.pid) - base.daemon);
    peakReplicaMb = Math.max(peakReplicaMb, residentMb(replica) - base.replica);
  };
  const sampler = setInterval(look, 50);
  const streams = size(100, 20);
  const mostMb = SLACK_MB + streams * HELD_MB;
  const readers = Array.from({ length: streams }, (_, id) => new SlowReader(port, id, 1024));
  try {
    await until('every stream has begun', async () => Object.keys(await produced(daemon)).length === streams);
    // What the buffers take, they take at once; from then on a second brings what the readers have taken, and no more.
    let before = 0;
    const settled = await until('the producers are held, or beyond all bounds', async () => {
      const now = sumOf(await produced(daemon));
      const grown = now - before;
      before = now;
      await pause(500);
      return grown < streams * PIECE ? 'held' : Math.max(peakMb, peakReplicaMb) > 2 * mostMb && 'beyond';
    }).catch(() => 'never');
    found.expect(settled === 'held', `${server}: the producers are not held by readers that are slow`);
    // Whatever it is, it would only use up the memory of this machine.
    if (settled !== 'held') return;
    const each = Object.values(await produced(daemon)).map(({ bytes }) => bytes / MB);
    figures[`${server}_ahead_mb`] = Math.round(Math.max(...each) * 10) / 10;
    found.expect(
      Math.max(...each) <= MOST_MB,
      `${server}: a producer is ${Math.max(...each).toFixed(1)} MB ahead, expected at most ${MOST_MB}`,
    );
    const [first] = readers as [SlowReader];
    const slowly = first.taken;
    first.hurry();
    const goesOn = await until('it goes on', () => first.taken > slowly + 2 * MOST_MB * MB).catch(() => false);
    first[Symbol.dispose]();
    found.expect(goesOn, `${server}: a reader that takes everything got ${first.taken} bytes and no more`);
    const waits = performance.now();
    const cut = await until(
      'every stream is cut',
      async () => Object.values(await produced(daemon)).every(({ ended }) => ended),
      (timeoutS + 20) * 1000,
    ).catch(() => false);
    figures[`${server}_cut_s`] = Math.round((performance.now() - waits) / 1000);
    found.expect(cut, `${server}: streams go on for ever although their readers are slow`);
    await until('their places are free', async () => {
      const { applications } = await daemon.status();
      return applications['flood']?.deployments['Only']?.ongoing === 0;
    }).catch(() => found.expect(false, `${server}: places are held by streams that were cut`));
  } finally {
    clearInterval(sampler);
    look();
    for (const reader of readers) reader[Symbol.dispose]();
  }
  figures[`${server}_peak_mb`] = Math.round(peakMb);
  figures[`${server}_replica_peak_mb`] = Math.round(peakReplicaMb);
  for (const [what, mb] of [
    ['daemon', peakMb],
    ['replica', peakReplicaMb],
  ] as const) {
    found.expect(
      mb <= mostMb,
      `${server}: ${streams} slow readers cost the ${what} ${mb.toFixed(0)} MB, expected at most ${mostMb}`,
    );
  }
  await load.more(20);
  await load.stop();
  found.expect(load.failures.length === 0, `${server}: other requests failed: ${load.failures.join('; ').slice(0, 300)}`);
  figures[`${server}_sockets`] = holdings(daemon.pid)['socket'] ?? 0;
};

export const slowReaders: Promised = {
  id: 'R19',
  title: 'slow readers hold their producers, cost little, and are cut in the end',
  run,
  sabotages: [
    {
      what: 'a stream takes no notice of its reader',
      patches: [READERS_IGNORED],
      shows: /slow readers cost the daemon|are not held|ahead/,
    },
    {
      what: 'a deadline ends with the head of the answer',
      patches: [{ file: 'dispatch/pending.js', from: 'open(http) {\n', to: 'open(http) {\n        clearTimeout(this.timer);\n' }],
      shows: /go on for ever/,
    },
  ],
};
