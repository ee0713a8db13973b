import t from 'tap';
import { encodeValue } from '../../src/protocol/codec.ts';
import { answerOf, answerOfWire, headerOf, inputOfBody, isJsonType, parseJson } from '../../src/protocol/http-value.ts';
import { Tensor } from '../../src/protocol/tensor.ts';

const places: readonly (readonly [string, string, string])[] = [
  ['a value that is missing', '{"a":}', 'unexpected "}" at line 1, column 6'],
  ['a comma too many', '{"a":1,}', 'unexpected "}" at line 1, column 8'],
  ['a list that goes on', '[1,2', 'the text ends too early at line 1, column 5'],
  ['nothing but a space', ' ', 'the text ends too early at line 1, column 2'],
  ['a word', 'nope', 'unexpected "n" at line 1, column 1'],
  ['an apostrophe', "{'a': 1}", 'unexpected "\'" at line 1, column 2'],
  ['a mistake far down', `{\n  "a": "${'x'.repeat(80)}",\n  "b": ]\n}`, 'unexpected "]" at line 3, column 8'],
  ['a mistake behind a text that looks like a message', '{"position 1": 2, "a": x}', 'unexpected "x" at line 1, column 24'],
];
for (const [what, text, message] of places) {
  t.test(`a JSON body that is none is told with its place: ${what}`, async (t) => {
    try {
      parseJson(text);
      t.fail('it was parsed');
    } catch (error) {
      t.match(error, { code: 'INVALID_INPUT' });
      t.ok((error as Error).message.endsWith(message), `${(error as Error).message} ≠ … ${message}`);
    }
  });
}

t.test('JSON of 64 levels is read, of 65 it is refused', async (t) => {
  const deep = (levels: number) => '['.repeat(levels) + ']'.repeat(levels);
  t.doesNotThrow(() => parseJson(deep(64)));
  t.throws(() => parseJson(deep(65)), { code: 'INVALID_INPUT', message: 'expected JSON nested at most 64 levels deep' });
  t.throws(() => parseJson(`${'{"a":'.repeat(65)}1${'}'.repeat(65)}`), { code: 'INVALID_INPUT' });
  t.doesNotThrow(() => parseJson(JSON.stringify(['['.repeat(500), '\\"[['.repeat(100)])), 'brackets in texts do not nest');
});

const head = (contentType?: string) => ({
  method: 'POST',
  path: '/',
  query: '',
  headers: contentType === undefined ? [] : ['content-type', contentType],
});

t.test('what a body is depends on its content type', async (t) => {
  const body = Buffer.from('{"a":1}');
  t.same(inputOfBody(head('application/json'), body), { a: 1 });
  t.same(inputOfBody(head('application/vnd.api+json; charset=utf-8'), body), { a: 1 });
  t.equal(inputOfBody(head('text/csv'), body), '{"a":1}');
  t.equal(inputOfBody(head('application/octet-stream'), body), body);
  t.equal(inputOfBody(head(), body), body);
  t.equal(inputOfBody(head('application/json'), Buffer.alloc(0)), null);
});

t.test('headers are looked up by name, not by value', async (t) => {
  t.equal(headerOf(['accept', 'host', 'host', 'h'], 'host'), 'h');
  t.equal(headerOf([], 'host'), undefined);
  t.equal(isJsonType('application/jsonp'), false);
  t.equal(isJsonType(undefined), false);
});

const answers: readonly (readonly [string, unknown, string | null, string])[] = [
  ['nothing', undefined, null, ''],
  ['null', null, null, ''],
  ['a text', 'ä', 'text/plain; charset=utf-8', 'ä'],
  ['an empty text', '', 'text/plain; charset=utf-8', ''],
  ['a number', 5, 'application/json', '5'],
  ['false', false, 'application/json', 'false'],
  ['an object', { a: [1, 'x'] }, 'application/json', '{"a":[1,"x"]}'],
  ['keys with a dollar', { $seg: 0, $$: [{ $date: 1 }] }, 'application/json', '{"$seg":0,"$$":[{"$date":1}]}'],
  ['a date inside', { at: new Date(0) }, 'application/json', '{"at":"1970-01-01T00:00:00.000Z"}'],
  ['a map', new Map([['a', 1]]), 'application/json', '{"a":1}'],
  ['a set', new Set([1, 2]), 'application/json', '[1,2]'],
  ['a bigint', [5n, 2n ** 64n], 'application/json', '[5,"18446744073709551616"]'],
  ['NaN', [Number.NaN], 'application/json', '[null]'],
  ['a typed array', { x: Float32Array.of(1, 0.5) }, 'application/json', '{"x":[1,0.5]}'],
  ['bytes inside', { x: Buffer.from([1, 2]) }, 'application/json', '{"x":[1,2]}'],
  ['an error inside', [new TypeError('no')], 'application/json', '[{"name":"TypeError","message":"no"}]'],
  ['a scalar tensor', new Tensor('float32', [], Float32Array.of(5)), 'application/json', '5'],
  ['a tensor of one axis', new Tensor('int32', [3], Int32Array.of(1, 2, 3)), 'application/json', '[1,2,3]'],
  ['a tensor of three axes', new Tensor('uint8', [2, 1, 2], Uint8Array.of(1, 2, 3, 4)), 'application/json', '[[[1,2]],[[3,4]]]'],
  ['a tensor of booleans', new Tensor('bool', [2], Uint8Array.of(1, 0)), 'application/json', '[true,false]'],
  ['a tensor of texts', new Tensor('string', [1, 2], ['a', 'b']), 'application/json', '[["a","b"]]'],
  ['a tensor of int64', new Tensor('int64', [2], BigInt64Array.of(1n, -1n)), 'application/json', '[1,-1]'],
  ['a tensor without rows', new Tensor('float32', [0, 3], new Float32Array(0)), 'application/json', '[]'],
  ['a tensor without columns', new Tensor('float32', [2, 0], new Float32Array(0)), 'application/json', '[[],[]]'],
  ['a tensor with nothing in the middle', new Tensor('float32', [2, 0, 3], new Float32Array(0)), 'application/json', '[[],[]]'],
  ['a tensor of empty lists', new Tensor('float32', [1, 2, 0], new Float32Array(0)), 'application/json', '[[[],[]]]'],
  ['a tensor of float16', new Tensor('float16', [2], Uint16Array.of(0x3c00, 0xc000)), 'application/json', '[1,-2]'],
];
for (const [what, value, contentType, body] of answers) {
  t.test(`as an HTTP answer: ${what}`, async (t) => {
    t.same(answerOf(value), { contentType, body });
    t.same(answerOfWire(encodeValue(value)), { contentType, body }, 'the same off the wire');
  });
}

t.test('bytes are sent as they are', async (t) => {
  const bytes = Buffer.from([0, 255]);
  t.same(answerOf(bytes), { contentType: 'application/octet-stream', body: bytes });
  t.same(answerOf(new Uint8Array(bytes).buffer), { contentType: 'application/octet-stream', body: bytes }, 'an ArrayBuffer too');
});

t.test('what JSON cannot say is an error with its path', async (t) => {
  t.throws(() => answerOf({ a: { b: () => 1 } }), { code: 'USER_ERROR', message: /`a.b`/ });
});
