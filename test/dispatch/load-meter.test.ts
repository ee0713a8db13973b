import t from 'tap';
import { LoadMeter } from '../../src/dispatch/load-meter.ts';
import type { DeploymentQueue } from '../../src/dispatch/queue.ts';
import type { LoadReport } from '../../src/domain/snapshot.ts';
import { deploymentRouting } from '../support/routing.ts';

interface Shown {
  queued: number;
  ongoing: number;
  oldest: number;
}

/** A queue of which only what the meter looks at is there. */
const queueOf = (key: string, shown: Shown, autoscales = true, waitMs = 0): DeploymentQueue =>
  Object.assign(shown, {
    key,
    routing: deploymentRouting({
      autoscales,
      batching: waitMs === 0 ? null : { maxBatchSize: 4, waitMs, targetMs: null, maxConcurrentBatches: 1, method: 'call' },
    }),
  }) as unknown as DeploymentQueue;

const rig = (...queues: DeploymentQueue[]) => {
  const clock = { now: 0 };
  const posted: Readonly<Record<string, LoadReport>>[] = [];
  const meter = new LoadMeter(
    () => queues,
    () => clock.now,
    (deployments) => posted.push(deployments),
  );
  const tick = (times: number) => {
    for (let count = 0; count < times; count++) {
      clock.now += 50;
      meter.sample();
    }
  };
  return { clock, posted, meter, tick };
};

t.test('five samples make a report: mean and extremes of what is queued and in work', async (t) => {
  const shown = { queued: 0, ongoing: 0, oldest: Number.POSITIVE_INFINITY };
  const { posted, tick, clock } = rig(queueOf('app/A', shown));
  tick(2);
  Object.assign(shown, { queued: 6, ongoing: 4, oldest: clock.now });
  tick(3);
  t.same(posted, [
    {
      'app/A': {
        durationMs: 250,
        requests: { mean: 6, max: 10, min: 0 },
        ongoing: { mean: 2.4, max: 4, min: 0 },
        queueDelayMs: { mean: (50 + 100 + 150) / 5, max: 150, min: 0 },
      },
    },
  ]);
});

t.test('what batching may hold a request is no delay', async (t) => {
  const { posted, tick } = rig(queueOf('app/A', { queued: 1, ongoing: 0, oldest: 0 }, true, 100));
  tick(5);
  t.same(posted[0]?.['app/A']?.queueDelayMs, { mean: (50 + 100 + 150) / 5, max: 150, min: 0 });
});

t.test('a deployment that does not autoscale is not looked at', async (t) => {
  const { posted, tick } = rig(queueOf('app/A', { queued: 1, ongoing: 1, oldest: 0 }, false));
  tick(5);
  t.same(posted, [{}]);
});

t.test('the first request of a deployment without replicas is told at once, once a period', async (t) => {
  const queue = queueOf('app/A', { queued: 0, ongoing: 0, oldest: Number.POSITIVE_INFINITY });
  const { posted, meter, tick } = rig(queue);
  meter.urgent(queue);
  meter.urgent(queue);
  t.equal(posted.length, 1);
  t.equal(posted[0]?.['app/A']?.requests.max, 1);
  t.equal(posted[0]?.['app/A']?.durationMs, 0);
  tick(5);
  meter.urgent(queue);
  t.equal(posted.length, 3);
});

t.test('there is a timer only while something autoscales', async (t) => {
  const shown = queueOf('app/A', { queued: 0, ongoing: 0, oldest: 0 }, false);
  const { meter } = rig(shown);
  const timers = () => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;
  const before = timers();
  meter.follow();
  t.equal(timers(), before);
  Object.assign(shown, { routing: deploymentRouting({ autoscales: true }) });
  meter.follow();
  meter.follow();
  t.equal(timers(), before + 1);
  meter.close();
  t.equal(timers(), before);
});
