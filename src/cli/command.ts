/** What a command of the command line is. */
import { type ParseArgsConfig, parseArgs } from 'node:util';

export interface Command {
  readonly summary: string;
  readonly help: string;
  /** @returns the exit code; @throws UsageError for arguments that make no sense */
  run(args: readonly string[]): Promise<number>;
}

/** The arguments make no sense: exit code 2. */
export class UsageError extends Error {
  /** The message says what to do: help adds nothing. */
  readonly whole: boolean;

  constructor(message: string, whole = false) {
    super(message);
    this.name = 'UsageError';
    this.whole = whole;
  }
}

type Options = NonNullable<ParseArgsConfig['options']>;
type Parsed<T extends Options> = ReturnType<
  typeof parseArgs<{ args: string[]; options: T; allowPositionals: true; strict: true }>
>;

/** @throws UsageError */
export const readArgs = <T extends Options>(args: readonly string[], options: T): Parsed<T> => {
  try {
    return parseArgs({ args: [...args], options, allowPositionals: true, strict: true });
  } catch (error) {
    throw new UsageError((error as Error).message.split('. ')[0] ?? 'wrong arguments');
  }
};
