/** The error that user code throws to choose the HTTP status that clients see. */
import { ServeError } from '../domain/errors.ts';

export class HttpError extends ServeError {
  /** @param headers sent with the answer, for instance `{'retry-after': '5'}` */
  constructor(status: number, message: string, headers: Readonly<Record<string, string>> = {}, options?: { cause?: unknown }) {
    if (!Number.isInteger(status) || status < 400 || status > 599)
      throw new RangeError(`expected a status from 400 to 599, got ${status}`);
    super('HTTP_ERROR', message, { status, headers }, options);
    this.name = 'HttpError';
  }
}
