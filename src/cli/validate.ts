/** `validate`: all that is wrong with a config file, without a daemon. */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { type Compiled, compile } from '../config/compile.ts';
import { formatDiagnostics } from '../config/format.ts';
import { fileProblems } from '../control/artifacts.ts';
import { readCertificate } from '../control/certificate.ts';
import type { DesiredState } from '../domain/desired.ts';
import type { Diagnostic } from '../domain/diagnostic.ts';
import { type Command, readArgs, UsageError } from './command.ts';

export const validate: Command = {
  summary: 'tell all errors and warnings of a config file',
  help: `serve-daemon validate <config> [--json]

Prints every error and warning with line, column and excerpt. Exits with 1 when there is an error, with 0 otherwise.

  --json    an array of diagnostics
`,
  run: async (args) => {
    const { values, positionals } = readArgs(args, { json: { type: 'boolean' } });
    const [path] = positionals;
    if (path === undefined || positionals.length > 1) throw new UsageError('expected one config file');
    const file = resolve(path);
    let text: Uint8Array;
    try {
      text = readFileSync(file);
    } catch (error) {
      process.stderr.write(`serve-daemon: ${file} cannot be read: ${(error as Error).message}\n`);
      return 1;
    }
    const compiled = compile(text, { file, env: process.env, exists: existsSync });
    const diagnostics = [
      ...compiled.diagnostics,
      ...(compiled.desired === undefined ? [] : await lookInside(file, compiled.desired)),
      ...(await lookAtCertificate(compiled)),
    ];
    const errors = diagnostics.filter(({ severity }) => severity === 'error').length;
    if (values.json) process.stdout.write(`${JSON.stringify(diagnostics, undefined, 2)}\n`);
    else
      process.stdout.write(
        `${diagnostics.length === 0 ? '' : `${formatDiagnostics(diagnostics)}\n`}${path}: ${errors} errors, ${diagnostics.length - errors} warnings\n`,
      );
    return errors > 0 ? 1 : 0;
  },
};

const lookAtCertificate = async ({ desired, diagnose }: Compiled): Promise<readonly Diagnostic[]> =>
  desired === undefined || desired.proxy.tls === null
    ? []
    : (await readCertificate(desired.proxy.tls, Date.now())).problems.map(diagnose);

/** A cheap look at what the file names: code is parsed and its export found, a model's header is read. Nothing is run. */
const lookInside = async (file: string, desired: DesiredState): Promise<readonly Diagnostic[]> => {
  const cache = mkdtempSync(join(tmpdir(), 'serve-validate-'));
  try {
    const problems = await fileProblems(desired.applications, cache);
    return problems.map(({ path, message }) => ({
      severity: 'error',
      code: 'FILE_BROKEN',
      path,
      message,
      file,
      line: 0,
      column: 0,
      excerpt: '',
    }));
  } finally {
    rmSync(cache, { recursive: true, force: true });
  }
};
