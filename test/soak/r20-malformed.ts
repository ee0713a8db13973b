/** R20: thousands of malformed and mangled messages: the daemon lives, says no, and answers the next good request. */
import { connect } from 'node:net';
import { configOf, ECHO, single } from '../e2e/configs.ts';
import { MALFORMED } from '../proxy/http-malformed.ts';
import { type DaemonRig, startDaemon } from '../support/daemon-rig.ts';
import { Findings, type Promised, seeded, type World } from './soak.ts';

const GOOD = [
  'GET /echo HTTP/1.1\r\nHost: x\r\n\r\n',
  'POST /echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 7\r\n\r\n{"a":1}',
  'POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n',
];

/** What came back for these bytes, until the daemon closes or half a second after we have nothing more to say. */
const exchange = (port: number, bytes: Buffer): Promise<string> =>
  new Promise((resolve) => {
    let text = '';
    const socket = connect(port, '127.0.0.1', () => {
      socket.write(bytes);
      socket.end();
    });
    socket.setTimeout(15_000, () => socket.destroy(new Error('hangs')));
    socket.on('data', (part) => {
      text += part.toString('latin1');
    });
    socket.on('error', (error) => {
      if (error.message === 'hangs') text += 'HANGS';
    });
    socket.on('close', () => resolve(text));
  });

const drive = async (daemon: DaemonRig, server: string, count: number, found: Findings): Promise<Record<string, number>> => {
  const port = Number(new URL(daemon.url).port);
  const rand = seeded(server === 'uws' ? 5 : 6);
  const pick = <T>(from: readonly T[]): T => from[Math.floor(rand() * from.length)] as T;
  const statuses: Record<string, number> = {};
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < count) {
      const n = next++;
      // First each message of the corpus as it is, with a request behind it; then mixtures with bytes changed, lost and doubled.
      let bytes: Buffer;
      if (n < MALFORMED.length) bytes = Buffer.from(MALFORMED[n]?.message ?? '', 'latin1');
      else {
        bytes = Buffer.from(`${pick(MALFORMED).message}${rand() < 0.3 ? pick(GOOD) : ''}`.slice(0, 4000), 'latin1');
        for (let change = 0; change < 1 + rand() * 4; change++) {
          const at = Math.floor(rand() * bytes.length);
          const kind = rand();
          if (kind < 0.6) bytes[at] = Math.floor(rand() * 256);
          else if (kind < 0.8) bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1)]);
          else bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(Math.max(0, at - 9))]);
        }
      }
      const text = await exchange(port, bytes);
      for (const [, status = ''] of text.matchAll(/HTTP\/1\.1 (\d{3})/g)) {
        statuses[status] = (statuses[status] ?? 0) + 1;
        // 505 is for a version; 503 would be no room, which nothing here takes.
        found.expect(
          Number(status) < 500 || status === '505',
          `${server}: ${status} for ${JSON.stringify(bytes.toString('latin1').slice(0, 200))}`,
        );
      }
      found.expect(!text.includes('HANGS'), `${server}: hangs on ${JSON.stringify(bytes.toString('latin1').slice(0, 200))}`);
      if (n % 50 === 0) {
        const { status, text: answer } = await daemon.post('/echo', { n });
        found.expect(
          status === 200 && answer === JSON.stringify({ n }),
          `${server}: a good request got ${status} ${answer.slice(0, 60)}`,
        );
      }
    }
  };
  await Promise.all(Array.from({ length: 16 }, worker));
  return statuses;
};

const run = async ({ size, program }: World) => {
  const found = new Findings();
  const figures: Record<string, number | string> = {};
  for (const server of ['uws', 'node']) {
    const head = `http_options: {host: 127.0.0.1, port: 0, server: ${server}, keep_alive_timeout_s: 2}\nadmin_options: {port: 0}\nlogging_config: {enable_access_log: false}\n`;
    await using daemon = await startDaemon(configOf([single('echo', '/echo', { import_path: './echo.ts:echo' })], head), {
      files: { 'echo.ts': ECHO },
      program,
    });
    await daemon.running();
    const [pid] = await daemon.pids('echo', 'Only');
    const count = size(5000, 400);
    figures[server] = JSON.stringify(await drive(daemon, server, count, found));
    found.expect((await daemon.pids('echo', 'Only'))[0] === pid, `${server}: the replica is another one`);
    const { code } = await daemon.stop();
    found.expect(code === 0, `${server}: the daemon ended with ${code}`);
  }
  return { figures, broken: found.broken.slice(0, 5) };
};

export const malformed: Promised = {
  id: 'R20',
  title: 'malformed messages get a 4xx or a closed connection, and harm nobody',
  run,
  sabotages: [
    {
      what: 'what frames a message is not looked at',
      patches: [
        {
          file: 'proxy/http-framing.js',
          from: "if (!KNOWN_METHODS.has(method) || method === 'CONNECT')\n        return METHOD_UNKNOWN;",
          to: "if (!KNOWN_METHODS.has(method)) throw new Error('boom');",
        },
        {
          file: 'proxy/http-uws-child.js',
          from: 'if (exchange === undefined)\n                res.close();',
          to: "if (exchange === undefined)\n                res.writeStatus('500 Internal').end('');",
        },
      ],
      shows: /uws: 500 for/,
    },
  ],
};
