import { readdirSync, readFileSync } from 'node:fs';
import t from 'tap';
import { compiled } from './fixtures/rig.ts';

const folder = new URL('fixtures/', import.meta.url);

for (const file of readdirSync(folder).filter((name) => name.endsWith('.good.yaml'))) {
  t.test(`${file} is understood without a word`, async (t) => {
    const result = compiled(readFileSync(new URL(file, folder)), { HTTP_PORT: '8100', TOKEN: '123' });
    t.same(result.diagnostics, []);
    t.ok(result.desired);
  });
}
