/**
 * Writes the reference tables of docs/config.md from schemas/config.schema.json; the prose around them is written by hand.
 *   node scripts/config-docs.mjs           writes the file
 *   node scripts/config-docs.mjs --check   exits with 1 when the file does not say what the schema says
 */
import { readFileSync, writeFileSync } from 'node:fs';

const page = new URL('../docs/config.md', import.meta.url);
const schema = JSON.parse(readFileSync(new URL('../schemas/config.schema.json', import.meta.url), 'utf8'));

const follow = (node) => {
  if (node.$ref === undefined) return node;
  const { $ref, ...beside } = node;
  const target = $ref
    .split('/')
    .slice(1)
    .reduce((at, key) => at[key], schema);
  return { ...follow(target), ...beside };
};

/** Every section with fields of its own, as `{title, node, fields}`, outer before inner. */
const sectionsOf = (title, node, inherited, status) => {
  const fields = Object.entries(node.properties ?? {}).map(([name, property]) => ({ name, ...follow(property) }));
  const here = fields.map((field) => ({
    ...field,
    weight: field['x-kind'] === 'name' ? '–' : (field['x-weight'] ?? inherited),
    status: field['x-status'] ?? status,
  }));
  const inner = here.flatMap((field) => {
    // Said elsewhere: the same as ray_actor_options; a condition inside a condition; fields of a deployment.
    if (['replica_options', 'not', 'defaults', 'overrides'].includes(field.name)) return [];
    const at = title === '' ? field.name : `${title}.${field.name}`;
    const entry = [
      [at, field],
      // A list of conditions holds what one condition is.
      [`${at}[]`, field.name === 'when' ? {} : follow(field.items ?? {})],
      [`${at}.*`, typeof field.additionalProperties === 'object' ? follow(field.additionalProperties) : {}],
    ];
    return entry.flatMap(([name, part]) => (part.properties ? sectionsOf(name, part, field.weight, field.status) : []));
  });
  return [{ title, fields: here, required: node.required ?? [] }, ...inner];
};

const code = (value) => `\`${typeof value === 'string' ? value || '""' : JSON.stringify(value)}\``;
const cell = (text) => text.replaceAll('|', '\\|');

const valuesOf = (field) => {
  if (field['x-kind'] === 'log-level') return '`DEBUG`, `INFO`, `WARN`, `ERROR`, `FATAL`';
  if (field.enum) return field.enum.map((one) => (one === null ? 'null' : code(one))).join(', ');
  const range = [
    field.minimum === undefined ? '' : `≥ ${field.minimum}`,
    field.exclusiveMinimum === undefined ? '' : `> ${field.exclusiveMinimum}`,
    field.maximum === undefined || field.maximum > 1e6 ? '' : `≤ ${field.maximum}`,
  ];
  const nouns = {
    object: 'mapping',
    array: 'list',
    string: field['x-kind'] === 'size' ? 'size' : 'text',
    integer: 'integer',
    number: 'number',
  };
  const types = [field.type ?? 'any'].flat().filter((type) => type !== 'null' || !/object|array/.test(String(field.type)));
  const kind = field['x-kind'] === 'seconds' ? ', seconds' : '';
  return `${types.map((type) => nouns[type] ?? type).join(' or ')}${kind} ${range.filter(Boolean).join(', ')}`.trim();
};

const defaultOf = (field, required) => {
  if (required) return 'required';
  const also = [
    field['x-default-batching-factor'] && `with \`batching\`: ${field['x-default-batching-factor']} × \`max_batch_size\``,
    field['x-default-auto'] !== undefined && `with \`num_replicas: auto\`: ${code(field['x-default-auto'])}`,
    field['x-default-idempotent'] !== undefined && `when idempotent: ${code(field['x-default-idempotent'])}`,
    field['x-default-model'] !== undefined && `for a \`model\`: ${code(field['x-default-model'])}`,
  ];
  const own = field.default === undefined || field.default === null ? 'none' : code(field.default);
  return [own, ...also.filter(Boolean)].join('; ');
};

const sections = sectionsOf('', schema, '–', undefined);

const tables = sections.map(({ title, fields, required }) => {
  const rows = fields
    .filter((field) => field.status !== 'ignored')
    .map((field) => {
      const later = field.status === 'not-served-yet' ? ' **Not served yet.**' : '';
      const values = field['x-not-served']?.map((value) => ` ${code(value)} is **not served yet**.`).join('') ?? '';
      const says = [
        `\`${field.name}\``,
        valuesOf(field),
        defaultOf(field, required.includes(field.name)),
        field.weight,
        `${field.description ?? ''}${later}${values}`,
      ];
      return `| ${says.map(cell).join(' | ')} |`;
    });
  const heading = title === '' ? 'Top level' : `\`${title}\``;
  return [
    `### ${heading}`,
    '',
    '| field | values | default | changing it | meaning |',
    '|---|---|---|---|---|',
    ...rows,
    '',
  ].join('\n');
});

const pathOf = (title, name) => (title === '' ? name : `${title}.${name}`);
const differing = sections.flatMap(({ title, fields }) =>
  fields
    .filter((field) => field['x-ray-serve'] !== undefined)
    .map((field) => `| \`${pathOf(title, field.name)}\` | ${defaultOf(field, false)} | ${field['x-ray-serve']} |`),
);
const ignored = sections.flatMap(({ title, fields }) =>
  fields
    .filter((field) => field['x-status'] === 'ignored')
    .map((field) => `- \`${pathOf(title, field.name)}\`: ${field.description}`),
);

const parts = {
  fields: tables.join('\n'),
  differences: ['| field | here | Ray Serve |', '|---|---|---|', ...differing, ''].join('\n'),
  ignored: [...ignored, ''].join('\n'),
};

const before = readFileSync(page, 'utf8');
let after = before;
for (const [name, text] of Object.entries(parts)) {
  const [open, close] = [`<!-- ${name}: from the schema -->\n`, `<!-- end of ${name} -->`];
  const [start, end] = [after.indexOf(open), after.indexOf(close)];
  if (start === -1 || end === -1) throw new Error(`docs/config.md has no place for ${name}`);
  after = `${after.slice(0, start + open.length)}\n${text}\n${after.slice(end)}`;
}

if (process.argv.includes('--check')) {
  if (after !== before) {
    console.error('docs/config.md does not say what schemas/config.schema.json says; run: node scripts/config-docs.mjs');
    process.exitCode = 1;
  }
} else writeFileSync(page, after);
