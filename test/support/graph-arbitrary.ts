/** Graphs as somebody might write them, and what they come to when they are worked off one step after the other: written without the executor. */
import fc from 'fast-check';
import type { ConditionSource, StepSource } from '../../src/graph/source.ts';

export type Value = null | boolean | number | string | readonly Value[] | { readonly [key: string]: Value };

export interface DrawnGraph {
  readonly steps: Readonly<Record<string, StepSource>>;
  readonly output: unknown;
}

const DEPLOYMENTS = ['A', 'B', 'C'] as const;

/** Into what calls answer, what requests bring, and what neither has. */
const path = fc.oneof(
  { weight: 3, arbitrary: fc.constant('') },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      '.list',
      '.list[0]',
      '.list[0].n',
      '.n',
      '.text',
      '.none',
      '.none.deeper',
      '.list[9]',
      '.got',
      '[0]',
      '[1].n',
    ),
  },
);

const literal: fc.Arbitrary<Value> = fc.constantFrom<Value>(
  null,
  true,
  0,
  3,
  'text',
  '$$dollar',
  [],
  [1, 'two', null],
  { n: 1 },
  [{ n: 2 }, { n: 7 }],
);

const referenceTo = (steps: readonly string[], more: readonly string[]): fc.Arbitrary<string> =>
  fc
    .tuple(fc.constantFrom(...steps.map((name) => `$${name}`), '$request.json', ...more), path)
    .map(([root, rest]) => (root === '$index' ? root : `${root}${rest}`));

const expression = (steps: readonly string[], more: readonly string[] = []): fc.Arbitrary<unknown> => {
  const leaf = fc.oneof({ weight: 4, arbitrary: referenceTo(steps, more) }, { weight: 1, arbitrary: literal });
  return fc.oneof(
    { weight: 4, arbitrary: leaf },
    { weight: 1, arbitrary: fc.array(leaf, { maxLength: 3 }) },
    { weight: 1, arbitrary: fc.dictionary(fc.constantFrom('list', 'n', 'text', '$odd'), leaf, { maxKeys: 3 }) },
  );
};

const condition = (steps: readonly string[], more: readonly string[]): fc.Arbitrary<ConditionSource> => {
  const simple = fc
    .tuple(
      referenceTo(steps, more),
      fc.constantFrom(
        { equals: null },
        { equals: 3 },
        { equals: 'text' },
        { equals: [] },
        { in: [1, 2, 'text', null] },
        { exists: true },
        { exists: false },
        { gt: 1 },
        { lt: 5 },
      ),
    )
    .map(([ref, operator]) => ({ ref, ...operator }));
  const single = fc.oneof({ weight: 3, arbitrary: simple }, { weight: 1, arbitrary: simple.map((inner) => ({ not: inner })) });
  return fc.oneof({ weight: 3, arbitrary: single }, { weight: 1, arbitrary: fc.array(single, { minLength: 1, maxLength: 3 }) });
};

const step = (before: readonly string[]): fc.Arbitrary<StepSource> =>
  fc.boolean().chain((fans) => {
    const more = fans ? ['$item', '$index'] : [];
    const call = fc.constantFrom(...DEPLOYMENTS);
    const target = fc.oneof(
      { weight: 4, arbitrary: call.map((name): StepSource => ({ call: name })) },
      {
        weight: 1,
        arbitrary: fc.tuple(call, call).map(
          ([one, other]): StepSource => ({
            split: {
              targets: [
                { call: one, weight: 0 },
                { call: other, weight: 5 },
              ],
            },
          }),
        ),
      },
    );
    const list = fc.oneof(referenceTo(before, []), fc.constantFrom<unknown>([1, 2, { n: 3 }], ['$request.json', 5], []));
    return fc
      .tuple(
        target,
        expression(before, more),
        fans ? list : fc.constant(undefined),
        fc.option(condition(before, more), { nil: undefined }),
        fc.option(literal, { nil: undefined }),
        fc.option(fc.integer({ min: 1, max: 4 }), { nil: undefined }),
        fc.option(fc.integer({ min: 1, max: 3 }), { nil: undefined }),
      )
      .map(([calls, input, forEach, when, onError, concurrency, attempts]) => ({
        ...calls,
        // What is called with each item is told by its place.
        input: forEach === undefined ? input : { at: '$index', given: input },
        ...(forEach === undefined ? {} : { for_each: forEach }),
        ...(when === undefined ? {} : { when }),
        ...(onError === undefined ? {} : { on_error: { value: onError } }),
        ...(concurrency === undefined || forEach === undefined ? {} : { max_concurrency: concurrency }),
        ...(attempts === undefined ? {} : { retry: { max_attempts: attempts } }),
      }));
  });

const NAMES = ['first', 'b', 'c_2', 'D', '_e', 'sixth', 'g7'];

/** So that a call tells of which step it is: it calls the method of its name. */
const named = (source: StepSource, name: string): StepSource => ({
  ...source,
  ...(source.call === undefined ? {} : { call: `${source.call}.${name}` }),
  ...(source.split === undefined
    ? {}
    : { split: { targets: source.split.targets.map(({ call, weight }) => ({ call: `${call}.${name}`, weight })) } }),
});

/** Each step refers to those before it only, and they are written into the file in any order. */
export const drawnGraph: fc.Arbitrary<DrawnGraph> = fc.integer({ min: 1, max: NAMES.length }).chain((count) => {
  const names = NAMES.slice(0, count);
  return fc
    .tuple(
      fc.tuple(...names.map((_, index) => step(names.slice(0, index)))),
      fc.shuffledSubarray(names, { minLength: count }),
      expression(names),
    )
    .map(([steps, order, output]) => ({
      steps: Object.fromEntries(order.map((name) => [name, named(steps[names.indexOf(name)] as StepSource, name)])),
      output,
    }));
});

export const body: fc.Arbitrary<Value> = fc.oneof(
  literal,
  fc.constantFrom<Value>({ list: [{ n: 1 }, { n: 4 }, 3], n: 2, text: 'text' }, { list: [], none: null }, [[1], [2, 3]]),
);

/** What a call answers: known from its deployment and its input alone. */
export const answerOf = (deployment: string, input: Value): Value => {
  switch (deployment) {
    case 'A':
      return { got: input, list: [input, { n: 3 }, 2], n: 2, text: 'text' };
    case 'B':
      return [input, { n: 1 }, { list: [7] }];
    default:
      return input;
  }
};

/** How many of the first tries of a call fail: drawn once, for each step and item. */
export type Failures = (step: string, index: number) => number;

class Fails extends Error {}

export interface WorkedOff {
  /** undefined: the request fails. */
  readonly output: Value | undefined;
  /** How often each step was called, tries included. */
  readonly calls: ReadonlyMap<string, number>;
  /** Steps that were not left out. */
  readonly reached: ReadonlySet<string>;
  /** References that had a value, as `step reference`, or `output reference`. */
  readonly found: ReadonlySet<string>;
}

export const workedOff = ({ steps, output }: DrawnGraph, request: Value, failures: Failures): WorkedOff => {
  const values = new Map<string, Value>();
  const calls = new Map<string, number>();
  const reached = new Set<string>();
  const found = new Set<string>();
  const valueOfStep = (name: string): Value => {
    const known = values.get(name);
    if (known !== undefined || values.has(name)) return known as Value;
    const value = run(name, steps[name] as StepSource);
    values.set(name, value);
    return value;
  };
  interface Item {
    readonly item: Value;
    readonly index: number;
  }
  const lookUp = (reference: string, by: string, item: Item | undefined): Value => {
    const [, root = '', rest = ''] = /^\$(request\.json|\w+)(.*)$/.exec(reference) ?? [];
    const keys = [...rest.matchAll(/\.(\w+)|\[(\d+)\]/g)].map(([, name, index]) =>
      index === undefined ? (name ?? '') : Number(index),
    );
    let value: Value =
      root === 'request.json'
        ? request
        : root === 'item'
          ? (item as Item).item
          : root === 'index'
            ? (item as Item).index
            : valueOfStep(root);
    for (const key of keys) {
      if (value === null) return null;
      if (typeof key === 'number') {
        if (!Array.isArray(value)) throw new Fails();
        value = (value[key] ?? null) as Value;
      } else {
        if (typeof value !== 'object' || Array.isArray(value)) throw new Fails();
        value = ((value as Record<string, Value>)[key] ?? null) as Value;
      }
    }
    if (value !== null) found.add(`${by} ${reference}`);
    return value;
  };
  const plain = (said: unknown): Value => {
    if (typeof said === 'string') return said.startsWith('$$') ? said.slice(1) : said;
    if (Array.isArray(said)) return said.map(plain);
    if (typeof said === 'object' && said !== null)
      return Object.fromEntries(Object.entries(said).map(([key, each]) => [key, plain(each)]));
    return said as Value;
  };
  const say = (said: unknown, by: string, item?: Item): Value => {
    if (typeof said === 'string' && said.startsWith('$') && !said.startsWith('$$')) return lookUp(said, by, item);
    if (Array.isArray(said)) return said.map((each) => say(each, by, item));
    if (typeof said === 'object' && said !== null)
      return Object.fromEntries(Object.entries(said).map(([key, each]) => [key, say(each, by, item)]));
    return plain(said);
  };
  const same = (a: Value, b: Value): boolean => JSON.stringify(a) === JSON.stringify(b);
  const holds = (when: ConditionSource, by: string, item?: Item): boolean => {
    if (Array.isArray(when)) return when.every((each) => holds(each, by, item));
    if ('not' in when) return !holds(when.not, by, item);
    const { ref, ...operator } = when as { ref: string } & Record<string, Value>;
    const value = lookUp(ref, by, item);
    const [[name, operand]] = Object.entries(operator) as [[string, Value]];
    switch (name) {
      case 'equals':
        return same(value, operand);
      case 'in':
        return (operand as readonly Value[]).some((each) => same(value, each));
      case 'exists':
        return (value !== null) === operand;
      case 'gt':
        return typeof value === 'number' && value > Number(operand);
      default:
        return typeof value === 'number' && value < Number(operand);
    }
  };
  const call = (name: string, source: StepSource, input: Value, index: number): Value => {
    const target = source.call ?? source.split?.targets.find(({ weight }) => weight > 0)?.call ?? '';
    const tries = Math.min(source.retry?.max_attempts ?? 1, failures(name, index) + 1);
    calls.set(name, (calls.get(name) ?? 0) + tries);
    if (failures(name, index) < tries) return answerOf(target.split('.')[0] ?? '', input);
    if (typeof source.on_error !== 'object') throw new Fails();
    return plain(source.on_error.value);
  };
  const run = (name: string, source: StepSource): Value => {
    const { when, for_each: forEach, input } = source;
    const ofItem = /\$(item|index)/.test(JSON.stringify(when ?? null));
    if (when && !ofItem && !holds(when, name)) return null;
    reached.add(name);
    if (forEach === undefined) return call(name, source, say(input, name), 0);
    const list = say(forEach, name);
    if (!Array.isArray(list)) throw new Fails();
    // Each item is looked at before any is called.
    const inputs = list.map((item: Value, index) => {
      const here = { item, index };
      return when && ofItem && !holds(when, name, here) ? undefined : say(input, name, here);
    });
    return inputs.map((each, index) => (each === undefined ? null : call(name, source, each, index)));
  };
  try {
    for (const name of Object.keys(steps)) valueOfStep(name);
    return { output: say(output, 'output'), calls, reached, found };
  } catch (error) {
    if (!(error instanceof Fails)) throw error;
    return { output: undefined, calls, reached, found };
  }
};
