import t from 'tap';
import { ServiceReport, statusText } from '../../src/cli/service-report.ts';
import type { DeploymentProgress, Stage } from '../../src/control/progress.ts';
import type { RunningDaemon } from '../../src/daemon.ts';
import { ServiceManager } from '../../src/telemetry/notify.ts';
import { until } from '../support/daemon-rig.ts';

const one = (stage: Stage, about: Partial<DeploymentProgress> = {}): DeploymentProgress => ({
  application: 'app',
  deployment: 'A',
  stage,
  ready: 0,
  wanted: 1,
  ms: undefined,
  reason: '',
  ...about,
});

const reporting = (responds: () => boolean = () => true) => {
  const sent: string[] = [];
  const manager = new ServiceManager(async (assignments) => void sent.push(assignments.join(' ')), t.fail);
  let progress = [one('loading')];
  let becomeReady = () => {};
  const daemon = {
    progress: () => progress,
    responds: async () => responds(),
    ready: new Promise<void>((resolve) => {
      becomeReady = resolve;
    }),
  } as Partial<RunningDaemon> as RunningDaemon;
  const report = new ServiceReport(manager);
  const ready = async () => {
    progress = [one('ready')];
    becomeReady();
    await daemon.ready;
    await manager.told();
  };
  return { sent, manager, daemon, report, ready };
};

t.test('READY only once it serves; RELOADING and READY around a reload; STOPPING, and then no more', async (t) => {
  const { sent, manager, daemon, report, ready } = reporting();
  report.follow(daemon, undefined);
  report.reloading();
  report.reloaded();
  await manager.told();
  t.same(sent, ['STATUS=starting', 'STATUS=0 of 1 deployment ready']);
  await ready();
  t.equal(sent.at(-1), 'READY=1 STATUS=1 of 1 deployment ready');
  report.reloading();
  report.reloading();
  await manager.told();
  t.match(sent.at(-1), /^RELOADING=1 MONOTONIC_USEC=\d+$/);
  report.reloaded();
  report.reloaded();
  await manager.told();
  t.equal(sent.at(-1), 'READY=1');
  t.equal(sent.filter((each) => each.startsWith('RELOADING')).length, 1);
  await report.stopping();
  t.match(sent.at(-1), /^STOPPING=1 /);
  report.reloading();
  report.reloaded();
  await report.stopping();
  report.end();
  t.equal(sent.filter((each) => each.includes('READY')).length, 2);
  t.match(sent.at(-1), /^STOPPING=1 /);
});

t.test('a daemon that becomes ready while it reads its config says so afterwards', async (t) => {
  const { sent, manager, daemon, report, ready } = reporting();
  report.follow(daemon, undefined);
  report.reloading();
  await ready();
  t.notMatch(sent.join(), 'READY');
  report.reloaded();
  await manager.told();
  t.match(sent.join(), 'READY=1');
  report.end();
});

t.test('no sign of life unless the thread that serves has answered', async (t) => {
  let answers = false;
  let asked = 0;
  const { sent, manager, daemon, report } = reporting(() => {
    asked += 1;
    return answers;
  });
  report.follow(daemon, 5);
  await until('it was asked', () => asked > 3);
  await manager.told();
  t.notMatch(sent.join(), 'WATCHDOG');
  answers = true;
  await until('a sign of life', () => sent.includes('WATCHDOG=1'));
  report.end();
});

t.test('the status says how many are ready, and why one is not', async (t) => {
  t.equal(statusText([]), '0 of 0 deployments ready');
  t.equal(
    statusText([one('ready'), one('failed', { reason: 'no memory' }), one('waiting')]),
    '1 of 3 deployments ready; app/A failed: no memory',
  );
  t.match(
    statusText([one('failed', { deployment: undefined, reason: 'x'.repeat(500) }), one('failed')]),
    /^0 of 2 deployments ready; app failed: x{120}…; and 1 more failed$/,
  );
});
