/** Code of the user says how many replicas; what it does wrong harms nobody. */
import t from 'tap';
import { DEADLINE_MS, isGone, processState, startDaemon, until } from '../support/daemon-rig.ts';
import { configOf, ECHO, single } from './configs.ts';

t.setTimeout(120_000);

const policyOf = (body: string): string => `import type { AutoscalingContext } from 'serve-daemon';
export const policy = (context: AutoscalingContext, kwargs: { want: number }) => { ${body} };
`;

const files = { 'echo.ts': ECHO, 'scaler.ts': policyOf('return kwargs.want;') };
const scaled = (want: number, more: object = {}) =>
  configOf([
    single('app', '/', {
      import_path: './echo.ts:echo',
      autoscaling_config: {
        max_replicas: 4,
        upscale_delay_s: 0,
        downscale_delay_s: 0,
        policy: { policy_function: './scaler.ts:policy', policy_kwargs: { want } },
        ...more,
      },
    }),
  ]);

t.test('a policy of the user', async (t) => {
  await using daemon = await startDaemon(scaled(2), { files });
  const runs = (replicas: number, holds: (message: string) => boolean = (message) => message === '', withinMs = DEADLINE_MS) =>
    daemon.when(
      `${replicas} replicas`,
      ({ applications }) => {
        const only = applications['app']?.deployments['Only'];
        return (
          only?.status === 'HEALTHY' &&
          only.target_num_replicas === replicas &&
          only.replicas.length === replicas &&
          holds(only.message)
        );
      },
      withinMs,
    );
  const failed = (says: RegExp) => runs(3, (message) => says.test(message));
  await runs(2);
  const pids = await daemon.pids('app', 'Only');

  await t.test('other arguments are in force at once, and keep every process', async (t) => {
    await daemon.save(scaled(3));
    await runs(3);
    const three = await daemon.pids('app', 'Only');
    t.ok(pids.every((pid) => three.includes(pid)));
  });

  await t.test('the bounds hold around it', async () => {
    await daemon.save(scaled(99));
    await runs(4);
    await daemon.save(scaled(3));
    await runs(3);
  });

  await t.test('what it is told, and a state of its own', async () => {
    await daemon.write(
      'scaler.ts',
      policyOf(`const calls = (context.policyState as number | null ?? 0) + 1;
        if (context.appName !== 'app' || context.deploymentName !== 'Only' || context.capacityAdjustedMaxReplicas !== 4) return 1;
        return [calls > 2 && context.currentNumReplicas > 0 && context.totalNumRequests === 0 ? 2 : 3, calls];`),
    );
    await runs(2);
    await daemon.write('scaler.ts', policyOf('return kwargs.want;'));
    await runs(3);
  });

  await t.test('one that throws, and one that says nonsense, are told; the target stays', async () => {
    await daemon.write('scaler.ts', policyOf(`throw new Error('no idea');`));
    await failed(/it threw Error: no idea/);
    await daemon.write('scaler.ts', policyOf(`return 'many' as never;`));
    await failed(/expected a number of replicas, got "many"/);
    await daemon.write('scaler.ts', policyOf('return NaN;'));
    await failed(/expected a number of replicas/);
    await daemon.write('scaler.ts', policyOf('process.exit(7);'));
    await failed(/ended with exit code 7/);
    await daemon.write('scaler.ts', `export const policy = 5;\n`);
    await failed(/expected `policy` to be a function/);
  });

  await t.test('one that hangs is ended, and one that is mended scales again', async (t) => {
    const before = new Set(daemon.processes());
    await daemon.write('scaler.ts', policyOf('while (true);'));
    await failed(/did not answer within 5 s/);
    t.equal((await daemon.ask('/')).status, 200, 'nobody else has noticed');
    await daemon.write('scaler.ts', policyOf('return 1;'));
    await runs(1);
    const stuck = daemon.processes().filter((pid) => !before.has(pid) && processState(pid) === 'R');
    await until('what hung is gone', () => stuck.every(isGone) || daemon.processes().length <= 3);
  });

  await t.test('code that does not compile is rejected with its place', async () => {
    await daemon.write('scaler.ts', 'export const policy = (;\n');
    await daemon.when('DEPLOY_FAILED', ({ applications }) => /scaler\.ts:1/.test(applications['app']?.message ?? ''));
    await daemon.write('scaler.ts', policyOf('return 2;'));
    await runs(2);
  });

  await t.test('without a policy its process goes', async () => {
    await daemon.save(configOf([single('app', '/', { import_path: './echo.ts:echo', num_replicas: 2 })]));
    await until('the daemon and two replicas are left', () => daemon.processes().length === 3);
  });
  t.same(await daemon.stop(), { code: 0, signal: null });
});

t.test('a policy of the whole application decides for all of its deployments that scale', async (t) => {
  const all = (body: string) => `import type { AutoscalingContext } from 'serve-daemon';
export const all = (contexts: Record<string, AutoscalingContext>, kwargs: { more: number }) => { ${body} };
`;
  const scaling = { num_replicas: 'auto', autoscaling_config: { max_replicas: 4, upscale_delay_s: 0, downscale_delay_s: 0 } };
  const config = configOf([
    {
      name: 'app',
      autoscaling_policy: { policy_function: './scaler.ts:all', policy_kwargs: { more: 2 } },
      graph: { ingress: 'A' },
      deployments: [
        { name: 'A', import_path: './echo.ts:echo', ...scaling },
        { name: 'B', import_path: './echo.ts:echo', ...scaling },
        { name: 'C', import_path: './echo.ts:echo' },
      ],
    },
  ]);
  const inOrder = all(
    `return Object.fromEntries(Object.keys(contexts).sort().map((name, index) => [name, index + kwargs.more]));`,
  );
  await using daemon = await startDaemon(config, { files: { 'echo.ts': ECHO, 'scaler.ts': inOrder } });
  const targets = (wanted: string, says = /^$/) =>
    daemon.when(wanted, ({ applications }) => {
      const { A, B, C } = applications['app']?.deployments ?? {};
      const seen = [A, B, C].map((each) => `${each?.target_num_replicas} ${each?.replicas.length}`).join(', ');
      return seen === wanted && says.test(A?.message ?? '');
    });
  await targets('2 2, 3 3, 1 1');
  await daemon.write('scaler.ts', all('return { A: 1 };'));
  await targets('1 1, 3 3, 1 1');
  t.pass('what it does not name stays');
  await daemon.write('scaler.ts', all('return 7;'));
  await targets('1 1, 3 3, 1 1', /expected numbers of replicas by deployment, got 7/);
  t.same(await daemon.stop(), { code: 0, signal: null });
});
