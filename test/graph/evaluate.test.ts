import t from 'tap';
import type { Expression } from '../../src/domain/graph.ts';
import { evaluate, jsonNode, type RequestScope, type Scope } from '../../src/graph/evaluate.ts';
import { compileExpression } from '../../src/graph/expression.ts';
import { nodeOf, type Segment, skeletonText, type ValueNode, wireOf as wireValueOf } from '../../src/protocol/value.ts';

const tensor: Segment = { dtype: 'float32', shape: [1, 2], bytes: new Uint8Array(8) };
const bytes: Segment = { dtype: 'bytes', shape: null, bytes: new Uint8Array([1, 2, 3]) };
const numbers: Segment = { dtype: 'int64', shape: null, bytes: new Uint8Array(8) };

const steps = new Map<string, ValueNode>([
  [
    'detect',
    {
      json: {
        boxes: [{ $seg: 0 }, { $seg: 1 }],
        'out.0': { $seg: 2 },
        when: { $date: 0 },
        $$price: { $$deep: 5 },
        text: 'abc',
        none: null,
      },
      segments: [tensor, bytes, numbers],
    },
  ],
  ['other', { json: [{ $seg: 0 }, 7], segments: [tensor] }],
]);

const request: RequestScope = {
  json: jsonNode({ texts: ['a', 'b'], $id: { $x: 1 }, name: 'n' }),
  body: { json: { $seg: 0 }, segments: [bytes] },
  path: jsonNode('/here'),
  query: (name) => jsonNode(name === 'page' ? '2' : null),
  header: (name) => jsonNode(name === 'x-user' ? 'ann' : null),
};

const scope: Scope = { request, steps, item: { json: { a: [1] }, segments: [] }, index: 3 };

const compiled = (source: unknown): Expression =>
  compileExpression(source, [], { steps: ['detect', 'other'], item: true }, (_code, _path, message) => {
    throw new Error(message);
  });

/** Evaluated and sent: the skeleton, and the segments that went along. */
const sent = (source: unknown, inScope: Scope = scope) => {
  const value = wireValueOf(evaluate(compiled(source), inScope));
  return { json: JSON.parse(skeletonText(value)) as unknown, segments: value.segments };
};

t.test('references reach into the request, steps and items', async (t) => {
  const cases: [string, unknown][] = [
    ['$request.json.texts[1]', 'b'],
    ['$request.path', '/here'],
    ['$request.query.page', '2'],
    ['$request.query.none', null],
    ['$request.headers.X-User', 'ann'],
    ['$detect.text', 'abc'],
    ['$other[1]', 7],
    ['$item.a[0]', 1],
    ['$index', 3],
    ['$$index', '$index'],
  ];
  for (const [reference, json] of cases) t.same(sent(reference), { json, segments: [] }, reference);
});

t.test('what is missing is null, and so is everything inside null', async (t) => {
  for (const reference of ['$detect.missing', '$detect.missing.a[0]', '$detect.none.a', '$other[5]', '$detect.toString']) {
    t.same(sent(reference), { json: null, segments: [] }, reference);
  }
});

t.test('a slice carries only its own segments, and the same bytes', async (t) => {
  const { json, segments } = sent('$detect.boxes[1]');
  t.same(json, { $seg: 0 });
  t.equal(segments.length, 1);
  t.equal(segments[0]?.bytes, bytes.bytes);
  t.equal(sent('$detect["out.0"]').segments[0], numbers);
  t.same(sent('$detect.text').segments, []);
});

t.test('objects and lists join values, and a segment used twice goes once', async (t) => {
  const { json, segments } = sent({ image: '$request.body', all: ['$detect.boxes', '$other', 'x'], twice: '$request.body' });
  t.same(json, { image: { $seg: 0 }, all: [[{ $seg: 1 }, { $seg: 0 }], [{ $seg: 1 }, 7], 'x'], twice: { $seg: 0 } });
  t.same(segments, [bytes, tensor]);
});

t.test('keys that begin with a dollar are never taken for tags', async (t) => {
  t.same(sent('$detect.$price').json, { $$deep: 5 });
  t.same(sent('$detect.$price.$deep').json, 5);
  t.same(sent('$request.json.$id.$x').json, 1);
  t.same(sent({ $seg: 0 }), { json: { $$seg: 0 }, segments: [] });
  t.same(sent({ $seg: '$other[1]', plain: { $date: '$index' } }), { json: { $$seg: 7, plain: { $$date: 3 } }, segments: [] });
  const proto = JSON.parse('{"__proto__": "$index", "x": {"__proto__": 1}}') as unknown;
  t.equal(JSON.stringify(sent(proto).json), '{"__proto__":3,"x":{"__proto__":1}}');
});

t.test('going into what has no inside is an error that names the reference', async (t) => {
  const cases: [string, string, RegExp][] = [
    [
      '$detect.boxes[0].x',
      'USER_ERROR',
      /`\$detect.boxes\[0\].x`: expected an object at `\$detect.boxes\[0\]`, got a tensor of shape \[1, 2\]/,
    ],
    ['$detect.boxes[1][0]', 'USER_ERROR', /expected a list at `\$detect.boxes\[1\]`, got bytes/],
    ['$detect["out.0"].x', 'USER_ERROR', /at `\$detect\["out.0"\]`, got an array of int64/],
    ['$detect.when.x', 'USER_ERROR', /got a date/],
    ['$detect.text.x', 'USER_ERROR', /got a text/],
    ['$detect.boxes.x', 'USER_ERROR', /expected an object at `\$detect.boxes`, got a list/],
    ['$detect[0]', 'USER_ERROR', /expected a list at `\$detect`, got an object/],
    ['$request.json.name.first', 'INVALID_INPUT', /expected an object at `\$request.json.name`, got a text/],
    ['$request.json[0]', 'INVALID_INPUT', /expected a list at `\$request.json`, got an object/],
    ['$item[0]', 'USER_ERROR', /expected a list at `\$item`, got an object/],
  ];
  for (const [reference, code, message] of cases) {
    t.throws(() => sent(reference), { code, message }, reference);
  }
  t.throws(() => sent('$item[0]', { ...scope, itemError: 'INVALID_INPUT' }), { code: 'INVALID_INPUT' });
});

t.test('the parts of a request that no reference names are not read', async (t) => {
  const untouched = {
    get json(): ValueNode {
      throw new Error('the body was parsed');
    },
    get path(): ValueNode {
      return jsonNode('/p');
    },
  };
  t.same(sent('$request.path', { ...scope, request: untouched as RequestScope }).json, '/p');
});

t.test('a value goes through the wire form and back', async (t) => {
  const node = evaluate(compiled({ all: '$detect' }), scope);
  t.same(nodeOf(wireValueOf(node)), node);
});
