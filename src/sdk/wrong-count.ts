/** The error of code that is written for arrays and gives another number of results than it was given inputs. */
import { ServeError } from '../domain/errors.ts';

export const wrongCount = (name: string, expected: number, got: unknown): ServeError =>
  new ServeError(
    'USER_ERROR',
    `expected \`${name}\` to return an array of ${expected} (one result for each input), got ${Array.isArray(got) ? `an array of ${got.length}` : typeof got}`,
  );
