import { EventEmitter } from 'node:events';
import { connect, type Socket } from 'node:net';
import fc from 'fast-check';
import t from 'tap';
import { BRIEF } from '../../src/protocol/brief.ts';
import { encodeFrame, FRAME, type Frame, PROTOCOL_VERSION, ProtocolError } from '../../src/protocol/frame.ts';
import type { CallMeta, HttpAnswerHead, ResultMeta } from '../../src/protocol/messages.ts';
import { FrameReader } from '../../src/protocol/reader.ts';
import { FROM_DAEMON, FROM_REPLICA } from '../../src/protocol/short-forms.ts';
import { FrameWriter } from '../../src/protocol/writer.ts';
import { DataPlane } from '../support/data-plane.ts';
import { applicationRouting, deploymentRouting, routingSnapshot } from '../support/routing.ts';

/** A socket whose kernel takes what it gets at once, or only when told to: until then the writer must leave the bytes alone. */
class FakeSocket extends EventEmitter {
  readonly destroyed = false;
  writableLength = 0;
  taken = Buffer.alloc(0);
  #held: Uint8Array[] = [];
  slow = false;

  write(bytes: Uint8Array): void {
    this.#held.push(bytes);
    this.writableLength += bytes.byteLength;
    if (!this.slow) this.take();
  }

  take(): void {
    this.taken = Buffer.concat([this.taken, ...this.#held]);
    this.#held = [];
    this.writableLength = 0;
  }

  cork(): void {}
  uncork(): void {}
}

const start = () => {
  const socket = new FakeSocket();
  return { socket, writer: new FrameWriter(socket as unknown as Socket) };
};

/** No line feed is in a header, as both HTTP drivers see to. */
const text = fc.string({ unit: 'binary', maxLength: 40 }).map((each) => each.replaceAll('\n', ' '));
const headers = fc.array(fc.tuple(text, text), { maxLength: 6 }).map((pairs) => pairs.flat());
/** Some above the size that is copied. */
const body = fc.oneof(fc.uint8Array({ maxLength: 40 }), fc.uint8Array({ minLength: 4000, maxLength: 5000 }));
const id = fc.maxSafeNat();
const call = fc.record({
  id,
  requestId: text,
  leftMs: fc.option(fc.double({ min: 0, noNaN: true, noDefaultInfinity: true }), { nil: undefined }),
  http: fc.record({ method: text, path: text, query: text, headers }),
  body,
});
const http = fc.record({ status: fc.integer({ min: 0, max: 65_535 }), headers });
const result = fc.record({ id, http, workMs: fc.double({ noNaN: true }), body });
const written = fc.oneof(
  fc.record({ method: text, calls: fc.array(call, { minLength: 1, maxLength: 4 }), items: fc.boolean() }),
  result,
  fc.record({ meta: fc.dictionary(text, fc.integer()), skeleton: fc.string({ maxLength: 6000 }) }),
);
type Written = typeof written extends fc.Arbitrary<infer Each> ? Each : never;

/** Peers send one of the short forms each; here one stream has both. */
const readAll = (bytes: Buffer, cuts: readonly number[] = [bytes.length], maxFrameBytes = 1_000_000): Frame[] => {
  const frames: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += bytes.readUInt32LE(at)) frames.push(bytes.subarray(at, at + bytes.readUInt32LE(at)));
  const read: Frame[] = [];
  let turn = 0;
  for (const frame of frames) {
    const type = frame.readUInt32LE(4);
    const reader = new FrameReader(maxFrameBytes, type === BRIEF.HTTP_RESULT ? FROM_REPLICA : FROM_DAEMON);
    for (let at = 0; at < frame.length; turn++) {
      const size = cuts[turn % cuts.length] as number;
      reader.push(Buffer.from(frame.subarray(at, at + size)), (each) => read.push(each));
      at += size;
    }
  }
  return read;
};

const write = (writer: FrameWriter, each: Written): void => {
  if ('calls' in each)
    writer.httpCall(each.method, each.items || each.calls.length > 1 ? 'items' : 'one', each.calls, each.items);
  else if ('http' in each) writer.httpResult(each.id, each.http, each.workMs, each.body);
  else writer.write(encodeFrame(FRAME.ERROR, each.meta, [each.skeleton]));
};
const bytesOf = (frame: Frame, index: number) => Buffer.from(frame.segments[index]?.bytes ?? []);
const same = (frame: Frame, each: Written): boolean => {
  if ('calls' in each) {
    const meta = frame.meta as unknown as CallMeta;
    return (
      frame.type === FRAME.CALL &&
      meta.method === each.method &&
      meta.form === (each.items || each.calls.length > 1 ? 'items' : 'one') &&
      meta.calls.length === each.calls.length &&
      each.calls.every((sent, index) => {
        const { id, requestId, leftMs, http } = meta.calls[index] as CallMeta['calls'][number];
        return (
          JSON.stringify([id, requestId, leftMs, http]) === JSON.stringify([sent.id, sent.requestId, sent.leftMs, sent.http]) &&
          bytesOf(frame, index).equals(sent.body)
        );
      })
    );
  }
  if ('http' in each) {
    const { ids, workMs, http } = frame.meta as unknown as ResultMeta;
    const [known] = ids;
    return (
      frame.type === FRAME.RESULT &&
      known === each.id &&
      Object.is(workMs, each.workMs) &&
      http?.status === each.http.status &&
      JSON.stringify(http.headers) === JSON.stringify(each.http.headers) &&
      bytesOf(frame, 0).equals(each.body)
    );
  }
  return frame.type === FRAME.ERROR && Buffer.from(frame.skeletons).equals(Buffer.from(each.skeleton));
};

t.test('what is written in the short form is what is read, in its order, whatever else is written between', async (t) => {
  const cuts = fc.array(fc.integer({ min: 1, max: 3000 }), { minLength: 1, maxLength: 20 });
  fc.assert(
    fc.property(fc.array(written, { minLength: 1, maxLength: 30 }), cuts, fc.array(fc.boolean()), (all, cuts, slow) => {
      const { socket, writer } = start();
      for (const [index, each] of all.entries()) {
        socket.slow = slow[index % Math.max(1, slow.length)] ?? false;
        write(writer, each);
      }
      writer.flush();
      socket.take();
      const read = readAll(socket.taken, cuts);
      return read.length === all.length && read.every((frame, index) => same(frame, all[index] as Written));
    }),
  );
  t.pass();
});

t.test('each body begins at a multiple of 8', async (t) => {
  const { socket, writer } = start();
  const head = { method: 'POST', path: '/', query: '', headers: ['a', 'b'] };
  const calls = [1, 2, 3].map((length) => ({
    id: length,
    requestId: 'r',
    leftMs: 5,
    http: head,
    body: Buffer.alloc(length, length),
  }));
  writer.httpCall('call', 'items', calls, true);
  const whole = Buffer.from(new Uint8Array(socket.taken).buffer);
  new FrameReader(10_000, FROM_DAEMON).push(whole, ({ segments }) => {
    t.same(
      segments.map(({ bytes }) => bytes.byteOffset % 8),
      [0, 0, 0],
    );
  });
});

t.test('whatever bytes stand behind the type of a short form: frames, or a ProtocolError', async (t) => {
  const garbage = fc.record({
    form: fc.constantFrom(
      ...[FROM_DAEMON, FROM_REPLICA].flatMap((forms) => Object.keys(forms).map((type) => ({ type: Number(type), forms }))),
    ),
    // Small numbers in the places of lengths get further than any.
    words: fc.array(fc.oneof(fc.integer({ min: 0, max: 64 }), fc.integer({ min: 0, max: 0xffff_ffff })), { maxLength: 40 }),
  });
  fc.assert(
    fc.property(garbage, ({ form: { type, forms }, words }) => {
      const bytes = Buffer.alloc(Math.ceil((8 + words.length * 4) / 8) * 8 + 8);
      bytes.writeUInt32LE(bytes.length, 0);
      bytes.writeUInt32LE(type, 4);
      for (const [index, word] of words.entries()) bytes.writeUInt32LE(word, 8 + 4 * index);
      try {
        new FrameReader(65_536, forms).push(bytes, ({ segments }) => {
          for (const { bytes: part } of segments) if (part.byteLength > bytes.length) throw new Error('longer than the frame');
        });
        return true;
      } catch (error) {
        return error instanceof ProtocolError;
      }
    }),
    { numRuns: 2000 },
  );
  t.pass();
});

t.test('only the short form that a peer may send is read', async (t) => {
  const { socket, writer } = start();
  writer.httpResult(1, { status: 200, headers: [] }, 1, Buffer.from('x'));
  writer.flush();
  t.throws(() => new FrameReader(1000, FROM_DAEMON).push(socket.taken, () => {}), ProtocolError);
  t.throws(() => new FrameReader(1000).push(socket.taken, () => {}), ProtocolError);
});

t.test('headers of an absurd length are refused before they are taken apart', async (t) => {
  const { socket, writer } = start();
  t.equal(writer.httpResult(1, { status: 200, headers: ['x'.repeat(70_000), ''] }, 1, Buffer.alloc(0)), false);
  writer.flush();
  t.equal(socket.taken.length, 0, 'our own are sent in the long form');
  writer.httpResult(1, { status: 200, headers: [] }, 1, Buffer.alloc(80_000));
  writer.flush();
  const frame = Buffer.from(socket.taken);
  frame.writeUInt32LE(70_000, 8);
  frame.writeUInt32LE(0, 12);
  t.throws(() => new FrameReader(1_000_000, FROM_REPLICA).push(frame, () => {}), /headers of an HTTP_RESULT/);
});

t.test('writers share no memory, whatever the first that each of them sends', async (t) => {
  const [a, b] = [start(), start()];
  for (const [{ writer }, text] of [
    [a, 'aaaaaaaa'],
    [b, 'bbbbbbbb'],
  ] as const) {
    writer.write([Buffer.alloc(5000)], true);
    writer.write([Buffer.alloc(5000), Buffer.from(text)]);
  }
  a.writer.flush();
  b.writer.flush();
  t.equal(a.socket.taken.subarray(-8).toString(), 'aaaaaaaa');
  t.equal(b.socket.taken.subarray(-8).toString(), 'bbbbbbbb');
});

const plane = (t: Parameters<typeof DataPlane.start>[0]) =>
  DataPlane.start(
    t,
    routingSnapshot([applicationRouting({ deployments: [deploymentRouting({ maxOngoingRequests: 4 })] })], { a1: 'app/A@v1' }),
  );
const HTTP = { method: 'POST', path: '/p', query: 'q=1', headers: ['content-type', 'text/plain'] };
const ANSWER: HttpAnswerHead = { status: 201, headers: ['x-a', 'b'] };

/** The short form has no skeleton. */
const SKELETON = { true: '', false: '{"$seg":0}' };

for (const brief of [true, false]) {
  const how = brief ? 'takes the short form gets a request from HTTP in it' : 'does not know the short form gets the long one';
  t.test(`a replica that ${how}`, async (t) => {
    const daemon = await plane(t);
    const replica = await daemon.replica('a1', 'app/A', 'v1', { brief });
    const call = daemon.call(Buffer.from('body'), { http: HTTP, id: 'r1' });
    await replica.until(() => replica.batches.length === 1);
    t.match(replica.last, { form: 'one', method: 'call', requests: ['r1'], text: SKELETON[`${brief}`] });
    t.same(replica.last.members[0]?.http, HTTP);
    t.equal(Buffer.from(replica.last.segments[0]?.bytes ?? []).toString(), 'body');
    replica.result(Buffer.from('well'), undefined, { http: ANSWER });
    await call.over;
    t.same(call.http, ANSWER);
  });
}

t.test('a call that is not from HTTP takes the long form everywhere', async (t) => {
  const daemon = await plane(t);
  const replica = await daemon.replica('a1', 'app/A', 'v1', { brief: true });
  daemon.call(Buffer.from('body'));
  await replica.until(() => replica.batches.length === 1);
  t.equal(replica.last.text, SKELETON.false);
});

t.test('a replica hears WELCOME before its first call', async (t) => {
  const daemon = await plane(t);
  daemon.call('waits');
  const socket = connect(daemon.path);
  const types: number[] = [];
  const reader = new FrameReader(1_000_000, FROM_DAEMON);
  const heard = new Promise<void>((resolve) => {
    socket.on('data', (chunk: Buffer) => {
      reader.push(chunk, ({ type }) => types.push(type));
      if (types.length >= 2) resolve();
    });
  });
  const hello = { protocol: PROTOCOL_VERSION, replica: 'a1', token: daemon.token('a1', 'app/A', 'v1') };
  for (const buffer of encodeFrame(FRAME.HELLO, hello)) socket.write(buffer);
  await heard;
  socket.destroy();
  t.same(types.slice(0, 2), [FRAME.WELCOME, FRAME.CALL]);
});

t.test('a head is that of its own call, however like the one before', async (t) => {
  const { socket, writer } = start();
  const head = { method: 'POST', path: '/', query: '', headers: ['a', 'b'] };
  const heads = [head, head, { ...head, headers: ['a', 'c'] }, { ...head, headers: [] }, head];
  const secure = [false, true, true, false, false];
  for (const [index, http] of heads.entries())
    writer.httpCall(
      'call',
      'one',
      [{ id: index, requestId: `r${index}`, leftMs: 5, http, body: Buffer.alloc(0) }],
      true,
      secure[index],
    );
  const read = readAll(socket.taken).map(({ meta }) => (meta as unknown as CallMeta).calls[0]);
  t.same(
    read.map((member) => [member?.requestId, member?.http]),
    heads.map((http, index) => [`r${index}`, { ...http, secure: secure[index] || undefined }]),
  );
});
