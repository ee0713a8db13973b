/** An application that was built in code: finds its deployments behind the export, and says of each what the config file would say. */
import { ServeError } from '../domain/errors.ts';
import type { Json } from '../domain/json.ts';
import type { ApplicationMeta } from '../protocol/messages.ts';
import { type BoundParts, type DeploymentOptions, partsOf } from '../sdk/deployment.ts';

/** One bound deployment and what its arguments hold in place of handles. */
export interface CodeDeployment extends BoundParts {
  readonly name: string;
  /** Path in the arguments (`translator`, `models.0`) → name of the deployment. */
  readonly handles: Readonly<Record<string, string>>;
  /** The export itself: a function that builds nothing and is served. */
  readonly bare: boolean;
}

const MAX_DEPTH = 16;

/**
 * The deployments of an application, the ingress first.
 * @param exported a bound deployment; a function that returns one (or a promise of one) when it is called with `args`; a class; an
 *   object with `fetch`; or a function that is to be served itself
 * @throws ServeError INVALID_INPUT when it is nothing of the kind
 */
export const deploymentsOf = async (
  exported: unknown,
  name: string,
  args: Readonly<Record<string, Json>>,
): Promise<readonly CodeDeployment[]> => {
  const root = await rootOf(exported, name, args);
  const found = new Map<BoundParts, { name: string; handles: Record<string, string> }>();
  const names = new Set<string>();
  const visit = (parts: BoundParts, path: readonly BoundParts[]): string => {
    if (path.includes(parts)) throw invalid(`the deployments of \`${name}\` are bound in a circle`);
    const known = found.get(parts);
    if (known !== undefined) return known.name;
    const entry = { name: freeName(parts, names), handles: {} as Record<string, string> };
    found.set(parts, entry);
    boundIn(parts.args, '', 0, (place, inner) => {
      entry.handles[place] = visit(inner, [...path, parts]);
    });
    return entry.name;
  };
  visit(root, []);
  const bare = isFunction(exported) && !isClass(exported) && root.target === exported;
  return [...found].map(([parts, entry]) => ({ ...parts, ...entry, bare }));
};

const invalid = (message: string): ServeError => new ServeError('INVALID_INPUT', message);

const rootOf = async (exported: unknown, name: string, args: Readonly<Record<string, Json>>): Promise<BoundParts> => {
  const bound = partsOf(exported);
  const given = Object.keys(args);
  if (bound !== undefined) {
    if (given.length > 0)
      throw invalid(`\`${name}\` is an application and takes no args, got ${given.join(', ')}: export a function that builds it`);
    return bound;
  }
  if (typeof (exported as { fetch?: unknown } | null)?.fetch === 'function' && typeof exported === 'object') {
    if (given.length > 0) throw invalid(`\`${name}\` is an object with \`fetch\` and takes no args, got ${given.join(', ')}`);
    return { target: exported, options: {}, args };
  }
  if (isUnbound(exported))
    throw invalid(`expected \`${name}\` to be bound to its arguments: deployment(…).bind(…), got deployment(…)`);
  if (!isFunction(exported)) {
    throw invalid(
      `expected \`${name}\` to be an application, deployment(…).bind(…), a function that builds one, a class, a function or an object with \`fetch\`, got ${exported === null ? 'null' : typeof exported}`,
    );
  }
  const itself: BoundParts = { target: exported, options: {}, args };
  if (isClass(exported)) return itself;
  // What is given args builds an application, and so does what speaks of binding: if it does not, the mistake is told.
  const mayBeServed = given.length === 0 && !/\bbind\b/.test(textOf(exported));
  if (mayBeServed && cannotBuild(exported)) return itself;
  let built: unknown;
  try {
    built = await exported(args);
  } catch (error) {
    // What takes an input may fail without one.
    if (mayBeServed && exported.length > 0) return itself;
    const told = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
    const message = `the function \`${name}\` was to build the application and threw ${told}`;
    throw new ServeError('INVALID_INPUT', message, {}, { cause: error });
  }
  const parts = partsOf(built);
  if (parts !== undefined) return parts;
  if (mayBeServed && !isUnbound(built)) return itself;
  throw invalid(
    `expected the function \`${name}\` to return an application, deployment(…).bind(…); one that is to be served itself is wrapped: deployment(${name}).bind()`,
  );
};

type AnyFunction = (...args: readonly unknown[]) => unknown;

const isFunction = (value: unknown): value is AnyFunction => typeof value === 'function';

const textOf = (target: AnyFunction): string => Function.prototype.toString.call(target);

/** Also one that a compiler has made a function of: it has methods. */
export const isClass = (target: AnyFunction): boolean =>
  /^class\b/.test(textOf(target)) ||
  Object.getOwnPropertyNames((target.prototype as object | undefined) ?? {}).some((key) => key !== 'constructor');

/** A builder takes `args` and nothing else, and returns one thing. */
const cannotBuild = (target: AnyFunction): boolean => target.length > 1 || /Generator/.test(target.constructor.name);

/** `deployment(…)` before `bind`. */
const isUnbound = (value: unknown): boolean =>
  typeof value === 'object' &&
  value !== null &&
  ['bind', 'options'].every((key) => Object.hasOwn(value, key) && isFunction((value as Record<string, unknown>)[key]));

/** Ray Serve's rule: the name of the class, for an object that of its class; the next of the same name gets `_1`. */
const freeName = ({ target, options }: BoundParts, taken: Set<string>): string => {
  const own = typeof target === 'function' ? target.name : classOf(target);
  const wanted = options.name ?? (typeof own === 'string' && own !== '' ? own : 'Deployment');
  let free = wanted;
  for (let count = 1; taken.has(free); count++) free = `${wanted}_${count}`;
  taken.add(free);
  return free;
};

const classOf = (target: unknown): string => {
  const { name } = (target as object).constructor ?? Object;
  return name === 'Object' ? '' : name;
};

/**
 * Calls `each` for every bound deployment in lists and plain objects.
 * @throws ServeError for one that stands where it would not become a handle, and for one that is not bound
 */
const boundIn = (value: unknown, place: string, depth: number, each: (place: string, parts: BoundParts) => void): void => {
  const parts = place === '' ? undefined : partsOf(value);
  if (parts !== undefined) return each(place, parts);
  if (isUnbound(value))
    throw invalid(`the argument \`${place}\` is a deployment that is not bound: expected deployment(…).bind(…)`);
  if (depth > MAX_DEPTH || typeof value !== 'object' || value === null) return;
  if (value instanceof Map || value instanceof Set) {
    if ([...value.values()].every((held) => partsOf(held) === undefined)) return;
    const kind = value instanceof Map ? 'Map' : 'Set';
    throw invalid(
      `the argument \`${place}\` holds a deployment in a ${kind}: expected it in a list or a plain object, to become a handle`,
    );
  }
  if (!isPlain(value)) return;
  for (const [key, inner] of Object.entries(value)) boundIn(inner, place === '' ? key : `${place}.${key}`, depth + 1, each);
};

/** A list or an object that is of no class. */
const isPlain = (value: object): boolean =>
  Array.isArray(value) || [Object.prototype, null].includes(Object.getPrototypeOf(value) as null);

/** The arguments with what `replace` gives in place of each bound deployment. */
export const withHandles = (value: unknown, replace: (place: string) => unknown, place = '', depth = 0): unknown => {
  if (place !== '' && partsOf(value) !== undefined) return replace(place);
  if (depth > MAX_DEPTH || typeof value !== 'object' || value === null) return value;
  const inner = (key: string, held: unknown) => withHandles(held, replace, place === '' ? key : `${place}.${key}`, depth + 1);
  if (Array.isArray(value)) return value.map((held, index) => inner(`${index}`, held));
  if (!isPlain(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([key, held]) => [key, inner(key, held)]));
};

/** What the config file would say of it. @throws ServeError INVALID_INPUT for an option that a file cannot say */
export const describe = (deployments: readonly CodeDeployment[]): ApplicationMeta => ({
  deployments: deployments.map(({ name, options, args, handles }) => {
    checkJson(options, '', name, 0);
    return {
      name,
      options: fileForm({ ...options, name: undefined }) as Readonly<Record<string, Json>>,
      args: plainArgs(args),
      handles,
    };
  }),
  ingress: deployments[0]?.name ?? '',
  ...(deployments.some(({ bare }) => bare) ? { bare: true } : {}),
});

/** Options travel, and stand in files: what would be changed on its way is refused where it is. */
const checkJson = (value: unknown, place: string, deployment: string, depth: number): void => {
  const isJson =
    value === null ||
    ['string', 'boolean', 'undefined'].includes(typeof value) ||
    (typeof value === 'number' && Number.isFinite(value));
  if (isJson) return;
  if (typeof value !== 'object' || value === null || !isPlain(value) || depth > MAX_DEPTH) {
    const got = typeof value === 'object' && depth <= MAX_DEPTH ? `a ${value?.constructor?.name}` : kindOf(value);
    throw invalid(`the option \`${place}\` of \`${deployment}\`: expected what JSON can say, got ${got}`);
  }
  for (const [key, held] of Object.entries(value)) checkJson(held, place === '' ? key : `${place}.${key}`, deployment, depth + 1);
};

const kindOf = (value: unknown): string => {
  if (typeof value === 'number') return `${value}`;
  return typeof value === 'object' ? `what is nested deeper than ${MAX_DEPTH} levels` : `a ${typeof value}`;
};

/** Below these the keys are the user's own. */
const FREE_FORM = new Set(['userConfig', 'resources', 'envVars', 'policyKwargs']);

/** camelCase → snake_case, as the file has it. */
const fileForm = (options: DeploymentOptions | object): unknown =>
  Object.fromEntries(
    Object.entries(options)
      .filter(([, value]) => value !== undefined)
      .map(([key, value]) => [
        key.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
        FREE_FORM.has(key) || typeof value !== 'object' || value === null || Array.isArray(value)
          ? value
          : fileForm(value as object),
      ]),
  );

/** Arguments for people and for the equivalent file: without handles; undefined where JSON cannot say one of them. */
const plainArgs = (args: Readonly<Record<string, unknown>>): Readonly<Record<string, Json>> | undefined => {
  const plain = (value: unknown): unknown => {
    if (partsOf(value) !== undefined) return undefined;
    if (typeof value === 'function' || typeof value === 'bigint' || typeof value === 'symbol') throw new TypeError('not JSON');
    if (typeof value !== 'object' || value === null) return value;
    if (Array.isArray(value)) return value.map(plain);
    if (Object.getPrototypeOf(value) !== Object.prototype && Object.getPrototypeOf(value) !== null)
      throw new TypeError('not JSON');
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plain(inner)]));
  };
  try {
    return JSON.parse(JSON.stringify(plain(args))) as Record<string, Json>;
  } catch {
    return undefined;
  }
};
