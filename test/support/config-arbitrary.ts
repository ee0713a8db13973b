// biome-ignore-all lint/suspicious/noTemplateCurlyInString: this is the config's own syntax
/** Configs as somebody might write them, right in most and wrong in some places, drawn from the schema. */
import fc from 'fast-check';
import { stringify } from 'yaml';
import { childOf, configSchema, follow, type SchemaNode } from '../../src/config/schema.ts';

type Entry = readonly [key: string, value: unknown];

const NAMES = ['A', 'B', 'Front', 'app', 'default', 'x1'] as const;

/** What means something somewhere: in YAML, to the substitution, in a reference. */
const text = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom(...NAMES) },
  {
    weight: 3,
    arbitrary: fc.constantFrom(
      '$request.json',
      '$A',
      '$B.x[0]',
      '$item',
      '$index',
      'app/A',
      'A.call',
      '/',
      '/a/b',
      './a.ts:A',
      'm.onnx',
      '64MiB',
      'auto',
      '50%',
    ),
  },
  {
    weight: 2,
    arbitrary: fc.constantFrom(
      '${HTTP_PORT}',
      '${TEXT}',
      '${GONE:-5}',
      '${GONE}',
      '$${x}',
      '__proto__',
      'constructor',
      'yes',
      '',
      'https://x',
      'a:b:c',
      '5s',
      '2Gi',
    ),
  },
  { weight: 1, arbitrary: fc.string({ unit: 'binary', maxLength: 12 }) },
);

const number = fc.oneof(
  fc.integer({ min: -2, max: 20 }),
  fc.constantFrom(0.5, 1e9, 65536, -1, 1e308, Number.MAX_SAFE_INTEGER, 5e-324),
  fc.double({ noNaN: true }),
);

const anything = fc.oneof(
  text,
  number,
  fc.boolean(),
  fc.constant(null),
  fc.array(text, { maxLength: 2 }),
  fc.jsonValue({ maxDepth: 3 }),
);

const MAX_DEPTH = 9;

const valueFor = (node: SchemaNode, depth: number): fc.Arbitrary<unknown> => {
  const types = [node.type ?? []].flat();
  const fitting: fc.Arbitrary<unknown>[] = [];
  if (node.enum !== undefined) fitting.push(fc.constantFrom(...node.enum));
  if (types.includes('string')) fitting.push(text);
  if (types.includes('integer')) fitting.push(fc.integer({ min: node.minimum ?? 0, max: (node.minimum ?? 0) + 20 }));
  if (types.includes('number')) fitting.push(number);
  if (types.includes('boolean')) fitting.push(fc.boolean());
  if (types.includes('array') && node.items !== undefined && depth < MAX_DEPTH)
    fitting.push(fc.array(valueFor(follow(node.items), depth + 1), { maxLength: 3 }));
  if (types.includes('object') && depth < MAX_DEPTH) fitting.push(mappingOf(node, depth));
  const good = fitting.length === 0 ? anything : fc.oneof(...fitting);
  return fc.oneof({ weight: 30, arbitrary: good }, { weight: 1, arbitrary: anything });
};

/** A few of the keys that there are, and seldom one that there is not. */
const mappingOf = (node: SchemaNode, depth: number): fc.Arbitrary<unknown> => {
  const keys = Object.keys(node.properties ?? {});
  const required = new Set([...(node.required ?? []), 'name', 'deployments', 'import_path', 'graph']);
  const fields = keys.map((key) =>
    fc.tuple(fc.nat(keys.length + 2), fc.nat(40)).chain(([chance, lack]): fc.Arbitrary<readonly Entry[]> => {
      const has = required.has(key) ? lack > 0 : chance < 3;
      return has ? valueFor(childOf(node, key) as SchemaNode, depth + 1).map((value) => [[key, value]]) : fc.constant([]);
    }),
  );
  const free: fc.Arbitrary<readonly Entry[]> =
    typeof node.additionalProperties === 'object'
      ? fc.array(fc.tuple(fc.constantFrom(...NAMES), valueFor(follow(node.additionalProperties), depth + 1)), { maxLength: 3 })
      : fc.oneof(
          { weight: 15, arbitrary: fc.constant([]) },
          { weight: 1, arbitrary: fc.array(fc.tuple(text, anything), { maxLength: 1 }) },
        );
  return fc.tuple(fc.tuple(...fields), free).map(([own, more]) => new Map([...own.flat(), ...more]));
};

/** As YAML in blocks, in one flow, or as JSON; with anchors where a value was drawn twice. */
export const configText = fc
  .tuple(mappingOf(configSchema, 0), fc.constantFrom('block', 'flow', 'json'))
  .map(([config, style]) => {
    if (style === 'json') return JSON.stringify(plain(config));
    return stringify(config, style === 'flow' ? { collectionStyle: 'flow' } : {});
  });

const plain = (value: unknown): unknown => {
  if (value instanceof Map) return Object.fromEntries([...value].map(([key, held]) => [String(key), plain(held)]));
  return Array.isArray(value) ? value.map(plain) : value;
};
