/** Checks the data of a config against the schema: unknown keys, types, ranges, sizes, and what this version does not serve. */
import { createRequire } from 'node:module';
import { isDeepStrictEqual } from 'node:util';
import type { ErrorObject, ValidateFunction } from 'ajv';
import { nearest } from '../graph/nearest.ts';
import { advice, expected, got, patternCode } from './expect.ts';
import { type Finding, type Mapping, type Path, pathText, quote } from './finding.ts';
import type { Places } from './places.ts';
import { childOf, configSchema, nodeAt, type SchemaNode, visit } from './schema.ts';
import { bytesOf } from './units.ts';

export const checkShape = (data: Mapping, places: Places): readonly Finding[] => {
  const validate = validator();
  const byPath = new Map<string, ErrorObject[]>();
  if (!validate(data)) {
    for (const error of validate.errors ?? []) {
      const errors = byPath.get(error.instancePath);
      if (errors === undefined) byPath.set(error.instancePath, [error]);
      else errors.push(error);
    }
  }
  const findings: Finding[] = [];
  for (const [pointer, errors] of byPath) {
    const { path, value } = follow(data, pointer);
    findings.push(...explain(errors, path, value, places));
  }
  visit(data, (node, value, path) => {
    const status = statusOf(node, value, path, places) ?? sizeOf(node, value, path, places);
    if (status !== undefined) findings.push(status);
  });
  return findings;
};

let compiled: ValidateFunction | undefined;

/** Made at the first use: loading ajv and compiling the schema takes some 45 ms. That the schema is strict is a test's affair. */
const validator = (): ValidateFunction => {
  if (compiled !== undefined) return compiled;
  const { Ajv } = createRequire(import.meta.url)('ajv') as typeof import('ajv');
  const options = { allErrors: true, strict: false, meta: false, validateSchema: false, messages: false } as const;
  compiled = new Ajv({ ...options, code: { optimize: false } }).compile(configSchema);
  return compiled;
};

/** JSON pointer → path and value. */
const follow = (data: unknown, pointer: string): { path: Path; value: unknown } => {
  const path: (string | number)[] = [];
  let value = data;
  for (const part of pointer.split('/').slice(1)) {
    const key = part.replaceAll('~1', '/').replaceAll('~0', '~');
    path.push(Array.isArray(value) ? Number(key) : key);
    value = (value as Mapping | undefined)?.[key];
  }
  return { path, value };
};

/** Errors of one value become one finding, but each unknown and each missing key is one of its own. */
const explain = (errors: readonly ErrorObject[], path: Path, value: unknown, places: Places): readonly Finding[] => {
  const node = nodeAt(path) ?? {};
  const findings: Finding[] = [];
  const ofValue: ErrorObject[] = [];
  const missing: string[] = [];
  for (const error of errors) {
    if (error.keyword === 'additionalProperties') findings.push(unknownKey(node, [...path, error.params.additionalProperty]));
    else if (error.keyword === 'required') missing.push(error.params.missingProperty);
    else if (error.keyword === 'propertyNames')
      findings.push(badKey(node.propertyNames ?? {}, [...path, error.params.propertyName]));
    // The error inside `propertyNames` says again what the one above says.
    else if (error.propertyName === undefined) ofValue.push(error);
  }
  for (const key of missing) {
    if (!findings.some(({ meant }) => meant === key)) findings.push(missingKey(key, path));
  }
  const [first] = ofValue;
  if (first === undefined) return findings;
  const code = CODES[first.keyword] ?? patternCode(node);
  const written = places.written(path);
  const near =
    typeof value === 'string' && node.enum !== undefined && written === undefined
      ? nearest(value, node.enum.map(String))
      : undefined;
  const hint =
    near === undefined
      ? advice(node, written === undefined ? value : undefined) || quoteHint(node, value, written)
      : `; did you mean \`${near}\`?`;
  findings.push({
    severity: 'error',
    code,
    path,
    message: `expected ${expected(node, value)}, got ${got(value, written ?? (node['x-secret'] ? 'the file' : undefined))}${hint}`,
  });
  return findings;
};

const CODES: Readonly<Record<string, string>> = {
  type: 'WRONG_TYPE',
  minimum: 'OUT_OF_RANGE',
  exclusiveMinimum: 'OUT_OF_RANGE',
  maximum: 'OUT_OF_RANGE',
  enum: 'BAD_VALUE',
  minLength: 'BAD_VALUE',
};

/** A value from the environment is read as YAML reads it, so a token of digits is a number: quotes keep it text. */
const quoteHint = (node: SchemaNode, value: unknown, written: string | undefined): string =>
  written !== undefined && typeof value !== 'string' && [node.type].flat().includes('string')
    ? `; write "${written.slice(1, -1)}", in quotes, to keep it text`
    : '';

const unknownKey = (node: SchemaNode, path: Path): Finding => {
  const key = String(path.at(-1));
  const known = Object.keys(node.properties ?? {}).filter((name) => node.properties?.[name]?.['x-status'] !== 'ignored');
  const renamed = known.find((name) => childOf(node, name)?.['x-formerly']?.includes(key));
  const near = renamed ?? nearest(key, known);
  const elsewhere = near === undefined ? sectionsWith(key, pathText(path.slice(0, -1)).replace(/\[\d+\]/g, '[]')) : [];
  const got = `got the unknown key ${quote(key)}`;
  const message =
    near !== undefined
      ? `expected a known key, ${got}; did you mean \`${near}\`?`
      : elsewhere.length > 0
        ? `expected a key of this section, ${got}; it belongs ${elsewhere.join(' or ')}`
        : `expected one of ${known.map((name) => `\`${name}\``).join(', ')}, ${got}`;
  const about = near === undefined ? {} : { meant: near };
  return { severity: 'error', code: 'UNKNOWN_KEY', path, message, at: 'key', ...about };
};

/** Where a key that is unknown here would be known, as a part of a sentence; none where there are too many such places. */
const sectionsWith = (key: string, section: string): readonly string[] => {
  const found: string[] = [];
  const look = (node: SchemaNode, at: string, depth: number): void => {
    for (const name of Object.keys(node.properties ?? {})) {
      const child = childOf(node, name);
      // `replica_options` is `ray_actor_options` by another name.
      if (child === undefined || child['x-status'] === 'ignored' || name === 'replica_options') continue;
      if (name === key) found.push(at);
      const inner = child.items === undefined ? child : childOf(child, 0);
      const inside = `${at === '' ? '' : `${at}.`}${name}${child.items === undefined ? '' : '[]'}`;
      if (inner !== undefined && depth < MAX_SECTIONS_DEPTH) look(inner, inside, depth + 1);
    }
  };
  look(configSchema, '', 0);
  const below = found
    .filter((each) => section !== '' && each.startsWith(`${section}.`))
    .map((each) => each.slice(section.length + 1));
  const places = below.length > 0 ? below : found;
  return places.length > MAX_PLACES ? [] : places.map((place) => (place === '' ? 'at the top level' : `in \`${place}\``));
};

const MAX_PLACES = 3;
const MAX_SECTIONS_DEPTH = 4;

const missingKey = (key: string, path: Path): Finding => {
  const node = nodeAt([...path, key]) ?? {};
  const least = node.items === undefined ? `it takes ${expected(node)}` : `write \`${key}: []\` for none`;
  const message = `expected the key \`${key}\`, got none; ${least}`;
  return { severity: 'error', code: 'MISSING_KEY', path, message };
};

const badKey = (node: SchemaNode, path: Path): Finding => {
  const message = `expected ${expected({ ...node, type: 'string' })}, got ${quote(String(path.at(-1)))}`;
  return { severity: 'error', code: patternCode(node), path, message, at: 'key' };
};

const isEmpty = (value: unknown): boolean =>
  value === undefined || value === null || value === '' || (typeof value === 'object' && Object.keys(value).length === 0);

/** What does nothing is no mistake: files of Ray Serve often spell out defaults. */
const isUsed = (node: SchemaNode, value: unknown): boolean =>
  !isEmpty(value) && !isDeepStrictEqual(JSON.parse(JSON.stringify(value)), node.default);

const statusOf = (node: SchemaNode, value: unknown, path: Path, places: Places): Finding | undefined => {
  const key = path.at(-1);
  if (node['x-not-served']?.includes(value)) {
    const written = places.written(path) ?? quote(String(value));
    const message = `${written} is not served yet as \`${key}\` in this version; use another value`;
    return { severity: 'error', code: 'NOT_SERVED_YET', path, message };
  }
  if (node['x-status'] === undefined || !isUsed(node, value)) return undefined;
  if (node['x-status'] === 'ignored') {
    const reason = node.description === undefined ? '' : ` (${node.description.replace(/\.$/, '')})`;
    const message = `\`${key}\` is known from Ray Serve and has no meaning here${reason}`;
    return { severity: 'warning', code: 'IGNORED_KEY', path, message, at: 'key' };
  }
  const otherwise = isEmpty(node.default)
    ? 'leave it empty'
    : `leave it at its default, \`${JSON.stringify(node.default).replaceAll('"', '')}\``;
  const message = `\`${key}\` is not served yet in this version; remove it or ${otherwise}`;
  return { severity: 'error', code: 'NOT_SERVED_YET', path, message, at: 'key' };
};

/** The range of a size that has a unit, which a schema cannot express. */
const sizeOf = (node: SchemaNode, value: unknown, path: Path, places: Places): Finding | undefined => {
  if (node['x-kind'] !== 'size' || typeof value !== 'string') return undefined;
  const bytes = bytesOf(value);
  if (bytes === undefined || (bytes >= (node.minimum ?? 0) && bytes <= (node.maximum ?? Number.MAX_SAFE_INTEGER)))
    return undefined;
  return {
    severity: 'error',
    code: 'OUT_OF_RANGE',
    path,
    message: `expected ${expected(node, bytes)}, got ${got(value, places.written(path))}`,
  };
};
