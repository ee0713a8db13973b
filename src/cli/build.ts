/** `build`: the config file that says the same as code. */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, parse, relative, resolve } from 'node:path';
import { type Compiled, compile } from '../config/compile.ts';
import { type NamedApplication, spellOut } from '../config/spell-out.ts';
import { writeConfig } from '../config/write.ts';
import { stopCompiler } from '../control/code.ts';
import { type ConfigOrigin, originOf } from '../control/config-file.ts';
import { Describers } from '../control/describers.ts';
import type { ApplicationMeta } from '../protocol/messages.ts';
import { describeFor } from '../understand.ts';
import { CODE_HELP, type CodeTarget, locateTarget, mistakesOf, readTargets } from './code-target.ts';
import { type Command, readArgs, UsageError } from './command.ts';
import { dotted, installedFrom, PACKAGE, realpath } from './installed.ts';

export const build: Command = {
  summary: 'print the config file that says the same as code',
  help: `serve-daemon build <code> [key=value …] [<code> [key=value …] …] [options]     as in: serve-daemon build ./app.ts:app

Prints the config file of applications that code defines: each with its deployments, their options and how they call each other, to be
edited and served by serve-daemon run. The code stays where it is, and is named in the file; what the file says of a deployment wins. One
application is called default and is at /, as with serve-daemon run; of several each has the name of its export, and a route of that name.

${CODE_HELP}

  -o, --output FILE    write it there; paths in it begin there
      --force          also over a file that is there

Exits with 1 when there is a mistake in the code, or what it says cannot be served.
`,
  run: async (args) => {
    const { values, positionals } = readArgs(args, {
      output: { type: 'string', short: 'o' },
      force: { type: 'boolean' },
    });
    const targets = readTargets(positionals);
    if (targets.length === 0) throw new UsageError('expected code, as in ./app.ts:app');
    const output = values.output === undefined ? undefined : resolve(values.output);
    if (output !== undefined && !existsSync(dirname(output))) return complain(`there is no folder ${dirname(output)}`);
    if (output !== undefined && existsSync(output) && values.force !== true)
      return complain(`${values.output} is there already: name another, or replace it with --force`);
    const origin = originOf(output ?? resolve('config.yaml'));
    const text = await textOf(namedFrom(targets, origin.folder), origin);
    if (text === undefined) return 1;
    if (output === undefined) process.stdout.write(text);
    else {
      try {
        writeFileSync(output, text, { flag: values.force === true ? 'w' : 'wx' });
      } catch (error) {
        return complain(`${values.output} cannot be written: ${(error as Error).message}`);
      }
    }
    return 0;
  },
};

const complain = (message: string): number => {
  process.stderr.write(`serve-daemon: ${message}\n`);
  return 1;
};

/** With paths that begin in the folder. @throws UsageError */
const namedFrom = (targets: readonly CodeTarget[], folder: string): readonly NamedApplication[] => {
  const taken = new Set<string>();
  return targets.map((target) => {
    const module = locateTarget(target, process.cwd(), existsSync);
    const isDefault = !target.importPath.includes(':');
    const wanted = isDefault ? parse(module.file).name : module.export;
    let free = wanted;
    for (let count = 1; taken.has(free); count++) free = `${wanted}_${count}`;
    taken.add(free);
    const [name, routePrefix] = targets.length === 1 ? ['default', '/'] : [free, `/${free}`];
    const path = dotted(relative(folder, module.file));
    return { name, routePrefix, importPath: isDefault ? path : `${path}:${module.export}`, args: target.args };
  });
};

/** @returns undefined when the code cannot be served as it is, which is told */
const textOf = async (applications: readonly NamedApplication[], origin: ConfigOrigin): Promise<string | undefined> => {
  const understand = (text: string, told?: ReadonlyMap<number, ApplicationMeta>): Compiled =>
    compile(text, { file: origin.path, env: process.env, exists: existsSync, told });
  const nothing = { deployments: [], ingress: '' };
  const plain = understand(written(applications.map((each) => spellOut(each, nothing))));
  if (!isSound(plain, applications)) return undefined;
  const folder = mkdtempSync(join(tmpdir(), 'serve-build-'));
  try {
    const describers = new Describers(folder, describeFor(origin, process.env, folder));
    const { told, problems } = await describers.describe(plain.desired?.applications ?? [], new Map());
    for (const { name, importPath } of applications) {
      const problem = problems.get(name);
      if (problem !== undefined) complain(`${importPath}: ${problem}`);
    }
    if (problems.size > 0) return undefined;
    const text = written(
      applications.map((each, index) => spellOut(each, told.get(index) ?? nothing)),
      origin.folder,
    );
    return isSound(understand(text, told), applications) ? text : undefined;
  } finally {
    await stopCompiler();
    rmSync(folder, { recursive: true, force: true });
  }
};

/** @param folder where an editor is to find what the file may say */
const written = (applications: readonly ReturnType<typeof spellOut>[], folder?: string): string => {
  const { path } = installedFrom(realpath(folder ?? process.cwd()), PACKAGE);
  return writeConfig(
    { applications },
    `yaml-language-server: $schema=${path}/schemas/config.schema.json\nWritten by serve-daemon build. What stands here wins over the code; what is left out is as the code says.`,
  );
};

/** Errors are told. */
const isSound = ({ diagnostics }: Compiled, applications: readonly NamedApplication[]): boolean => {
  const code = applications.map(({ importPath }) => importPath).join(' ');
  const mistakes = mistakesOf(code, diagnostics);
  process.stderr.write(mistakes);
  return mistakes === '';
};
