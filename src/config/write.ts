/** Writes a config as text: what it says is what the values are. */
import { Document, Scalar } from 'yaml';
import type { Json } from '../domain/json.ts';

/** @param heading lines of comment above it, without their `#` */
export const writeConfig = (config: { readonly [key: string]: Json }, heading: string): string => {
  const document = new Document(literal(config), { aliasDuplicateObjects: false });
  return `${heading.replaceAll(/^/gm, '# ')}\n\n${document.toString({ lineWidth: 0 })}`;
};

/** A `${…}` in a value would be taken from the environment; digits of an integer that is not held exactly, for one that was meant exactly. */
const literal = (value: Json): unknown => {
  if (typeof value === 'string') return value.replaceAll('${', () => '$${');
  if (typeof value === 'number' && Number.isInteger(value) && !Number.isSafeInteger(value)) return inPowersOfTen(value);
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map(literal);
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, literal(inner)]));
};

const inPowersOfTen = (value: number): Scalar<number> => {
  const scalar = new Scalar(value);
  scalar.format = 'EXP';
  return scalar;
};
