/** A stream that is the last step of a graph: it reaches the client as it is produced, is held back, cut off and ended as one of a deployment. */
import { existsSync, readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import t from 'tap';
import { type DaemonRig, startDaemon, until } from '../support/daemon-rig.ts';
import { configOf, HEAD } from './configs.ts';

t.setTimeout(120_000);

const CODE = `import { existsSync, writeFileSync } from 'node:fs';
export async function many(input) { return { count: 5, ...input }; }
const exists = async (file, signal) => { while (!existsSync(file) && !signal.aborted) await new Promise((resolve) => setTimeout(resolve, 5)); };
/** Produces each word only when the client has the one before, which it says by a file. */
export async function* words({ count, name, fail }, { signal }) {
  try {
    for (let n = 0; n < count; n++) {
      if (n > 0 && name) await exists(name + n, signal);
      if (signal.aborted) return;
      if (fail === n) throw new Error('no more words');
      yield 'word ' + n + '\\n';
    }
  } finally { if (name) writeFileSync(name + 'ended', String(signal.aborted)); }
}
export async function* endless({ name }) {
  const chunk = new Uint8Array(65536);
  let made = 0;
  try { while (true) { made += chunk.length; writeFileSync(name + 'made', String(made)); yield chunk; } } finally { writeFileSync(name + 'ended', String(made)); }
}
export async function* rows({ count }) { for (let n = 0; n < count; n++) yield { n, at: new Date(0) }; }
export async function join(list) { return list.join('') + list.length; }
`;

const config = (server: string): string =>
  configOf(
    [
      ['words', { words: { call: 'Words', input: '$many' } }],
      ['timed', { words: { call: 'Words', input: '$many', timeout_s: 0.5, on_error: { value: 'late' } } }],
      ['endless', { endless: { call: 'Endless', input: '$many' } }],
      ['rows', { rows: { call: 'Rows', input: '$many' } }],
      ['joined', { words: { call: 'Words', input: '$many' }, joined: { call: 'Join', input: '$words' } }],
      ['greedy', { endless: { call: 'Endless', input: '$many' }, joined: { call: 'Join', input: '$endless' } }],
    ].map(([name, steps]) => ({
      name,
      route_prefix: `/${name}`,
      deployments: ['Many', 'Words', 'Endless', 'Rows', 'Join']
        .filter((each) => each === 'Many' || JSON.stringify(steps).includes(`"${each}"`))
        .map((each) => ({ name: each, import_path: `./code.ts:${each.toLowerCase()}`, max_ongoing_requests: 10 })),
      graph: { steps: { many: { call: 'Many', input: '$request.json' }, ...(steps as object) } },
    })),
    HEAD.replace('port: 0}', `port: 0, server: ${server}, max_buffered_bytes: 8MiB, max_request_body: 1MiB}`),
  );

/** Posts JSON and gives what has come so far, head included. */
const posting = async (daemon: DaemonRig, path: string, value: unknown, headers: readonly string[] = []) => {
  const { hostname, port } = new URL(daemon.url);
  const socket = connect(Number(port), hostname);
  const seen = { text: '', closed: false, socket };
  socket.on('error', () => {});
  socket.on('close', () => {
    seen.closed = true;
  });
  socket.on('data', (part: Buffer) => {
    seen.text += part.toString('latin1');
  });
  await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject));
  const body = JSON.stringify(value);
  const lines = ['host: x', 'content-type: application/json', `content-length: ${body.length}`, ...headers];
  socket.write(`POST ${path} HTTP/1.1\r\n${lines.join('\r\n')}\r\n\r\n${body}`);
  return seen;
};

/** When nothing has been produced for a while, the producer waits: there is no event that would tell it. */
const stalled = async (file: string): Promise<number> => {
  let before = '';
  for (;;) {
    const made = existsSync(file) ? readFileSync(file, 'utf8') : '';
    if (made !== '' && made === before) return Number(made);
    before = made;
    await pause(400);
  }
};

const isWhole = (text: string): boolean => /\r\n0\r\n\r\n$/.test(text);

for (const server of ['uws', 'node'] as const) {
  t.test(`${server}: streams of graphs`, async (t) => {
    await using daemon = await startDaemon(config(server), { files: { 'code.ts': CODE } });

    await t.test('each item is with the client before the next is produced', async (t) => {
      const seen = await posting(daemon, '/words', { name: 'each' }, ['x-request-id: each']);
      for (let n = 0; n < 5; n++) {
        await until(`word ${n} has come`, () => seen.text.includes(`word ${n}\n`));
        t.notMatch(seen.text, `word ${n + 1}`);
        await daemon.write(`each${n + 1}`, '');
      }
      await until('the end has come', () => isWhole(seen.text));
      t.match(seen.text, /^HTTP\/1.1 200 OK\r\n/);
      t.match(seen.text, /content-type: text\/plain; charset=utf-8\r\n/i);
      t.match(seen.text, /x-request-id: each\r\n/i);
      seen.socket.destroy();
      t.match(await daemon.access('each'), {
        status: 200,
        deployments: [{ deployment: 'words/Many' }, { deployment: 'words/Words' }],
      });
    });

    await t.test('items that are neither text nor bytes are lines of JSON', async (t) => {
      const answer = await daemon.post('/rows', { count: 2 });
      t.equal(answer.headers['content-type'], 'application/x-ndjson');
      t.equal(answer.text, '{"n":0,"at":"1970-01-01T00:00:00.000Z"}\n{"n":1,"at":"1970-01-01T00:00:00.000Z"}\n');
      t.match(await daemon.post('/rows', { count: 0 }), { status: 200, text: '' });
    });

    await t.test('what fails before its first item is an error, behind it the answer is cut off', async (t) => {
      t.match(await daemon.post('/words', { fail: 0 }), { status: 500, text: 'Internal Server Error' });
      const seen = await posting(daemon, '/words', { fail: 1, name: 'cut' }, ['x-request-id: cut']);
      await until('its first item has come', () => seen.text.includes('word 0\n'));
      await daemon.write('cut1', '');
      await until('it is cut off', () => seen.closed);
      t.notOk(isWhole(seen.text));
      t.match(await daemon.access('cut'), { status: 500 });
    });

    await t.test('the deadline of a step holds for all of its stream, and nothing can stand in for it any more', async (t) => {
      const seen = await posting(daemon, '/timed', { name: 'timed' });
      await until('it is cut off', () => seen.closed);
      t.match(seen.text, 'word 0\n');
      t.notMatch(seen.text, 'late');
      t.notOk(isWhole(seen.text));
      await until('its producer was told', () => existsSync(daemon.path('timedended')));
    });

    await t.test('a client that reads gets more than a producer may be ahead; one that leaves ends it', async (t) => {
      const seen = await posting(daemon, '/endless', { name: 'left' });
      await until('its credit was given back', () => seen.text.length > 4 * 1024 * 1024);
      seen.socket.destroy();
      await until('its `finally` has run', () => existsSync(daemon.path('leftended')));
      await daemon.when(
        'nothing is in work',
        ({ applications }) => applications['endless']?.deployments['Endless']?.ongoing === 0,
      );
      t.pass();
    });

    await t.test('a client that does not read holds the producer back', async (t) => {
      const seen = await posting(daemon, '/endless', { name: 'slow' });
      seen.socket.pause();
      await daemon.when('it is in work', ({ applications }) => applications['endless']?.deployments['Endless']?.ongoing === 1);
      const made = await stalled(daemon.path('slowmade'));
      // The kernel's buffers take some: on some machines up to 40 MiB.
      t.ok(made < 64 * 1024 * 1024, `${made} bytes were produced for nobody`);
      seen.socket.destroy();
      await until('its `finally` has run', () => existsSync(daemon.path('slowended')));
    });

    await t.test('a stream that another step needs is collected, and no more of it than may be held', async (t) => {
      t.equal((await daemon.post('/joined', { count: 3 })).text, 'word 0\nword 1\nword 2\n3');
      const answer = await daemon.post('/greedy', { name: 'greedy' });
      t.match(answer, { status: 503, headers: { 'x-serve-error': 'QUEUE_FULL' }, text: /max_buffered_bytes/ });
      await until('its producer was told', () => existsSync(daemon.path('greedyended')));
      t.equal((await daemon.post('/joined', { count: 1 })).text, 'word 0\n1', 'what it held was let go');
    });

    t.same(await daemon.stop(), { code: 0, signal: null });
  });
}
