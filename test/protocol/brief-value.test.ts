/** The short forms of calls and results that carry a value, and of BEGUN: what is written is what is read, and nothing else gets through. */
import { EventEmitter } from 'node:events';
import type { Socket } from 'node:net';
import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import t from 'tap';
import { BRIEF } from '../../src/protocol/brief.ts';
import { idsBegun } from '../../src/protocol/brief-begun.ts';
import type { ValueCall } from '../../src/protocol/brief-value.ts';
import { FRAME, type Frame, ProtocolError } from '../../src/protocol/frame.ts';
import type { CallMeta, ResultMeta } from '../../src/protocol/messages.ts';
import { FrameReader } from '../../src/protocol/reader.ts';
import { BEGUN_ONLY, FROM_DAEMON, FROM_REPLICA, type ShortForms } from '../../src/protocol/short-forms.ts';
import type { Segment, WireValue } from '../../src/protocol/value.ts';
import { FrameWriter } from '../../src/protocol/writer.ts';
import { DataPlane } from '../support/data-plane.ts';
import { applicationRouting, deploymentRouting, routingSnapshot } from '../support/routing.ts';

/** Takes all that it gets at once. */
class FakeSocket extends EventEmitter {
  readonly destroyed = false;
  readonly writableLength = 0;
  taken = Buffer.alloc(0);

  write(bytes: Uint8Array): void {
    this.taken = Buffer.concat([this.taken, bytes]);
  }

  cork(): void {}
  uncork(): void {}
}

/** What a writer sends. */
const sent = (write: (writer: FrameWriter) => void): Buffer => {
  const socket = new FakeSocket();
  const writer = new FrameWriter(socket as unknown as Socket);
  write(writer);
  writer.flush();
  return socket.taken;
};
const readAll = (bytes: Buffer, forms: ShortForms): Frame[] => {
  const frames: Frame[] = [];
  new FrameReader(2 ** 20, forms).push(bytes, (frame) => frames.push(frame));
  return frames;
};
const first = (bytes: Buffer, forms: ShortForms): Frame => readAll(bytes, forms)[0] as Frame;

const word = fc.string({ unit: 'binary', maxLength: 20 }).map((each) => each.replaceAll('\n', ' '));
const given = fc.option(
  word.filter((each) => each !== ''),
  { nil: undefined },
);
const SIZES = { uint8: 1, float32: 4, int64: 8 } as const;
const tensor = fc
  .tuple(fc.constantFrom('uint8' as const, 'float32' as const, 'int64' as const), fc.array(fc.nat(4), { maxLength: 4 }))
  .map(([dtype, shape]): Segment => {
    const elements = shape.reduce((product, extent) => product * extent, 1);
    return { dtype, shape, bytes: new Uint8Array(elements * SIZES[dtype]).fill(7) };
  });
const flat = fc
  .oneof(fc.uint8Array({ maxLength: 30 }), fc.uint8Array({ minLength: 4000, maxLength: 5000 }))
  .map((bytes): Segment => ({ dtype: 'bytes', shape: null, bytes }));
const value = fc.record({
  skeleton: fc.oneof(
    fc.string(),
    fc.string().map((each) => Buffer.from(each)),
  ),
  segments: fc.array(fc.oneof(tensor, flat), { maxLength: 4 }),
});
const call = fc.record({
  id: fc.maxSafeNat(),
  limitMs: fc.option(fc.double({ min: 0, noNaN: true }), { nil: undefined }),
  parent: fc.option(fc.maxSafeNat(), { nil: undefined }),
  spread: fc.boolean(),
  fields: fc.tuple(word, word, given, given),
  value,
});

const shapesOf = (segments: readonly Segment[]) => segments.map(({ dtype, shape }) => [dtype, shape]);
const sameValue = (frame: Frame, { skeleton, segments }: WireValue): boolean =>
  Buffer.from(frame.skeletons).equals(Buffer.from(skeleton as string)) &&
  isDeepStrictEqual(shapesOf(frame.segments), shapesOf(segments)) &&
  frame.segments.every(({ bytes }, index) => Buffer.from(bytes).equals(Buffer.from((segments[index] as Segment).bytes)));

t.test('a call is read as it was written, by the daemon and by a replica', async (t) => {
  fc.assert(
    fc.property(fc.array(call, { minLength: 1, maxLength: 5 }), (calls) => {
      const bytes = sent((writer) => {
        for (const [index, each] of calls.entries())
          if (!writer.valueCall(each, index % 2 === 0)) throw new Error('it has no short form');
      });
      const byDaemon = readAll(bytes, FROM_REPLICA);
      const byReplica = readAll(bytes, FROM_DAEMON);
      return calls.every(({ id, limitMs, parent, spread, fields: [handle, method, modelId, sessionId], value }, index) => {
        const [daemon, replica] = [byDaemon[index] as Frame, byReplica[index] as Frame];
        const both = { method, form: 'one', spread: spread || undefined };
        const named = { modelId, sessionId };
        const asHandle = { ...both, calls: [{ id, requestId: '' }], parent, handle, timeoutMs: limitMs, ...named };
        const asMember = { ...both, calls: [{ id, requestId: handle, leftMs: limitMs, ...named }] };
        return (
          isDeepStrictEqual(daemon.meta, asHandle) &&
          isDeepStrictEqual(replica.meta, asMember) &&
          [daemon, replica].every((frame) => frame.type === FRAME.CALL && sameValue(frame, value))
        );
      });
    }),
  );
  t.pass();
});

t.test('a result is read as it was written', async (t) => {
  fc.assert(
    fc.property(fc.maxSafeNat(), fc.double(), value, (id, workMs, value) => {
      const frame = first(
        sent((writer) => writer.valueResult(id, workMs, value, true)),
        FROM_REPLICA,
      );
      const meta = frame.meta as unknown as ResultMeta;
      return frame.type === FRAME.RESULT && meta.ids[0] === id && Object.is(meta.workMs, workMs) && sameValue(frame, value);
    }),
  );
  t.pass();
});

t.test('BEGUN is read as it was written', async (t) => {
  fc.assert(
    fc.property(fc.array(fc.maxSafeNat(), { maxLength: 40 }), (ids) => {
      const frame = first(idsBegun(ids), BEGUN_ONLY);
      return frame.type === FRAME.BEGUN && isDeepStrictEqual(frame.meta, { ids });
    }),
  );
  t.pass();
});

const NOTHING: WireValue = { skeleton: 'null', segments: [] };
const CALL: ValueCall = { id: 1, limitMs: 5, parent: 2, spread: false, fields: ['h', 'call', 'm', undefined], value: NOTHING };
const bytes = (content: Uint8Array, shape: readonly number[] | null = null): Segment => ({
  dtype: 'uint8',
  shape,
  bytes: content,
});

t.test('what the short form cannot say is left to the long one', async (t) => {
  const long = { skeleton: 'x'.repeat(20_000), segments: [] };
  const none: readonly ValueCall[] = [
    { ...CALL, fields: ['two\nlines', 'call', undefined, undefined] },
    { ...CALL, fields: ['h', 'two\nlines', undefined, undefined] },
    { ...CALL, fields: ['h', 'call', 'two\nlines', undefined] },
    { ...CALL, fields: ['h', 'call', undefined, ''] },
    { ...CALL, fields: ['h', 'call', 5 as unknown as string, undefined] },
    { ...CALL, value: long },
    { ...CALL, value: { skeleton: '0', segments: Array.from({ length: 256 }, () => bytes(new Uint8Array(1))) } },
    { ...CALL, value: { skeleton: '0', segments: [bytes(new Uint8Array(0), [2 ** 33, 0])] } },
  ];
  for (const each of none) {
    const taken = sent((writer) => t.equal(writer.valueCall(each, true), false));
    t.equal(taken.length, 0, 'nothing is written');
  }
  t.equal(sent((writer) => t.equal(writer.valueResult(1, 1, long, true), false)).length, 0);
});

t.test('a short frame that is not what it says is a ProtocolError', async (t) => {
  const whole: WireValue = { skeleton: '{"$seg":0}', segments: [bytes(new Uint8Array(8), [2, 4])] };
  const frames = {
    call: sent((writer) => writer.valueCall({ ...CALL, value: whole }, true)),
    result: sent((writer) => writer.valueResult(1, 1, whole, true)),
    begun: idsBegun([1, 2, 3]),
  };
  const broken: readonly (readonly [string, keyof typeof frames, (frame: Buffer) => unknown, RegExp])[] = [
    ['fewer fields', 'call', (frame) => frame.writeUInt32LE(3, 8), /number of fields/],
    ['more fields', 'call', (frame) => frame.fill('\n', 64, 71), /number of fields/],
    ['a text beyond its end', 'call', (frame) => frame.writeUInt32LE(5000, 8), /longer than its frame/],
    ['a skeleton beyond its end', 'call', (frame) => frame.writeUInt32LE(0xffff_ffff, 12), /longer than its frame/],
    ['a limit that is no number', 'call', (frame) => frame.writeDoubleLE(Number.NaN, 24), /is none/],
    ['a parent that is no number', 'call', (frame) => frame.writeDoubleLE(Number.NaN, 32), /is none/],
    ['more segments than may be', 'call', (frame) => frame.writeUInt16LE(256, 40), /the limit is 255/],
    ['an unknown dtype', 'call', (frame) => frame.writeUInt8(14, 48), /unknown dtype 14/],
    ['an extent too few', 'call', (frame) => frame.writeUInt8(1, 49), /a segment of shape \[2\] uint8 has 8 bytes/],
    ['too many extents', 'call', (frame) => frame.writeUInt8(254, 49), /longer than its frame/],
    ['a shape of other bytes', 'call', (frame) => frame.writeUInt32LE(3, 56), /a segment of shape \[3, 4\] uint8 has 8 bytes/],
    ['more segments than may be', 'result', (frame) => frame.writeUInt32LE(0xffff_ffff, 8), /the limit is 255/],
    ['more segments than it has', 'result', (frame) => frame.writeUInt32LE(9, 8), /dtype|longer than its frame/],
    ['a skeleton beyond its end', 'result', (frame) => frame.writeUInt32LE(5000, 12), /longer than its frame/],
    [
      'a segment beyond its end',
      'result',
      (frame) => frame.writeUInt32LE(5000, 36).valueOf() + frame.writeUInt8(255, 33),
      /longer/,
    ],
    ['more ids than it has', 'begun', (frame) => frame.writeUInt32LE(4, 8), /fewer ids/],
  ];
  for (const [what, kind, spoil, message] of broken) {
    const frame = Buffer.from(frames[kind]);
    t.equal(readAll(frame, FROM_REPLICA).length, 1, 'it is sound');
    spoil(frame);
    t.throws(() => readAll(frame, FROM_REPLICA), { name: 'ProtocolError', message }, `${kind}: ${what}`);
  }
  for (const type of [BRIEF.VALUE_CALL, BRIEF.VALUE_RESULT]) {
    const tiny = Buffer.alloc(16);
    tiny.writeUInt32LE(16, 0);
    tiny.writeUInt32LE(type, 4);
    t.throws(() => readAll(tiny, FROM_REPLICA), /shorter than its head/);
  }
  t.throws(() => readAll(frames.result, BEGUN_ONLY), ProtocolError, 'it has no place there');
  t.throws(() => readAll(frames.begun, FROM_DAEMON), ProtocolError, 'the daemon begins nothing');
});

const plane = (t: Parameters<typeof DataPlane.start>[0]) =>
  DataPlane.start(
    t,
    routingSnapshot(
      [
        applicationRouting({
          deployments: [deploymentRouting({ maxOngoingRequests: 4 }), deploymentRouting({ name: 'B' })],
          calls: { A: { b: { application: 'app', deployment: 'B', method: 'call' } } },
        }),
      ],
      { a1: 'app/A@v1', b1: 'app/B@v1' },
    ),
  );

for (const briefValues of [true, false]) {
  t.test(`calls between replicas that ${briefValues ? 'take' : 'do not know'} the short forms`, async (t) => {
    const daemon = await plane(t);
    const a = await daemon.replica('a1', 'app/A', 'v1', { briefValues });
    const b = await daemon.replica('b1', 'app/B', 'v1', { briefValues });
    const call = daemon.call('work', { id: 'r1' });
    await a.until(() => a.batches.length === 1);
    const value = { skeleton: '[1,2]', segments: [] };
    const child = { id: 7, limitMs: undefined, parent: a.lastId, spread: true, value } as const;
    // The long form is taken from every replica.
    if (briefValues) a.raw(sent((writer) => writer.valueCall({ ...child, fields: ['b', 'm', undefined, undefined] }, true)));
    else a.call(7, 'b', [1, 2], { parent: a.lastId, method: 'm', spread: true });
    await b.until(() => b.batches.length === 1);
    t.match(b.last, { method: 'm', form: 'one', spread: true, requests: ['r1'], text: '[1,2]' });
    if (briefValues) b.raw(sent((writer) => writer.valueResult(b.lastId, 1, { skeleton: '"well"', segments: [] }, true)));
    else b.result('well');
    await a.until(() => a.answers.length === 1);
    t.same(a.answers, ['RESULT 7 "well"']);
    a.result('done');
    await call.over;
    t.same(call.events, ['result']);
    t.same(a.shortTypes, briefValues ? [BRIEF.VALUE_CALL, BRIEF.VALUE_RESULT] : []);
    t.same(b.shortTypes, briefValues ? [BRIEF.VALUE_CALL] : []);
  });
}

t.test('a broken short frame ends the link of the replica that sent it, and no other', async (t) => {
  const daemon = await plane(t);
  const a = await daemon.replica('a1', 'app/A', 'v1', { briefValues: true });
  const b = await daemon.replica('b1', 'app/B', 'v1', { briefValues: true });
  const call = daemon.call('work');
  await a.until(() => a.batches.length === 1);
  a.begun();
  const frame = sent((writer) => writer.valueResult(a.lastId, 1, NOTHING, true));
  frame.writeUInt32LE(9, 8);
  a.raw(frame);
  await call.over;
  t.same(call.events, ['error REPLICA_DIED']);
  await b.settled();
  t.equal(b.closed, false);
});

t.test('the id of a call is checked as in the long form', async (t) => {
  const daemon = await plane(t);
  const a = await daemon.replica('a1', 'app/A', 'v1', { briefValues: true });
  await daemon.replica('b1', 'app/B', 'v1', { briefValues: true });
  for (const id of [-1, 0.5, Number.NaN, 2 ** 60]) {
    const before = a.refusals.length;
    const child = { ...CALL, id, parent: undefined, fields: ['b', 'call', undefined, undefined] } as const;
    a.raw(sent((writer) => writer.valueCall(child, true)));
    await a.until(() => a.refusals.length > before);
    t.match(a.refusals.at(-1), /not one that a replica may give/);
  }
});

t.test('the short form has every field of the long one but what sends a call the long way', async (t) => {
  // A call with one of these goes in the long form.
  const known: Record<Exclude<keyof CallMeta, 'priority' | 'broadcast'>, true> = {
    method: true,
    calls: true,
    form: true,
    spread: true,
    parent: true,
    handle: true,
    timeoutMs: true,
    modelId: true,
    sessionId: true,
  };
  const { meta } = first(
    sent((writer) => writer.valueCall(CALL, true)),
    FROM_REPLICA,
  );
  t.same(Object.keys(meta).sort(), Object.keys(known).sort());
});
