/** The socket as user code has it. */
import t from 'tap';
import { INITIAL_CREDIT_BYTES } from '../../src/protocol/messages.ts';
import { CREDIT_PORTION_BYTES, costOf } from '../../src/protocol/websocket.ts';
import { ReplicaSocket } from '../../src/replica/socket.ts';

const start = () => {
  const said: string[] = [];
  const credits: number[] = [];
  const socket = new ReplicaSocket('', {
    message: (payload, isText) => said.push(isText ? Buffer.from(payload).toString() : `${payload.byteLength} bytes`),
    close: (code, reason) => said.push(`close ${code} ${reason}`.trim()),
    credit: (bytes) => credits.push(bytes),
  });
  return { socket, said, credits };
};
const all = async (socket: ReplicaSocket) => {
  const messages: (string | Uint8Array)[] = [];
  for await (const message of socket) messages.push(message);
  return messages;
};

t.test('messages are read in their order, those before the close too', async (t) => {
  const { socket } = start();
  const reading = all(socket);
  socket.received(Buffer.from('ü'), true);
  socket.received(new Uint8Array([1]), false);
  socket.closedBy(4000, 'bye');
  socket.received(Buffer.from('late'), true);
  t.same(await reading, ['ü', new Uint8Array([1])]);
  t.match(socket, { closeCode: 4000, closeReason: 'bye' });
  t.same(await all(socket), []);
});

t.test('send waits for credit, keeps the order, and goes on with it', async (t) => {
  const { socket, said } = start();
  const large = new Uint8Array(INITIAL_CREDIT_BYTES);
  await socket.send(large);
  const order: string[] = [];
  const first = socket.send('first').then(() => order.push('first'));
  const second = socket.send('second').then(() => order.push('second'));
  await new Promise(setImmediate);
  t.same([said.length, order], [1, []]);
  socket.granted(costOf(large));
  await Promise.all([first, second]);
  t.same(said.slice(1), ['first', 'second']);
  t.same(order, ['first', 'second']);
});

t.test('what is sent is what it was when send was called', async (t) => {
  const sent: Uint8Array[] = [];
  const socket = new ReplicaSocket('', { message: (payload) => sent.push(payload), close: () => {}, credit: () => {} });
  const buffer = new Uint8Array([1, 2]);
  void socket.send(buffer);
  buffer.fill(9);
  t.same(Buffer.from(sent[0] as Uint8Array), Buffer.from([1, 2]));
});

t.test('credit goes back in portions, as messages are taken', async (t) => {
  const { socket, credits } = start();
  const part = new Uint8Array(CREDIT_PORTION_BYTES / 2);
  for (let i = 0; i < 4; i++) socket.received(part, false);
  t.same(credits, [], 'nothing is taken yet');
  const reader = socket[Symbol.asyncIterator]();
  await reader.next();
  t.same(credits, []);
  await reader.next();
  t.same(credits, [2 * costOf(part)]);
});

t.test('a closed socket takes nothing, and who waits for it is told', async (t) => {
  const { socket, said } = start();
  await socket.send(new Uint8Array(INITIAL_CREDIT_BYTES));
  const waits = socket.send('never');
  const reads = socket[Symbol.asyncIterator]().next();
  socket.close(3000, 'enough');
  socket.close(3001);
  await t.rejects(waits, { code: 'CLIENT_CLOSED' });
  t.same(await reads, { done: true, value: undefined });
  await t.rejects(socket.send('late'), { code: 'CLIENT_CLOSED' });
  t.same(said.slice(1), ['close 3000 enough']);
});

t.test('codes, reasons and messages that cannot be sent are refused by name', async (t) => {
  const { socket } = start();
  for (const code of [999, 1004, 1005, 1006, 1015, 2000, 5000, 1000.5]) t.throws(() => socket.close(code), RangeError, `${code}`);
  t.throws(() => socket.close(1000, 'ü'.repeat(62)), /123 bytes/);
  await t.rejects(socket.send({} as string), /a string or a Uint8Array, got object/);
});
