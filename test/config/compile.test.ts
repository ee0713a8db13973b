// biome-ignore-all lint/suspicious/noTemplateCurlyInString: this is the config's own syntax
import { createHash } from 'node:crypto';
import t from 'tap';
import { formatDiagnostic } from '../../src/config/format.ts';
import { weightOf } from '../../src/config/schema.ts';
import { codes, compiled, withDeployment } from './fixtures/rig.ts';

t.test('a missing file concerns its application alone, and the rest is still produced', async (t) => {
  const text = `applications:
  - {name: a, route_prefix: /a, deployments: [{name: Echo, import_path: gone:Echo}]}
  - {name: b, route_prefix: /b, deployments: [{name: Echo, import_path: ./echo.ts}]}
`;
  const { desired, diagnostics } = compiled(text, {}, (path) => path === '/srv/echo.ts');
  t.match(diagnostics, [
    { code: 'FILE_MISSING', severity: 'error', application: 'a', path: 'applications[0].deployments[0].import_path' },
  ]);
  t.match(diagnostics[0]?.message, /gone\.ts.*gone\.js.*gone\.mjs/);
  t.match(desired?.applications[0]?.deployments[0]?.runs, { file: '/srv/gone.ts' });
  t.match(desired?.applications[1]?.deployments[0]?.runs, { file: '/srv/echo.ts' });
});

t.test('beside any other error nothing is produced', async (t) => {
  t.equal(compiled(withDeployment('nam: x'), {}, () => false).desired, undefined);
});

t.test('the hash is that of the text', async (t) => {
  const text = 'applications: []\n';
  const hash = createHash('sha256').update(text).digest('hex');
  t.equal(compiled(text).hash, hash);
  t.equal(compiled(Buffer.from(text)).hash, hash);
  t.equal(compiled('[').hash, createHash('sha256').update('[').digest('hex'), 'also of one that is wrong');
});

t.test('all mistakes are told at once, in the order of the text', async (t) => {
  const result = compiled(
    'http_options: {prt: 1}\nlogging_config: {log_level: X}\napplications:\n  - {name: a-, route_prefix: x}\n',
  );
  t.same(codes(result), ['UNKNOWN_KEY', 'BAD_VALUE', 'INGRESS_NEEDED', 'BAD_ROUTE']);
});

t.test('after a hundred the rest is counted', async (t) => {
  const { diagnostics, desired } = compiled(
    `applications: []\n${Array.from({ length: 150 }, (_, index) => `k${index}: 1`).join('\n')}`,
  );
  t.equal(diagnostics.length, 101);
  t.match(diagnostics.at(-1), {
    severity: 'error',
    code: 'MORE',
    message: 'and 50 more errors and 0 more warnings from here on',
    line: 102,
  });
  t.equal(desired, undefined);
});

t.test('missing files are never only counted, as each concerns an application', async (t) => {
  const apps = Array.from(
    { length: 120 },
    (_, index) => `  - {name: a${index}, route_prefix: /a${index}, deployments: [{name: E, model: m${index}}]}`,
  );
  const { diagnostics, desired } = compiled(`applications:\n${apps.join('\n')}`, {}, () => false);
  t.equal(new Set(diagnostics.map(({ application }) => application)).size, 120);
  t.equal(desired?.applications.length, 120);
});

t.test('what an alias copies is wrong once', async (t) => {
  const text = `applications:
  - {name: a, route_prefix: /a, deployments: &all [{name: E, import_path: ./e.ts, num_replica: 1}]}
  - {name: b, route_prefix: /b, deployments: *all}
`;
  t.same(codes(compiled(text)), ['UNKNOWN_KEY']);
});

t.test('a variable that is not set is told once, not as a wrong type too', async (t) => {
  t.same(codes(compiled('http_options:\n  port: ${GONE}\napplications: []\n')), ['UNSET_VARIABLE']);
});

t.test("Ray Serve's keys without meaning here are warnings, and the file is valid", async (t) => {
  const result = compiled(
    withDeployment('placement_group_strategy: PACK, graceful_shutdown_wait_loop_s: 1', 'controller_options: {a: 1}\n'),
  );
  t.same(codes(result), ['IGNORED_KEY', 'IGNORED_KEY', 'IGNORED_KEY']);
  t.ok(result.desired);
});

t.test('a deployment that nothing uses is a warning that points at it', async (t) => {
  const text = `applications:
  - deployments:
      - {name: Echo, import_path: ./echo.ts}
      - {name: Idle, import_path: ./idle.ts}
    graph: {ingress: Echo}
`;
  const { desired, diagnostics } = compiled(text);
  t.match(diagnostics, [{ severity: 'warning', code: 'DEPLOYMENT_UNUSED', line: 4 }]);
  t.ok(desired);
});

t.test('messages tell what was expected, what was got and what to do', async (t) => {
  const message = (text: string) => compiled(text).diagnostics[0]?.message;
  t.equal(message(withDeployment('num_replicas: 0')), 'expected an integer from 1 to 1000, `auto` or null, got 0');
  t.equal(
    message('logging_config: {enable_access_log: on}\napplications: []'),
    'expected `true` or `false`, got the text `on`; in YAML 1.2 `on` is text: write `true`',
  );
  t.equal(
    message(withDeployment('num_replica: 1')),
    'expected a known key, got the unknown key `num_replica`; did you mean `num_replicas`?',
  );
  t.equal(
    message('grpc_options: {grpc_servicer_functions: [x]}\napplications: []'),
    '`grpc_servicer_functions` is not served yet in this version; remove it or leave it empty',
  );
});

t.test('a diagnostic is shown with its line and a caret', async (t) => {
  const [diagnostic] = compiled('applications: []\nhttp_options: {prt: 1}\n').diagnostics;
  t.equal(
    diagnostic && formatDiagnostic(diagnostic),
    `/srv/config.yaml:2:16: error UNKNOWN_KEY http_options.prt: expected a known key, got the unknown key \`prt\`; did you mean \`port\`?
    http_options: {prt: 1}
                   ^`,
  );
});

t.test('the text around a caret is cut and cleaned of what a terminal would obey', async (t) => {
  const [diagnostic] = compiled(`applications: []\nx: "${'y'.repeat(1000)}"\t\n`).diagnostics;
  t.ok((diagnostic?.excerpt.length ?? 0) < 250);
  const [bell] = compiled('applications: []\nx: \u0007\n').diagnostics;
  t.equal(bell?.excerpt.includes('\u0007'), false);
});

t.test('the weight of a change is that of the innermost section that says one', async (t) => {
  t.equal(weightOf(['http_options', 'port']), 'restart-listener');
  t.equal(weightOf(['applications', 0, 'deployments', 1, 'user_config', 'a', 'b']), 'reconfigure');
  t.equal(weightOf(['applications', 0, 'deployments', 1, 'ray_actor_options', 'num_cpus']), 'restart-replicas');
  t.equal(weightOf(['applications', 0, 'name']), undefined);
});

t.test('a policy of an application in which nothing autoscales is told as a warning', async (t) => {
  const policy = 'autoscaling_policy: {policy_function: "./a.ts:all"}';
  const result = compiled(`applications: [{${policy}, deployments: [{name: E, import_path: ./e.ts}]}]`);
  t.match(result.diagnostics, [{ severity: 'warning', code: 'NO_EFFECT' }]);
  t.not(result.desired, undefined);
});
