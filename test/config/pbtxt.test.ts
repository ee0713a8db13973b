import fc from 'fast-check';
import t from 'tap';
import { MAX_PBTXT_BYTES, type PbMessage, PbtxtError, type PbValue, parsePbtxt } from '../../src/config/pbtxt.ts';

/** As plain data: each field a pair, so that order and repetition show. */
const plain = (value: PbValue): unknown =>
  value.kind === 'message' ? value.fields.map(({ name, value: held }) => [name, plain(held)]) : value.text;
const read = (text: string) => plain(parsePbtxt(text));
const mistake = (text: string): PbtxtError => {
  try {
    parsePbtxt(text);
  } catch (error) {
    if (error instanceof PbtxtError) return error;
    throw error;
  }
  throw new Error(`nothing is wrong with ${text}`);
};

const WHOLE = `# of a classifier
name: "resnet"  platform: 'onnxruntime_onnx';
max_batch_size: 8,
input [ { name: "x" data_type: TYPE_FP32 dims: [ 3, 224, -1 ] }, { name: "m", } ]
input < name: "third" >
dynamic_batching { }
parameters: { key: "intra_op" "_thread_count" value { string_value: "4" } }
a: 0x1F b: -1.5e3 c: - inf d: 017 e: 2.5f f: true g: [] h: [ "x", 'y' ]
`;

t.test('fields, messages in both brackets, lists, texts in pieces, comments, and what may stand between', async (t) => {
  t.same(read(WHOLE), [
    ['name', 'resnet'],
    ['platform', 'onnxruntime_onnx'],
    ['max_batch_size', '8'],
    [
      'input',
      [
        ['name', 'x'],
        ['data_type', 'TYPE_FP32'],
        ['dims', '3'],
        ['dims', '224'],
        ['dims', '-1'],
      ],
    ],
    ['input', [['name', 'm']]],
    ['input', [['name', 'third']]],
    ['dynamic_batching', []],
    [
      'parameters',
      [
        ['key', 'intra_op_thread_count'],
        ['value', [['string_value', '4']]],
      ],
    ],
    ['a', '0x1F'],
    ['b', '-1.5e3'],
    ['c', '-inf'],
    ['d', '017'],
    ['e', '2.5f'],
    ['f', 'true'],
    ['h', 'x'],
    ['h', 'y'],
  ]);
  t.same(read(''), []);
  t.same(read('# nothing'), []);
});

t.test('escapes stand for bytes of UTF-8, or for characters', async (t) => {
  t.same(read(String.raw`a: "\n\t\\\"\'\101\x41\u00e9\U0001F600\303\251"`), [['a', '\n\t\\"\'AAé😀é']]);
  t.same(read('a: "日本"'), [['a', '日本']]);
  t.same(read(String.raw`a: "\ud800"`), [['a', '\ufffd']], 'half of a pair is no character');
});

t.test('every field says where it stands', async (t) => {
  const { fields } = parsePbtxt('a: 1\n  bc { d: 2 }');
  t.match(fields, [
    { at: 0, value: { at: 3 } },
    { at: 7, value: { at: 10, fields: [{ at: 12, value: { at: 15 } }] } },
  ]);
});

t.test('what is wrong is told at its place', async (t) => {
  const rows: readonly (readonly [string, number, RegExp])[] = [
    ['a', 1, /expected `:` or `\{`, got the end of the file/],
    ['a 1', 2, /expected `:` or `\{`, got `1`/],
    ['a: ', 3, /expected a value, got the end/],
    ['a: }', 3, /expected a value, got `}`/],
    ['a { b: 1', 8, /expected the name of a field or `}`, got the end/],
    ['a < b: 1 }', 9, /expected the name of a field or `>`, got `}`/],
    ['}', 0, /expected the name of a field, got `}`/],
    ['a: [1 2]', 6, /expected `,` or `]`, got `2`/],
    ['a: [1', 5, /expected `,` or `]`, got the end/],
    ['a: "x', 3, /expected a closing " on the same line/],
    ["a: 'x\n'", 3, /expected a closing ' on the same line/],
    ['a: "\\q"', 4, /expected an escape/],
    ['[x.y]: 1', 0, /expected the name of a field, got `\[`/],
    ['a: 😀', 3, /expected a value, got `😀`/],
  ];
  for (const [text, offset, message] of rows) t.match(mistake(text), { offset, message }, text);
});

t.test('depth and size are bounded', async (t) => {
  const nested = (depth: number) => 'a {'.repeat(depth) + '}'.repeat(depth);
  parsePbtxt(nested(32));
  t.match(mistake(nested(33)), { message: /nested at most 32 deep/ });
  t.match(mistake('a {'.repeat(80_000)), { message: /nested at most 32 deep/ });
  t.match(mistake(`# ${'x'.repeat(MAX_PBTXT_BYTES)}`), { message: /at most 262144 bytes/ });
});

t.test('a name such as __proto__ is a name like any other', async (t) => {
  t.same(read('__proto__ { x: 1 } constructor: 2'), [
    ['__proto__', [['x', '1']]],
    ['constructor', '2'],
  ]);
  t.equal(({} as { x?: unknown }).x, undefined);
});

t.test('cut off at every byte it is read or refused, and never crashes', async () => {
  const bytes = Buffer.from(WHOLE);
  for (let end = 0; end <= bytes.length; end++) {
    try {
      parsePbtxt(bytes.subarray(0, end).toString());
    } catch (error) {
      if (!(error instanceof PbtxtError)) throw error;
    }
  }
});

t.test('whatever the text, it is read or refused within it', async () => {
  const piece = fc.constantFrom(
    '{',
    '}',
    '<',
    '>',
    '[',
    ']',
    ':',
    ',',
    ';',
    '"',
    "'",
    '\\',
    '#',
    '\n',
    ' ',
    'a',
    '-',
    '1',
    '.',
    'x',
    '😀',
  );
  fc.assert(
    fc.property(
      fc.array(piece, { maxLength: 60 }).map((pieces) => pieces.join('')),
      (text) => {
        try {
          return parsePbtxt(text).fields.every(({ at }) => at < text.length);
        } catch (error) {
          return error instanceof PbtxtError && error.offset <= text.length;
        }
      },
    ),
    { numRuns: 2000 },
  );
});

const word = fc.stringMatching(/^[a-z_][a-z0-9_]{0,6}$/);
const { message } = fc.letrec<{ message: readonly (readonly [string, unknown])[]; value: unknown }>((tie) => ({
  message: fc.array(fc.tuple(word, tie('value')), { maxLength: 4 }),
  value: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    fc.string({ unit: 'grapheme', maxLength: 8 }).map((text) => ({ text })),
    fc.integer().map((number) => ({ number })),
    tie('message'),
  ),
}));

t.test('what is written is read again', async () => {
  const write = (fields: readonly (readonly [string, unknown])[]): string =>
    fields.map(([name, value]) => `${name}${Array.isArray(value) ? ` { ${write(value)} }` : `: ${scalar(value)}`}`).join('\n');
  const scalar = (value: unknown): string => {
    const { text, number } = value as { text?: string; number?: number };
    return text === undefined
      ? String(number)
      : `"${[...Buffer.from(text)].map((byte) => `\\${byte.toString(8).padStart(3, '0')}`).join('')}"`;
  };
  const shown = (fields: readonly (readonly [string, unknown])[]): unknown =>
    fields.map(([name, value]) => [
      name,
      Array.isArray(value) ? shown(value) : ((value as { text?: string }).text ?? String((value as { number: number }).number)),
    ]);
  fc.assert(
    fc.property(message, (fields) => JSON.stringify(read(write(fields))) === JSON.stringify(shown(fields))),
    { numRuns: 500 },
  );
});

t.test('blanks, brackets and quotes by the hundred thousand are read once', async (t) => {
  const most = MAX_PBTXT_BYTES - 10;
  const rows = [
    ' '.repeat(most),
    '#\n'.repeat(most / 2),
    `a: [${'1,'.repeat(most / 2 - 10)}1]`,
    'a:"" '.repeat(most / 5),
    `a: ${'""'.repeat(most / 2 - 5)}`,
  ];
  for (const text of rows) t.equal((parsePbtxt(text) satisfies PbMessage).kind, 'message');
});
