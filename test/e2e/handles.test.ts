/** Handles between real replicas: what crosses them, errors over two hops, calls among arguments, and calls of all replicas. */
import t from 'tap';
import { type DaemonRig, startDaemon, until } from '../support/daemon-rig.ts';
import { configOf } from './configs.ts';

t.setTimeout(120_000);

const CODE = `import { deployment, HttpError } from 'serve-daemon';
export class Deep {
  seen = [];
  constructor(_args, context) { this.rank = context.rank; }
  async fail(how) {
    if (how === 'http') throw new HttpError(418, 'a teapot', { 'x-pot': 'tea' });
    const cause = new TypeError('the middle', { cause: Object.assign(new Error('the root'), { name: 'DiskError' }) });
    throw new RangeError('deep down', { cause });
  }
  async add(a, b) { return a + b; }
  async *count(to) { for (let number = 1; number <= to; number++) yield number; }
  async echo(value) { return value; }
  async note(word) {
    this.seen.push(word);
    if (word === 'bad' && this.rank === 1) throw new RangeError('not here');
    return { word, rank: this.rank, bytes: Uint8Array.of(this.rank) };
  }
  async give(what) { return what === 'class' ? { at: [new this.constructor({}, { rank: 9 })] } : { at: [() => {}] }; }
}
export class Middle {
  constructor({ deep }) { this.deep = deep; }
  async fail(how) { return this.deep.fail(how); }
}
const told = (error) => error && { name: error.name, message: error.message, code: error.code, source: error.source, details: error.details, cause: told(error.cause) };
export class Front {
  constructor({ middle, deep }) { Object.assign(this, { middle, deep }); }
  async call({ test, input }, context) { return this[test](input, context); }
  async caught(how) { return this.middle.fail(how).then(() => 'no error', told); }
  async uncaught(how) { return this.middle.fail(how); }
  async sum() {
    const three = this.deep.add(1, 2);
    return this.deep.echo({ six: this.deep.add(three, three), list: [three, this.deep.count(3)], plain: 'x' });
  }
  async innerFails() { return this.deep.add(this.deep.fail(), 1).then(() => 'no error', told); }
  async refused(what) {
    const given = { function: { at: [() => {}] }, class: { at: [new Middle({})] }, handle: { at: [this.deep] } }[what];
    return this.deep.echo(given).then(() => 'no error', told);
  }
  async gives(what) { return this.deep.give(what).then(() => 'no error', told); }
  async all(word) {
    const settled = await this.deep.broadcast.note(word);
    return settled.map(({ status, value, reason, replica }) => ({ status, replica, rank: value?.rank, bytes: value && [...value.bytes], reason: told(reason) }));
  }
  async requestIds(_input, context) { const call = this.deep.add(1, 1); await call; return [call.requestId, context.requestId]; }
}
const deep = deployment(Deep, { numReplicas: 3 }).bind();
export const app = deployment(Front).bind({ deep, middle: deployment(Middle).bind({ deep }) });
`;
const start = () =>
  startDaemon(configOf([{ name: 'app', route_prefix: '/', import_path: './app.ts:app' }]), { files: { 'app.ts': CODE } });
const ask = async (daemon: DaemonRig, test: string, input: unknown = null, headers = {}): Promise<unknown> =>
  JSON.parse((await daemon.post('/', { test, input }, headers)).text) as unknown;

t.test('an error keeps its name, message, code, causes and deployment over two hops', async (t) => {
  await using daemon = await start();
  t.match(await ask(daemon, 'caught', 'thrown'), {
    name: 'RangeError',
    message: 'deep down',
    code: 'USER_ERROR',
    source: 'app/Deep',
    cause: { name: 'TypeError', message: 'the middle', cause: { name: 'DiskError', message: 'the root' } },
  });
  const http = {
    code: 'HTTP_ERROR',
    message: 'a teapot',
    source: 'app/Deep',
    details: { status: 418, headers: { 'x-pot': 'tea' } },
  };
  t.match(await ask(daemon, 'caught', 'http'), { name: 'HttpError', ...http });
  const { status, text, headers } = await daemon.post('/', { test: 'uncaught', input: 'http' });
  t.same([status, text, headers['x-pot']], [418, 'a teapot', 'tea'], 'up to the client where nobody catches it');
  t.equal((await daemon.post('/', { test: 'uncaught', input: 'thrown' })).status, 500);
});

t.test('results of calls are arguments of others, and so are their errors', async (t) => {
  await using daemon = await start();
  t.same(await ask(daemon, 'sum'), { six: 6, list: [3, [1, 2, 3]], plain: 'x' });
  t.match(await ask(daemon, 'innerFails'), { name: 'RangeError', message: 'deep down', source: 'app/Deep' });
  t.same(await ask(daemon, 'requestIds', null, { 'x-request-id': 'mine' }), ['mine', 'mine']);
});

t.test('what cannot cross is an error that names the path to it, both ways', async (t) => {
  await using daemon = await start();
  t.match(await ask(daemon, 'refused', 'function'), {
    code: 'USER_ERROR',
    message: /`at\[0\]` cannot be encoded: it is a function/,
  });
  t.match(await ask(daemon, 'refused', 'class'), { message: /`at\[0\]` cannot be encoded: it is an instance of Middle/ });
  t.match(await ask(daemon, 'refused', 'handle'), { message: /`at\[0\]` cannot be encoded: it is an instance of Handle/ });
  t.match(await ask(daemon, 'gives', 'function'), { message: /`at\[0\]` .*it is a function/, source: 'app/Deep' });
  t.match(await ask(daemon, 'gives', 'class'), { message: /`at\[0\]` .*an instance of Deep/, source: 'app/Deep' });
});

t.test('a broadcast reaches every replica once, and tells how each has ended in the order of their ranks', async (t) => {
  await using daemon = await start();
  await until('three replicas', async () => (await daemon.pids('app', 'Deep')).length === 3);
  const replicas = [...(await daemon.replicas('app', 'Deep'))].sort((a, b) => (a.rank ?? 0) - (b.rank ?? 0));
  t.match(
    await ask(daemon, 'all', 'good'),
    replicas.map(({ replica_id }, rank) => ({ status: 'fulfilled', replica: replica_id, rank, bytes: [rank] })),
  );
  t.match(await ask(daemon, 'all', 'bad'), [
    { status: 'fulfilled' },
    { status: 'rejected', reason: { name: 'RangeError', message: 'not here', source: 'app/Deep' } },
    { status: 'fulfilled' },
  ]);
});
