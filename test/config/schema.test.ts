import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { Ajv2020 } from 'ajv/dist/2020.js';
import t from 'tap';
import { check } from '../../src/config/check.ts';
import { parse } from '../../src/config/parse.ts';
import { resolve } from '../../src/config/resolve.ts';
import { configSchema, follow, type SchemaNode } from '../../src/config/schema.ts';

const OURS = [
  'x-weight',
  'x-status',
  'x-not-served',
  'x-kind',
  'x-secret',
  'x-ray-serve',
  'x-default-auto',
  'x-formerly',
  'x-default-batching-factor',
  'x-default-idempotent',
  'x-default-model',
];

t.test('the schema is strict JSON Schema, but for keywords of our own', async () => {
  const ajv = new Ajv2020({ strict: true, allowUnionTypes: true });
  for (const keyword of OURS) ajv.addKeyword(keyword);
  ajv.compile(configSchema);
});

t.test('every default is valid by its own schema', async (t) => {
  const ajv = new Ajv2020({ strict: false });
  for (const { field, node } of fields(configSchema)) {
    if (node.default === undefined) continue;
    t.ok(node.default === null || ajv.validate({ ...node, $defs: configSchema.$defs ?? {} }, node.default), field);
  }
});

/** Every field that the schema declares, `applications[].name`; what is under a field with a status has none of its own. */
function* fields(node: SchemaNode, path = ''): Generator<{ field: string; node: SchemaNode }> {
  for (const [key, property] of Object.entries(node.properties ?? {})) {
    const child = follow(property);
    const field = path === '' ? key : `${path}.${key}`;
    yield { field, node: child };
    if (child['x-status'] !== undefined) continue;
    yield* fields(child, field);
    if (child.items) yield* fields(follow(child.items), `${field}[]`);
  }
}

t.test('every field has a description, and every served one is read, and nothing else is', async (t) => {
  const read = new Set<string>();
  const text = readFileSync(new URL('fixtures/full.good.yaml', import.meta.url), 'utf8');
  const { data = {}, places } = parse(text, { HTTP_PORT: '8100', TOKEN: 'x' });
  const files = { folder: '/srv', exists: () => true };
  // What is read of an application before its code has told what it consists of.
  const { data: coded = {} } = parse('applications: [{import_path: llm:chat, args: {to: fr}}]', {});
  resolve(coded, new Map(), files, new Set([0]), (field) => read.add(field));
  resolve(data, check(data, places, files, []).graphs, files, new Set(), (field) => read.add(field));

  const declared = [...fields(configSchema)];
  for (const { field, node } of declared) t.ok(node.description, `${field} has a description`);
  // The graph compiler reads what is in `graph`, and what looks into folders what is in `models`, where fields are those of deployments.
  const served = declared.filter(({ field, node }) => node['x-status'] === undefined && !/\.(graph|models)\./.test(field));
  const hasServedFields = ({ node }: { node: SchemaNode }) =>
    node.properties === undefined ||
    Object.values(node.properties).some((property) => follow(property)['x-status'] === undefined);
  t.same(
    [...read].sort(),
    served
      .filter(hasServedFields)
      .map(({ field }) => field)
      .sort(),
  );
});

t.test('every field that is served says what changing it takes', async (t) => {
  const weighed = (node: SchemaNode, inherited: boolean, path: string): void => {
    for (const [key, property] of Object.entries(node.properties ?? {})) {
      const child = follow(property);
      const has = inherited || child['x-weight'] !== undefined;
      if (child['x-kind'] !== 'name' && child['x-status'] !== 'ignored') t.ok(has, `${path}.${key}`);
      weighed(child, has, `${path}.${key}`);
      if (child.items) weighed(follow(child.items), false, `${path}.${key}[]`);
    }
  };
  weighed(configSchema, false, '');
});

t.test('docs/config.md says what the schema says', async () => {
  execFileSync(process.execPath, [new URL('../../scripts/config-docs.mjs', import.meta.url).pathname, '--check']);
});
