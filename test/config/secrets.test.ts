import t from 'tap';
import { maskSecrets } from '../../src/config/secrets.ts';
import { compiled } from './fixtures/rig.ts';

const LINES: readonly (readonly [string, string])[] = [
  ['  ssl_keyfile_password: hunter2', '  ssl_keyfile_password: *******'],
  ['  ssl_keyfile_password: a,b}c #d', '  ssl_keyfile_password: ********'],
  ['{token: hunter2, port: 1}', '{token: *****************'],
  ['{"token": "hun\\"ter2", port: 1}', '{"token": ***********, port: 1}'],
  ["token: 'it''s me' # x", 'token: ********** # x'],
  ['  token: "never closed', '  token: *************'],
  // biome-ignore lint/suspicious/noTemplateCurlyInString: it is what the file says
  ['  token: ${TOKEN}', '  token: ${TOKEN}'],
  ['  tokens: 5', '  tokens: 5'],
];

t.test('a secret is covered wherever its line is shown, and no column moves', async (t) => {
  for (const [line, shown] of LINES) {
    t.equal(maskSecrets(line), shown);
    t.equal(shown.length, line.length);
  }
});

t.test('no diagnostic prints a password, whatever is wrong around it', async (t) => {
  const texts = [
    'http_options: {ssl_keyfile_password: hunter2, prt: 5}\napplications: []\n',
    'http_options:\n  ssl_keyfile_password: hunter2\napplications: []\n',
    'http_options: {ssl_keyfile_password: hunter2\n',
    'http_options: {ssl_keyfile_password: 70368744}\napplications: []\n',
    'http_options: {ssl_keyfile_password: [hunter2]}\napplications: []\n',
    'admin_options: {host: 0.0.0.0, token: hunter2, x: 1}\napplications: []\n',
  ];
  for (const text of texts) {
    const { diagnostics } = compiled(text);
    t.ok(diagnostics.length > 0, text);
    t.notMatch(JSON.stringify(diagnostics), /hunter2|70368744/, text);
  }
});
