import t from 'tap';
import { RequestBody } from '../../src/dispatch/request-body.ts';
import type { HttpHead } from '../../src/protocol/messages.ts';
import { DataPlane } from '../support/data-plane.ts';
import { applicationRouting, deploymentRouting, routingSnapshot } from '../support/routing.ts';

type Owner = Parameters<typeof DataPlane.start>[0];

const KIB = 1024;
const POST: HttpHead = { method: 'POST', path: '/', query: '', headers: [] };
const TAKES = { bodies: true };

const start = (t: Owner, deployment: Parameters<typeof deploymentRouting>[0] = {}) =>
  DataPlane.start(
    t,
    routingSnapshot([applicationRouting({ deployments: [deploymentRouting(deployment)] })], { a1: 'app/A@v1', a2: 'app/A@v1' }),
  );

const flowing = (onRoom: () => void = () => {}) => {
  const body = new RequestBody(onRoom);
  const sent: string[] = [];
  const target = {
    piece: (bytes: Uint8Array) => void sent.push(String(bytes.byteLength)),
    end: () => void sent.push('end'),
    broken: () => void sent.push('broken'),
  };
  return { body, sent, target };
};

t.test('a body that no replica takes is held up to a bound, and the client is then told to wait', async (t) => {
  let room = 0;
  const { body, sent, target } = flowing(() => room++);
  t.ok(body.push(Buffer.alloc(60 * KIB)));
  t.notOk(body.push(Buffer.alloc(60 * KIB)));
  t.notOk(body.push(Buffer.alloc(1)));
  body.open(target);
  t.same(sent, [String(60 * KIB), String(60 * KIB), '1']);
  t.equal(room, 1);
});

t.test('no more goes to a replica than it has room for, whatever it says that it has read', async (t) => {
  const { body, sent, target } = flowing();
  body.open(target);
  for (let i = 0; i < 8; i++) body.push(Buffer.alloc(64 * KIB));
  t.equal(sent.length, 4, '256 KiB are on their way');
  body.taken(64 * KIB);
  t.equal(sent.length, 5);
  body.taken(Number.MAX_SAFE_INTEGER);
  t.equal(sent.length, 8);
  for (let i = 0; i < 8; i++) body.push(Buffer.alloc(64 * KIB));
  t.equal(sent.length, 9, 'what it said beyond what it had been sent counts for nothing');
});

t.test('the end comes behind all pieces, and says whether they are all', async (t) => {
  const whole = flowing();
  whole.body.push(Buffer.alloc(5));
  whole.body.end();
  whole.body.open(whole.target);
  t.same(whole.sent, ['5', 'end']);
  const broken = flowing();
  broken.body.push(Buffer.alloc(5));
  broken.body.fail();
  broken.body.push(Buffer.alloc(5));
  broken.body.end();
  broken.body.open(broken.target);
  t.same(broken.sent, ['5', 'broken']);
});

t.test('every byte that is held is accounted for once, and none when it is over', async (t) => {
  const { body, target } = flowing();
  let held = 0;
  body.push(Buffer.alloc(1000));
  body.account((bytes) => {
    held += bytes;
  });
  t.equal(held, 1000);
  body.push(Buffer.alloc(2000));
  t.equal(held, 3000);
  body.open(target);
  t.equal(held, 0);
  body.detach();
  body.push(Buffer.alloc(500));
  t.equal(held, 500);
  body.drop();
  body.drop();
  body.push(Buffer.alloc(500));
  t.equal(held, 0);
});

t.test('a replica gets none of a body before it has begun, and then all of it, in order', async (t) => {
  const plane = await start(t);
  const one = await plane.replica('a1', 'app/A', 'v1', TAKES);
  const { body } = flowing();
  const call = plane.call(null, { http: POST, body });
  body.push(Buffer.from('a'));
  await one.until(() => one.batches.length === 1);
  t.match(one.last.members, [{ body: true }]);
  await one.settled();
  t.same(one.bodies, []);
  one.begun();
  await one.until(() => one.bodies.length === 1);
  body.push(Buffer.from('b'));
  body.end();
  await one.until(() => one.bodies.length === 3);
  t.same(one.bodies, ['a', 'b', '(whole)']);
  one.result('done');
  t.equal((await call.over).value, 'done');
});

t.test('a replica that dies before it has begun leaves the body whole for the next', async (t) => {
  const plane = await start(t);
  const one = await plane.replica('a1', 'app/A', 'v1', TAKES);
  const { body } = flowing();
  const call = plane.call(null, { http: POST, body });
  body.push(Buffer.from('a'));
  await one.until(() => one.batches.length === 1);
  const two = await plane.replica('a2', 'app/A', 'v1', TAKES);
  await one.die();
  await two.until(() => two.batches.length === 1);
  two.begun();
  body.end();
  await two.until(() => two.bodies.length === 2);
  t.same(two.bodies, ['a', '(whole)']);
  two.result('done');
  t.same((await call.over).events, ['result']);
});

t.test('what a dead replica has had of a body cannot be given to another, also where the work may be repeated', async (t) => {
  const plane = await start(t, { retry: { idempotent: true, maxAttempts: 5, backoffMs: 0 } });
  const one = await plane.replica('a1', 'app/A', 'v1', TAKES);
  const two = await plane.replica('a2', 'app/A', 'v1', TAKES);
  const { body } = flowing();
  const call = plane.call(null, { http: POST, body });
  body.push(Buffer.from('a'));
  await Promise.race([one.until(() => one.batches.length === 1), two.until(() => two.batches.length === 1)]);
  const [worker, other] = one.batches.length === 1 ? [one, two] : [two, one];
  worker.begun();
  await worker.until(() => worker.bodies.length === 1);
  await worker.die();
  t.same((await call.over).events, ['error REPLICA_DIED']);
  t.equal(other.batches.length, 0);
});

t.test('what comes of a body in the pause before a further try is for that try', async (t) => {
  const plane = await start(t, { retry: { idempotent: true, maxAttempts: 2, backoffMs: 1000 } });
  const one = await plane.replica('a1', 'app/A', 'v1', TAKES);
  const { body } = flowing();
  const call = plane.call(null, { http: POST, body });
  await one.until(() => one.batches.length === 1);
  one.begun();
  await one.settled();
  const two = await plane.replica('a2', 'app/A', 'v1', TAKES);
  await one.die();
  await two.settled();
  body.push(Buffer.from('a'));
  plane.clock.advance(1000);
  await two.until(() => two.batches.length === 1);
  two.begun();
  body.push(Buffer.from('b'));
  body.end();
  await two.until(() => two.bodies.includes('(whole)'));
  t.same(two.bodies, ['a', 'b', '(whole)']);
  two.result('done');
  t.equal((await call.over).value, 'done');
});

t.test('a replica that does not take bodies in pieces is not given one', async (t) => {
  const plane = await start(t);
  const one = await plane.replica('a1');
  const { body } = flowing();
  const call = plane.call(null, { http: POST, body });
  t.same((await call.over).events, ['error UNAVAILABLE']);
  t.equal(one.batches.length, 0);
  const next = plane.call('next');
  await one.until(() => one.batches.length === 1);
  one.result('served');
  t.equal((await next.over).value, 'served', 'its place is free');
});

const BATCHED = {
  batching: { maxBatchSize: 4, waitMs: 0, targetMs: null, maxConcurrentBatches: 1, method: 'call' },
  maxOngoingRequests: 4,
};

t.test('a body in pieces may be in a batch behind one that is whole', async (t) => {
  const plane = await start(t, BATCHED);
  const one = await plane.replica('a1', 'app/A', 'v1', { ...TAKES, brief: true });
  const { body } = flowing();
  const whole = plane.call(Buffer.from('whole'), { http: POST, id: 'whole' });
  const pieces = plane.call(null, { http: POST, body, id: 'pieces' });
  await one.until(() => one.batches.length === 1);
  t.same(one.requests, ['whole', 'pieces']);
  t.match(one.last.members, [{ body: undefined }, { body: true }]);
  const [first, second] = one.last.ids as [number, number];
  one.begun();
  body.push(Buffer.from('a'));
  body.end();
  await one.until(() => one.bodies.length === 2);
  one.result('one', [first]);
  one.result('two', [second]);
  t.same([(await whole.over).value, (await pieces.over).value], ['one', 'two']);
});

t.test('of a batch, a replica that takes no bodies in pieces is given the others', async (t) => {
  const plane = await start(t, BATCHED);
  const one = await plane.replica('a1');
  const { body } = flowing();
  const pieces = plane.call(null, { http: POST, body });
  const whole = plane.call('whole', { id: 'whole' });
  t.same((await pieces.over).events, ['error UNAVAILABLE']);
  await one.until(() => one.batches.length === 1);
  t.same(one.requests, ['whole']);
  one.result('done');
  t.equal((await whole.over).value, 'done');
});

t.test('an answer ends the body: what still comes is let go', async (t) => {
  const plane = await start(t);
  const one = await plane.replica('a1', 'app/A', 'v1', TAKES);
  let room = 0;
  const { body } = flowing(() => room++);
  const call = plane.call(null, { http: POST, body });
  await one.until(() => one.batches.length === 1);
  t.notOk(body.push(Buffer.alloc(100 * KIB)));
  one.result('done');
  await call.over;
  t.equal(room, 1, 'the client is read on');
  t.ok(body.push(Buffer.alloc(100 * KIB)));
  one.begun();
  await one.settled();
  t.same(one.bodies, []);
});
