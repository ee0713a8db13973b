import t from 'tap';
import { decodeFrame, encodeFrame, FRAME, type Frame, type FrameType } from '../../src/protocol/frame.ts';
import { ChildCalls } from '../../src/replica/child-calls.ts';
import { makeHandle } from '../../src/replica/handle.ts';

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
  calls.within(42, () => handle.call(1));
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
