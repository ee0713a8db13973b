import fc from 'fast-check';
import t from 'tap';
import {
  decodeFrame,
  encodeFrame,
  FRAME,
  type Frame,
  HEADER_BYTES,
  type OutgoingSegment,
  ProtocolError,
} from '../../src/protocol/frame.ts';
import { FrameReader } from '../../src/protocol/reader.ts';
import { DTYPES, type Dtype } from '../../src/protocol/value.ts';

const dtypes = fc.constantFrom(...(Object.keys(DTYPES).filter((dtype) => dtype !== 'string') as Dtype[]));
/** Segments cut in any number of parts, empty ones included, some above the size that is copied. */
const segments = fc.oneof(
  fc
    .record({ dtype: dtypes, rows: fc.integer({ min: 0, max: 40 }), columns: fc.integer({ min: 0, max: 30 }), cut: fc.nat() })
    .map(({ dtype, rows, columns, cut }): OutgoingSegment => {
      const bytes = Buffer.alloc(rows * columns * DTYPES[dtype], rows + 1);
      const at = bytes.length === 0 ? 0 : cut % bytes.length;
      return { dtype, shape: [rows, columns], parts: [bytes.subarray(0, at), bytes.subarray(at)] };
    }),
  fc.uint8Array({ maxLength: 6000 }).map((bytes): OutgoingSegment => ({ dtype: 'bytes', shape: null, parts: [bytes] })),
);
const frames = fc.record({
  type: fc.constantFrom(...Object.values(FRAME)),
  meta: fc.dictionary(fc.string(), fc.jsonValue()).map((meta) => {
    const { segs: _, ...rest } = meta;
    return JSON.parse(JSON.stringify(rest)) as Record<string, unknown>;
  }),
  skeletons: fc.array(fc.string({ unit: 'binary' }), { maxLength: 3 }),
  segments: fc.array(segments, { maxLength: 4 }),
});
type Written = typeof frames extends fc.Arbitrary<infer Each> ? Each : never;

const written = ({ type, meta, skeletons, segments }: Written) => Buffer.concat(encodeFrame(type, meta, skeletons, segments));
const same = (frame: Frame, { type, meta, skeletons, segments }: Written): boolean => {
  const { segs: _, ...rest } = frame.meta as Record<string, unknown>;
  return (
    frame.type === type &&
    JSON.stringify(rest) === JSON.stringify(meta) &&
    Buffer.compare(frame.skeletons, Buffer.concat(skeletons.map((text) => Buffer.from(text, 'utf8')))) === 0 &&
    frame.segments.length === segments.length &&
    frame.segments.every(({ dtype, shape, bytes }, index) => {
      const sent = segments[index];
      return (
        sent !== undefined &&
        dtype === sent.dtype &&
        shape?.join() === sent.shape?.join() &&
        Buffer.compare(bytes, Buffer.concat(sent.parts)) === 0
      );
    })
  );
};

t.test('what is encoded is what is decoded', async (t) => {
  fc.assert(fc.property(frames, (each) => same(decodeFrame(written(each)), each)));
  t.pass();
});

t.test('a frame is a multiple of 8 long, and each of its segments begins at one', async (t) => {
  fc.assert(
    fc.property(frames, (each) => {
      const whole = Buffer.from(new Uint8Array(written(each)).buffer);
      return (
        whole.length % 8 === 0 &&
        whole.readUInt32LE(0) === whole.length &&
        decodeFrame(whole).segments.every(({ bytes }) => (bytes.byteOffset - whole.byteOffset) % 8 === 0)
      );
    }),
  );
  t.pass();
});

t.test('a reader gives the frames of a stream however it is cut into chunks', async (t) => {
  const cuts = fc.array(fc.integer({ min: 1, max: 400 }), { minLength: 1, maxLength: 50 });
  fc.assert(
    fc.property(fc.array(frames, { minLength: 1, maxLength: 6 }), cuts, (all, cuts) => {
      const stream = Buffer.concat(all.map(written));
      const reader = new FrameReader(1_000_000);
      const read: Frame[] = [];
      for (let at = 0, turn = 0; at < stream.length; turn++) {
        const size = cuts[turn % cuts.length] as number;
        // A chunk of its own, as the next read of a socket may reuse nothing of the last.
        reader.push(Buffer.from(stream.subarray(at, at + size)), (frame) => read.push(frame));
        at += size;
      }
      return read.length === all.length && read.every((frame, index) => same(frame, all[index] as Written));
    }),
  );
  t.pass();
});

t.test('many frames in one chunk are read, and a header that comes byte by byte', async (t) => {
  const frame = Buffer.concat(encodeFrame(FRAME.PING, { n: 1 }));
  const reader = new FrameReader(1000);
  let count = 0;
  reader.push(Buffer.concat(Array.from({ length: 100 }, () => frame)), () => count++);
  t.equal(count, 100);
  for (const byte of frame) reader.push(Buffer.of(byte), () => count++);
  t.equal(count, 101);
});

t.test('a frame of a header alone is a frame: its meta is missing', async (t) => {
  const bytes = Buffer.alloc(HEADER_BYTES);
  bytes.writeUInt32LE(HEADER_BYTES, 0);
  bytes.writeUInt32LE(FRAME.PING, 4);
  t.throws(() => new FrameReader(1000).push(bytes, () => {}), ProtocolError);
  const pieces = new FrameReader(1000);
  t.throws(() => {
    for (const byte of bytes) pieces.push(Buffer.of(byte), () => {});
  }, ProtocolError);
});

t.test('a frame over the limit is refused by its first bytes, before anything is allocated for it', async (t) => {
  const bytes = Buffer.alloc(HEADER_BYTES);
  bytes.writeUInt32LE(1008, 0);
  bytes.writeUInt32LE(FRAME.PING, 4);
  t.throws(() => new FrameReader(1000).push(bytes, () => {}), { name: 'ProtocolError', message: /over the limit/ });
  t.doesNotThrow(() => new FrameReader(1008).push(bytes, () => {}));
  for (const length of [0, 8, 15, 17, 0xffff_fff9]) {
    bytes.writeUInt32LE(length, 0);
    t.throws(() => new FrameReader(2 ** 32).push(bytes, () => {}), ProtocolError, `length ${length}`);
  }
});

t.test('whatever bytes a peer sends: frames, or a ProtocolError', async (t) => {
  const reader = (bytes: Uint8Array) => {
    try {
      new FrameReader(65_536).push(Buffer.from(bytes), () => {});
      return true;
    } catch (error) {
      return error instanceof ProtocolError;
    }
  };
  fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), reader));
  const bitten = fc.tuple(frames, fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 8 }));
  fc.assert(
    fc.property(bitten, ([frame, bites]) => {
      const bytes = written(frame);
      for (const [at, value] of bites) bytes[at % Math.min(bytes.length, 120)] = value;
      return reader(bytes);
    }),
    { numRuns: 500 },
  );
  t.pass();
});

const raw = (meta: string, payload = 0) => {
  const bytes = Buffer.alloc(Math.ceil((HEADER_BYTES + meta.length) / 8) * 8 + payload);
  bytes.writeUInt32LE(bytes.length, 0);
  bytes.writeUInt32LE(FRAME.RESULT, 4);
  bytes.writeUInt32LE(meta.length, 8);
  bytes.write(meta, HEADER_BYTES);
  return bytes;
};
const malformed: Readonly<Record<string, string>> = {
  'a table that is no list': '{"segs":5}',
  'a row that is too short': '{"segs":[["float32",[1]]]}',
  'an unknown dtype': '{"segs":[["float128",[1],4]]}',
  'a dtype of the prototype': '{"segs":[["constructor",[1],4]]}',
  'a negative length': '{"segs":[["bytes",null,-8]]}',
  'a length that is no whole number': '{"segs":[["bytes",null,0.5]]}',
  'a length beyond the frame': '{"segs":[["bytes",null,17]]}',
  'lengths that are together beyond the frame': '{"segs":[["bytes",null,9],["bytes",null,8]]}',
  'an immense length': '{"segs":[["bytes",null,9007199254740991]]}',
  'a shape that does not fit': '{"segs":[["float32",[3],16]]}',
  'a negative extent': '{"segs":[["float32",[-1,-4],16]]}',
  'a shape of texts': '{"segs":[["float32",["4"],16]]}',
  'a shape of 33 extents': `{"segs":[["float32",[${Array(33).fill(1)}],4]]}`,
  'no JSON': '{"segs":',
  'a list': '[]',
  null: 'null',
};
for (const [what, meta] of Object.entries(malformed)) {
  t.test(`a frame whose meta has ${what} is a ProtocolError`, async (t) => {
    t.throws(() => decodeFrame(raw(meta, 16)), ProtocolError);
  });
}

t.test('a table of more than 65,536 segments is refused', async (t) => {
  t.throws(() => decodeFrame(raw(`{"segs":[${Array(65_537).fill('["bytes",null,0]')}]}`)), ProtocolError);
});

t.test('a frame of more than 2 GiB says its own length, or is refused', async (t) => {
  // Zero pages that nobody touches: they cost nothing.
  const large = new Uint8Array(2 ** 31 + 8);
  const buffers = encodeFrame(FRAME.CALL, {}, [], [{ dtype: 'bytes', shape: null, parts: [large] }]);
  const length = buffers.reduce((sum, buffer) => sum + buffer.byteLength, 0);
  t.equal((buffers[0] as Buffer).readUInt32LE(0), length);
});

t.test('a frame of more than 4 GiB is refused', async (t) => {
  const part = new Uint8Array(2 ** 30);
  const parts = [part, part, part, part];
  t.throws(() => encodeFrame(FRAME.CALL, {}, [], [{ dtype: 'bytes', shape: null, parts }]), RangeError);
});
