/** The quickstart serves the OCR example as that folder has it. */
import { existsSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import t from 'tap';
import { compile } from '../../src/config/compile.ts';

const desiredOf = (path: string) => {
  const file = resolve(path);
  const { desired, diagnostics } = compile(readFileSync(file), { file, env: {}, exists: existsSync });
  return { desired, diagnostics };
};

t.test('the quickstart has no mistakes, and its OCR application is that of configs/ocr', async (t) => {
  const quickstart = desiredOf('configs/quickstart/config.yaml');
  const ocr = desiredOf('configs/ocr/config.yaml');
  t.same(quickstart.diagnostics, []);
  t.same(ocr.diagnostics, []);
  t.same(
    quickstart.desired?.applications.find(({ name }) => name === 'ocr'),
    ocr.desired?.applications[0],
  );
});
