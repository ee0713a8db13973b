/** What the applications that code builds consist of: each is asked once for each state of its code, its arguments and its environment. */
import type { ApplicationSpec, CodeSource } from '../domain/desired.ts';
import type { ApplicationMeta } from '../protocol/messages.ts';
import type { DescribeRun } from '../protocol/start.ts';
import { type CompiledCode, compileCode } from './code.ts';
import { hashOf } from './target.ts';

/** Asks a child. @throws Error with what is wrong */
export type Describe = (run: DescribeRun, source: CodeSource) => Promise<ApplicationMeta>;

export interface Described {
  /** By the index of the application in the config. */
  readonly told: ReadonlyMap<number, ApplicationMeta>;
  /** By application: why it is not known what it consists of. */
  readonly problems: ReadonlyMap<string, string>;
  /** Files to watch. */
  readonly files: readonly string[];
}

export class Describers {
  readonly #cacheDir: string;
  readonly #describe: Describe;
  #known: ReadonlyMap<string, ApplicationMeta> = new Map();

  constructor(cacheDir: string, describe: Describe) {
    this.#cacheDir = cacheDir;
    this.#describe = describe;
  }

  /** @param compiled results of this round, so that a file that several applications name is compiled once */
  async describe(applications: readonly ApplicationSpec[], compiled: Map<string, Promise<CompiledCode>>): Promise<Described> {
    const told = new Map<number, ApplicationMeta>();
    const problems = new Map<string, string>();
    const files = new Set<string>();
    const known = new Map<string, ApplicationMeta>();
    const ask = async ({ name, fromCode }: ApplicationSpec, index: number): Promise<void> => {
      if (fromCode === undefined) return;
      files.add(fromCode.file);
      try {
        const pending = compiled.get(fromCode.file) ?? compileCode(fromCode.file, this.#cacheDir);
        compiled.set(fromCode.file, pending);
        const code = await pending;
        for (const file of code.files) files.add(file);
        const key = hashOf([name, code.fingerprint, fromCode]);
        const { export: exported, args } = fromCode;
        const runs = { kind: 'application', entry: code.entry, source: fromCode.file, export: exported, args } as const;
        const meta = this.#known.get(key) ?? (await this.#describe({ application: name, runs }, fromCode));
        known.set(key, meta);
        told.set(index, meta);
      } catch (error) {
        problems.set(name, (error as Error).message);
      }
    };
    await Promise.all(applications.map(ask));
    // What is not wanted any more is forgotten.
    this.#known = known;
    return { told, problems, files: [...files] };
  }
}
