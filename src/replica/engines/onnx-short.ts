/**
 * Which runs of a model are so short that they are made where the requests are. Handing a job to the session thread and its answer back
 * takes two wake-ups and a copy, which for a small model is more than its run.
 */
import { statSync } from 'node:fs';
import { headerOf } from '../../protocol/http-value.ts';
import { DTYPES } from '../../protocol/value.ts';
import type { IncomingCall } from '../engine.ts';
import type { OpenModel } from './onnx-model.ts';
import type { Port, Signature } from './onnx-signature.ts';
import { warmupFeeds } from './onnx-warmup.ts';

/** So long a run may hold the loop that sockets, heartbeat and cancellation wait for. */
const MOST_MS = 20;
/** A model is in memory twice where short runs are made elsewhere than long ones. */
const MOST_MODEL_BYTES = 16 * 1024 * 1024;
/** A model that takes longer for one row gains too little. */
const MOST_ROW_MS = 5;
const TRIALS = 3;
/** Reading exact numbers out of JSON, and writing them, about. */
const JSON_MS_PER_BYTE = 1 / 20_000;
/** Of a number in an answer. */
const JSON_BYTES_OF_ONE = 12;

/**
 * What one row takes, tried out. undefined: it cannot be said beforehand, as an extent behind the rows is free or the model runs on no CPU,
 * or it is too large to be there twice.
 */
export const rowMsOf = async ({ signature, provider, run }: OpenModel, path: string): Promise<number | undefined> => {
  if (provider !== 'cpu' || !signature.inputs.every(isFixedBehindRows) || statSync(path).size > MOST_MODEL_BYTES)
    return undefined;
  try {
    const feeds = warmupFeeds({ inputs: {}, count: 1 }, signature, Math.random);
    await run(feeds);
    let least = Number.POSITIVE_INFINITY;
    for (let trial = 0; trial < TRIALS; trial++) {
      const begun = performance.now();
      await run(feeds);
      least = Math.min(least, performance.now() - begun);
    }
    return least;
  } catch {
    // Zeros may be nothing that it takes.
    return undefined;
  }
};

export const isShortModel = (rowMs: number | undefined): rowMs is number => rowMs !== undefined && rowMs <= MOST_ROW_MS;

/**
 * Whether calls are worked on in a moment, judged by what they carry: the client says how much that is, and must not be believed more.
 * @param inferences they are of the Open Inference Protocol: without its header all of a body is JSON, whatever its type says
 */
export const areShort = (
  calls: readonly IncomingCall[],
  rowMs: number,
  { inputs, outputs }: Signature,
  inferences: boolean,
): boolean => {
  const leastRowBytes = inputs.reduce((sum, port) => sum + leastBytesOf(port), 0);
  // Which form an answer has is known only when the request has been read.
  const answerMs = outputs.reduce((sum, port) => sum + elementsOf(port), 0) * JSON_BYTES_OF_ONE * JSON_MS_PER_BYTE;
  let ms = 0;
  for (const { http, rows, value } of calls) {
    if (http === undefined) ms += rows * rowMs;
    else {
      const bytes = value.segments[0]?.bytes.byteLength ?? 0;
      const said = headerOf(http.headers, 'inference-header-content-length');
      const jsonBytes = inferences ? Number(said ?? bytes) : isRaw(http.headers) ? 0 : bytes;
      ms += Math.max(1, bytes / leastRowBytes) * (rowMs + answerMs) + Math.max(0, jsonBytes) * JSON_MS_PER_BYTE;
    }
  }
  return ms <= MOST_MS;
};

const isFixedBehindRows = ({ shape }: Port): boolean =>
  shape?.every((extent, axis) => typeof extent === 'number' || axis === 0) === true;

/** Of a row of it in any form: a number in JSON has a digit and a comma. */
const leastBytesOf = (port: Port): number => elementsOf(port) * Math.min(2, DTYPES[port.dtype] || 2);

/** Of a row; an extent that is free counts for one. */
const elementsOf = ({ shape }: Port): number =>
  (shape ?? []).slice(1).reduce<number>((product, extent) => product * (typeof extent === 'number' ? extent : 1), 1);

const isRaw = (headers: readonly string[]): boolean =>
  /^application\/octet-stream\b/i.test(headerOf(headers, 'content-type') ?? '');
