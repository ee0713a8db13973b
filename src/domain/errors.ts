/** Every error a request can end with: one table of codes, from which HTTP and gRPC statuses and retryability are read. */

export const ERROR_TABLE = {
  INVALID_INPUT: { http: 400, grpc: 'INVALID_ARGUMENT' },
  ROUTE_NOT_FOUND: { http: 404, grpc: 'NOT_FOUND' },
  /** A request of a sequence whose state nobody has: its client starts it again. As Triton says it. */
  SEQUENCE_NOT_FOUND: { http: 400, grpc: 'INVALID_ARGUMENT' },
  METHOD_NOT_ALLOWED: { http: 405, grpc: 'UNIMPLEMENTED' },
  DEADLINE_EXCEEDED: { http: 408, grpc: 'DEADLINE_EXCEEDED' },
  PAYLOAD_TOO_LARGE: { http: 413, grpc: 'RESOURCE_EXHAUSTED' },
  HEADERS_TOO_LARGE: { http: 431, grpc: 'RESOURCE_EXHAUSTED' },
  /** The client went away: never sent, only logged. */
  CLIENT_CLOSED: { http: 499, grpc: 'CANCELLED' },
  /** User code threw `HttpError`: its own status is in `details.status`. */
  HTTP_ERROR: { http: 500, grpc: 'UNKNOWN' },
  /** User code or a model run failed; the detail goes to the log, never to the client. */
  USER_ERROR: { http: 500, grpc: 'INTERNAL' },
  /** A handle or step called something that the graph does not declare or the deployment does not have. */
  CALL_REFUSED: { http: 500, grpc: 'INTERNAL' },
  INTERNAL: { http: 500, grpc: 'INTERNAL' },
  QUEUE_FULL: { http: 503, grpc: 'RESOURCE_EXHAUSTED' },
  REPLICA_DIED: { http: 503, grpc: 'UNAVAILABLE' },
  UNAVAILABLE: { http: 503, grpc: 'UNAVAILABLE' },
} as const;

export type ErrorCode = keyof typeof ERROR_TABLE;

/** What crosses a process boundary in place of an error. `name` and `cause` keep what user code threw. */
export interface ErrorShape {
  code: ErrorCode;
  message: string;
  name?: string;
  details?: Readonly<Record<string, unknown>>;
  /** `application/Deployment` the error came from. */
  source?: string;
  stack?: string;
  cause?: ErrorShape;
}

/** An error with a code of the table; everything that a request can fail with is one of these. */
export class ServeError extends Error {
  readonly code: ErrorCode;
  readonly details: Readonly<Record<string, unknown>>;
  /** `application/Deployment` it came from, when it crossed a process boundary. */
  source: string | undefined;

  constructor(code: ErrorCode, message: string, details: Readonly<Record<string, unknown>> = {}, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'ServeError';
    this.code = code;
    this.details = details;
  }

  /** The HTTP status: what user code or the configuration chose, else the table's. */
  get status(): number {
    const chosen = this.details['status'];
    return typeof chosen === 'number' && Number.isInteger(chosen) && chosen >= 400 && chosen <= 599
      ? chosen
      : ERROR_TABLE[this.code].http;
  }
}

const isCode = (code: unknown): code is ErrorCode => typeof code === 'string' && Object.hasOwn(ERROR_TABLE, code);

const MAX_CAUSES = 8;

/** Rebuilds an error from its shape. An untrusted peer sent it: whatever it is, an error comes of it; an unknown code is USER_ERROR. */
export const errorFromShape = (shape: unknown, depth = 0): ServeError => {
  if (typeof shape !== 'object' || shape === null) return new ServeError('USER_ERROR', 'an error without a message');
  const { code, message, name, details, source, stack, cause } = shape as Partial<Record<keyof ErrorShape, unknown>>;
  const error = new ServeError(
    isCode(code) ? code : 'USER_ERROR',
    typeof message === 'string' ? message : 'an error without a message',
    typeof details === 'object' && details !== null ? (details as Record<string, unknown>) : {},
    typeof cause === 'object' && cause !== null && depth < MAX_CAUSES ? { cause: errorFromShape(cause, depth + 1) } : undefined,
  );
  if (typeof name === 'string') error.name = name;
  if (typeof source === 'string') error.source = source;
  if (typeof stack === 'string') error.stack = stack;
  return error;
};

/**
 * The shape of anything thrown. What is not a ServeError came from user code: USER_ERROR, with its own name and message.
 * @param stacks false: without stacks, for where they are nobody's business
 */
export const shapeOfError = (thrown: unknown, stacks = true, depth = 0): ErrorShape => {
  try {
    return thrown instanceof Error
      ? shapeOf(thrown, stacks, depth)
      : { code: 'USER_ERROR', message: String(thrown), name: 'Error' };
  } catch {
    // Code may throw anything: an object without a text, an error whose message throws.
    return { code: 'USER_ERROR', message: `what was thrown cannot be read (${typeof thrown})`, name: 'Error' };
  }
};

const shapeOf = (thrown: Error, stacks: boolean, depth: number): ErrorShape => {
  const shape: ErrorShape = {
    code: thrown instanceof ServeError ? thrown.code : 'USER_ERROR',
    message: String(thrown.message),
    name: String(thrown.name),
  };
  if (thrown instanceof ServeError && Object.keys(thrown.details).length > 0) shape.details = sendable(thrown.details);
  if (thrown instanceof ServeError && thrown.source !== undefined) shape.source = thrown.source;
  if (stacks && thrown.stack !== undefined) shape.stack = String(thrown.stack);
  if (thrown.cause !== undefined && depth < MAX_CAUSES) shape.cause = shapeOfError(thrown.cause, stacks, depth + 1);
  return shape;
};

/** Details are for messages between processes: what JSON cannot say (a bigint, a circle) is left out as a whole. */
const sendable = (details: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> => {
  try {
    return JSON.parse(JSON.stringify(details)) as Record<string, unknown>;
  } catch {
    const { status, retryAfterS } = details;
    return { status, retryAfterS };
  }
};
