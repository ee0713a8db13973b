/** What an application or a deployment does not say of its log it has from what is around it. */
import t from 'tap';
import type { LoggingSpec, OwnLoggingSpec } from '../../src/domain/desired.ts';
import { LogRules } from '../../src/domain/logging.ts';
import { applicationSpec, deploymentSpec } from '../support/targets.ts';

const DAEMON: LoggingSpec = { encoding: null, level: 'info', directory: null, accessLog: true };
const own = (given: Partial<OwnLoggingSpec>): OwnLoggingSpec => ({
  encoding: null,
  level: null,
  directory: null,
  accessLog: null,
  ...given,
});
const rules = (
  daemon: Partial<LoggingSpec>,
  application: Partial<OwnLoggingSpec>,
  deployment: Partial<OwnLoggingSpec>,
  override?: LoggingSpec['level'],
) =>
  new LogRules(
    { ...DAEMON, ...daemon },
    [
      applicationSpec({
        name: 'a',
        logging: own(application),
        deployments: [deploymentSpec({ name: 'D', logging: own(deployment) }), deploymentSpec({ name: 'E' })],
      }),
    ],
    override,
  );

t.test('each field is inherited for itself: deployment, application, daemon', async (t) => {
  const all = rules({ directory: '/top', level: 'warn' }, { encoding: 'TEXT' }, { level: 'debug', accessLog: false });
  t.same(all.of('a', 'D'), { encoding: 'TEXT', level: 'debug', directory: '/top', accessLog: false });
  t.same(all.of('a', 'E'), { encoding: 'TEXT', level: 'warn', directory: '/top', accessLog: true });
  t.same(all.of('a'), all.of('a', 'E'));
  t.same(all.of('b', 'D'), { ...DAEMON, directory: '/top', level: 'warn' }, 'what the config does not have is as the daemon');
});

t.test('the lowest level is that of whoever wants to be heard most', async (t) => {
  t.equal(rules({}, {}, { level: 'debug' }).lowest, 'debug');
  t.equal(rules({ level: 'error' }, { level: 'warn' }, { level: 'fatal' }).lowest, 'warn');
});

t.test('a level of the command line stands over every other', async (t) => {
  const all = rules({ level: 'warn' }, { level: 'error' }, { level: 'debug' }, 'info');
  t.same([all.daemon.level, all.of('a').level, all.of('a', 'D').level, all.lowest], ['info', 'info', 'info', 'info']);
});

t.test('requests are logged where that is wanted, and news of level info are', async (t) => {
  t.ok(rules({}, {}, {}).logsRequests('a', 'D'));
  t.notOk(rules({ accessLog: false }, {}, {}).logsRequests('a', 'D'));
  t.ok(rules({ accessLog: false }, { accessLog: true }, {}).logsRequests('a', 'D'));
  t.notOk(rules({}, {}, { level: 'warn' }).logsRequests('a', 'D'));
});

t.test('where nobody says anything of his own, and there are no files, all lines are alike', async (t) => {
  t.ok(rules({}, {}, {}).isUniform);
  t.notOk(rules({ directory: '/top' }, {}, {}).isUniform);
  t.notOk(rules({}, {}, { level: 'info' }).isUniform);
});
