/** How a text of the config is understood: in the folder of the config file and the daemon's own environment, whoever sent it. */
import { existsSync, realpathSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { compile } from './config/compile.ts';
import type { Environment } from './config/environment.ts';
import { describeApplication } from './control/describe.ts';
import type { Describe } from './control/describers.ts';
import type { CompileConfig } from './control/goal.ts';
import type { Machine } from './quota/offer.ts';

export const understandFor =
  (file: string, env: Environment, machine: Machine): CompileConfig =>
  ({ text, confined }, told) =>
    compile(text, { file, env, exists: existsSync, machine, told, realPath: confined ? realPath : undefined });

const realPath = (path: string): string | undefined => (existsSync(path) ? realpathSync(path) : undefined);

/** For an import and some constructors of plain objects: nothing is loaded or served. */
const DESCRIBED_WITHIN_MS = 30_000;
const REPLICA = fileURLToPath(new URL('./replica/main.js', import.meta.url));

/** @param folder for a socket: short, and nobody else's */
export const describeFor =
  (file: string, env: Environment, folder: string): Describe =>
  (run, source) =>
    describeApplication(run, {
      entry: REPLICA,
      cwd: source.workingDir ?? dirname(file),
      env: { ...env, ...source.env },
      folder,
      withinMs: DESCRIBED_WITHIN_MS,
    });
