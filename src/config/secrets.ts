/** Keeps secrets that stand in the file out of what is printed of it. By the text alone, as a file may be too broken to be understood. */
import { configSchema, follow, type SchemaNode } from './schema.ts';

const secretsOf = (node: SchemaNode): readonly string[] =>
  Object.entries(node.properties ?? {}).flatMap(([key, property]) =>
    property.$ref !== undefined ? [] : follow(property)['x-secret'] === true ? [key] : secretsOf(property),
  );

const KEYS = [...new Set(secretsOf(configSchema))].join('|');
/** A key, and its value: quoted, or a variable alone (which is no secret), or whatever stands behind it on the line. */
const SECRET = new RegExp(
  `(\\b(?:${KEYS})["']?\\s*:\\s*)("(?:[^"\\\\]|\\\\.)*"|'(?:[^']|'')*'|["']?\\$\\{[A-Za-z_]\\w*\\}["']?|.+)`,
  'g',
);
const VARIABLE = /^["']?\$\{[A-Za-z_]\w*\}["']?$/;

/** The line, as long as it was, with stars for every secret. */
export const maskSecrets = (line: string): string =>
  line.replace(SECRET, (_, key: string, value: string) => key + (VARIABLE.test(value) ? value : '*'.repeat(value.length)));
