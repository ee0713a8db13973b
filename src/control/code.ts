/**
 * Compiles user code once per change into a file named by its content: replicas start from that, which is faster and smaller than
 * compiling in each, and pins the version that a deployment runs.
 */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname, extname, isAbsolute, join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import type { Loader, Message, Plugin } from 'esbuild';
import { excerptOf, type RelatedPlace } from '../domain/diagnostic.ts';
import { VERSION } from '../version.ts';
import { recall, remember } from './code-record.ts';

export interface CompiledCode {
  readonly entry: string;
  readonly fingerprint: string;
  /** `*`: others too, which are known when it runs. */
  readonly exports: readonly string[];
  /** The source files that went in; packages are not among them. */
  readonly files: readonly string[];
}

/** The code does not compile; the message has file, line and column. */
export class CodeError extends Error {
  readonly places: readonly RelatedPlace[];
  constructor(message: string, places: readonly RelatedPlace[] = []) {
    super(message);
    this.name = 'CodeError';
    this.places = places;
  }
}

/** A cache of another version of this package is of no use. */
const MAKER = `serve-daemon ${VERSION} at ${import.meta.url}`;
const SDK = fileURLToPath(new URL('../sdk/index.js', import.meta.url));
const LOADERS: Readonly<Record<string, Loader>> = {
  '.ts': 'ts',
  '.mts': 'ts',
  '.cts': 'ts',
  '.tsx': 'tsx',
  '.js': 'js',
  '.mjs': 'js',
  '.cjs': 'js',
  '.jsx': 'jsx',
};

/** What `import.meta` and CommonJS know of a file stays what it was, although the file has moved into a bundle. */
const ORIGINS = {
  'import.meta.url': '__serve_url',
  'import.meta.filename': '__serve_file',
  'import.meta.dirname': '__serve_dir',
  __filename: '__serve_file',
  __dirname: '__serve_dir',
};

const origins: Plugin = {
  name: 'origins',
  setup: (build) => {
    build.onLoad({ filter: /\.[cm]?[jt]sx?$/ }, async ({ path }) => {
      const text = await readFile(path, 'utf8');
      // On the first line, so that positions in errors stay true.
      const head = `const __serve_url = ${JSON.stringify(pathToFileURL(path).href)}, __serve_file = ${JSON.stringify(path)}, __serve_dir = ${JSON.stringify(dirname(path))};`;
      return {
        contents: text.startsWith('#!') ? `//${text}`.replace('\n', `\n${head}`) : head + text,
        loader: LOADERS[extname(path)] ?? 'ts',
        resolveDir: dirname(path),
      };
    });
  },
};

/** Packages stay where they are: each import of one becomes the file that it means from where it stands. */
const packages: Plugin = {
  name: 'packages',
  setup: (build) => {
    build.onResolve({ filter: /^[^./]/ }, async ({ path, kind, namespace, resolveDir, pluginData }) => {
      if (pluginData === 'seen' || kind === 'entry-point' || path.startsWith('node:') || isAbsolute(path)) return undefined;
      if (namespace === 'sdk') return { path, external: true };
      // What is required becomes part of the bundle, as the ES module that it is: to `require` it Node would warn of it.
      if (path === 'serve-daemon')
        return kind === 'require-call' ? { path, namespace: 'sdk' } : { path: pathToFileURL(SDK).href, external: true };
      const found = await build.resolve(path, { kind, resolveDir, pluginData: 'seen' });
      if (found.errors.length > 0 || found.external) return found.errors.length > 0 ? { errors: found.errors } : found;
      // A path alias of a tsconfig leads to the user's own file, which is part of the bundle.
      if (!/[\\/]node_modules[\\/]/.test(found.path)) return { path: found.path };
      // Node imports JSON only where the import says that it is, so it becomes part of the bundle.
      if (found.path.endsWith('.json')) return { path: found.path };
      // `require` takes paths, and no URLs.
      if (kind === 'require-call' || kind === 'require-resolve') return { path: found.path, external: true };
      return { path: pathToFileURL(found.path).href, external: true };
    });
    build.onLoad({ filter: /^/, namespace: 'sdk' }, () => ({
      contents: `export * from ${JSON.stringify(pathToFileURL(SDK).href)};`,
    }));
  },
};

let compiler: typeof import('esbuild') | undefined;

/** Ends the compiler's process, if one was started: the next edit may be hours away. */
export const stopCompiler = async (): Promise<void> => {
  await compiler?.stop();
};

/** @throws CodeError */
export const compileCode = async (file: string, cacheDir: string): Promise<CompiledCode> => {
  const known = await recall(file, cacheDir, MAKER);
  if (known !== undefined) return known;
  const began = Date.now();
  // Loaded when there is code to compile: a daemon that serves models alone never pays for it.
  compiler ??= await import('esbuild');
  const result = await compiler
    .build({
      entryPoints: [file],
      bundle: true,
      write: false,
      metafile: true,
      format: 'esm',
      platform: 'node',
      target: 'node20',
      outdir: cacheDir,
      sourcemap: 'inline',
      sourcesContent: false,
      sourceRoot: dirname(file),
      keepNames: true,
      logLevel: 'silent',
      define: ORIGINS,
      loader: { '.json': 'json' },
      plugins: [origins, packages],
      banner: {
        js: `import { createRequire as __serve_require } from 'node:module'; const require = __serve_require(${JSON.stringify(pathToFileURL(file).href)});`,
      },
    })
    .catch((error: { errors?: Message[]; message: string }) => {
      const told = error.errors?.slice(0, MAX_ERRORS) ?? [];
      const text = told.length === 0 ? error.message : told.map(messageText).join('; ');
      throw new CodeError(
        text,
        told.flatMap((each) => placeOf(each) ?? []),
      );
    });
  const output = Object.values(result.metafile.outputs)[0];
  const text = result.outputFiles?.[0]?.text;
  if (output === undefined || text === undefined) throw new CodeError(`${file} compiles to nothing`);
  const fingerprint = createHash('sha256').update(text).digest('hex').slice(0, 16);
  const entry = join(cacheDir, `${fingerprint}.mjs`);
  if (!existsSync(entry)) {
    await mkdir(cacheDir, { recursive: true, mode: 0o700 });
    const draft = `${entry}.${process.pid}.tmp`;
    await writeFile(draft, text, { mode: 0o600 });
    await rename(draft, entry);
  }
  const inputs = Object.keys(result.metafile.inputs).filter((input) => !input.startsWith('sdk:'));
  const files = inputs.map((input) => resolve(input));
  // What CommonJS exports is known when it runs.
  const isCommonJs = result.metafile.inputs[output.entryPoint ?? '']?.format === 'cjs';
  const code: CompiledCode = { entry, fingerprint, exports: isCommonJs ? [...output.exports, '*'] : output.exports, files };
  await remember(file, cacheDir, MAKER, code, began);
  return code;
};

/** What `origins` put before the text of the user's first line. */
const HEAD = /^const __serve_url = .*?, __serve_dir = "(?:[^"\\]|\\.)*";/;

/** Of one file that does not compile; the first say all. */
const MAX_ERRORS = 5;

const messageText = (message: Message): string => {
  const place = placeOf(message);
  return place === undefined ? message.text : `${place.file}:${place.line}:${place.column}: ${message.text}`;
};

const placeOf = ({ text, location }: Message): RelatedPlace | undefined => {
  if (location === null) return undefined;
  const { file, line, column, lineText } = location;
  const head = HEAD.exec(lineText)?.[0] ?? '';
  // The compiler counts bytes of UTF-8.
  const before = Buffer.from(lineText).subarray(0, column).toString().length;
  const at = Math.max(0, before - head.length);
  return { file: resolve(file), line, column: at + 1, message: text, excerpt: excerptOf(lineText.slice(head.length), at) };
};
