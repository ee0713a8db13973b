/**
 * The session thread: `run()` holds the loop of its thread while it computes, so it has one of its own, and the replica's socket,
 * heartbeat and cancellation go on answering.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { shapeOfError } from '../../domain/errors.ts';
import type { FromSession, JobAnswer, SessionOptions, ToSession } from './onnx-jobs.ts';
import { openModel } from './onnx-model.ts';
import { rowMsOf } from './onnx-short.ts';

if (parentPort === null) throw new Error('onnx-session runs on a worker thread');
const port = parentPort;
const post = (message: FromSession, transfer: readonly ArrayBuffer[] = []): void =>
  port.postMessage(message, transfer as ArrayBuffer[]);

/** Buffers that go along instead of being copied. */
const buffersOf = (answer: JobAnswer): readonly ArrayBuffer[] => {
  if (answer.kind === 'http') return [answer.bytes.buffer as ArrayBuffer];
  const values = answer.kind === 'tensors' ? [answer.value] : answer.kind === 'each' ? answer.answers : [];
  const segments = values.flatMap((value) => ('segments' in value ? value.segments : []));
  // Texts are written into memory that Node shares among small buffers: they are copied.
  const own = segments.filter(({ dtype }) => dtype !== 'string');
  return [...new Set(own.map(({ bytes }) => bytes.buffer as ArrayBuffer))];
};

try {
  const options = workerData as SessionOptions;
  const model = await openModel(options);
  const { signature, provider, instead } = model;
  const rowMs = await rowMsOf(model, options.path);
  port.on('message', (message: ToSession) => {
    if (message.kind === 'forget') return model.forget(message.sequences);
    void model.answer(message).then((answer) => post(answer, buffersOf(answer)));
  });
  post({ kind: 'ready', signature, provider, instead, rowMs });
} catch (error) {
  post({ kind: 'failed', error: shapeOfError(error) });
}
