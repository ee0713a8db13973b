/** What `serve-daemon build` writes asks for what the code says, and for nothing else. */
import t from 'tap';
import { compile } from '../../src/config/compile.ts';
import type { ToldApplication } from '../../src/config/from-code.ts';
import { spellOut } from '../../src/config/spell-out.ts';
import { writeConfig } from '../../src/config/write.ts';

const CHAIN: ToldApplication = {
  deployments: [
    {
      name: 'Summarizer',
      options: { max_ongoing_requests: 20, user_config: { words: 3 }, request_timeout_s: null },
      handles: { 'translators.0': 'To_fr', 'translators.1': 'To_de' },
    },
    { name: 'To_fr', options: { num_replicas: 2, replica_options: { num_cpus: 0.5 } }, handles: {} },
    { name: 'To_de', options: { batching: { max_batch_size: 4 } }, handles: {} },
  ],
  ingress: 'Summarizer',
};
const ECHO: ToldApplication = { deployments: [{ name: 'echo', options: {}, handles: {} }], ingress: 'echo', bare: true };

const named = { name: 'default', routePrefix: '/', importPath: './app.ts:app', args: {} };
const desiredOf = (application: object, told: ToldApplication) => {
  const text = writeConfig({ applications: [application as never] }, 'x');
  const context = { file: '/srv/c.yaml', env: {}, exists: () => true };
  const { desired, diagnostics } = compile(text, { ...context, told: new Map([[0, told]]) });
  return { desired, diagnostics };
};

for (const [what, told, args] of [
  ['several deployments', CHAIN, {}],
  ['a builder with arguments', CHAIN, { to: 'fr', deep: { n: [1, '2'] } }],
  ['a function', ECHO, {}],
] as const)
  t.test(`${what}: the file and the code come to the same desired state`, async (t) => {
    const { importPath: import_path } = named;
    const ofCode = desiredOf({ name: 'default', route_prefix: '/', import_path, args }, told);
    const ofFile = desiredOf(spellOut({ ...named, args }, told), told);
    t.same(ofCode.diagnostics, []);
    t.same(ofFile, ofCode);
    t.equal(ofFile.desired?.applications[0]?.deployments.length, told.deployments.length);
  });

t.test('the file says it all: of code that says nothing any more it asks for the same', async (t) => {
  const silent = {
    deployments: CHAIN.deployments.map(({ name }) => ({ name, options: {}, handles: {} })),
    ingress: 'To_de',
  };
  const file = spellOut(named, CHAIN);
  t.same(desiredOf(file, silent), desiredOf(file, CHAIN));
});

t.test('a function is named by its deployment, so that nothing has to find out what it is', async (t) => {
  t.same(spellOut(named, ECHO), {
    name: 'default',
    route_prefix: '/',
    deployments: [{ name: 'echo', import_path: './app.ts:app' }],
  });
  t.match(desiredOf(spellOut(named, ECHO), ECHO).desired?.applications[0]?.deployments[0]?.runs, {
    kind: 'module',
    bound: undefined,
  });
});
