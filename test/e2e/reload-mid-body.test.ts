/** A reload while the body of a request is on its way: it goes to what is the ingress when it is there. On both drivers. */
import { request } from 'node:http';
import t from 'tap';
import { type DaemonRig, startDaemon, until } from '../support/daemon-rig.ts';
import { configOf, HEAD } from './configs.ts';

t.setTimeout(120_000);

const CODE = `export const one = async (input) => 'one ' + input;
export const two = async (input) => 'two ' + input;
`;
const app = (names: readonly string[], graph: object = {}): object => ({
  name: 'app',
  route_prefix: '/app',
  deployments: names.map((name) => ({ name, import_path: `./code.ts:${name}` })),
  ...graph,
});
const ONE = app(['one']);
const TWO = app(['two']);
const GRAPH = app(['one', 'two'], {
  graph: { steps: { a: { call: 'one', input: '$request.json' }, b: { call: 'two', input: '$a' } } },
});

/** Its first half is sent at once. @returns sends the rest, and resolves with the answer */
const begin = (daemon: DaemonRig): (() => Promise<string>) => {
  const headers = { 'content-type': 'application/json', 'content-length': '6' };
  const out = request(`${daemon.url}/app`, { method: 'POST', headers, agent: false });
  const answer = new Promise<string>((resolve, reject) => {
    out.on('error', reject);
    out.on('response', async (incoming) => {
      let text = '';
      for await (const piece of incoming) text += piece;
      resolve(`${incoming.statusCode} ${text}`);
    });
  });
  out.write('"bo');
  return () => {
    out.end('dy"');
    return answer;
  };
};

const inFlight = async (daemon: DaemonRig): Promise<boolean> =>
  /^serve_http_requests_in_flight 1$/m.test((await daemon.ask('/metrics', {}, daemon.adminUrl)).text);

for (const server of ['uws', 'node'] as const) {
  for (const [what, before, after, expected] of [
    ['another deployment', ONE, TWO, 'two body'],
    ['a graph', ONE, GRAPH, 'two one body'],
    ['a deployment in place of a graph', GRAPH, ONE, 'one body'],
  ] as const) {
    t.test(`${server}: the ingress becomes ${what} while a body comes`, async (t) => {
      const config = (application: object) => configOf([application], HEAD.replace('port: 0}', `port: 0, server: ${server}}`));
      await using daemon = await startDaemon(config(before), { files: { 'code.ts': CODE } });
      const finish = begin(daemon);
      await until('the head of the request is read', () => inFlight(daemon));
      await daemon.save(config(after));
      await until('others are served by the new one', async () => (await daemon.post('/app', 'body')).text === expected);
      t.equal(await finish(), `200 ${expected}`);
    });
  }
}
