/** Whether what a step gives a model can be what the model takes: names, dtypes, ranks, fixed extents. Says nothing where it cannot know. Pure. */
import type { Expression } from '../domain/graph.ts';
import type { ModelPort, ModelPorts } from '../domain/model.ts';
import {
  type Alternatives,
  describeKnown,
  extentsText,
  fieldsOf,
  isNull,
  type Known,
  type KnownScope,
  knownOf,
} from './known.ts';
import { listed, suggestion } from './nearest.ts';
import type { Path } from './source.ts';

export interface Misfit {
  readonly path: Path;
  readonly message: string;
}

/**
 * What a model answers, as far as its file says it truly. Exporters write the extents of their example where nobody named them, and the runtime
 * only warns; so fixed extents of an output are believed where the inputs have no free ones, or have them at axis 0 alone, the batch, and this
 * output's axis 0 is free too. A free extent behind it, a length, may be in any axis of an output: of those that name it in the inputs, many name
 * nothing but the batch in the outputs.
 */
export const answerOfModel = ({ inputs, outputs, states = [] }: ModelPorts): Known => {
  const taken = [...inputs, ...states];
  const isFixed = !taken.some((port) => isFree(port));
  const isFreeInBatchAlone = !taken.some((port) => isFree(port, 1));
  return {
    kind: 'object',
    isAnswer: true,
    fields: new Map(
      outputs.map(({ name, dtype, shape }) => {
        const isTrue = isFixed || (isFreeInBatchAlone && shape?.[0] === -1);
        return [name, [{ kind: 'tensor', dtype, shape: isTrue ? shape : (shape?.map(() => -1) ?? null) }]];
      }),
    ),
  };
};

const isFree = ({ shape }: ModelPort, from = 0): boolean => shape === null || shape.slice(from).some((extent) => extent < 0);

/**
 * Why calls of a model with this input can never succeed, each with its place; none: they may.
 * @param name of the deployment, for messages
 * @param path of the input
 */
export const misfits = (
  expression: Expression,
  scope: KnownScope,
  ports: ModelPorts,
  name: string,
  path: Path,
): readonly Misfit[] => {
  const { inputs } = ports;
  if (inputs.length === 0) return [];
  const fields = fieldsIn(expression, scope);
  if (fields !== undefined)
    return misfitsOfFields(fields, ports, name).map((each) => ({ ...each, path: [...path, ...each.path] }));
  const message = never(knownOf(expression, scope), (known) => misfitOfWhole(known, ports, name));
  return message === undefined ? [] : [{ path, message }];
};

/** The entries of an object that stands in the file, so that each mistake has its place there. */
const fieldsIn = (expression: Expression, scope: KnownScope): ReadonlyMap<string, Alternatives> | undefined => {
  if (expression.kind === 'object') return new Map(expression.entries.map(([key, value]) => [key, knownOf(value, scope)]));
  return expression.kind === 'literal' ? fieldsOf(expression) : undefined;
};

/** What is wrong with a value, where it is so with each that it may be: what is wrong with null is said last, as a step may be skipped. */
const never = (alternatives: Alternatives, misfit: (known: Known) => string | undefined): string | undefined => {
  const reasons = [...alternatives].sort((a, b) => Number(isNull(a)) - Number(isNull(b))).map(misfit);
  return reasons.every((reason) => reason !== undefined) ? reasons[0] : undefined;
};

const misfitOfWhole = (known: Known, ports: ModelPorts, name: string): string | undefined => {
  const { inputs } = ports;
  const [only] = inputs;
  if (known.kind === 'anything') return undefined;
  if (known.kind === 'tensor' && only !== undefined && inputs.length === 1) return misfitOfPort(known, only, name);
  const fields = fieldsOf(known);
  if (fields !== undefined) return misfitsOfFields(fields, ports, name)[0]?.message;
  const got = `got ${describeKnown(known)}${known.kind === 'tensor' ? '' : TENSORS_ONLY}`;
  return `\`${name}\` is a model: expected an object with ${namesText(inputs)}, ${got}`;
};

const misfitsOfFields = (fields: ReadonlyMap<string, Alternatives>, { inputs }: ModelPorts, name: string): readonly Misfit[] => {
  const found: Misfit[] = [];
  const names = inputs.map((port) => port.name);
  for (const [key, alternatives] of fields) {
    const port = inputs.find((each) => each.name === key);
    const message =
      port === undefined
        ? `the model of \`${name}\` has no input \`${key}\`${suggestion(key, names, 'inputs')}`
        : never(alternatives, (known) => misfitOfPort(known, port, name));
    if (message !== undefined) found.push({ path: [key], message });
  }
  const left = inputs.filter((port) => !fields.has(port.name));
  if (left.length > 0)
    found.push({
      path: [],
      message: `the model of \`${name}\` takes ${namesText(inputs)}, got no ${listed(left.map((port) => port.name))}`,
    });
  return found;
};

const misfitOfPort = (known: Known, port: ModelPort, name: string): string | undefined => {
  if (known.kind === 'anything') return undefined;
  const wanted = `expected ${port.dtype} ${extentsText(port.shape)} for the input \`${port.name}\` of \`${name}\``;
  if (known.kind !== 'tensor') return `${wanted}, got ${describeKnown(known)}${TENSORS_ONLY}`;
  if (known.dtype === port.dtype && mayBe(known.shape, port.shape)) return undefined;
  return `${wanted}, got ${known.dtype} ${extentsText(known.shape)}`;
};

const TENSORS_ONLY = '; a step gives a model tensors: those of another model, or what code makes of other values';

const mayBe = (given: ModelPort['shape'], wanted: ModelPort['shape']): boolean =>
  given === null ||
  wanted === null ||
  (given.length === wanted.length &&
    given.every((extent, axis) => extent < 0 || (wanted[axis] as number) < 0 || extent === wanted[axis]));

const namesText = (inputs: readonly ModelPort[]): string =>
  `the input${inputs.length === 1 ? '' : 's'} ${listed(inputs.map((port) => port.name))}`;
