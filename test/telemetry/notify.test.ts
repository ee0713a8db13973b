import t from 'tap';
import { ServiceManager, watchdogPeriodMs } from '../../src/telemetry/notify.ts';

t.test('messages go one by one, in order; of texts and signs of life that wait only the last goes', async (t) => {
  const sent: (readonly string[])[] = [];
  let under = 0;
  const manager = new ServiceManager(async (assignments) => {
    t.equal(++under, 1, 'one at a time');
    await new Promise(setImmediate);
    sent.push(assignments);
    under -= 1;
  }, t.fail);
  manager.tell({ STATUS: 'one' });
  manager.tell({ STATUS: 'two' });
  manager.tell({ WATCHDOG: '1' });
  manager.tell({ READY: '1', STATUS: 'three\nlines\nof it' });
  manager.tell({ STATUS: 'four' });
  manager.tell({ WATCHDOG: '1' });
  await manager.told();
  t.same(sent, [['STATUS=one'], ['READY=1', 'STATUS=three lines of it'], ['STATUS=four'], ['WATCHDOG=1']]);
  manager.tell({ STOPPING: '1' });
  await manager.told();
  t.same(sent.at(-1), ['STOPPING=1']);
});

t.test('a manager that cannot be reached is told of once, and stops nothing', async (t) => {
  const failed: string[] = [];
  const manager = new ServiceManager(
    async () => {
      throw new Error('nobody there');
    },
    ({ message }) => failed.push(message),
  );
  manager.tell({ READY: '1' });
  manager.tell({ STOPPING: '1' });
  await manager.told();
  manager.tell({ READY: '1' });
  await manager.told();
  t.same(failed, ['nobody there']);
});

t.test('where there is no socket nobody is told', async (t) => {
  t.equal(ServiceManager.from({}, t.fail), undefined);
  t.equal(ServiceManager.from({ NOTIFY_SOCKET: '' }, t.fail), undefined);
});

t.test('a sign of life is due at half of the patience, of the process that is meant', async (t) => {
  t.equal(watchdogPeriodMs({ WATCHDOG_USEC: '30000000' }, 7), 15_000);
  t.equal(watchdogPeriodMs({ WATCHDOG_USEC: '30000000', WATCHDOG_PID: '7' }, 7), 15_000);
  t.equal(watchdogPeriodMs({ WATCHDOG_USEC: '30000000', WATCHDOG_PID: '8' }, 7), undefined);
  for (const odd of [undefined, '', '0', '-1', 'soon']) t.equal(watchdogPeriodMs({ WATCHDOG_USEC: odd }, 7), undefined);
});
