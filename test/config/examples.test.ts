/** Every config that a reader may copy is valid, and names the schema where an editor would look for it. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { compile } from '../../src/config/compile.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const SCHEMA = resolve(ROOT, 'schemas/config.schema.json');

const files = (folder: string, ending: string): readonly string[] =>
  readdirSync(resolve(ROOT, folder), { recursive: true })
    .map(String)
    .filter((name) => name.endsWith(ending) && !name.includes('node_modules'))
    .map((name) => `${folder}/${name}`);

/** Models too large for the repository: `configs/speech/get-model.mjs` brings them. */
const BROUGHT = resolve(ROOT, 'configs/speech/model/');
const isThere = (path: string): boolean => path.startsWith(BROUGHT) || existsSync(path);

/** @param exists in documents there are no files beside the config */
const errorsOf = (text: string, file: string, exists: (path: string) => boolean): readonly string[] =>
  compile(text, { file, env: { HTTP_PORT: '8100', TOKEN: '123' }, exists }).diagnostics.map(
    ({ line, code, message }) => `${line}: ${code} ${message}`,
  );

for (const name of [...files('configs', '.yaml'), ...files('test/config/fixtures', '.good.yaml')]) {
  t.test(`${name} is valid and names its schema`, async (t) => {
    const file = resolve(ROOT, name);
    const text = readFileSync(file, 'utf8');
    t.same(errorsOf(text, file, name.startsWith('configs/') ? isThere : () => true), []);
    const [, schema = ''] = /^# yaml-language-server: \$schema=(\S+)$/m.exec(text.split('\n')[0] ?? '') ?? [];
    t.equal(resolve(dirname(file), schema), SCHEMA, 'the first line says where the schema is');
  });
}

/** A block of YAML that is a whole config, or the part of one under `deployments:` or in an application. */
const wholeConfigs = (text: string): readonly string[] =>
  [...text.matchAll(/```yaml\n([\s\S]*?)```/g)].map(([, block = '']) => block).filter((block) => /^applications:/m.test(block));

for (const name of ['README.md', ...files('docs', '.md')]) {
  const blocks = wholeConfigs(readFileSync(resolve(ROOT, name), 'utf8'));
  for (const [index, block] of blocks.entries()) {
    t.test(`config ${index + 1} in ${name} is valid`, async (t) => {
      t.same(
        errorsOf(block, '/srv/config.yaml', () => true),
        [],
      );
    });
  }
}
