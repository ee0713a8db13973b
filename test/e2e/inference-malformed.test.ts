/** What breaks a rule of the Open Inference Protocol gets 400 in the protocol's form, and nothing else is disturbed, on both HTTP drivers. */
import { Agent } from 'node:http';
import { connect } from 'node:net';
import t from 'tap';
import { type DaemonRig, startDaemon } from '../support/daemon-rig.ts';
import { infer } from '../support/inference.ts';
import { ECHO } from './configs.ts';
import { MALFORMED } from './inference-malformed.ts';
import { FILES, MODELS, modelsConfig } from './inference-models.ts';

t.setTimeout(180_000);

const GOOD = JSON.stringify({ inputs: [{ name: 'x', shape: [1, 2], datatype: 'FP32', data: [1, 2] }] });
const names = Object.keys(MODELS);

const pidsOf = async (daemon: DaemonRig): Promise<readonly number[]> =>
  (await Promise.all(names.map((name) => daemon.pids('models', name)))).flat();

for (const server of ['uws', 'node'] as const) {
  t.test(`malformed requests on ${server}`, async (t) => {
    // Batched, so that good and bad ones meet in one frame.
    await using daemon = await startDaemon(modelsConfig(server, { add: { batching: { max_batch_size: 16 } } }), {
      files: { ...FILES, 'echo.ts': ECHO },
    });
    const pids = await pidsOf(daemon);
    t.ok(MALFORMED.length >= 150, `${MALFORMED.length} of them`);
    t.equal(new Set(MALFORMED.map(({ name }) => name)).size, MALFORMED.length, 'each another');
    const agent = new Agent({ keepAlive: true, maxSockets: 8 });
    for (let from = 0; from < MALFORMED.length; from += 8) {
      const some = MALFORMED.slice(from, from + 8);
      const ask = (path: string, body: string | Uint8Array, headers = {}) =>
        daemon.ask(`/v2/models/${path}`, { method: 'POST', body, headers, agent });
      const good = infer(daemon, 'add/infer', GOOD);
      const answers = await Promise.all(some.map(({ path, body, headers }) => ask(path, body, headers)));
      for (const [index, { status, text, headers }] of answers.entries()) {
        const { name } = some[index] as (typeof some)[number];
        t.equal(status, 400, `${name}: ${text}`);
        t.equal(headers['content-type'], 'application/json', name);
        t.equal(headers['x-serve-error'], 'INVALID_INPUT', name);
        const told = JSON.parse(text) as Record<string, unknown>;
        t.same(Object.keys(told), ['error'], name);
        t.match(told['error'], /\w{3,}.* \w/, name);
      }
      t.same((await good).json.outputs[0]?.data, [11, 22], 'a good one among them');
    }
    agent.destroy();
    t.match((await twoLengths(daemon)).split('\r\n\r\n')[1], /^\{"error":"expected one inference-header-content-length header/);
    // Each library refuses one of the two by itself, in words of its own.
    const [twice, what] =
      server === 'uws' ? ['Content-Length: 5\r\nContent-Length: 5', 'content-length'] : ['Host: other', 'host'];
    t.match(
      await send(daemon, twice),
      new RegExp(`^HTTP/1.1 400 .*application/json.*\\{"error":"expected one ${what} header`, 's'),
      'what the driver refuses has the same form',
    );
    t.same(await pidsOf(daemon), pids, 'no replica was replaced');
    t.equal((await daemon.post('/', 'hello')).text, 'hello');
    t.same(
      daemon.log.filter(({ level }) => level >= 50).map(({ msg }) => msg),
      [],
      'and nothing was logged as an error',
    );
  });
}

const send = (daemon: DaemonRig, headers: string): Promise<string> =>
  new Promise((resolve, reject) => {
    const { hostname, port } = new URL(daemon.url);
    const socket = connect(Number(port), hostname, () => {
      socket.write(`POST /v2/models/add/infer HTTP/1.1\r\nHost: h\r\nConnection: close\r\n${headers}\r\n\r\n${GOOD}`);
    });
    let all = '';
    socket.setEncoding('utf8').on('data', (chunk: string) => {
      all += chunk;
    });
    socket.on('close', () => resolve(all)).on('error', reject);
  });

const twoLengths = (daemon: DaemonRig): Promise<string> =>
  send(
    daemon,
    `Content-Length: ${GOOD.length}\r\nInference-Header-Content-Length: ${GOOD.length}\r\nInference-Header-Content-Length: 5`,
  );
