/** How a text of the config is understood: in the folder of the config file and the daemon's own environment, whoever sent it. */
import { existsSync, realpathSync } from 'node:fs';
import { compile } from './config/compile.ts';
import type { Environment } from './config/environment.ts';
import type { CompileConfig } from './control/goal.ts';
import type { Machine } from './quota/offer.ts';

export const understandFor =
  (file: string, env: Environment, machine: Machine): CompileConfig =>
  ({ text, confined }) =>
    compile(text, { file, env, exists: existsSync, machine, realPath: confined ? realPath : undefined });

const realPath = (path: string): string | undefined => (existsSync(path) ? realpathSync(path) : undefined);
