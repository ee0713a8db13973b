import t from 'tap';
import { compiled } from './fixtures/rig.ts';

t.test('a keep-alive time-out is a warning where uWebSockets.js may serve', async (t) => {
  const told = (http: string) => compiled(`http_options: {${http}}\napplications: []\n`).diagnostics;
  t.match(told('keep_alive_timeout_s: 30'), [{ severity: 'warning', code: 'KEEP_ALIVE_FIXED', line: 1, column: 38 }]);
  t.same(told('keep_alive_timeout_s: 30, server: node'), []);
});
