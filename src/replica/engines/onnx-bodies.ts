/** Bodies of HTTP requests to a model: each read and checked for itself, those of one shape run together, each answered as JSON. */
import { type ErrorShape, shapeOfError } from '../../domain/errors.ts';
import { parseExactly } from '../../protocol/exact-json.ts';
import { jsonOfTensors } from '../../protocol/http-value.ts';
import { type BatchRules, runBatch } from './onnx-batch.ts';
import type { Job, JobResult } from './onnx-jobs.ts';
import { type Feeds, feedsOfBytes, feedsOfJson, isStackable, type Signature } from './onnx-signature.ts';
import { type Outputs, sliceOf, WrongRows } from './onnx-stack.ts';

type Bodies = Extract<Job, { kind: 'bodies' }>;

const decoder = new TextDecoder('utf-8');

export const runBodies = async (rules: BatchRules, job: Bodies): Promise<Extract<JobResult, { kind: 'json' }>> => {
  const outputs = (await runRaw(rules, job)) ?? (await runEach(rules, job));
  const answers = outputs.map((each): Buffer | ErrorShape => {
    try {
      return each instanceof Error ? shapeOfError(each) : Buffer.from(jsonOfTensors(each), 'utf8');
    } catch (error) {
      return shapeOfError(error);
    }
  });
  return {
    id: job.id,
    kind: 'json',
    bytes: Buffer.concat(answers.filter((each) => Buffer.isBuffer(each))),
    answers: answers.map((each) => (Buffer.isBuffer(each) ? each.byteLength : each)),
  };
};

/**
 * Raw bodies of whole rows are one tensor as they came, one behind the other: run without a copy. undefined: they are anything else, or
 * the run failed, so that each is looked at for itself.
 */
const runRaw = async (
  { signature, run, maxRows }: BatchRules,
  job: Bodies,
): Promise<readonly (Outputs | Error)[] | undefined> => {
  if (job.bodies.length < 2 || !isStackable(signature) || job.bodies.some(({ json }) => json)) return undefined;
  try {
    const stacked = feedsOfBytes(job.bytes, signature);
    const total = Object.values(stacked)[0]?.shape[0] ?? 0;
    const rows = job.bodies.map(({ length }) => (length * total) / job.bytes.byteLength);
    if (total > maxRows || !rows.every((each) => Number.isInteger(each) && each > 0)) return undefined;
    const outputs = await run(stacked);
    let from = 0;
    return rows.map((each) => {
      const start = from;
      from += each;
      return sliceOf(outputs, total, start, from);
    });
  } catch (error) {
    return error instanceof WrongRows ? job.bodies.map(() => error) : undefined;
  }
};

const runEach = async (rules: BatchRules, job: Bodies): Promise<readonly (Outputs | Error)[]> => {
  const read = feedsOfBodies(rules.signature, job);
  const ran = await runBatch(
    read.filter((each): each is Feeds => !(each instanceof Error)),
    rules,
  );
  let next = 0;
  return read.map((each) => (each instanceof Error ? each : (ran[next++] as Outputs | Error)));
};

/** What cannot be read is an error in its place. */
const feedsOfBodies = (signature: Signature, job: Bodies): readonly (Feeds | Error)[] => {
  let at = 0;
  return job.bodies.map(({ json, length }) => {
    const bytes = job.bytes.subarray(at, at + length);
    at += length;
    try {
      return json ? feedsOfJson(parseExactly(decoder.decode(bytes)), signature) : feedsOfBytes(bytes, signature);
    } catch (error) {
      return error as Error;
    }
  });
};
