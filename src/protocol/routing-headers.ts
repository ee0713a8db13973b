/** What a client says of which model, session and sequence its request is for, and how urgent it is; one reading for the data plane and the replica. */
import { ServeError } from '../domain/errors.ts';
import { exactDigits } from './exact-json.ts';
import { headerOf } from './http-value.ts';

/** Ray Serve takes both spellings; proxies such as nginx drop headers with underscores unless told otherwise. */
const MODEL_HEADERS = ['serve_multiplexed_model_id', 'serve-multiplexed-model-id'] as const;

/** An empty header says nothing. */
export const modelIdOf = (headers: readonly string[]): string | undefined => {
  for (const name of MODEL_HEADERS) {
    const id = headerOf(headers, name);
    if (id !== undefined && id !== '') return id;
  }
  return undefined;
};

export const sessionIdOf = (headers: readonly string[]): string | undefined => headerOf(headers, 'x-session-id') || undefined;

const TRACEPARENT = /^(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-|$)/;
/** Later versions of the header may be longer than ours. */
const MAX_TRACEPARENT = 128;

/** Of the trace that a request is part of; what is not as W3C's Trace Context has it says nothing. */
export const traceparentOf = (headers: readonly string[]): string | undefined => {
  const text = headerOf(headers, 'traceparent');
  return text !== undefined && text.length <= MAX_TRACEPARENT && TRACEPARENT.test(text) ? text : undefined;
};

/** 0, the most urgent, to 7; what is none of these says nothing. */
export const priorityOfHeaders = (headers: readonly string[]): number | undefined => {
  const text = headerOf(headers, 'x-priority');
  return text !== undefined && /^[0-7]$/.test(text) ? Number(text) : undefined;
};

/** JSON in which a request says by itself how it is to be served; longer JSON is not read for it, as the thread that all pass must not be held up. */
export const MAX_ROUTING_JSON_BYTES = 65_536;

/** What a client says of the sequence that a request belongs to. */
export interface SequenceAsk {
  readonly id: string;
  /** It is the first: it runs on the initial state. */
  readonly isStart: boolean;
  /** It is the last: the state is forgotten behind it. */
  readonly isEnd: boolean;
}

/** Parameters of the Open Inference Protocol that say the same as the headers. */
export interface SequenceParameters {
  readonly id?: string | undefined;
  readonly isStart?: boolean | undefined;
  readonly isEnd?: boolean | undefined;
}

/** Parameter → the header that says the same, and wins. */
export const SEQUENCE_HEADERS = {
  sequence_id: 'x-sequence-id',
  sequence_start: 'x-sequence-start',
  sequence_end: 'x-sequence-end',
} as const;

/**
 * What a parameter says, as `parseExactly` gives it. A number and its digits are one id; those beyond 2^53 keep all of theirs.
 * @returns undefined: it can be no id
 */
export const sequenceIdOf = (value: unknown): string | undefined => {
  if (typeof value === 'number') return Number.isSafeInteger(value) && value >= 0 ? String(value) : undefined;
  const digits = exactDigits(value);
  if (digits !== undefined) return digits.startsWith('-') ? undefined : digits;
  return typeof value === 'string' ? value : undefined;
};

/** Of a sequence's id, in UTF-16 units; Triton's texts are as long. */
export const MAX_SEQUENCE_ID = 128;

/**
 * Each header wins over the parameter that says the same.
 * @returns undefined: it belongs to none
 * @throws ServeError INVALID_INPUT
 */
export const sequenceOf = (headers: readonly string[], parameters: SequenceParameters = {}): SequenceAsk | undefined => {
  // An empty header says nothing.
  const id = headerOf(headers, SEQUENCE_HEADERS.sequence_id) || (parameters.id ?? '');
  const isStart = flagOf(headers, SEQUENCE_HEADERS.sequence_start) ?? parameters.isStart ?? false;
  const isEnd = flagOf(headers, SEQUENCE_HEADERS.sequence_end) ?? parameters.isEnd ?? false;
  if (id.length > MAX_SEQUENCE_ID)
    throw new ServeError('INVALID_INPUT', `expected a sequence id of at most ${MAX_SEQUENCE_ID} characters, got ${id.length}`);
  if (id !== '' && id !== '0') return { id, isStart, isEnd };
  if (!isStart && !isEnd) return undefined;
  throw new ServeError(
    'INVALID_INPUT',
    `expected the id of the sequence (\`sequence_id\`, x-sequence-id) that this request ${isStart ? 'starts' : 'ends'}, got none`,
  );
};

const flagOf = (headers: readonly string[], name: string): boolean | undefined => {
  const text = headerOf(headers, name);
  if (text === undefined || text === '') return undefined;
  if (text === 'true' || text === '1') return true;
  if (text === 'false' || text === '0') return false;
  throw new ServeError(
    'INVALID_INPUT',
    `expected the header ${name} to be true or false, got ${JSON.stringify(text.slice(0, 40))}`,
  );
};
