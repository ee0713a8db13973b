import t from 'tap';
import { Scaler } from '../../src/control/scaler.ts';
import type { AutoscalingSpec } from '../../src/domain/desired.ts';
import { autoscalingSpec, loadReport } from '../support/scaling.ts';
import { applicationSpec, deploymentSpec, target } from '../support/targets.ts';

const fixed = (numReplicas: number, externalScaler = false, name = 'app') =>
  target(applicationSpec({ name, externalScaler, deployments: [deploymentSpec({ numReplicas })] }));
const scaled = (given: Partial<AutoscalingSpec> = {}, name = 'app') => {
  const autoscaling = autoscalingSpec(given);
  const numReplicas = autoscaling.initialReplicas ?? autoscaling.minReplicas;
  return target(applicationSpec({ name, deployments: [deploymentSpec({ numReplicas, autoscaling })] }));
};
const rig = () => {
  const scaler = new Scaler();
  let now = 0;
  return {
    scaler,
    follow: (targets: Parameters<Scaler['follow']>[0], percent: number | null = null, serves: readonly string[] = []) => {
      scaler.follow(targets, percent, (application) => serves.includes(application));
      return scaler.counts.get('app/A');
    },
    /** So many requests for a second, with as many replicas as are wanted. */
    load: (requests: number) => {
      for (let reports = 0; reports < 4; reports++) {
        now += 250;
        scaler.observe({ 'app/A': loadReport(requests) }, (key) => scaler.counts.get(key) ?? 0, now);
      }
      return scaler.counts.get('app/A');
    },
  };
};

t.test('without autoscaling it is what the file says, at its capacity', async (t) => {
  const { follow } = rig();
  t.equal(follow([fixed(3)]), 3);
  t.equal(follow([fixed(3)], 50), 2);
  t.equal(follow([fixed(3)], 0), 0);
  t.equal(follow([fixed(4)]), 4);
});

t.test('it begins with initial_replicas, or min_replicas', async (t) => {
  t.equal(rig().follow([scaled({ minReplicas: 2 })]), 2);
  t.equal(rig().follow([scaled({ minReplicas: 2, initialReplicas: 5 })]), 5);
  t.equal(rig().follow([scaled({ minReplicas: 0 })]), 0);
});

t.test('a load moves it, and a new config lets it go on from there, within its bounds', async (t) => {
  const { follow, load, scaler } = rig();
  follow([scaled({ lookBackMs: 1000 })]);
  t.equal(load(12), 6);
  t.equal(scaler.movedOf('app/A'), 'up');
  t.equal(follow([scaled({ lookBackMs: 1000, upscaleDelayMs: 50, initialReplicas: 2 })]), 6);
  t.equal(follow([scaled({ lookBackMs: 1000, maxReplicas: 4 })]), 4);
  t.equal(load(2), 1);
  t.equal(scaler.movedOf('app/A'), 'down');
});

t.test('what begins to scale begins with what it has; what ends it has what the file says', async (t) => {
  const { follow } = rig();
  follow([fixed(7)]);
  t.equal(follow([scaled()]), 7);
  t.equal(follow([fixed(2)]), 2);
});

t.test('target_capacity moves the bounds', async (t) => {
  const { follow, load } = rig();
  follow([scaled({ minReplicas: 4, maxReplicas: 10, lookBackMs: 1000 })]);
  t.equal(load(100), 10);
  t.equal(follow([scaled({ minReplicas: 4, maxReplicas: 10, lookBackMs: 1000 })], 50), 5);
  t.equal(load(100), 5);
  t.equal(load(0), 2);
});

t.test('an application that leaves keeps its count as long as it serves', async (t) => {
  const { follow, load } = rig();
  follow([scaled({ lookBackMs: 1000 })]);
  load(12);
  t.equal(follow([], null, ['app']), 6);
  t.equal(follow([]), undefined);
});

t.test('what an external scaler set is in force until num_replicas changes in the file, or it may no longer', async (t) => {
  const { follow, scaler } = rig();
  follow([fixed(2, true)]);
  const { spec } = fixed(2, true).deployments[0] as { spec: ReturnType<typeof deploymentSpec> };
  scaler.set('app', spec, 9);
  t.equal(scaler.counts.get('app/A'), 9);
  t.equal(follow([fixed(2, true)]), 9);
  t.equal(follow([fixed(2, true)], 50), 9, 'it says how many, not how many of a hundred per cent');
  t.equal(follow([fixed(3, true)]), 3);
  t.equal(follow([fixed(2, true)]), 2, 'it does not come back');
  scaler.set('app', spec, 0);
  t.equal(follow([fixed(2, true)]), 0);
  t.equal(follow([fixed(2, false)]), 2);
});

t.test('reports of what does not scale, or no longer, change nothing', async (t) => {
  const { follow, load } = rig();
  follow([fixed(2)]);
  t.equal(load(100), 2);
});
