import t from 'tap';
import { MAX_SEQUENCE_ID, sequenceOf, traceparentOf } from '../../src/protocol/routing-headers.ts';

const headers = (said: Readonly<Record<string, string>>) => Object.entries({ host: 'h', ...said }).flat();
const of = (said: Readonly<Record<string, string>>, parameters = {}) => sequenceOf(headers(said), parameters);

t.test('headers say which sequence a request belongs to, and whether it is its first or its last', async (t) => {
  t.same(of({ 'x-sequence-id': 'a' }), { id: 'a', isStart: false, isEnd: false });
  for (const [text, says] of [
    ['true', true],
    ['1', true],
    ['false', false],
    ['0', false],
    ['', false],
  ] as const) {
    t.equal(of({ 'x-sequence-id': 'a', 'x-sequence-start': text })?.isStart, says, text);
    t.equal(of({ 'x-sequence-id': 'a', 'x-sequence-end': text })?.isEnd, says, text);
  }
});

t.test('each header wins over the parameter that says the same', async (t) => {
  const parameters = { id: '7', isStart: true, isEnd: true };
  t.same(of({}, parameters), { id: '7', isStart: true, isEnd: true });
  t.same(of({ 'x-sequence-id': 'a', 'x-sequence-end': 'false' }, parameters), { id: 'a', isStart: true, isEnd: false });
  t.same(of({ 'x-sequence-start': 'true' }, { id: '7' }), { id: '7', isStart: true, isEnd: false });
});

t.test('no id, an empty one and 0 are none, as in Triton; then nothing starts or ends', async (t) => {
  t.equal(of({}), undefined);
  t.equal(of({ 'x-sequence-id': '' }, { id: '0' }), undefined);
  t.equal(of({}, { id: '' }), undefined);
  t.equal(of({ 'x-sequence-id': '' }, { id: '7' })?.id, '7', 'an empty header says nothing');
  for (const flag of ['start', 'end'])
    t.throws(() => of({ 'x-sequence-id': '0', [`x-sequence-${flag}`]: 'true' }), {
      code: 'INVALID_INPUT',
      message: /id of the sequence.*got none/,
    });
});

t.test('what is neither true nor false, and an id that is too long, are refused', async (t) => {
  t.throws(() => of({ 'x-sequence-id': 'a', 'x-sequence-start': 'yes' }), {
    code: 'INVALID_INPUT',
    message: 'expected the header x-sequence-start to be true or false, got "yes"',
  });
  t.ok(of({}, { id: 'i'.repeat(MAX_SEQUENCE_ID) }));
  t.throws(() => of({}, { id: 'i'.repeat(MAX_SEQUENCE_ID + 1) }), {
    message: 'expected a sequence id of at most 128 characters, got 129',
  });
});

t.test('a trace is one as W3C has it, also of later versions, or none', async (t) => {
  const trace = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';
  const zeros = (count: number) => '0'.repeat(count);
  t.equal(traceparentOf(headers({ traceparent: trace })), trace);
  t.equal(
    traceparentOf(headers({ traceparent: `cc${trace.slice(2)}-what-comes-later` })),
    `cc${trace.slice(2)}-what-comes-later`,
  );
  for (const none of [
    '',
    'no trace',
    trace.toUpperCase(),
    `${trace}0`,
    trace.slice(1),
    `ff${trace.slice(2)}`,
    `00-${zeros(32)}-00f067aa0ba902b7-01`,
    `00-4bf92f3577b34da6a3ce929d0e0e4736-${zeros(16)}-01`,
    `${trace}-${zeros(200)}`,
  ])
    t.equal(traceparentOf(headers({ traceparent: none })), undefined, none);
  t.equal(traceparentOf(headers({})), undefined);
});
