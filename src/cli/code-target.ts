/** Code that the command line names, with arguments for it: `./app.ts:app to=fr maxLength:=15`. Pure. */
import { locateModule, type Module } from '../config/locate.ts';
import { writeConfig } from '../config/write.ts';
import type { Diagnostic } from '../domain/diagnostic.ts';
import type { Json } from '../domain/json.ts';
import { UsageError } from './command.ts';

export interface CodeTarget {
  /** As it was written. */
  readonly importPath: string;
  readonly args: Readonly<Record<string, Json>>;
}

export const CODE_HELP = `Code is a file and the name of an export (./app.ts:app; ./app.ts for its default export): deployment(…).bind(…), a function that builds one
from key=value, a class, a function, or an object with \`fetch\`, such as a Hono application. key=value gives a string, key:=value JSON.`;

/** Whether it names code, and no config file. */
export const isCode = (named: string): boolean =>
  !/\.(ya?ml|json)$/i.test(named) && (/\.([cm]?[jt]s|[jt]sx)(:|$)/.test(named) || /^[^:/\\]+:[^:/\\]+$/.test(named));

const ARGUMENT = /^([^=]+?)(:?)=([\s\S]*)$/;

/** @returns what is named, each with the arguments behind it; @throws UsageError */
export const readTargets = (positionals: readonly string[]): readonly CodeTarget[] => {
  const targets: { importPath: string; args: Record<string, Json> }[] = [];
  for (const word of positionals) {
    const [, key, colon, value = ''] = ARGUMENT.exec(word) ?? [];
    const last = targets.at(-1);
    if (key === undefined) {
      if (!isCode(word))
        throw new UsageError(
          last === undefined
            ? `expected code, as in ./app.ts:app, got ${word}`
            : `expected key=value behind ${last.importPath}, got ${word}`,
        );
      targets.push({ importPath: word, args: Object.create(null) as Record<string, Json> });
      continue;
    }
    if (last === undefined) throw new UsageError(`expected code, as in ./app.ts:app, before its arguments, got ${word}`);
    if (Object.hasOwn(last.args, key)) throw new UsageError(`expected ${key} once, got ${word} too`);
    last.args[key] = colon === '' ? value : jsonOf(key, value);
  }
  return targets;
};

const jsonOf = (key: string, value: string): Json => {
  try {
    return JSON.parse(value) as Json;
  } catch {
    throw new UsageError(`expected JSON behind ${key}:=, got ${value || 'nothing'}; ${key}=… gives a string`);
  }
};

/** Where it is, seen from a folder. @throws UsageError when it cannot be code at all */
export const locateTarget = ({ importPath }: CodeTarget, folder: string, exists: (path: string) => boolean): Module => {
  const module = locateModule(importPath, { folder, exists });
  if (typeof module === 'string') throw new UsageError(`${module}; got ${importPath}`);
  return module;
};

export interface RunOptions {
  readonly name?: string | undefined;
  readonly routePrefix?: string | undefined;
  readonly host?: string | undefined;
  readonly port?: number | undefined;
  readonly adminPort?: number | undefined;
}

/** The config that says the same. */
export const configOfRun = (
  { importPath, args }: CodeTarget,
  { name = 'default', routePrefix = '/', host, port, adminPort }: RunOptions,
): string => {
  const http = { ...(host === undefined ? {} : { host }), ...(port === undefined ? {} : { port }) };
  return writeConfig(
    {
      ...(Object.keys(http).length === 0 ? {} : { http_options: http }),
      ...(adminPort === undefined ? {} : { admin_options: { port: adminPort } }),
      applications: [
        {
          name,
          route_prefix: routePrefix,
          import_path: importPath,
          ...(Object.keys(args).length === 0 ? {} : { args }),
        },
      ],
    },
    'What `serve-daemon run` was asked to serve. No file has it; `serve-daemon build` writes one.',
  );
};

/** Nobody wrote the config: its lines mean nothing to who named the code. @param code as messages call it */
export const mistakesOf = (code: string, diagnostics: readonly Diagnostic[]): string =>
  diagnostics
    .filter(({ severity }) => severity === 'error')
    .map(({ path, message }) => `serve-daemon: ${code}: ${/\.import_path$/.test(path) ? '' : `${path}: `}${message}\n`)
    .join('');
