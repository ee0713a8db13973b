/** What an inference says in its own JSON of how it is to be served: parameters of the Open Inference Protocol as Triton has them. Pure. */
import { LEAST_URGENT, MOST_URGENT } from '../dispatch/priority.ts';
import { exactDigits, parseExactly } from '../protocol/exact-json.ts';
import { MAX_ROUTING_JSON_BYTES, type SequenceParameters, sequenceIdOf } from '../protocol/routing-headers.ts';

export interface InferenceParameters {
  /** As `x-priority` has it: 0, the most urgent, to 7. */
  readonly priority?: number;
  /** From the head of the request to its answer. */
  readonly timeoutMs?: number;
  readonly sequence?: SequenceParameters;
}

const KEYS = ['"priority"', '"timeout"'].map((key) => Buffer.from(key));
const SEQUENCE_KEY = Buffer.from('"sequence_');
const MICROSECONDS = 1000;

/**
 * A body without any of the names costs a search for their bytes, and is not parsed. What is malformed says nothing: the model's replica
 * reads the request anyway, and says what is wrong with it.
 * @param body plain: not compressed
 * @param headerLength `Inference-Header-Content-Length` as it came; undefined: all of the body is JSON
 * @param keepsSequences whether the model does: to others what it says of one means nothing
 */
export const readParameters = (
  body: Uint8Array,
  headerLength: string | undefined,
  keepsSequences: boolean,
): InferenceParameters | undefined => {
  const length = headerLength === undefined ? body.byteLength : Number(headerLength);
  if (!(length > 0 && length <= MAX_ROUTING_JSON_BYTES && length <= body.byteLength)) return undefined;
  const json = Buffer.from(body.buffer, body.byteOffset, length);
  const hasSequence = keepsSequences && json.includes(SEQUENCE_KEY);
  if (!hasSequence && !KEYS.some((key) => json.includes(key))) return undefined;
  const text = withoutMark(json.toString('utf8'));
  const parameters = parametersIn(text);
  if (parameters === undefined) return undefined;
  const priority = priorityOf(parameters['priority']);
  const timeoutMs = timeoutOf(parameters['timeout']);
  return {
    ...(priority === undefined ? {} : { priority }),
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
    ...(hasSequence ? { sequence: sequenceIn(parameters, text) } : {}),
  };
};

const sequenceIn = (parameters: Readonly<Record<string, unknown>>, text: string): SequenceParameters => ({
  id: idOf(parameters['sequence_id'], text),
  isStart: flagOf(parameters['sequence_start']),
  isEnd: flagOf(parameters['sequence_end']),
});

/** A text with a NUL may look like a long number, and be none: what cannot be told apart says nothing, and the replica refuses it. */
const idOf = (value: unknown, text: string): string | undefined =>
  exactDigits(value) !== undefined && text.includes(ESCAPED_NUL) ? undefined : sequenceIdOf(value);

const ESCAPED_NUL = '\\u0000';

/** What some editors begin UTF-8 with is no part of it, here as in the replica. */
const withoutMark = (text: string): string => (text.startsWith('\ufeff') ? text.slice(1) : text);

const flagOf = (value: unknown): boolean | undefined => (typeof value === 'boolean' ? value : undefined);

const parametersIn = (text: string): Readonly<Record<string, unknown>> | undefined => {
  try {
    const { parameters } = parseExactly(text) as { parameters?: unknown };
    return typeof parameters === 'object' && parameters !== null ? (parameters as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
};

/** Triton's 0 is the default of the server, and 1 the most urgent; there may be any number of levels. */
const priorityOf = (value: unknown): number | undefined =>
  isCount(value) && value > 0 ? Math.min(MOST_URGENT + value - 1, LEAST_URGENT) : undefined;

/** 0 is none, as in Triton. */
const timeoutOf = (value: unknown): number | undefined => (isCount(value) && value > 0 ? value / MICROSECONDS : undefined);

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
