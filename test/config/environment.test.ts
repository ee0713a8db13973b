// biome-ignore-all lint/suspicious/noTemplateCurlyInString: this is the config's own syntax
import t from 'tap';
import { readScalar, substitute } from '../../src/config/environment.ts';
import { codes, compiled } from './fixtures/rig.ts';

const env = { NAME: 'value', EMPTY: '', NESTED: '${NAME}' };
const text = (source: string) => {
  const result = substitute(source, env);
  return result?.ok ? result.text : (result?.code ?? source);
};

t.test('variables and defaults are put in, also several in one value', async (t) => {
  t.equal(text('a ${NAME} b ${MISSING:-c}'), 'a value b c');
});

t.test('a default stands in for a variable that is set but empty', async (t) => {
  t.equal(text('${EMPTY:-default}'), 'default');
  t.equal(text('${EMPTY}'), '');
  t.equal(text('${MISSING:-}'), '');
});

t.test('a doubled dollar keeps the text', async (t) => {
  t.equal(text('$${NAME} ${NAME} $$${NAME} $NAME {NAME} $'), '${NAME} value $${NAME} $NAME {NAME} $');
});

t.test('what is put in is not looked at again', async (t) => {
  t.equal(text('${NESTED}'), '${NAME}');
});

t.test('mistakes are told by their codes', async (t) => {
  t.same(['${MISSING}', 'a ${NAME', '${NAME-x}', '${}', '${A:-${NAME}}'].map(text), [
    'UNSET_VARIABLE',
    'UNTERMINATED_VARIABLE',
    'BAD_VARIABLE',
    'BAD_VARIABLE',
    'BAD_VARIABLE',
  ]);
});

t.test('names that every object has are no variables', async (t) => {
  t.equal(text('${constructor}'), 'UNSET_VARIABLE');
  t.equal(text('${__proto__}'), 'UNSET_VARIABLE');
});

t.test('a scalar is read as YAML 1.2 reads it, and never as a list or mapping', async (t) => {
  const said = ['', '~', 'true', 'yes', '8000', '0x1f', '0o17', '017', '-1.5e3', '[1]', '{a: 1}', 'a: b', ' 5 '];
  t.same(said.map(readScalar), [null, null, true, 'yes', 8000, 31, 15, 17, -1500, '[1]', '{a: 1}', 'a: b', 5]);
});

t.test('only a value that is one unquoted variable is read as a scalar', async (t) => {
  const args = (init: string) =>
    compiled(`applications: [{deployments: [{name: E, import_path: ./e.ts, init_args:\n  ${init}\n  }]}]`, { N: '8' })
      .diagnostics;
  t.same(args('{a: "${N}"}'), []);
  const result = compiled('http_options:\n  port: ${N}\nadmin_options:\n  port: 1${N}\napplications: []\n', { N: '8' });
  t.same(
    result.diagnostics.map(({ path, code }) => [path, code]),
    [['admin_options.port', 'WRONG_TYPE']],
  );
});

t.test('an empty variable is null, so an optional value is left out', async (t) => {
  const { desired } = compiled('admin_options:\n  token: ${TOKEN}\napplications: []\n', { TOKEN: '' });
  t.equal(desired?.admin.token, null);
});

t.test('keys and comments are left alone', async (t) => {
  const key = compiled('"${NAME}": 1 # ${OTHER}\napplications: []\n', env);
  t.same(codes(key), ['UNKNOWN_KEY']);
});

t.test('no message prints a value that came from the environment', async (t) => {
  const yaml = `
http_options: {port: "\${S}", max_header_size: "\${S}", server: "\${S}", host: "\${S}"}
admin_options:
  host: \${S}
logging_config: {log_level: "\${S}", enable_access_log: "\${S}"}
applications:
  - name: "a\${S}"
    route_prefix: "\${S}"
    deployments:
      - {name: "\${S}", import_path: "./\${S}.ts", num_replicas: "\${S}"}
  - name: "a\${S}"
    route_prefix: /x
    runtime_env: {working_dir: "\${S}://x"}
    deployments:
      - {name: "\${S}", import_path: "\${S}:\${S}:x"}
      - {name: "\${S}", model: "\${S}://x"}
      - {name: "b\${S}", model: "\${S}"}
    graph: {ingress: "c\${S}", calls: {x: {y: "\${S}.z", z: "\${S}/q"}}}
  - name: steps
    route_prefix: /y
    deployments: [{name: "d\${S}", model: m}]
    graph: {steps: {a: {call: "\${S}", input: "$\${S}"}, b: {call: "d\${S}", input: $a, for_each: "\${S}"}}}
`;
  for (const secret of ['hunter2secret', '31337']) {
    const { desired, diagnostics } = compiled(yaml, { S: secret }, () => false);
    t.equal(desired, undefined);
    t.ok(diagnostics.length > 10);
    // The name of the application is for the daemon, which knows it anyway.
    for (const { application: _, ...said } of diagnostics) t.notMatch(JSON.stringify(said), secret);
  }
});
