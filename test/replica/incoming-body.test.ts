import t from 'tap';
import { IncomingBody } from '../../src/replica/incoming-body.ts';

const KIB = 1024;

const start = () => {
  const credits: number[] = [];
  return { body: new IncomingBody((bytes) => credits.push(bytes)), credits };
};

t.test('a stream asks for nothing before it is read, and tells in portions what was', async (t) => {
  const { body, credits } = start();
  const reader = body.stream().getReader();
  for (let i = 0; i < 4; i++) body.push(Buffer.alloc(40 * KIB));
  await new Promise((resolve) => setImmediate(resolve));
  t.same(credits, []);
  await reader.read();
  t.same(credits, []);
  await reader.read();
  t.same(credits, [80 * KIB]);
  body.end('whole');
  t.equal((await reader.read()).value?.byteLength, 40 * KIB);
  t.equal((await reader.read()).value?.byteLength, 40 * KIB);
  t.same(await reader.read(), { value: undefined, done: true });
});

t.test('a reader that waits gets what comes, and the error when nothing more does', async (t) => {
  const { body } = start();
  const reader = body.stream().getReader();
  const first = reader.read();
  body.push(Buffer.from('a'));
  t.equal(Buffer.from((await first).value ?? []).toString(), 'a');
  const second = reader.read();
  body.end('broken');
  await t.rejects(second, { code: 'CLIENT_CLOSED', message: /the client left/ });
});

t.test('of a request that is over nothing more is read', async (t) => {
  const { body } = start();
  const reader = body.stream().getReader();
  body.push(Buffer.from('a'));
  body.fail(new Error('over'));
  body.push(Buffer.from('b'));
  await t.rejects(reader.read(), { message: 'over' });
});

t.test('what code has no use for is let go, and its client is not held up', async (t) => {
  const { body, credits } = start();
  const stream = body.stream();
  body.push(Buffer.alloc(40 * KIB));
  await stream.cancel();
  body.push(Buffer.alloc(40 * KIB));
  t.same(credits, [80 * KIB]);
});

t.test('in one piece for code that reads no streams', async (t) => {
  const { body } = start();
  const whole = body.whole();
  body.push(Buffer.from('a'));
  body.push(Buffer.from('b'));
  body.end('whole');
  t.equal(Buffer.from(await whole).toString(), 'ab');
});
