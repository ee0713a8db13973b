import t from 'tap';
import { MAX_ROUTING_JSON_BYTES } from '../../src/protocol/routing-headers.ts';
import { readParameters } from '../../src/proxy/inference-parameters.ts';

const read = (body: unknown, headerLength?: string, keepsSequences = false) =>
  readParameters(Buffer.from(typeof body === 'string' ? body : JSON.stringify(body)), headerLength, keepsSequences);
const said = (parameters: object) => read({ inputs: [], parameters });

t.test("Triton's priorities are ours: 0 is the default, 1 the most urgent, and there are no more than eight", async (t) => {
  const ours = [0, 1, 2, 4, 8, 9, 1_000_000].map((priority) => said({ priority })?.priority);
  t.same(ours, [undefined, 0, 1, 3, 7, 7, 7]);
});

t.test('a time-out is in microseconds, and 0 is none', async (t) => {
  t.same(
    [0, 1, 2500, 60_000_000].map((timeout) => said({ timeout })?.timeoutMs),
    [undefined, 0.001, 2.5, 60_000],
  );
  t.same(said({ timeout: 5000, priority: 2 }), { timeoutMs: 5, priority: 1 });
});

t.test('what says nothing of them is not parsed, and what is malformed is left to the replica', async (t) => {
  for (const body of [
    '',
    '{',
    '{"inputs":[]}',
    '{"priority": 1',
    '{"parameters":{"timeout":1]}',
    '[{"priority":1}]',
    'null"timeout"',
  ])
    t.equal(read(body), undefined, body);
  for (const wrong of [-1, 1.5, '1', true, null, [], 2 ** 60])
    t.same(said({ priority: wrong, timeout: wrong }), {}, JSON.stringify(wrong));
  for (const parameters of [[], 'priority', null, 3]) t.same(read({ parameters, priority: 1 }) ?? {}, {});
});

t.test('they are the request’s own: those of a tensor, or beside `parameters`, are not meant', async (t) => {
  t.same(read({ priority: 1, inputs: [{ parameters: { priority: 1, timeout: 1 } }], parameters: {} }), {});
});

t.test('the JSON ends where the header says, and longer JSON is not looked at', async (t) => {
  const json = JSON.stringify({ parameters: { priority: 1 } });
  const raw = '{"parameters":{"priority":5}}';
  t.same(read(json + raw, String(json.length)), { priority: 0 });
  for (const wrong of ['0', '-1', 'x', '1e9', String(json.length + 1)]) t.equal(read(json, wrong), undefined, wrong);
  const long = json.padEnd(MAX_ROUTING_JSON_BYTES);
  t.same(read(long), { priority: 0 });
  t.equal(read(`${long} `), undefined);
  t.same(read(`${long}tensors`, String(MAX_ROUTING_JSON_BYTES)), { priority: 0 });
});

t.test('a body is read where it stands', async (t) => {
  const body = Buffer.from(`#####${JSON.stringify({ parameters: { timeout: 3000 } })}`).subarray(5);
  t.same(readParameters(body, undefined, false), { timeoutMs: 3 });
});

t.test('of a sequence: numbers keep their digits and are texts, and what is no flag says nothing', async (t) => {
  const of = (parameters: string) => read(`{"parameters":${parameters}}`, undefined, true)?.sequence;
  t.same(of('{"sequence_id":42,"sequence_start":true,"sequence_end":false}'), { id: '42', isStart: true, isEnd: false });
  t.match(of('{"sequence_id":18446744073709551615}'), { id: '18446744073709551615' });
  t.match(of('{"sequence_id":"a b"}'), { id: 'a b' });
  for (const wrong of ['-1', '1.5', 'null', 'true', '[1]', '{}']) t.equal(of(`{"sequence_id":${wrong}}`)?.id, undefined, wrong);
  for (const wrong of ['-12345678901234567', '"\\u00001234567890123456"', '123456789012345678,"x":"\\u0000"'])
    t.equal(of(`{"sequence_id":${wrong}}`)?.id, undefined, wrong);
  t.match(of('{"sequence_id":1234567890123456}'), { id: '1234567890123456' });
  t.equal(of('{"sequence_start":1}')?.isStart, undefined);
  t.match(read('\ufeff{"parameters":{"sequence_id":7}}', undefined, true), { sequence: { id: '7' } }, 'behind a mark of UTF-8');
  t.equal(of('{"priority":1}'), undefined);
  t.equal(read('{"parameters":{"sequence_id":42}}'), undefined, 'not parsed for a model that keeps none');
});
