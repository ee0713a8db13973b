/** Requests of the Open Inference Protocol to one version of a model: each read for itself, those of one shape run together, each answered. */
import { type ErrorShape, shapeOfError } from '../../domain/errors.ts';
import { type RunReport, runHeader } from '../../protocol/run-report.ts';
import type { Tensor } from '../../protocol/tensor.ts';
import { writeInference } from './infer-answer.ts';
import { type Inference, readInference } from './infer-request.ts';
import { type BatchRules, partsOf, runPieces } from './onnx-batch.ts';
import type { Job, JobResult } from './onnx-jobs.ts';
import { type Feeds, isStackable, type Signature } from './onnx-signature.ts';
import { concat, type Outputs, sliceOf, WrongRows } from './onnx-stack.ts';

interface Member {
  readonly index: number;
  readonly inference: Inference;
  readonly rows: number;
  readonly inputMs: number;
}

type InferJob = Extract<Job, { kind: 'infer' }>;
/** @param names outputs that are needed; undefined: all */
type Run = (feeds: Feeds, names: readonly string[] | undefined) => Promise<Outputs>;
interface Told {
  readonly headers: readonly string[];
  readonly parts: readonly Uint8Array[];
}

/** What all groups of one job share. */
interface Work {
  readonly job: InferJob;
  readonly run: Run;
  readonly maxRows: number;
  readonly answers: (Told | ErrorShape)[];
}

export const runInference = async (
  { signature, maxRows }: Pick<BatchRules, 'signature' | 'maxRows'>,
  run: Run,
  job: InferJob,
): Promise<Extract<JobResult, { kind: 'http' }>> => {
  const answers: (Told | ErrorShape)[] = new Array(job.requests.length);
  for (const group of groupByShape(signature, job, answers))
    for (const part of partsOf(group, maxRows)) await runHalves(part, { job, run, maxRows, answers });
  return gathered(job.id, answers);
};

/** What fails together is run in halves, so that what is to blame fails alone. */
const runHalves = async (group: readonly Member[], work: Work): Promise<void> => {
  try {
    await runGroup(group, work);
  } catch (error) {
    const [first] = group as [Member];
    if (group.length === 1) {
      work.answers[first.index] = shapeOfError(error);
      return;
    }
    // An output that has no row for each of theirs cannot be divided among them: each gets one of its own.
    const part = error instanceof WrongRows ? 1 : Math.ceil(group.length / 2);
    for (let from = 0; from < group.length; from += part) await runHalves(group.slice(from, from + part), work);
  }
};

const runGroup = async (group: readonly Member[], { job, run, maxRows, answers }: Work): Promise<void> => {
  const [first] = group as [Member];
  const feeds = group.length === 1 ? first.inference.feeds : concat(group.map(({ inference }) => inference.feeds));
  const begun = performance.now();
  const runRows = group.reduce((sum, { rows }) => sum + rows, 0);
  const outputs = await runPieces(feeds, runRows, maxRows, (piece) => run(piece, namesOf(group)));
  const inferMs = performance.now() - begun;
  let from = 0;
  for (const { index, inference, rows, inputMs } of group) {
    const own = group.length === 1 ? outputs : sliceOf(wanted(outputs, inference), runRows, from, from + rows);
    from += rows;
    const request = job.requests[index] as InferJob['requests'][number];
    const start = performance.now();
    try {
      const { headers, parts } = writeInference({ ...request, id: inference.id }, inference.outputs, own);
      const report: RunReport = {
        version: request.version,
        rows,
        runRows,
        inputMs,
        inferMs,
        outputMs: performance.now() - start,
      };
      answers[index] = { headers: [...headers, ...runHeader(report)], parts };
    } catch (error) {
      answers[index] = shapeOfError(error);
    }
  }
};

const wanted = (outputs: Outputs, { outputs: asked }: Inference): Outputs =>
  Object.fromEntries(asked.map(({ name }) => [name, outputs[name] as Tensor]));

/** Outputs that any of them wants. */
const namesOf = (group: readonly Member[]): readonly string[] => [
  ...new Set(group.flatMap(({ inference }) => inference.outputs.map(({ name }) => name))),
];

/** Requests that may run together; what cannot be read is answered in place. */
const groupByShape = (signature: Signature, job: InferJob, answers: (Told | ErrorShape)[]): readonly (readonly Member[])[] => {
  const stackable = isStackable(signature);
  const groups = new Map<string, Member[]>();
  for (const [index, { from, length, headerLength }] of job.requests.entries()) {
    try {
      const start = performance.now();
      const inference = readInference(job.bytes.subarray(from, from + length), headerLength, signature);
      const inputMs = performance.now() - start;
      const tensors = Object.values(inference.feeds);
      const rows = stackable ? (tensors[0]?.shape[0] ?? 1) : 1;
      const alike = stackable && rows > 0 && tensors.every(({ shape }) => shape[0] === rows);
      // By name: clients give inputs in any order.
      const shapes = signature.inputs.map(({ name }) => inference.feeds[name]?.shape.slice(1).join());
      const key = alike ? shapes.join('|') : `alone ${index}`;
      const member = { index, inference, rows: Math.max(rows, 1), inputMs };
      const group = groups.get(key);
      if (group === undefined) groups.set(key, [member]);
      else group.push(member);
    } catch (error) {
      answers[index] = shapeOfError(error);
    }
  }
  return [...groups.values()];
};

/** All answers in one buffer, which goes to the replica's thread as it is. */
const gathered = (id: number, answers: readonly (Told | ErrorShape)[]): Extract<JobResult, { kind: 'http' }> => {
  const lengths = answers.map((each) => ('parts' in each ? each.parts.reduce((sum, part) => sum + part.byteLength, 0) : 0));
  const bytes = Buffer.allocUnsafeSlow(lengths.reduce((sum, length) => sum + length, 0));
  let at = 0;
  const told = answers.map((each, index) => {
    if (!('parts' in each)) return each;
    for (const part of each.parts) {
      bytes.set(part, at);
      at += part.byteLength;
    }
    return { length: lengths[index] as number, headers: each.headers };
  });
  return { id, kind: 'http', bytes, answers: told };
};
