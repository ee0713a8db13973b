/** Loads a model on the first execution provider that works, and says which that was. */
import type { InferenceSession } from 'onnxruntime-node';
import type { SessionSpec } from '../../domain/desired.ts';
import { ServeError } from '../../domain/errors.ts';
import type { SessionOptions } from './onnx-jobs.ts';

type Runtime = typeof import('onnxruntime-node');

export interface Loaded {
  readonly session: InferenceSession;
  readonly provider: string;
  /** Those before it, and why they do not work: `cuda: …`. */
  readonly instead: readonly string[];
}

/** @throws Error of the runtime; ServeError with what each provider said where none works */
export const loadSession = async (ort: Runtime, { path, threads, model }: SessionOptions): Promise<Loaded> => {
  const providers = model?.providers ?? ['cpu'];
  const instead: string[] = [];
  for (const provider of providers) {
    try {
      // One at a time: of a list the runtime does not say which it took.
      const session = await ort.InferenceSession.create(path, {
        ...settingsOf(model?.session, threads, providers.includes('cpu')),
        executionProviders: [provider],
      });
      return { session, provider, instead };
    } catch (error) {
      if (providers.length === 1 && provider === 'cpu') throw readable(error as Error);
      instead.push(`${provider}: ${firstLine(readable(error as Error).message)}`);
    }
  }
  throw new ServeError(
    'INVALID_INPUT',
    `no execution provider of ${providers.join(', ')} can run the model: ${instead.join('; ')}`,
  );
};

const settingsOf = (spec: SessionSpec | undefined, threads: number, mayUseCpu: boolean): InferenceSession.SessionOptions => ({
  intraOpNumThreads: spec?.intraOpThreads ?? threads,
  interOpNumThreads: spec?.interOpThreads ?? 1,
  executionMode: spec?.executionMode ?? 'sequential',
  graphOptimizationLevel: spec?.optimization ?? 'all',
  enableCpuMemArena: spec?.memoryArena ?? true,
  enableMemPattern: spec?.memoryPattern ?? true,
  extra: {
    // Threads that spin for work take it from the other replicas.
    'session.intra_op.allow_spinning': '0',
    'session.inter_op.allow_spinning': '0',
    ...(mayUseCpu ? {} : { 'session.disable_cpu_ep_fallback': '1' }),
    ...spec?.entries,
  },
});

const firstLine = (text: string): string => text.split('\n', 1)[0]?.slice(0, 300) ?? '';

/** Numbers of TensorProto.DataType for which onnxruntime-node has no form, and of which it tells the number only. */
const NO_FORM: Readonly<Record<string, string>> = {
  14: 'complex64',
  15: 'complex128',
  16: 'bfloat16',
  17: 'float8e4m3fn',
  18: 'float8e4m3fnuz',
  19: 'float8e5m2',
  20: 'float8e5m2fnuz',
  21: 'uint4',
  22: 'int4',
};

const readable = (error: Error): Error => {
  const dtype = NO_FORM[/^Unsupported data type: (\d+)$/.exec(error.message)?.[1] ?? ''];
  if (dtype === undefined) return error;
  const message = `an input or output has the dtype ${dtype}, which onnxruntime-node cannot carry: cast it inside the model`;
  return new ServeError('INVALID_INPUT', message);
};
