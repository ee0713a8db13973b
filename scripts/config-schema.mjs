/**
 * Holds schemas/config.schema.json to what the rest is made of: documentation, editor completion and messages come from it, so every
 * field says in one line what it is, what it may be, what it is by default, and what changing it takes. Exits with 1 otherwise.
 */
import { readFileSync } from 'node:fs';

const schema = JSON.parse(readFileSync(new URL('../schemas/config.schema.json', import.meta.url), 'utf8'));

const WEIGHTS = ['live', 'reconfigure', 'restart-replicas', 'restart-listener'];
const STATUSES = ['not-served-yet', 'ignored'];
/** What editors understand. Anything else begins with `x-`. */
const KEYWORDS = new Set(
  `$schema $id $ref $defs title description type properties additionalProperties propertyNames items required enum minimum
  exclusiveMinimum maximum minLength maxLength pattern minItems maxItems minProperties default examples deprecated markdownDescription`
    .trim()
    .split(/\s+/),
);

const follow = (node) => {
  if (node.$ref === undefined) return node;
  const target = node.$ref
    .split('/')
    .slice(1)
    .reduce((at, key) => at?.[key], schema);
  if (target === undefined) throw new Error(`there is no ${node.$ref}`);
  const { $ref, ...beside } = node;
  return { ...follow(target), ...beside };
};

const mistakesOf = (node, { required, weight }) => {
  const mistakes = Object.keys(node)
    .filter((keyword) => !KEYWORDS.has(keyword) && !keyword.startsWith('x-'))
    .map((keyword) => `has the keyword \`${keyword}\`, which is not in the list of those that editors understand`);
  const { description = '', type, 'x-status': status, 'x-weight': own } = node;
  if (!/^[^\n]+\.$/.test(description)) mistakes.push('needs a description: one line that ends with a full stop');
  if (own !== undefined && !WEIGHTS.includes(own)) mistakes.push(`has no weight that there is: ${own}`);
  if (status !== undefined && !STATUSES.includes(status)) mistakes.push(`has no status that there is: ${status}`);
  if (status === 'ignored') return mistakes;
  const types = [type ?? []].flat();
  const bounded =
    node.minimum !== undefined ||
    node.exclusiveMinimum !== undefined ||
    node.enum !== undefined ||
    node['x-kind'] === 'any-number';
  if (types.some((one) => one === 'integer' || one === 'number') && !bounded) mistakes.push('needs a `minimum` or an `enum`');
  const worded = node.minLength !== undefined || node.pattern !== undefined || node.enum !== undefined;
  if (types.includes('string') && !worded) mistakes.push('needs a `pattern`, a `minLength` or an `enum`');
  const isFree = types.length === 0 && node.enum === undefined;
  const isSection = node.properties !== undefined && types.includes('object');
  if (!required && !isFree && !isSection && !('default' in node) && !description.includes('Absent: '))
    mistakes.push('needs a `default`, or a description that says `Absent: …`');
  if (weight === undefined && node['x-kind'] !== 'name')
    mistakes.push('needs an `x-weight`, or a section around it that has one');
  return mistakes;
};

let count = 0;
const complaints = [];
const check = (node, path, inherited, open) => {
  for (const [name, property] of Object.entries(node.properties ?? {})) {
    const field = follow(property);
    const at = path === '' ? name : `${path}.${name}`;
    const weight = field['x-weight'] ?? inherited;
    const required = node.required?.includes(name) === true;
    count++;
    for (const mistake of mistakesOf(field, { required, weight })) complaints.push(`${at} ${mistake}`);
    if (field['x-status'] === 'ignored') continue;
    // A condition holds conditions.
    const inside = property.$ref === undefined ? open : [...open, property.$ref];
    if (property.$ref !== undefined && open.includes(property.$ref)) continue;
    check(field, at, weight, inside);
    for (const [part, suffix] of [
      [field.items, '[]'],
      [field.additionalProperties, '.*'],
    ]) {
      if (typeof part !== 'object' || open.includes(part.$ref)) continue;
      check(follow(part), `${at}${suffix}`, weight, part.$ref === undefined ? inside : [...inside, part.$ref]);
    }
  }
};
check(schema, '', undefined, []);

for (const complaint of complaints) console.error(`schemas/config.schema.json: ${complaint}`);
if (complaints.length > 0) process.exitCode = 1;
else console.log(`${count} fields`);
