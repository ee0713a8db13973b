/** Reads a checked config by the schema: every value that is not given is the schema's default, and there is no other. */
import type { Json } from '../domain/json.ts';
import { isMapping, type Mapping, mappingOf } from './finding.ts';
import { childOf, configSchema, type SchemaNode } from './schema.ts';
import { bytesOf, millisOf } from './units.ts';

export class Section {
  readonly #data: Mapping;
  readonly #node: SchemaNode;
  readonly #path: string;
  readonly #onRead: (field: string) => void;

  /** @param onRead is told each field that is read, as `applications[].name`: so a test sees that none is forgotten */
  constructor(data: Mapping, onRead: (field: string) => void = () => {}, node = configSchema, path = '') {
    this.#data = data;
    this.#onRead = onRead;
    this.#node = node;
    this.#path = path;
  }

  /** Whether the file says something; null says nothing. */
  has(key: string): boolean {
    this.#schemaOf(key);
    return this.#data[key] !== undefined && this.#data[key] !== null;
  }

  section(key: string): Section {
    return new Section(mappingOf(this.#data[key]) ?? {}, this.#onRead, this.#schemaOf(key), this.#pathOf(key));
  }

  sections(key: string): readonly Section[] {
    const items = childOf(this.#schemaOf(key), 0) ?? {};
    const list = this.#data[key];
    return (Array.isArray(list) ? list : [])
      .filter(isMapping)
      .map((item) => new Section(item, this.#onRead, items, `${this.#pathOf(key)}[]`));
  }

  text<T extends string = string>(key: string): T {
    return this.#typed(key, 'string') as T;
  }

  textOrNull<T extends string = string>(key: string): T | null {
    return this.json(key) === null ? null : this.text<T>(key);
  }

  number(key: string): number {
    return this.#typed(key, 'number') as number;
  }

  numberOrNull(key: string): number | null {
    return this.json(key) === null ? null : this.number(key);
  }

  flag(key: string): boolean {
    return this.#typed(key, 'boolean') as boolean;
  }

  flagOrNull(key: string): boolean | null {
    return this.json(key) === null ? null : this.flag(key);
  }

  millis(key: string): number {
    return millisOf(this.number(key));
  }

  millisOrNull(key: string): number | null {
    return this.json(key) === null ? null : this.millis(key);
  }

  bytes(key: string): number {
    return bytesOf(this.json(key)) ?? this.#wrong(key);
  }

  /** null is a value of its own here: `route_prefix: null` is not the default. */
  nullableText(key: string): string | null {
    return this.#data[key] === null ? null : this.text(key);
  }

  /** The value as it stands, or the default. */
  json(key: string): Json {
    const node = this.#schemaOf(key);
    return (this.#data[key] ?? node.default ?? null) as Json;
  }

  /** What the schema says beside `default`, for defaults that hang on other fields. */
  other(key: string, name: 'x-default-auto' | 'x-default-batching-factor' | 'x-default-idempotent' | 'x-default-model'): unknown {
    return this.#schemaOf(key)[name];
  }

  #typed(key: string, type: 'string' | 'number' | 'boolean'): unknown {
    const value = this.json(key);
    return typeof value === type ? value : this.#wrong(key);
  }

  #schemaOf(key: string): SchemaNode {
    const node = childOf(this.#node, key);
    if (node === undefined) throw new Error(`the schema has no field ${this.#pathOf(key)}`);
    this.#onRead(this.#pathOf(key));
    return node;
  }

  #pathOf(key: string): string {
    return this.#path === '' ? key : `${this.#path}.${key}`;
  }

  #wrong(key: string): never {
    throw new Error(`${this.#pathOf(key)} is read as what its schema does not say`);
  }
}
