import t from 'tap';
import { compile } from '../../src/config/compile.ts';
import { asWritten, withListenersOf, withoutApplications } from '../../src/config/compose.ts';

const CURRENT = `# of the file
http_options: {port: "\${PORT}"}
admin_options:
  port: \${ADMIN:-9000} # said by the environment
  token: "\${TOKEN}"
logging_config: &log {log_level: DEBUG}
applications:
- name: a
  logging_config: *log
  deployments: [{name: A, import_path: a.ts}]
`;
const context = { file: '/srv/config.yaml', env: { TOKEN: '12', PORT: '1' }, exists: () => true };

t.test('as written: no variable is replaced, aliases and merges are', async (t) => {
  t.match(asWritten(CURRENT), {
    admin_options: { token: `\${TOKEN}` },
    applications: [{ logging_config: { log_level: 'DEBUG' } }],
  });
});

t.test('what is sent without saying where the daemon listens leaves that as it is', async (t) => {
  const text = withListenersOf(
    '{"applications": [{"name": "b", "deployments": [{"name": "B", "import_path": "b.ts"}]}]}',
    CURRENT,
  );
  const { desired, diagnostics } = compile(text.replace(`"\${PORT}"`, '1'), context);
  t.same(diagnostics, []);
  t.match(desired, { admin: { port: 9000, token: '12' }, logging: { level: 'info' }, applications: [{ name: 'b' }] });
});

t.test('what it does say counts, and a text that says everything stays as it is', async (t) => {
  const whole =
    'proxy_location: Disabled # why\nhttp_options: {}\nadmin_options: {port: 1}\ngrpc_options: {}\napplications: []\n';
  t.equal(withListenersOf(whole, CURRENT), whole);
  t.match(asWritten(withListenersOf('admin_options: {port: 7}\napplications: []\n', CURRENT)), {
    admin_options: { port: 7 },
    http_options: { port: `\${PORT}` },
  });
});

t.test('without applications the rest is as it was, also where an anchor stood', async (t) => {
  const { applications, ...rest } = asWritten(withoutApplications(CURRENT));
  t.same(applications, []);
  const { applications: _, ...before } = asWritten(CURRENT);
  t.same(rest, before);
});

t.test('paths that came from elsewhere stay inside the folder of the config, also through symlinks', async (t) => {
  const links: Readonly<Record<string, string>> = { '/srv/link.ts': '/etc/x.ts', '/srv/in.ts': '/srv/sub/in.ts' };
  const realPath = (path: string) => links[path] ?? path;
  const codes = (deployment: object) =>
    compile(JSON.stringify({ applications: [{ deployments: [{ name: 'A', ...deployment }] }] }), {
      ...context,
      realPath,
    }).diagnostics.map(({ code, path }) => `${code} ${path}`);
  const at = 'PATH_OUTSIDE applications[0].deployments[0]';
  t.same(codes({ import_path: './a.ts:A' }), []);
  t.same(codes({ import_path: 'sub.a:A' }), []);
  t.same(codes({ import_path: './in.ts' }), []);
  t.same(codes({ import_path: '../a.ts:A' }), [`${at}.import_path`]);
  t.same(codes({ import_path: '/etc/a.ts' }), [`${at}.import_path`]);
  t.same(codes({ import_path: './link.ts' }), [`${at}.import_path`]);
  t.same(codes({ import_path: './sub/../../a.ts' }), [`${at}.import_path`]);
  t.same(codes({ model: '../m.onnx' }), [`${at}.model`]);
  t.same(codes({ model: { path: '/srvother/m.onnx' } }), [`${at}.model.path`]);
  t.same(codes({ import_path: './a.ts', ray_actor_options: { runtime_env: { working_dir: '..' } } }), [
    `${at}.ray_actor_options.runtime_env.working_dir`,
  ]);
  t.same(compile('applications: [{deployments: [{name: A, import_path: ../a.ts}]}]', context).diagnostics, []);
});
