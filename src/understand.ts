/** How a text of the config is understood: in the folder of the config and the daemon's own environment, whoever sent it. */
import { existsSync, realpathSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { compile } from './config/compile.ts';
import type { Environment } from './config/environment.ts';
import { repositoryReader } from './config/repository.ts';
import type { ConfigOrigin } from './control/config-file.ts';
import { describeApplication } from './control/describe.ts';
import type { Describe } from './control/describers.ts';
import type { CompileConfig } from './control/goal.ts';
import type { Diagnostic } from './domain/diagnostic.ts';
import type { Machine } from './quota/offer.ts';

export const understandFor = (
  { path: file, folder, text: unwritten }: ConfigOrigin,
  env: Environment,
  machine: Machine,
): CompileConfig => {
  const look = repositoryReader();
  return ({ text, confined }, told) => {
    const confine = confined ? realPath : undefined;
    const context = { file, folder, env, exists: existsSync, machine, told, realPath: confine, look };
    const compiled = compile(text, context);
    if (unwritten === undefined || Buffer.from(text).toString() !== unwritten) return compiled;
    const { diagnostics, diagnose } = compiled;
    const ofText = (diagnostic: Diagnostic) => (diagnostic.file === file ? withoutPlace(diagnostic) : diagnostic);
    return { ...compiled, diagnostics: diagnostics.map(ofText), diagnose: (problem) => withoutPlace(diagnose(problem)) };
  };
};

/** Nobody wrote that text, so its lines mean nothing to anybody. */
const withoutPlace = (diagnostic: Diagnostic): Diagnostic => ({ ...diagnostic, line: 0, column: 0, excerpt: '' });

const realPath = (path: string): string | undefined => (existsSync(path) ? realpathSync(path) : undefined);

/** For an import and some constructors of plain objects: nothing is loaded or served. */
const DESCRIBED_WITHIN_MS = 30_000;
const REPLICA = fileURLToPath(new URL('./replica/main.js', import.meta.url));

/** @param socketFolder for a socket: short, and nobody else's */
export const describeFor =
  ({ folder }: ConfigOrigin, env: Environment, socketFolder: string): Describe =>
  (run, source) =>
    describeApplication(run, {
      entry: REPLICA,
      cwd: source.workingDir ?? folder,
      env: { ...env, ...source.env },
      folder: socketFolder,
      withinMs: DESCRIBED_WITHIN_MS,
    });
