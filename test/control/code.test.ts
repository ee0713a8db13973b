import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import t from 'tap';
import { type CompiledCode, compileCode } from '../../src/control/code.ts';

type Folder = Parameters<typeof t.testdir>[0];
type Owner = { testdir(folder: Folder): string };

/** In a bare Node, as a replica is: here a loader would forgive what it does not. */
const exportsOf = async ({ entry }: CompiledCode): Promise<Record<string, unknown>> => {
  const script = `console.log(JSON.stringify({ ...(await import(${JSON.stringify(pathToFileURL(entry).href)})) }))`;
  const { NODE_OPTIONS: _, ...env } = process.env;
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script], { env });
  return JSON.parse(stdout) as Record<string, unknown>;
};

/** Compiles `main.ts` of a folder, and runs what comes out. */
const compiled = async (t: Owner, folder: Folder, main = 'main.ts') => {
  const at = t.testdir(folder);
  const code = await compileCode(join(at, main), join(at, 'cache'));
  return { at, code, load: () => exportsOf(code) };
};
const failing = (t: Owner, text: string, main = 'main.ts') =>
  compiled(t, { [main]: text }, main).then(
    () => 'compiled',
    (error: Error) => error.message,
  );

t.test('TypeScript becomes a module with its exports', async (t) => {
  const { code, load } = await compiled(t, {
    'main.ts': 'export class A { call(x: number): number { return x + 1; } }\nexport default 5;',
  });
  t.same([...code.exports].sort(), ['A', 'default']);
  t.equal((await load())['default'], 5);
});

t.test('an error is told with file, line and column', async (t) => {
  t.match(await failing(t, 'export const a = 1;\nconst b = ;\n'), /main\.ts:2:11: Unexpected ";"/);
});

t.test('an error on the first line has its own column', async (t) => {
  t.match(await failing(t, 'const b = ;\n'), /main\.ts:1:11: /);
});

t.test('an import that is missing is told with its place', async (t) => {
  t.match(await failing(t, '\nimport x from "./missing.ts";\nexport default x;'), /main\.ts:2:15: .*missing/);
  t.match(await failing(t, '\nimport x from "no-such-package";\nexport default x;'), /main\.ts:2:15: .*no-such-package/);
});

t.test('what files know of themselves stays what it was', async (t) => {
  const text = 'export const url = import.meta.url, dir = __dirname, file = __filename;\n';
  const { at, load } = await compiled(t, {
    'main.ts': `export { url as deep } from './lib/deep.ts';\n${text}`,
    lib: { 'deep.ts': text },
  });
  t.match(await load(), {
    url: pathToFileURL(join(at, 'main.ts')).href,
    dir: at,
    file: join(at, 'main.ts'),
    deep: pathToFileURL(join(at, 'lib/deep.ts')).href,
  });
});

t.test('packages are those that the file finds from where it stands', async (t) => {
  const { load } = await compiled(t, {
    'main.ts': 'import { where } from "pkg";\nimport deep from "./lib/deep.ts";\nexport default [where, deep];',
    lib: {
      'deep.ts': 'import { where } from "pkg";\nexport default where;',
      node_modules: { pkg: { 'package.json': '{"name":"pkg","main":"i.cjs"}', 'i.cjs': 'exports.where = "inner";' } },
    },
    node_modules: {
      pkg: { 'package.json': '{"name":"pkg","type":"module","exports":"./i.js"}', 'i.js': 'export const where = "outer";' },
    },
  });
  t.same((await load())['default'], ['outer', 'inner']);
});

t.test('a package is found by require too', async (t) => {
  const { load } = await compiled(t, {
    'main.ts': 'declare const require: (name: string) => { where: string };\nexport default require("pkg").where;',
    node_modules: { pkg: { 'package.json': '{"name":"pkg","main":"i.cjs"}', 'i.cjs': 'exports.where = "required";' } },
  });
  t.equal((await load())['default'], 'required');
});

t.test('JSON is imported, from beside the code and from a package', async (t) => {
  const { load, code } = await compiled(t, {
    'main.ts': 'import data from "./data.json";\nexport default data.a;',
    'data.json': '{"a":5}',
  });
  t.equal((await load())['default'], 5);
  t.match(code.files.map((file) => file.split('/').at(-1)).sort(), ['data.json', 'main.ts'], 'and watched');
  const other = await compiled(t, {
    'main.ts': 'import about from "pkg/package.json";\nexport default about.version;',
    node_modules: { pkg: { 'package.json': '{"name":"pkg","version":"1.2.3"}' } },
  });
  t.equal((await other.load())['default'], '1.2.3');
});

/** What a user's project has, each in the way of its kind. */
const PROJECT = {
  'tsconfig.json': '{ "extends": "./conf/base", "compilerOptions": { "jsx": "react", "jsxFactory": "h" } }',
  conf: {
    'base.json': `{
  // What all projects share.
  "compilerOptions": { "experimentalDecorators": true, "baseUrl": "..", "paths": { "@lib/*": ["lib/*"], "~limits": ["lib/limits.json"] }, },
}`,
  },
  lib: {
    'limits.json': '{"most": 3}',
    'kinds.ts': `export enum Kind { Cat = 'cat', Dog = 'dog' }
export const enum Level { High = 1 << 2 }
export namespace Sizes { export namespace Big { export const huge = 100; } }
export abstract class Base { abstract kind(): string; greet(): string { return 'I am a ' + this.kind(); } }`,
    'decorators.ts': `export const seen: string[] = [];
export const tagged = (tag: string) => (target: object, key?: string) => { seen.push(tag + ' ' + (key ?? (target as { name: string }).name)); };`,
    'page.tsx': `const h = (tag: string, _props: unknown, ...inner: string[]) => '<' + tag + '>' + inner.join('') + '</' + tag + '>';
export const page = () => <b>bold</b>;`,
    'late.mts': "export const late = 'imported late';",
    'old.cts': "import path = require('node:path');\nexport = { sep: path.sep };",
  },
  'main.ts': `import { Base, Kind, Level, Sizes } from '@lib/kinds';
import { seen, tagged } from '@lib/decorators';
import limits from '~limits';
import direct from './lib/limits.json' with { type: 'json' };
import { page } from './lib/page';
import old = require('./lib/old.cts');
import legacy = require('legacy');
import { where } from 'modern';
const top = await Promise.resolve('awaited at the top');
@tagged('class') class Dog extends Base {
  @tagged('field') readonly name: string = 'Rex';
  accessor age = 2;
  declare unset: number;
  static { seen.push('static block'); }
  constructor(private readonly is: Kind) { super(); }
  kind() { return this.is satisfies string; }
}
const { late } = await import('./lib/late.mjs');
const dog = new Dog(Kind.Dog);
export default { greet: dog.greet(), age: dog.age, level: Level.High, huge: Sizes.Big.huge, limits: [limits.most, direct.most], page: page(), seen,
  sep: old.sep, legacy: legacy.where, modern: where, top, late, unset: 'unset' in dog };
`,
  node_modules: {
    legacy: { 'package.json': '{"name":"legacy","main":"i.js"}', 'i.js': 'exports.where = "legacy";' },
    modern: { 'package.json': '{"name":"modern","type":"module","exports":"./i.js"}', 'i.js': 'export const where = "modern";' },
  },
};

t.test('TypeScript runs as it is: path aliases, decorators, enums, namespaces, JSX, and packages of both kinds', async (t) => {
  const { load } = await compiled(t, PROJECT);
  t.same((await load())['default'], {
    greet: 'I am a dog',
    age: 2,
    level: 4,
    huge: 100,
    limits: [3, 3],
    page: '<b>bold</b>',
    seen: ['static block', 'field name', 'class Dog'],
    sep: '/',
    legacy: 'legacy',
    modern: 'modern',
    top: 'awaited at the top',
    late: 'imported late',
    unset: false,
  });
});

t.test('decorators of the standard run where the tsconfig does not ask for the old ones', async (t) => {
  const { load } = await compiled(t, {
    'tsconfig.json': '{ "compilerOptions": { "target": "ES2022" } }',
    'main.ts': `const log: string[] = [];
const logged = <This, A extends unknown[], R>(own: (this: This, ...args: A) => R, { kind, name }: ClassMethodDecoratorContext) =>
  function (this: This, ...args: A): R { log.push(kind + ' ' + String(name)); return own.apply(this, args); };
const more = (_: undefined, _context: ClassFieldDecoratorContext) => (value: number) => value + 10;
class Counter { @more from = 1; @logged count(by: number) { return this.from + by; } }
export default [new Counter().count(5), log];`,
  });
  t.same((await load())['default'], [16, ['method count']]);
});

t.test('Node’s own modules stay what they are, with and without their prefix', async (t) => {
  const { load } = await compiled(t, {
    'main.ts': 'import { join } from "path";\nimport { sep } from "node:path";\nexport default join("a", sep);',
  });
  t.equal((await load())['default'], 'a/');
});

t.test('the same text is the same code, another is another, in a file that was imported too', async (t) => {
  const { writeFile } = await import('node:fs/promises');
  const { at, code } = await compiled(t, { 'main.ts': 'export { b } from "./b.ts";', 'b.ts': 'export const b = 1;' });
  const again = () => compileCode(join(at, 'main.ts'), join(at, 'cache'));
  t.equal((await again()).fingerprint, code.fingerprint);
  await writeFile(join(at, 'b.ts'), 'export const b = 2;');
  t.not((await again()).fingerprint, code.fingerprint);
});

t.test('CommonJS is served too', async (t) => {
  const { code, load } = await compiled(
    t,
    { 'main.cjs': 'const { sep } = require("node:path");\nmodule.exports = { sep };' },
    'main.cjs',
  );
  t.same(code.exports, ['default', '*'], 'it may have more, which is known when it runs');
  t.same((await load())['default'], { sep: '/' });
});

t.test('a package that is required is no file to watch', async (t) => {
  const { code } = await compiled(t, { 'main.cjs': "exports.app = require('serve-daemon').deployment;" }, 'main.cjs');
  t.same(
    code.files.map((file) => file.split('/').at(-1)),
    ['main.cjs'],
  );
});
