/** Jobs made of calls: where they go to the session thread, with the one copy that a body or a tensor gets in a replica. */
import { LARGE_BUFFERS } from '../../protocol/buffer-pool.ts';
import { headerOf, isJsonType } from '../../protocol/http-value.ts';
import { SEQUENCE_HEADERS } from '../../protocol/routing-headers.ts';
import { type Segment, skeletonText } from '../../protocol/value.ts';
import type { IncomingCall, SequenceCall } from '../engine.ts';
import type { Job, TensorValue } from './onnx-jobs.ts';

interface MadeJob {
  readonly job: Job;
  readonly transfer: readonly ArrayBuffer[];
}

/**
 * @param maxRows of one run
 * @param moves its buffers go to another thread: they must be its own
 */
type MakeJob = (id: number, calls: readonly IncomingCall[], maxRows: number, moves: boolean) => MadeJob;

export const tensorsJob: MakeJob = (id, calls, maxRows, moves) => {
  const transfer: ArrayBuffer[] = [];
  const value = tensorValueOf(calls[0] as IncomingCall, transfer, moves);
  return { job: { id, kind: 'tensors', value, rows: calls.map((call) => call.rows), maxRows }, transfer };
};

export const valuesJob: MakeJob = (id, calls, maxRows, moves) => {
  const transfer: ArrayBuffer[] = [];
  return { job: { id, kind: 'each', values: calls.map((call) => tensorValueOf(call, transfer, moves)), maxRows }, transfer };
};

/** @param transfer gets the buffers that go along */
const tensorValueOf = ({ value }: IncomingCall, transfer: ArrayBuffer[], moves: boolean): TensorValue => {
  if (!moves) return { skeleton: skeletonText(value), segments: value.segments };
  const segments: Segment[] = value.segments.map((segment) => {
    const bytes = own(segment.bytes);
    transfer.push(bytes.buffer);
    return { ...segment, bytes };
  });
  return { skeleton: skeletonText(value), segments };
};

/** All bodies in one buffer: a message of many small ones would cost more than the model's run. */
export const bodiesJob: MakeJob = (id, calls, maxRows, moves) => {
  const parts = calls.map(bodyOf);
  const [only] = parts;
  const bytes = only !== undefined && parts.length === 1 && !moves ? only : joined(parts);
  const bodies = calls.map((call, index) => {
    const part = parts[index] as Uint8Array;
    const contentType = call.http === undefined ? undefined : headerOf(call.http.headers, 'content-type');
    return {
      json: contentType === undefined || isJsonType(contentType) || !/^application\/octet-stream\b/i.test(contentType),
      length: part.byteLength,
    };
  });
  return {
    job: { id, kind: 'bodies', bytes, bodies, maxRows, sequence: sequenceOf(calls) },
    transfer: [bytes.buffer as ArrayBuffer],
  };
};

const joined = (parts: readonly Uint8Array[]): Uint8Array => {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.byteLength, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.byteLength;
  }
  return bytes;
};

export interface InferCall {
  readonly call: IncomingCall;
  /** As the client named it. */
  readonly model: string;
  readonly headerLength: string | undefined;
}

/** Requests of the Open Inference Protocol: each is put where its first binary tensor stands at a multiple of 8, so that it is read in place. */
export const inferJob = (id: number, version: string, calls: readonly InferCall[], maxRows: number, moves: boolean): MadeJob => {
  const sequence = sequenceOf(calls.map(({ call }) => call));
  const told = sequence === undefined ? undefined : { ...sequence, overruled: overruledIn(calls[0]?.call.http?.headers ?? []) };
  const [first] = calls;
  if (first !== undefined && calls.length === 1 && !moves) {
    const body = bodyOf(first.call);
    const { model, headerLength } = first;
    const from = roomBefore(body.byteOffset, headerLength);
    const bytes = from === 0 ? body : placed(body, from);
    const request = { from, length: body.byteLength, headerLength, model, version };
    return { job: { id, kind: 'infer', bytes, requests: [request], maxRows, sequence: told }, transfer: [] };
  }
  let end = 0;
  const requests = calls.map(({ call, model, headerLength }) => {
    const { byteLength: length } = bodyOf(call);
    const from = end + roomBefore(end, headerLength);
    end = from + length;
    return { from, length, headerLength, model, version };
  });
  const bytes = new Uint8Array(end);
  for (const [index, { call }] of calls.entries()) bytes.set(bodyOf(call), requests[index]?.from);
  return { job: { id, kind: 'infer', bytes, requests, maxRows, sequence: told }, transfer: [bytes.buffer] };
};

/** How far behind `at` a request has to begin for its first binary tensor to stand at a multiple of 8. */
const roomBefore = (at: number, headerLength: string | undefined): number => {
  const jsonBytes = Number(headerLength ?? 0);
  return Number.isSafeInteger(jsonBytes) && jsonBytes >= 0 ? (8 - ((at + jsonBytes) % 8)) % 8 : 0;
};

const placed = (body: Uint8Array, from: number): Uint8Array => {
  const bytes = LARGE_BUFFERS.take(from + body.byteLength);
  bytes.set(body, from);
  return bytes;
};

/** A header wins over the parameter that says the same. */
const overruledIn = (headers: readonly string[]): readonly string[] =>
  Object.entries(SEQUENCE_HEADERS).flatMap(([parameter, header]) =>
    (headerOf(headers, header) ?? '') === '' ? [] : [parameter],
  );

/** Requests of sequences come alone. */
const sequenceOf = (calls: readonly IncomingCall[]): SequenceCall | undefined =>
  calls.length === 1 ? calls[0]?.sequence : undefined;

const bodyOf = (call: IncomingCall): Uint8Array => call.value.segments[0]?.bytes ?? NO_BYTES;
const NO_BYTES = new Uint8Array(0);

/** The bytes in a buffer of their own, which can go to the session thread without a further copy. */
const own = (bytes: Uint8Array): Uint8Array<ArrayBuffer> => {
  const copy = new Uint8Array(bytes.byteLength);
  copy.set(bytes);
  return copy;
};
