import fc from 'fast-check';
import t from 'tap';
import { type ActualReplica, plan, type Serving } from '../../src/control/plan.ts';
import type { TargetApplication } from '../../src/control/target.ts';
import { askOf } from '../../src/quota/amounts.ts';
import { Ledger, NOTHING_RESERVED } from '../../src/quota/ledger.ts';
import { offerOf } from '../../src/quota/offer.ts';
import { applicationSpec, deploymentSpec, target } from '../support/targets.ts';

const offerFor = (numCpus: number, numGpus: number) =>
  offerOf({ cpus: 1, memoryBytes: 2 ** 30, gpus: [] }, { numCpus, numGpus, memoryBytes: null, custom: {}, enforce: 'auto' });

/** Starts become ready one at a time, drains end at once or later: as `picks` say. */
class World {
  replicas: ActualReplica[] = [];
  readonly serving = new Map<string, Serving>();
  targets: readonly TargetApplication[] = [];
  offer = offerFor(4, 2);
  overdrawn = false;
  /** The fewest that could serve an application while it rolled. */
  fewest = Number.POSITIVE_INFINITY;
  #order = 0;

  step(pick: number): boolean {
    let done = false;
    for (const action of plan(
      this.targets,
      { replicas: this.replicas, serving: this.serving, restarts: new Map(), offer: this.offer },
      0,
    )) {
      switch (action.type) {
        case 'start':
          for (const reserved of action.reserved) {
            const { spec, version, userConfigHash } = action.deployment;
            const order = this.#order++;
            this.replicas.push({
              id: `r${order}`,
              application: action.application,
              deployment: spec.name,
              version,
              state: 'STARTING',
              order,
              userConfigHash,
              refusedConfigHash: undefined,
              idle: false,
              drainBy: 1,
              reserved,
              cpuLimit: spec.cpuLimit,
            });
          }
          break;
        case 'requota':
          this.#change(action.replica, { reserved: action.reserved });
          break;
        case 'drain':
          this.#change(action.replica, { state: 'DRAINING' });
          break;
        case 'stop':
          this.#change(action.replica, { state: 'STOPPING' });
          break;
        case 'serve':
          this.serving.set(action.target.spec.name, { target: action.target, generation: 0 });
          break;
        case 'remove':
          this.serving.delete(action.application);
          break;
        case 'pending':
        case 'keepQuota':
        case 'wakeAt':
          continue;
        default:
          throw new Error(`unexpected ${action.type}`);
      }
      done = true;
    }
    const ledger = new Ledger(this.offer);
    for (const { reserved } of this.replicas) ledger.hold(reserved ?? NOTHING_RESERVED);
    this.overdrawn ||= ledger.free('cpu') < 0 || ledger.free('gpu') < 0;
    const moving = this.replicas.filter(({ state }) => state === 'STARTING' || state === 'DRAINING' || state === 'STOPPING');
    const one = moving[pick % Math.max(1, moving.length)];
    if (one === undefined) return done;
    if (one.state === 'STARTING') this.#change(one.id, { state: 'RUNNING' });
    else if (one.state === 'DRAINING') this.#change(one.id, { idle: true, state: 'DRAINING', drainBy: 0 });
    else this.replicas = this.replicas.filter((each) => each !== one);
    this.fewest = Math.min(this.fewest, this.replicas.filter(({ state }) => state === 'RUNNING').length);
    return true;
  }

  settle(picks: readonly number[]): boolean {
    for (let turn = 0; turn < 1000; turn++) if (!this.step(picks[turn % picks.length] ?? 0)) return true;
    return false;
  }

  #change(id: string, change: Partial<ActualReplica>): void {
    this.replicas = this.replicas.map((each) => (each.id === id ? { ...each, ...change } : each));
  }
}

const texts = fc
  .uniqueArray(
    fc.record({
      name: fc.constantFrom('one', 'two'),
      deployments: fc.uniqueArray(
        fc.record({
          name: fc.constantFrom('A', 'B'),
          code: fc.constantFrom('code 1', 'code 2'),
          numReplicas: fc.integer({ min: 1, max: 4 }),
          numCpus: fc.constantFrom(null, 0.5, 1, 2),
          numGpus: fc.constantFrom(null, 0.5, 1),
          rollout: fc.constantFrom(
            { maxSurge: { share: 1 }, maxUnavailable: { replicas: 0 } },
            { maxSurge: { replicas: 1 }, maxUnavailable: { replicas: 0 } },
            { maxSurge: { replicas: 0 }, maxUnavailable: { share: 0.5 } },
          ),
        }),
        { selector: ({ name }) => name, minLength: 1, maxLength: 2 },
      ),
    }),
    { selector: ({ name }) => name, maxLength: 2 },
  )
  .map((applications) =>
    applications.map(({ name, deployments }) =>
      target(
        applicationSpec({ name, deployments: deployments.map(({ code: _, ...each }) => deploymentSpec(each)) }),
        Object.fromEntries(deployments.map((each) => [each.name, each.code])),
      ),
    ),
  );
const worlds = fc.record({
  edits: fc.array(fc.record({ text: texts, steps: fc.integer({ min: 0, max: 10 }) }), { minLength: 1, maxLength: 4 }),
  picks: fc.array(fc.nat({ max: 50 }), { minLength: 1, maxLength: 20 }),
});

t.test('whatever is edited, the sum never exceeds the offer, and what fits in the end runs in the end', async (t) => {
  fc.assert(
    fc.property(worlds, ({ edits, picks }) => {
      const world = new World();
      for (const { text, steps } of edits) {
        world.targets = text;
        for (let step = 0; step < steps; step++) world.step(picks[step % picks.length] ?? 0);
      }
      if (!world.settle(picks)) throw new Error('it never came to rest');
      if (world.overdrawn) throw new Error('more was given than there is');
      // Where one of each fits with the most that any order of placing could waste, all must be served.
      const roomy = world.targets.every(({ spec }) => spec.deployments.every(({ numGpus }) => numGpus === null));
      const ledger = new Ledger(world.offer);
      const fits = world.targets.every(({ spec }) =>
        spec.deployments.every((each) => ledger.takeUpTo(askOf(each), each.numReplicas) === each.numReplicas),
      );
      if (!roomy || !fits) return true;
      for (const wanted of world.targets) {
        if (world.serving.get(wanted.spec.name)?.target.hash !== wanted.hash)
          throw new Error(`${wanted.spec.name} does not serve what was asked for`);
        for (const { spec, version } of wanted.deployments) {
          const running = world.replicas.filter(
            (each) =>
              each.application === wanted.spec.name &&
              each.deployment === spec.name &&
              each.version === version &&
              each.state === 'RUNNING',
          ).length;
          if (running !== spec.numReplicas) throw new Error(`${running} of ${spec.numReplicas} ${spec.name} run`);
        }
      }
      return true;
    }),
    { numRuns: 1000 },
  );
  t.pass();
});

const rolled = (given: Parameters<typeof deploymentSpec>[0], offer = offerFor(4, 0), next = given) => {
  const world = new World();
  world.offer = offer;
  const of = (code: string, more: typeof given) => target(applicationSpec({ deployments: [deploymentSpec(more)] }), code);
  world.targets = [of('old', given)];
  const settled = world.settle([0]);
  world.fewest = Number.POSITIVE_INFINITY;
  world.targets = [of('new', next)];
  return { world, settled: settled && world.settle([0]), hash: world.targets[0]?.hash };
};

t.test('where both versions have room, no capacity is lost', async (t) => {
  const { world, settled, hash } = rolled({ numReplicas: 2, numCpus: 1 });
  t.ok(settled);
  t.equal(world.serving.get('app')?.target.hash, hash);
  t.equal(world.fewest, 2);
});

t.test('where the quota has no room for both, one goes and one comes at a time', async (t) => {
  const { world, settled, hash } = rolled({ numReplicas: 4, numCpus: 1 });
  t.ok(settled);
  t.equal(world.serving.get('app')?.target.hash, hash);
  t.equal(world.fewest, 3);
});

t.test('where there is room for one more, it is used, and no capacity is lost', async (t) => {
  const { world, hash } = rolled({ numReplicas: 3, numCpus: 1 });
  t.equal(world.serving.get('app')?.target.hash, hash);
  t.equal(world.fewest, 3);
});

t.test('rolling_update says how many may be missing', async (t) => {
  const { world, hash } = rolled({
    numReplicas: 4,
    rollout: { maxSurge: { replicas: 0 }, maxUnavailable: { share: 0.5 } },
  });
  t.equal(world.serving.get('app')?.target.hash, hash);
  t.equal(world.fewest, 2);
});

t.test('nothing goes for what could not come in its place', async (t) => {
  const given = { numReplicas: 2, numCpus: 1 };
  const { world, settled, hash } = rolled(given, offerFor(4, 0), { ...given, numGpus: 1 });
  t.ok(settled);
  t.not(world.serving.get('app')?.target.hash, hash);
  t.equal(world.replicas.filter(({ state }) => state === 'RUNNING').length, 2);
});

t.test('deployments that can only change places do', async (t) => {
  const world = new World();
  world.offer = offerFor(4, 0);
  const of = (a: number, b: number, code: string) =>
    target(
      applicationSpec({ deployments: [deploymentSpec({ name: 'A', numCpus: a }), deploymentSpec({ name: 'B', numCpus: b })] }),
      code,
    );
  world.targets = [of(1, 3, 'old')];
  t.ok(world.settle([0]));
  world.targets = [of(3, 1, 'new')];
  t.ok(world.settle([0]));
  t.equal(world.serving.get('app')?.target.hash, world.targets[0]?.hash);
});
