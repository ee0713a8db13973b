/** What a replica makes of what it reads on its data link, one read after the other. */
import { EventEmitter } from 'node:events';
import type { Socket } from 'node:net';
import t from 'tap';
import { encodeFrame, FRAME, type Frame } from '../../src/protocol/frame.ts';
import { FrameReader } from '../../src/protocol/reader.ts';
import { ChildCalls } from '../../src/replica/child-calls.ts';
import type { IncomingBatch } from '../../src/replica/engine.ts';
import { Models } from '../../src/replica/models.ts';
import { Runner } from '../../src/replica/runner.ts';

/** Takes what is written. */
class Wire extends EventEmitter {
  readonly frames: Frame[] = [];
  readonly writable = true;
  readonly #reader = new FrameReader(2 ** 20);
  write(bytes: Uint8Array): boolean {
    this.#reader.push(Buffer.from(bytes), (frame) => this.frames.push(frame));
    return true;
  }
  cork(): void {}
  uncork(): void {}
}

const start = async () => {
  const [data, begun] = [new Wire(), new Wire()];
  const intake = Runner.intake();
  const runner = new Runner(data as unknown as Socket, intake, new ChildCalls(), new Models(() => {}));
  const ran: IncomingBatch[] = [];
  runner.serve({ methods: {}, describes: undefined, run: (batch: IncomingBatch) => ran.push(batch) } as never);
  /** All of it in one read. */
  const read = (...frames: Uint8Array[][]) => {
    const { buffer, callback } = intake.onread;
    const into = (buffer as () => Buffer)();
    const bytes = Buffer.concat(frames.flat());
    bytes.copy(into);
    callback(bytes.length, into);
  };
  const welcomed = runner.begin({ replica: 'r' });
  read(encodeFrame(FRAME.WELCOME, {}));
  await welcomed;
  const opened = runner.openBegun(begun as unknown as Socket, { replica: 'r' });
  begun.emit('data', Buffer.concat(encodeFrame(FRAME.WELCOME, {})));
  await opened;
  /** Ids of what was told to have begun. */
  const begunIds = () => begun.frames.filter(({ type }) => type === FRAME.BEGUN).flatMap(({ meta }) => meta['ids'] as number[]);
  const answered = () =>
    data.frames.filter(({ type }) => type === FRAME.ERROR).map(({ meta }) => meta as Record<string, unknown>);
  return { runner, ran, read, begunIds, answered };
};

const member = (id: number, more: object = {}) => ({ id, requestId: `r${id}`, ...more });
const call = (...ids: number[]) =>
  encodeFrame(FRAME.CALL, { method: 'call', form: 'one', calls: ids.map((id) => member(id)) }, ['1']);
const items = (...ids: number[]) =>
  encodeFrame(
    FRAME.CALL,
    { method: 'call', form: 'items', calls: ids.map((id) => member(id, { sk: 1, n: 0 })) },
    ids.map(() => '1'),
  );
const rows = (...ids: number[]) =>
  encodeFrame(FRAME.CALL, { method: 'call', form: 'rows', calls: ids.map((id) => member(id, { rows: 1 })) }, ['1']);
const cancel = (...ids: number[]) => encodeFrame(FRAME.CANCEL, { ids });
const idsOf = (batches: readonly IncomingBatch[]) => batches.map(({ calls }) => calls.map(({ id }) => id));

t.test('what is read together is told to have begun before any of it runs', async (t) => {
  const { ran, read, begunIds } = await start();
  read(call(1), call(2));
  t.same(begunIds(), [1, 2]);
  t.same(idsOf(ran), [[1], [2]]);
});

t.test('a call whose cancel comes right behind it is not begun', async (t) => {
  const { ran, read, begunIds, answered } = await start();
  read(call(1), call(2), cancel(1));
  t.same(begunIds(), [2]);
  t.same(idsOf(ran), [[2]]);
  await new Promise(setImmediate);
  t.match(answered(), [{ ids: [1], error: { code: 'CLIENT_CLOSED' } }]);
  read(call(3), cancel(3));
  t.same(begunIds(), [2]);
  t.equal(ran.length, 1);
});

t.test('of a batch of items the others run; what is stacked runs unless all of it is cancelled', async (t) => {
  const { ran, read, answered } = await start();
  read(items(1, 2, 3), cancel(2));
  t.same(idsOf(ran), [[1, 3]]);
  read(rows(4, 5), cancel(5));
  t.same(idsOf(ran), [
    [1, 3],
    [4, 5],
  ]);
  read(rows(6, 7), cancel(6, 7));
  t.equal(ran.length, 2);
  await new Promise(setImmediate);
  t.same(
    answered().map(({ ids }) => ids),
    [[2], [6, 7]],
  );
});

t.test('one that is cancelled later runs, and its signal tells', async (t) => {
  const { ran, read } = await start();
  read(call(1));
  const signal = ran[0]?.calls[0]?.signal;
  t.equal(signal?.aborted, false);
  read(cancel(1));
  t.equal(signal?.aborted, true);
});
