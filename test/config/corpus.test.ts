/** Whatever is wrong with a file: it is told in words, with a place, soon, and nothing else happens. */
import t from 'tap';
import { compile } from '../../src/config/compile.ts';
import { brokenConfigs, ENVIRONMENT, mistakeOf } from '../support/broken-configs.ts';

t.setTimeout(240_000);

/** A file takes milliseconds, one at the bounds some tenths of a second; a machine that does much else may take its time. */
const BOUND_MS = 5000;

t.test('every broken config is refused in words, at a place, in no time', async (t) => {
  const corpus = brokenConfigs();
  const wrong: string[] = [];
  let refused = 0;
  let slowest = { ms: 0, title: '' };
  for (const { title, content, surely } of corpus) {
    const began = performance.now();
    let compiled: ReturnType<typeof compile>;
    try {
      compiled = compile(content, { file: '/srv/config.yaml', env: ENVIRONMENT, exists: () => true });
    } catch (error) {
      wrong.push(`${title}: throws ${String((error as Error).stack).slice(0, 600)}`);
      continue;
    }
    const ms = performance.now() - began;
    if (ms > slowest.ms) slowest = { ms, title };
    const errors = compiled.diagnostics.filter(({ severity }) => severity === 'error');
    if ((compiled.desired === undefined) !== errors.length > 0) wrong.push(`${title}: neither understood nor refused`);
    if (surely && errors.length === 0) wrong.push(`${title}: is taken for good`);
    const mistake = mistakeOf(compiled.diagnostics);
    if (mistake !== undefined) wrong.push(`${title}: ${mistake}`);
    if (errors.length > 0) refused++;
  }
  t.same(wrong, []);
  t.comment(`${corpus.length} files, ${refused} refused; the slowest: ${slowest.title}, ${slowest.ms.toFixed(0)} ms`);
  t.ok(refused > 3000, `${refused} refused`);
  t.ok(slowest.ms < BOUND_MS, `${slowest.title}: ${slowest.ms.toFixed(0)} ms`);
});
