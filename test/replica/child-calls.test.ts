import { getEventListeners } from 'node:events';
import t from 'tap';
import { decodeFrame, encodeFrame, FRAME, type Frame, type FrameType } from '../../src/protocol/frame.ts';
import { ChildCalls } from '../../src/replica/child-calls.ts';
import { makeHandle } from '../../src/replica/handle.ts';
import { currentWork } from '../../src/sdk/current-work.ts';

/** A handle `b`, and the daemon's side of it. */
const start = () => {
  const sent: Frame[] = [];
  const calls = new ChildCalls();
  calls.connect({ write: (buffers) => sent.push(decodeFrame(Buffer.concat(buffers))), call: () => false });
  const take = (type: FrameType, meta: object, skeleton?: string) =>
    calls.take(
      decodeFrame(Buffer.concat(encodeFrame(type, meta as Record<string, unknown>, skeleton === undefined ? [] : [skeleton]))),
    );
  const idOf = (index = 0) => (sent[index]?.meta['calls'] as { id: number }[] | undefined)?.[0]?.id as number;
  // biome-ignore lint/suspicious/noExplicitAny: a handle has the methods that are called on it.
  return { sent, calls, take, idOf, handle: makeHandle(calls, 'b') as any };
};

t.test('a call through a handle is sent at once, and its answer is its value', async (t) => {
  const { sent, take, idOf, handle } = start();
  const call = handle.translate({ a: 1 });
  t.match(sent[0]?.meta, { method: 'translate', handle: 'b' });
  t.equal(Buffer.from(sent[0]?.skeletons ?? []).toString(), '{"a":1}');
  take(FRAME.RESULT, { ids: [idOf()] }, '"ja"');
  t.equal(await call, 'ja');
});

t.test('a call with a priority goes in the long form, which has a place for it', async (t) => {
  const sent: Frame[] = [];
  const short: unknown[] = [];
  const calls = new ChildCalls();
  calls.connect({
    write: (buffers) => sent.push(decodeFrame(Buffer.concat(buffers))),
    call: (call) => short.push(call) > 0,
  });
  // biome-ignore lint/suspicious/noExplicitAny: a handle has the methods that are called on it.
  const handle = makeHandle(calls, 'b') as any;
  for (const call of [handle.options({ priority: 0 }).work(), handle.work()]) call.cancel();
  t.match(sent[0]?.meta, { method: 'work', priority: 0 });
  t.equal(short.length, 1);
});

t.test('an error comes back with its code', async (t) => {
  const { take, idOf, handle } = start();
  const call = handle.call(1);
  take(FRAME.ERROR, { ids: [idOf()], error: { code: 'QUEUE_FULL', message: 'full' } });
  await t.rejects(Promise.resolve(call), { code: 'QUEUE_FULL', message: 'full' });
});

t.test('a call that nobody awaits ends nothing when it fails', async (t) => {
  const { take, idOf, handle } = start();
  handle.call(1);
  take(FRAME.ERROR, { ids: [idOf()], error: { code: 'QUEUE_FULL', message: 'full' } });
  await new Promise(setImmediate);
  t.pass();
});

t.test('a call that the daemon cancelled ends for the code that waits', async (t) => {
  const { sent, handle } = start();
  const call = handle.call(1);
  call.cancel();
  await t.rejects(Promise.resolve(call), { code: 'CLIENT_CLOSED' });
  t.match(sent[1], { type: FRAME.CANCEL });
});

t.test('a signal that is aborted already begins nothing, one that is aborted later cancels', async (t) => {
  const { sent, handle } = start();
  const ends = new AbortController();
  await t.rejects(Promise.resolve(handle.options({ signal: AbortSignal.abort() }).call(1)), { code: 'CLIENT_CLOSED' });
  t.same(sent, []);
  const call = handle.options({ signal: ends.signal }).call(1);
  ends.abort();
  await t.rejects(Promise.resolve(call), { code: 'CLIENT_CLOSED' });
  t.same(
    sent.map(({ type }) => type),
    [FRAME.CALL, FRAME.CANCEL],
  );
});

t.test('a signal that outlives its calls keeps nothing of them', async (t) => {
  const { take, idOf, handle } = start();
  const { signal } = new AbortController();
  const patient = handle.options({ signal });
  const [answered, streamed, cancelled] = [patient.call(1), patient.stream(), patient.call(2)];
  t.equal(getEventListeners(signal, 'abort').length, 3);
  take(FRAME.RESULT, { ids: [idOf(0)] }, '1');
  take(FRAME.END, { id: idOf(1) });
  cancelled.cancel();
  t.same(getEventListeners(signal, 'abort'), []);
  await Promise.allSettled([answered, streamed, cancelled]);
});

t.test('what is called for several has their deadline, ends with them, and is the child of none', async (t) => {
  const { sent, calls, handle } = start();
  const ends = new AbortController();
  const { signal: own } = new AbortController();
  const work = { signal: ends.signal, deadline: Date.now() + 60_000 };
  const call = (options: object) => currentWork.run(work, () => handle.options(options).call(1));
  const asked = calls.within({ id: 7, requestId: 'seven' }, () => [
    call({ signal: own }),
    call({ timeoutS: 3600 }),
    call({ timeoutS: 5 }),
  ]);
  const limits = sent.map(({ meta }) => meta['timeoutMs'] as number);
  t.ok(limits.slice(0, 2).every((ms) => ms > 5000 && ms <= 60_000));
  t.equal(limits[2], 5000);
  t.match(sent, Array(3).fill({ meta: { parent: undefined } }));
  ends.abort();
  for (const each of asked) await t.rejects(Promise.resolve(each), { code: 'CLIENT_CLOSED' });
  t.same(
    sent.slice(3).map(({ type }) => type),
    Array(3).fill(FRAME.CANCEL),
  );
  t.same([...getEventListeners(own, 'abort'), ...getEventListeners(ends.signal, 'abort')], [], 'and nothing stays behind');
  await t.rejects(Promise.resolve(call({})), { code: 'CLIENT_CLOSED' });
  t.equal(sent.length, 6, 'nothing more is begun');
});

for (const timeoutS of [Number.POSITIVE_INFINITY, 3_000_000]) {
  t.test(`a call that waits for its arguments may take ${timeoutS} seconds`, async (t) => {
    const delays: unknown[] = [];
    const { setTimeout } = globalThis;
    t.teardown(() => {
      globalThis.setTimeout = setTimeout;
    });
    globalThis.setTimeout = ((work: () => void, ms: number) => {
      delays.push(ms);
      return setTimeout(work, ms);
    }) as typeof setTimeout;
    const { handle } = start();
    const call = handle.options({ timeoutS }).call(handle.call(1));
    t.same(delays, timeoutS === Number.POSITIVE_INFINITY ? [] : [2 ** 31 - 1]);
    call.cancel();
    await t.rejects(Promise.resolve(call), { code: 'CLIENT_CLOSED' });
  });
}

t.test('a call that is given up while it waits for its arguments leaves no timer behind', async (t) => {
  const timers = () => process.getActiveResourcesInfo().filter((each) => each === 'Timeout').length;
  const { handle } = start();
  const before = timers();
  const call = handle.options({ timeoutS: 3600 }).call(handle.call(1));
  t.equal(timers(), before + 1);
  call.cancel();
  await t.rejects(Promise.resolve(call), { code: 'CLIENT_CLOSED' });
  t.equal(timers(), before);
});

t.test('a stream is iterated, and awaited it is a list', async (t) => {
  const { take, idOf, handle } = start();
  const [iterated, awaited] = [handle.stream(), handle.stream()];
  for (const id of [idOf(0), idOf(1)]) {
    take(FRAME.OPEN, { id });
    take(FRAME.CHUNK, { id }, '1');
    take(FRAME.CHUNK, { id }, '2');
    take(FRAME.END, { id });
  }
  const items: number[] = [];
  for await (const item of iterated) items.push(item as number);
  t.same(
    [items, await awaited],
    [
      [1, 2],
      [1, 2],
    ],
  );
});

t.test('leaving a stream early cancels it', async (t) => {
  const { sent, take, idOf, handle } = start();
  const call = handle.stream();
  take(FRAME.OPEN, { id: idOf() });
  take(FRAME.CHUNK, { id: idOf() }, '1');
  for await (const _ of call) break;
  t.equal(sent.at(-1)?.type, FRAME.CANCEL);
});

t.test('a piece of a stream that cannot be read is an error of that call alone', async (t) => {
  const { take, idOf, handle } = start();
  const call = handle.stream();
  take(FRAME.OPEN, { id: idOf() });
  t.doesNotThrow(() => take(FRAME.CHUNK, { id: idOf() }, '{'));
  const outcome = Promise.resolve(call).then(
    () => 'answered',
    () => 'failed',
  );
  t.equal(await Promise.race([outcome, new Promise((resolve) => setImmediate(resolve, 'open'))]), 'failed');
});

t.test('answers to unknown calls are dropped', async (t) => {
  const { take } = start();
  t.doesNotThrow(() => take(FRAME.RESULT, { ids: [99] }, '1'));
});

t.test('calls made in the work of a call name it as their parent', async (t) => {
  const { sent, calls, handle } = start();
  calls.within({ id: 42, requestId: 'r' }, () => handle.call(1));
  handle.call(1);
  t.same(
    sent.map(({ meta }) => meta['parent']),
    [42, undefined],
  );
});

t.test('a handle is no promise and no value', async (t) => {
  const { handle } = start();
  t.equal(await Promise.resolve(handle), handle);
  await t.rejects(Promise.resolve(handle.call(handle)), { code: 'USER_ERROR', message: /Handle/ });
});

const textOf = (frame: Frame | undefined) => Buffer.from(frame?.skeletons ?? []).toString();
const turn = () => new Promise((resolve) => setImmediate(resolve));

t.test(
  'a call is sent when the calls among its arguments have their results, with what else it was given as it was then',
  async (t) => {
    const { sent, take, idOf, handle } = start();
    const bytes = Uint8Array.of(1, 2, 3);
    const [one, two] = [handle.first(), handle.second()];
    const given = { texts: [one, 'b', { deep: two }], twice: two, bytes, plain: { n: 1 } };
    const outer = handle.join(given);
    bytes.fill(9);
    given.plain.n = 2;
    take(FRAME.RESULT, { ids: [idOf(1)] }, '{"$set":[2]}');
    await turn();
    t.equal(sent.length, 2, 'not before all are there');
    take(FRAME.RESULT, { ids: [idOf(0)] }, '"a"');
    await turn();
    t.equal(sent.length, 3);
    t.equal(textOf(sent[2]), '{"texts":["a","b",{"deep":{"$set":[2]}}],"twice":{"$set":[2]},"bytes":{"$seg":0},"plain":{"n":1}}');
    t.same([...(sent[2]?.segments[0]?.bytes ?? [])], [1, 2, 3]);
    take(FRAME.RESULT, { ids: [idOf(2)] }, '"ab"');
    t.equal(await outer, 'ab');
  },
);

t.test('a call may be the whole argument, or one of several; a stream is its list', async (t) => {
  const { sent, take, idOf, handle } = start();
  const items = handle.stream();
  handle.one(items);
  handle.several(1, items);
  take(FRAME.OPEN, { id: idOf(0) });
  for (const item of ['1', '2']) take(FRAME.CHUNK, { id: idOf(0) }, item);
  take(FRAME.END, { id: idOf(0) });
  await turn();
  t.same(sent.slice(1).map(textOf), ['[1,2]', '[1,[1,2]]']);
  t.same(
    sent.slice(1).map(({ meta }) => meta['spread']),
    [undefined, true],
  );
});

t.test('the error of a call among the arguments is that of the call that was given it, which is never sent', async (t) => {
  const { sent, take, idOf, handle } = start();
  const outer = handle.outer({ of: [handle.inner()] });
  take(FRAME.ERROR, { ids: [idOf(0)], error: { code: 'USER_ERROR', name: 'RangeError', message: 'no', source: 'app/B' } });
  await t.rejects(Promise.resolve(outer), { code: 'USER_ERROR', name: 'RangeError', message: 'no', source: 'app/B' });
  await turn();
  t.equal(sent.length, 1);
});

t.test('what cannot cross is told at once, with its path, also beside a call', async (t) => {
  const { sent, handle } = start();
  const outer = handle.outer({ of: [handle.inner(), { at: () => {} }] });
  await t.rejects(Promise.resolve(outer), { code: 'USER_ERROR', message: /`of\[1\]\.at` cannot be encoded: it is a function/ });
  const circle: { self?: unknown; also?: unknown; inner?: unknown } = { inner: handle.inner() };
  circle.self = circle;
  circle.also = circle;
  await t.rejects(Promise.resolve(handle.outer(circle)), { message: /deeper than 64 levels/ });
  t.equal(sent.length, 2, 'the inner ones alone');
});

t.test('a call that is given up before it was sent is never sent', async (t) => {
  const { sent, take, idOf, handle } = start();
  const stop = new AbortController();
  const inner = handle.inner();
  const cancelled = handle.outer(inner);
  const aborted = handle.options({ signal: stop.signal }).outer(inner);
  const late = handle.options({ timeoutS: 0.005 }).outer(inner);
  cancelled.cancel();
  stop.abort();
  await t.rejects(Promise.resolve(cancelled), { code: 'CLIENT_CLOSED' });
  await t.rejects(Promise.resolve(aborted), { code: 'CLIENT_CLOSED' });
  await t.rejects(Promise.resolve(late), { code: 'DEADLINE_EXCEEDED' });
  take(FRAME.RESULT, { ids: [idOf(0)] }, '1');
  t.equal(await inner, 1);
  await turn();
  t.equal(sent.length, 1, 'nor is anything cancelled that the daemon does not know');
});

t.test('a call that waits for its arguments stays a child of the call that made it, and its time goes on', async (t) => {
  const { sent, calls, take, idOf, handle } = start();
  calls.within({ id: 42, requestId: 'r' }, () => handle.options({ timeoutS: 3600 }).outer(handle.inner()));
  take(FRAME.RESULT, { ids: [idOf(0)] }, '1');
  await turn();
  t.equal(sent[1]?.meta['parent'], 42);
  const timeoutMs = Number(sent[1]?.meta['timeoutMs']);
  t.ok(timeoutMs < 3_600_000 && timeoutMs > 3_000_000, `${timeoutMs}`);
});

t.test('a call says of which request it is', async (t) => {
  const calls = new ChildCalls('app/A/1');
  calls.connect({ write: () => {}, call: () => true });
  // biome-ignore lint/suspicious/noExplicitAny: a handle has the methods that are called on it.
  const handle = makeHandle(calls, 'b') as any;
  t.equal(calls.within({ id: 1, requestId: 'request 1' }, () => handle.call(1)).requestId, 'request 1');
  t.equal(handle.call(1).requestId, 'app/A/1', 'in the work of none: of this replica');
});

t.test('an option names the method that `call` calls', async (t) => {
  const { sent, handle } = start();
  const named = handle.options({ method: 'translate' }).options({ modelId: 'm' });
  named.call(1);
  named.other(1);
  t.match(sent[0]?.meta, { method: 'translate', modelId: 'm' });
  t.match(sent[1]?.meta, { method: 'other' });
});

t.test('a call whose options cannot be sent fails, and holds no place', async (t) => {
  const atOnce: boolean[] = [];
  const calls = new ChildCalls();
  calls.connect({ write: (_, now) => atOnce.push(now), call: () => false });
  // biome-ignore lint/suspicious/noExplicitAny: a handle has the methods that are called on it.
  const handle = makeHandle(calls, 'b') as any;
  await t.rejects(Promise.resolve(handle.options({ priority: 1n }).call(1)), TypeError);
  handle.call(1);
  t.same(atOnce, [true], 'the next one is the only one under way');
});
