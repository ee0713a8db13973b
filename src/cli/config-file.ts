/** The config file that a command names, and what is said about it. */
import { formatDiagnostics } from '../config/format.ts';
import { readConfigFile } from '../control/config-file.ts';
import { ClientError } from './client.ts';

/** @throws ClientError */
export const readConfig = async (path: string): Promise<Uint8Array> => {
  try {
    return await readConfigFile(path);
  } catch (error) {
    throw new ClientError(`${path} cannot be read: ${(error as Error).message}`);
  }
};

/** Tells, by the name that the user has for the file, what a refusal says is wrong with it. @returns what to throw on */
export const tellDiagnostics = (error: unknown, path: string): unknown => {
  if (error instanceof ClientError && error.diagnostics.length > 0)
    process.stderr.write(`${formatDiagnostics(error.diagnostics.map((each) => ({ ...each, file: path })))}\n`);
  return error;
};
