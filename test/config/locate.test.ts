import t from 'tap';
import { locateModule, pathMistake } from '../../src/config/locate.ts';

const locate = (importPath: string, ...there: readonly string[]) =>
  locateModule(importPath, { folder: '/srv/app', exists: (path) => there.includes(path) });

t.test('a file and its export are named with a colon', async (t) => {
  t.same(locate('./echo.ts:Echo', '/srv/app/echo.ts'), { file: '/srv/app/echo.ts', export: 'Echo', missing: undefined });
});

t.test('without a name the default export is meant', async (t) => {
  t.match(locate('../echo.mjs', '/srv/echo.mjs'), { file: '/srv/echo.mjs', export: 'default', missing: undefined });
});

t.test('an extension that was left out is found, TypeScript first', async (t) => {
  t.match(locate('llm:chat', '/srv/app/llm.js', '/srv/app/llm.mjs'), { file: '/srv/app/llm.js', export: 'chat' });
  t.match(locate('./llm:chat', '/srv/app/llm.js', '/srv/app/llm.ts'), { file: '/srv/app/llm.ts' });
});

t.test('dots are folders only where there is neither a slash nor an extension', async (t) => {
  t.match(locate('texts.llm:chat', '/srv/app/texts/llm.ts'), { file: '/srv/app/texts/llm.ts', missing: undefined });
  t.match(locate('./v1.2/llm:chat', '/srv/app/v1.2/llm.ts'), { file: '/srv/app/v1.2/llm.ts', missing: undefined });
  for (const name of ['llm.ts', 'llm.tsx', 'llm.jsx', 'llm.cts'])
    t.match(locate(`${name}:chat`, `/srv/app/${name}`), { file: `/srv/app/${name}`, missing: undefined });
});

t.test('a missing file says everywhere it was looked for', async (t) => {
  t.match(locate('llm:chat'), { file: '/srv/app/llm.ts', missing: ['/srv/app/llm.ts', '/srv/app/llm.js', '/srv/app/llm.mjs'] });
});

t.test('what cannot be a file and an export is refused', async (t) => {
  for (const wrong of [':Echo', './echo.ts:', './a:b:c', './echo.ts:two words', 'https://x/echo.ts', 'file:./x.ts', './a\0.ts']) {
    t.type(locate(wrong), 'string', wrong);
  }
});

t.test('a path with a scheme is refused, a colon behind a slash is not', async (t) => {
  t.ok(pathMistake('s3://bucket/model.onnx'));
  t.ok(pathMistake('hf:org/model'));
  t.notOk(pathMistake('./a:b.onnx'));
  t.notOk(pathMistake('/models/m.onnx'));
});
