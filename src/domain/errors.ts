/** Every error a request can end with: one table of codes, from which HTTP and gRPC statuses and retryability are read. */

export const ERROR_TABLE = {
  INVALID_INPUT: { http: 400, grpc: 'INVALID_ARGUMENT' },
  ROUTE_NOT_FOUND: { http: 404, grpc: 'NOT_FOUND' },
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

/** Rebuilds an error from its shape; a shape from an untrusted peer with an unknown code becomes USER_ERROR. */
export const errorFromShape = (shape: ErrorShape): ServeError => {
  const cause = shape.cause === undefined || shape.cause === null ? undefined : errorFromShape(shape.cause);
  const code = isCode(shape.code) ? shape.code : 'USER_ERROR';
  const details = typeof shape.details === 'object' && shape.details !== null ? shape.details : {};
  const error = new ServeError(code, String(shape.message), details, cause ? { cause } : undefined);
  if (typeof shape.name === 'string') error.name = shape.name;
  if (typeof shape.source === 'string') error.source = shape.source;
  if (typeof shape.stack === 'string') error.stack = shape.stack;
  return error;
};

const MAX_CAUSES = 8;

/** The shape of anything thrown. What is not a ServeError came from user code: USER_ERROR, with its own name and message. */
export const shapeOfError = (thrown: unknown, depth = 0): ErrorShape => {
  if (!(thrown instanceof Error)) return { code: 'USER_ERROR', message: String(thrown), name: 'Error' };
  const shape: ErrorShape = {
    code: thrown instanceof ServeError ? thrown.code : 'USER_ERROR',
    message: thrown.message,
    name: thrown.name,
  };
  if (thrown instanceof ServeError && Object.keys(thrown.details).length > 0) shape.details = thrown.details;
  if (thrown instanceof ServeError && thrown.source !== undefined) shape.source = thrown.source;
  if (thrown.stack !== undefined) shape.stack = thrown.stack;
  if (thrown.cause !== undefined && depth < MAX_CAUSES) shape.cause = shapeOfError(thrown.cause, depth + 1);
  return shape;
};
