/** Bodies of HTTP requests to a model: each read and checked for itself, those of one shape run together, each answered as JSON. */
import { type ErrorShape, shapeOfError } from '../../domain/errors.ts';
import { jsonOfTensors } from '../../protocol/http-value.ts';
import type { Tensor } from '../../protocol/tensor.ts';
import { parseExactly } from './exact-json.ts';
import type { Job, JobAnswer } from './onnx-jobs.ts';
import { type Feeds, feedsOfBytes, feedsOfJson, isStackable, type Signature } from './onnx-signature.ts';
import { concat, type Outputs, rowsOf, sliceOf } from './onnx-stack.ts';

interface Member {
  readonly index: number;
  readonly feeds: Feeds;
  readonly rows: number;
  /** Of a group whose bodies stand behind each other already: the tensors of all. */
  readonly stacked?: Feeds;
}

const decoder = new TextDecoder('utf-8');

export const runBodies = async (
  signature: Signature,
  run: Run,
  job: Extract<Job, { kind: 'bodies' }>,
): Promise<Extract<JobAnswer, { kind: 'json' }>> => {
  const answers: (Buffer | ErrorShape)[] = new Array(job.bodies.length);
  const groups = rawGroup(signature, job) ?? groupByShape(signature, job, answers);
  for (const group of groups) {
    try {
      await runGroup(group, run, answers);
    } catch (error) {
      if (group.length === 1) answers[(group[0] as Member).index] = shapeOfError(error);
      else await runAlone(group, run, answers);
    }
  }
  return {
    id: job.id,
    kind: 'json',
    bytes: Buffer.concat(answers.filter((each) => Buffer.isBuffer(each))),
    answers: answers.map((each) => (Buffer.isBuffer(each) ? each.byteLength : each)),
  };
};

type Run = (feeds: Feeds) => Promise<Outputs>;

const runGroup = async (group: readonly Member[], run: Run, answers: (Buffer | ErrorShape)[]): Promise<void> => {
  const [first] = group as [Member];
  const outputs = await run(first.stacked ?? (group.length === 1 ? first.feeds : concat(group.map(({ feeds }) => feeds))));
  const total = group.reduce((sum, { rows }) => sum + rows, 0);
  let from = 0;
  for (const { index, rows } of group) {
    const own = group.length === 1 ? outputs : sliceOf(outputs, total, from, from + rows);
    from += rows;
    answers[index] = Buffer.from(jsonOfTensors(own), 'utf8');
  }
};

/** One of them made the run of all fail: each is tried for itself, and fails for itself. */
const runAlone = async (group: readonly Member[], run: Run, answers: (Buffer | ErrorShape)[]): Promise<void> => {
  let from = 0;
  for (const { index, feeds, rows, stacked } of group) {
    const own = stacked === undefined ? feeds : mapped(stacked, (tensor) => rowsOf(tensor, from, from + rows));
    from += rows;
    try {
      answers[index] = Buffer.from(jsonOfTensors(await run(own)), 'utf8');
    } catch (error) {
      answers[index] = shapeOfError(error);
    }
  }
};

const mapped = (feeds: Feeds, change: (tensor: Tensor) => Tensor): Feeds =>
  Object.fromEntries(Object.entries(feeds).map(([name, tensor]) => [name, change(tensor)]));

/** Raw bodies of whole rows are one tensor as they came, one behind the other; undefined when they are anything else. */
const rawGroup = (signature: Signature, job: Extract<Job, { kind: 'bodies' }>): readonly (readonly Member[])[] | undefined => {
  if (job.bodies.length < 2 || !isStackable(signature) || job.bodies.some(({ json }) => json)) return undefined;
  try {
    const stacked = feedsOfBytes(job.bytes, signature);
    const [tensor] = Object.values(stacked);
    const rowBytes = job.bytes.byteLength / (tensor?.shape[0] ?? 0);
    const members = job.bodies.map(({ length }, index): Member => ({ index, feeds: stacked, rows: length / rowBytes, stacked }));
    return members.every(({ rows }) => Number.isInteger(rows) && rows > 0) ? [members] : undefined;
  } catch {
    // One of them does not fit: each is looked at for itself, and told what is wrong with it.
    return undefined;
  }
};

/** Requests that may run together; what cannot be read is answered in place. */
const groupByShape = (
  signature: Signature,
  job: Extract<Job, { kind: 'bodies' }>,
  answers: (Buffer | ErrorShape)[],
): readonly (readonly Member[])[] => {
  const stackable = isStackable(signature);
  const groups = new Map<string, Member[]>();
  let at = 0;
  for (const [index, { json, length }] of job.bodies.entries()) {
    const bytes = job.bytes.subarray(at, at + length);
    at += length;
    try {
      const feeds = json ? feedsOfJson(parseExactly(decoder.decode(bytes)), signature) : feedsOfBytes(bytes, signature);
      const tensors = Object.values(feeds);
      const rows = tensors[0]?.shape[0] ?? 0;
      const alike = stackable && tensors.every(({ shape }) => shape[0] === rows);
      const key = alike ? tensors.map(({ shape }) => shape.slice(1).join()).join('|') : `alone ${index}`;
      const group = groups.get(key);
      if (group === undefined) groups.set(key, [{ index, feeds, rows }]);
      else group.push({ index, feeds, rows });
    } catch (error) {
      answers[index] = shapeOfError(error);
    }
  }
  return [...groups.values()];
};
