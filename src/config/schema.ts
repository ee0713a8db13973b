/** The schema of the config file: the one place of fields, ranges and defaults, and how to find what it says about a path. */
import { readFileSync } from 'node:fs';
import { isMapping, type Path } from './finding.ts';

/** What has to happen when a field changes, from the lightest. */
export type Weight = 'live' | 'reconfigure' | 'restart-replicas' | 'restart-listener';

/** As much of JSON Schema as the config's schema uses, and what it adds. */
export interface SchemaNode {
  readonly $ref?: string;
  readonly $defs?: Readonly<Record<string, SchemaNode>>;
  readonly description?: string;
  readonly type?: string | readonly string[];
  readonly properties?: Readonly<Record<string, SchemaNode>>;
  readonly additionalProperties?: boolean | SchemaNode;
  readonly propertyNames?: SchemaNode;
  readonly items?: SchemaNode;
  readonly required?: readonly string[];
  readonly enum?: readonly unknown[];
  readonly minimum?: number;
  readonly exclusiveMinimum?: number;
  readonly maximum?: number;
  readonly pattern?: string;
  readonly default?: unknown;
  /** What changing the field takes; a field without one takes what the section around it takes. */
  readonly 'x-weight'?: Weight;
  /** `not-served-yet`: any other value than the default is an error. `ignored`: Ray Serve's, without meaning here, a warning. */
  readonly 'x-status'?: 'not-served-yet' | 'ignored';
  /** Values that are not served yet, of a field that is. */
  readonly 'x-not-served'?: readonly unknown[];
  /** What the value is beyond its type: `seconds`, `size`, `path`, `name`, `route`, … */
  readonly 'x-kind'?: string;
  /** Nothing of it is printed. */
  readonly 'x-secret'?: true;
  /** Names that the field had in earlier versions of Ray Serve. */
  readonly 'x-formerly'?: readonly string[];
  /** Ray Serve's default, where ours differs. */
  readonly 'x-ray-serve'?: unknown;
  /** The default of a deployment with `batching`, as a multiple of `max_batch_size`. */
  readonly 'x-default-batching-factor'?: number;
  /** The default where the deployment is idempotent. */
  readonly 'x-default-idempotent'?: unknown;
  /** The default with `num_replicas: auto`. */
  readonly 'x-default-auto'?: unknown;
  /** The default where the deployment runs a `model`. */
  readonly 'x-default-model'?: unknown;
}

export const configSchema: SchemaNode = JSON.parse(
  readFileSync(new URL('../../schemas/config.schema.json', import.meta.url), 'utf8'),
);

const resolved = new Map<SchemaNode, SchemaNode>();

/** The node with its `$ref` followed; what stands beside the `$ref` wins. */
export const follow = (node: SchemaNode): SchemaNode => {
  if (node.$ref === undefined) return node;
  const known = resolved.get(node);
  if (known !== undefined) return known;
  const target = node.$ref
    .split('/')
    .slice(1)
    .reduce<unknown>((at, key) => (isMapping(at) ? at[key] : undefined), configSchema) as SchemaNode | undefined;
  if (target === undefined) throw new Error(`the schema has no ${node.$ref}`);
  const { $ref: _, ...beside } = node;
  const followed = { ...follow(target), ...beside };
  resolved.set(node, followed);
  return followed;
};

/** What the schema says about one key or index; undefined for free-form values and unknown keys. */
export const childOf = (node: SchemaNode, key: string | number): SchemaNode | undefined => {
  if (typeof key === 'number') return node.items && follow(node.items);
  if (node.properties && Object.hasOwn(node.properties, key)) {
    const property = node.properties[key];
    return property && follow(property);
  }
  return typeof node.additionalProperties === 'object' ? follow(node.additionalProperties) : undefined;
};

export const nodeAt = (path: Path): SchemaNode | undefined => {
  let node: SchemaNode | undefined = configSchema;
  for (const key of path) node = node && childOf(node, key);
  return node;
};

/** What changing the value at a path takes; undefined where it is no field of its own (`name`, which is identity). */
export const weightOf = (path: Path): Weight | undefined => {
  let node: SchemaNode | undefined = configSchema;
  let weight: Weight | undefined;
  for (const key of path) {
    node = node && childOf(node, key);
    if (node?.['x-kind'] === 'name') return undefined;
    weight = node?.['x-weight'] ?? weight;
  }
  return weight;
};

/** Calls `visitor` for each value of the file that the schema knows, outer before inner; free-form values are not entered. */
export const visit = (data: unknown, visitor: (node: SchemaNode, value: unknown, path: Path) => void): void => {
  const enter = (node: SchemaNode, value: unknown, path: Path): void => {
    visitor(node, value, path);
    if (!Array.isArray(value) && !isMapping(value)) return;
    const entries: Iterable<[string | number, unknown]> = Array.isArray(value) ? value.entries() : Object.entries(value);
    for (const [key, held] of entries) {
      const child = childOf(node, key);
      if (child !== undefined) enter(child, held, [...path, key]);
    }
  };
  enter(configSchema, data, []);
};
