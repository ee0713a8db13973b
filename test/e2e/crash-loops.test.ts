/** What dies again and again is slowed down, told, and disturbs nobody. */
import t from 'tap';
import { differs, Load, startDaemon, until } from '../support/daemon-rig.ts';
import { configOf, ECHO, NEIGHBOUR, single } from './configs.ts';

t.setTimeout(180_000);

const CODE = `export class Dies { constructor() { console.error('the last words'); throw new TypeError('no constructor of mine'); } call() {} }
export class Once { call(input) { if (input === 'stay') return 'stays'; console.error('that was too much'); setTimeout(() => process.exit(9), 5); return 'last'; } }
`;
const files = { 'code.ts': CODE, 'echo.ts': ECHO };
const neighbourly = (daemon: { ask: typeof import('../support/daemon-rig.ts').DaemonRig.prototype.ask }) =>
  new Load(4, async (n, agent) =>
    differs(
      await daemon.ask('/neighbour', { method: 'POST', headers: { 'content-type': 'application/json' }, body: `${n}`, agent }),
      200,
      `${n}`,
    ),
  );

t.test('a constructor that throws, in four replicas at once: three failures with back-off, then DEPLOY_FAILED', async (t) => {
  await using daemon = await startDaemon(configOf([NEIGHBOUR]), { files });
  await using load = neighbourly(daemon);
  await load.more(20);
  const from = daemon.log.length;
  await daemon.save(configOf([NEIGHBOUR, single('dies', '/dies', { import_path: './code.ts:Dies', num_replicas: 4 })]));
  const { applications } = await daemon.when(
    'it was given up',
    ({ applications }) => applications['dies']?.status === 'DEPLOY_FAILED',
  );
  t.match(applications['dies'], {
    message: /gave up after 3 starts: TypeError: no constructor of mine/,
    deployments: { Only: { restarts: 6, last_death: { cause: 'startup', stderr: ['the last words'] } } },
  });
  const told = () => daemon.log.slice(from).filter(({ msg }) => msg === 'replica died');
  await until('the last death is in the log too', () => told().length >= 6);
  const deaths = told();
  t.equal(deaths.length, 6, 'four side by side, then one, then one');
  const [fifth, sixth] = deaths.slice(4).map(({ time }) => Number(time)) as [number, number];
  t.ok(sixth - fifth >= 400, `${sixth - fifth} ms between the last two`);
  await load.more(50);
  await load.stop();
  t.same(load.failures, [], 'the neighbour lost nothing');
  t.same(await daemon.stop(), { code: 0, signal: null });
});

t.test('one that dies after its first request: UNHEALTHY with its last words, and it goes on trying', async (t) => {
  await using daemon = await startDaemon(
    configOf([NEIGHBOUR, single('once', '/once', { import_path: './code.ts:Once', max_constructor_retry_count: 3 })]),
    { files },
  );
  await using load = neighbourly(daemon);
  const state = async () => (await daemon.status()).applications['once'];
  for (let deaths = 1; deaths <= 3; deaths++) {
    await until('it answers', async () => (await daemon.post('/once', 'more')).text === 'last');
    await until('it has died', async () => (await state())?.deployments['Only']?.restarts === deaths);
  }
  const unhealthy = await state();
  t.match(unhealthy, {
    status: 'UNHEALTHY',
    deployments: { Only: { status: 'UNHEALTHY', message: /that was too much/, last_death: { cause: 'exit', exit_code: 9 } } },
  });
  t.match(await daemon.post('/once', 'stay'), { status: 503 }, 'requests are refused, not held');
  await daemon.when('it runs again by itself', ({ applications }) => applications['once']?.status === 'RUNNING');
  t.equal((await daemon.post('/once', 'stay')).text, 'stays');
  await load.more(20);
  await load.stop();
  t.same(load.failures, [], 'the neighbour lost nothing');
  t.same(await daemon.stop(), { code: 0, signal: null });
});
