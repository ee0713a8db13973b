/** Turns what a checked config says of a `model` into the desired state. */
import type {
  ModelOptions,
  SequenceSpec,
  SessionSpec,
  StateSpec,
  VersionPolicy,
  WarmupFill,
  WarmupSpec,
} from '../domain/desired.ts';
import { mappingOf } from './finding.ts';
import type { Section } from './section.ts';

export const modelOptionsOf = (model: Section): ModelOptions => ({
  versions: versionsOf(model),
  providers: model.json('execution_providers') as readonly string[],
  session: sessionOf(model.section('session')),
  warmup: model.sections('warmup').map(warmupOf),
});

/** @returns undefined: it keeps nothing from request to request */
export const sequenceOf = (model: Section): SequenceSpec | undefined => {
  if (!model.has('sequence')) return undefined;
  const sequence = model.section('sequence');
  const states = Object.entries(mappingOf(sequence.json('state')) ?? {}).map(([input, said]) => [input, stateOf(said)]);
  return {
    states: namesOf<StateSpec>(Object.fromEntries(states)),
    idleTimeoutMs: sequence.millis('idle_timeout_s'),
    maxSequences: sequence.number('max_sequences'),
    maxStateBytes: sequence.bytes('max_state_bytes'),
  };
};

const stateOf = (said: unknown): StateSpec => {
  const { output = said, shape = null } = mappingOf(said) ?? {};
  return { output: output as string, shape: shape as readonly number[] | null };
};

const versionsOf = (model: Section): VersionPolicy => {
  const policy = model.section('version_policy');
  const [latest, specific] = [policy.numberOrNull('latest'), policy.json('specific')];
  if (model.json('version_policy') === 'all') return 'all';
  // A mapping that says neither is what nothing says.
  return specific === null ? { latest: latest ?? 1 } : { specific: specific as readonly number[] };
};

/** Names of inputs and of entries are the user's: without a prototype. */
const namesOf = <T>(value: unknown): Readonly<Record<string, T>> => Object.assign(Object.create(null), value);

const sessionOf = (session: Section): SessionSpec => ({
  intraOpThreads: session.numberOrNull('intra_op_num_threads'),
  interOpThreads: session.number('inter_op_num_threads'),
  executionMode: session.text<SessionSpec['executionMode']>('execution_mode'),
  optimization: session.text<SessionSpec['optimization']>('graph_optimization_level'),
  memoryArena: session.flag('enable_cpu_mem_arena'),
  memoryPattern: session.flag('enable_mem_pattern'),
  entries: namesOf<string>(session.json('config_entries')),
});

const warmupOf = (warmup: Section): WarmupSpec => ({
  count: warmup.number('count'),
  inputs: namesOf(
    Object.fromEntries(
      Object.entries(mappingOf(warmup.json('inputs')) ?? {}).map(([name, given]) => {
        const { shape, fill } = mappingOf(given) ?? {};
        return [name, { shape: (shape ?? null) as readonly number[] | null, fill: (fill ?? 'zero') as WarmupFill }];
      }),
    ),
  ),
});
