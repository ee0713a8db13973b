/** `init`: a first config and one deployment that serve at once, in a folder of the user's. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { type Command, readArgs, UsageError } from './command.ts';
import { type Installed, installedFrom, PACKAGE, realpath } from './installed.ts';
import { invokedAs } from './invoked-as.ts';

export const init: Command = {
  summary: 'write a first config.yaml, with one deployment that serves at once',
  help: `serve-daemon init [folder] [--force]

Writes config.yaml, redact.ts and, unless there is one, tsconfig.json into the folder (this one), and says what to do next.

  --force    also over a config.yaml and a redact.ts that are there
`,
  run: async (args) => {
    const { values, positionals } = readArgs(args, { force: { type: 'boolean' } });
    if (positionals.length > 1) throw new UsageError(`expected one folder, got ${positionals.join(' ')}`);
    const named = positionals[0] ?? '.';
    const folder = resolve(named);
    const force = values.force === true;
    try {
      const { written, kept } = write(folder, filesOf(folder), force);
      if (written.length === 0) {
        const these = kept.length === 1 ? 'it' : 'them';
        process.stderr.write(
          `serve-daemon: ${kept.join(' and ')} in ${folder} ${kept.length === 1 ? 'is' : 'are'} there already, and nothing was written: ` +
            `name another folder, or replace ${these} with --force\n`,
        );
        return 1;
      }
      process.stdout.write(nextSteps(named, written, kept, invokedAs(process.env)));
      return 0;
    } catch (error) {
      const { code, path = folder, message } = error as NodeJS.ErrnoException;
      if (code === undefined) throw error;
      process.stderr.write(`serve-daemon: ${path} cannot be written: ${message}\n`);
      return 1;
    }
  },
};

interface NewFile {
  readonly name: string;
  readonly text: string;
  /** Of the user's own making as likely as not: never replaced, and no reason to write nothing. */
  readonly yields: boolean;
}

const filesOf = (folder: string): readonly NewFile[] => {
  const from = installedFrom(realpath(folder), PACKAGE);
  const example = (name: string) => readFileSync(join(PACKAGE, 'configs', 'first', name), 'utf8');
  return [
    {
      name: 'config.yaml',
      text: example('config.yaml').replace('../../schemas/', `${from.path}/schemas/`),
      yields: false,
    },
    { name: 'redact.ts', text: example('redact.ts'), yields: false },
    { name: 'tsconfig.json', text: tsconfigFor(from), yields: true },
  ];
};

/**
 * All or nothing: where one that does not yield is there already, none is written unless `force` is set.
 * @throws the system's error
 */
const write = (folder: string, files: readonly NewFile[], force: boolean): { written: string[]; kept: string[] } => {
  const there = files.filter(({ name }) => existsSync(join(folder, name)));
  const inTheWay = there.filter(({ yields }) => !yields);
  if (inTheWay.length > 0 && !force) return { written: [], kept: inTheWay.map(({ name }) => name) };
  mkdirSync(folder, { recursive: true });
  const kept = there.filter(({ yields }) => yields);
  const wanted = files.filter((file) => !kept.includes(file));
  // `wx` also fails on what has come since, and on a link that leads nowhere.
  for (const { name, text } of wanted) writeFileSync(join(folder, name), text, { flag: force ? 'w' : 'wx' });
  return { written: wanted.map(({ name }) => name), kept: kept.map(({ name }) => name) };
};

/** For editors and `tsc` alone: the daemon compiles code without it. */
const tsconfigFor = ({ path, resolves }: Installed): string =>
  `${JSON.stringify(
    {
      compilerOptions: {
        target: 'ES2022',
        lib: ['ES2023', 'DOM', 'DOM.Iterable'],
        module: 'Preserve',
        moduleResolution: 'Bundler',
        strict: true,
        allowJs: true,
        checkJs: true,
        skipLibCheck: true,
        noEmit: true,
        allowImportingTsExtensions: true,
        ...(resolves ? {} : { paths: { 'serve-daemon': [`${path}/dist/sdk/index.d.ts`] } }),
      },
      include: ['*.ts', '*.js'],
    },
    undefined,
    2,
  )}\n`;

const nextSteps = (named: string, written: readonly string[], kept: readonly string[], program: string): string => {
  const config = named === '.' ? '' : ` --config ${join(named, 'config.yaml')}`;
  return `Wrote ${written.join(', ')}${kept.length === 0 ? '' : ` (kept the ${kept.join(', ')} that was there)`}. Next:

  ${program}${config}
  curl -s http://127.0.0.1:8000/ -d 'Ann: ann@example.org, card 4111 1111 1111 1111'

Then change ${join(named, 'config.yaml')} or ${join(named, 'redact.ts')} and save: that is the deploy step.
`;
};
