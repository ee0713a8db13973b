import fc from 'fast-check';
import t from 'tap';
import { type ActualReplica, plan, restartKey, type Serving } from '../../src/control/plan.ts';
import { afterDeath, NO_FAILURES, type RestartMemory } from '../../src/control/restart.ts';
import type { TargetApplication } from '../../src/control/target.ts';
import { applicationSpec, deploymentSpec, target } from '../support/targets.ts';

/** The rest of the daemon in a few lines: starts become ready or fail, drains end, and nothing takes any time but waits. */
class Model {
  replicas: ActualReplica[] = [];
  readonly serving = new Map<string, Serving>();
  readonly restarts = new Map<string, RestartMemory>();
  readonly mistakes: string[] = [];
  targets: readonly TargetApplication[] = [];
  now = 0;
  #order = 0;
  readonly #breaks: (version: string) => boolean;

  constructor(breaks: (version: string) => boolean) {
    this.#breaks = breaks;
  }

  /** One reconciliation. @returns whether anything was done */
  step(): boolean {
    const before = this.replicas
      .filter(({ state }) => state === 'RUNNING')
      .map(({ id, version, application, deployment }) => ({ id, version, application, deployment }));
    const served = new Map(this.serving);
    const switched = new Set<string>();
    let done = false;
    let wakeAt = Number.POSITIVE_INFINITY;
    for (const action of plan(
      this.targets,
      { replicas: this.replicas, serving: this.serving, restarts: this.restarts },
      this.now,
    )) {
      if (action.type === 'wakeAt') {
        wakeAt = Math.min(wakeAt, action.at);
        continue;
      }
      done = true;
      if (action.type === 'start') {
        for (let count = 0; count < action.count; count++) {
          const { spec, version, userConfigHash } = action.deployment;
          const { application } = action;
          const order = this.#order++;
          this.replicas.push({
            id: `r${order}`,
            application,
            deployment: spec.name,
            version,
            state: 'STARTING',
            order,
            userConfigHash,
            refusedConfigHash: undefined,
            idle: false,
            drainBy: 0,
          });
        }
      } else if (action.type === 'reconfigure')
        this.#change(action.replica, { userConfigHash: action.deployment.userConfigHash });
      else if (action.type === 'drain') this.#change(action.replica, { state: 'DRAINING', drainBy: action.by, idle: true });
      else if (action.type === 'stop') this.replicas = this.replicas.filter(({ id }) => id !== action.replica);
      else if (action.type === 'remove') this.serving.delete(action.application);
      else if (action.type === 'serve') {
        switched.add(action.target.spec.name);
        this.serving.set(action.target.spec.name, { target: action.target, generation: 0 });
      }
    }
    // What served before this step must serve behind it, unless fewer were wanted or the application moved.
    for (const { id, version, application, deployment } of before) {
      const same = (each: { spec: { name: string }; version: string }) =>
        each.spec.name === deployment && each.version === version;
      const serving = this.serving.get(application);
      const serves = serving?.target.deployments.find(same);
      if (serves === undefined || switched.has(application) || this.replicas.find((each) => each.id === id)?.state === 'RUNNING')
        continue;
      const running = this.replicas.filter(
        (each) =>
          each.application === application &&
          each.deployment === deployment &&
          each.version === version &&
          each.state === 'RUNNING',
      ).length;
      const wanted =
        this.targets.find(({ spec }) => spec.name === application)?.deployments.find(same)?.spec.numReplicas ??
        serves.spec.numReplicas;
      if (running < wanted) this.mistakes.push(`${id} of the version that serves was sent home`);
    }
    for (const { application, version, deployment } of this.replicas) {
      const live = this.replicas.filter(
        (each) =>
          each.application === application &&
          each.deployment === deployment &&
          each.version === version &&
          each.state !== 'DRAINING',
      );
      const counts = [
        this.targets.find(({ spec }) => spec.name === application),
        this.serving.get(application)?.target,
        served.get(application)?.target,
      ].map(
        (each) => each?.deployments.find((one) => one.spec.name === deployment && one.version === version)?.spec.numReplicas ?? 0,
      );
      if (live.length > Math.max(...counts))
        this.mistakes.push(`${live.length} of ${deployment} ${version} where ${counts} are wanted`);
    }
    if (!done && wakeAt !== Number.POSITIVE_INFINITY) {
      this.now = Math.max(this.now + 1, wakeAt);
      return true;
    }
    return done;
  }

  /** Something of the world happens: a replica becomes ready or fails. @returns false when nothing is left to happen */
  happen(pick: number): boolean {
    const starting = this.replicas.filter(({ state }) => state === 'STARTING');
    const one = starting[pick % Math.max(1, starting.length)];
    if (one === undefined) return false;
    const key = restartKey(one.application, one.deployment, one.version);
    const memory = this.restarts.get(key) ?? NO_FAILURES;
    if (this.#breaks(one.version)) {
      this.replicas = this.replicas.filter((each) => each !== one);
      this.restarts.set(key, afterDeath(memory, undefined, 'broken', this.now, 0.5));
    } else {
      this.#change(one.id, { state: 'RUNNING' });
      this.restarts.set(key, { ...memory, everReady: true });
    }
    return true;
  }

  kill(pick: number): void {
    const running = this.replicas.filter(({ state }) => state === 'RUNNING');
    const one = running[pick % Math.max(1, running.length)];
    if (one === undefined) return;
    this.replicas = this.replicas.filter((each) => each !== one);
    const key = restartKey(one.application, one.deployment, one.version);
    this.restarts.set(
      key,
      afterDeath(
        this.restarts.get(key) ?? NO_FAILURES,
        { startMs: 100, readyForMs: 20_000, killed: true },
        'killed',
        this.now,
        0.5,
      ),
    );
  }

  settle(picks: readonly number[]): boolean {
    for (let turn = 0; turn < 500; turn++) {
      const acted = this.step();
      const happened = this.happen(picks[turn % picks.length] ?? 0);
      if (!acted && !happened) return true;
    }
    return false;
  }

  #change(id: string, change: Partial<ActualReplica>): void {
    this.replicas = this.replicas.map((each) => (each.id === id ? { ...each, ...change } : each));
  }
}

/** Applications with any code, number of replicas and user config; code that begins with `bad` never becomes ready. */
const texts = fc
  .uniqueArray(
    fc.record({
      name: fc.constantFrom('one', 'two'),
      deployments: fc.uniqueArray(
        fc.record({
          name: fc.constantFrom('A', 'B', 'C'),
          code: fc.constantFrom('code 1', 'code 2', 'bad 1', 'bad 2'),
          numReplicas: fc.integer({ min: 1, max: 4 }),
          userConfig: fc.constantFrom(undefined, 1, 2),
        }),
        { selector: ({ name }) => name, minLength: 1, maxLength: 3 },
      ),
    }),
    { selector: ({ name }) => name, maxLength: 2 },
  )
  .map((applications) =>
    applications.map(({ name, deployments }) =>
      target(
        applicationSpec({
          name,
          deployments: deployments.map(({ code, ...each }) =>
            deploymentSpec({ ...each, initArgs: { bad: code.startsWith('bad') } }),
          ),
        }),
        Object.fromEntries(deployments.map((each) => [each.name, each.code])),
      ),
    ),
  );
const worlds = fc.record({
  edits: fc.array(
    fc.record({ text: texts, steps: fc.integer({ min: 0, max: 8 }), kills: fc.array(fc.nat(), { maxLength: 2 }) }),
    { minLength: 1, maxLength: 5 },
  ),
  picks: fc.array(fc.nat(), { minLength: 1, maxLength: 20 }),
});

t.test('whatever is edited and whatever dies, plans come to rest at what was asked for, and serve all the while', async (t) => {
  fc.assert(
    fc.property(worlds, ({ edits, picks }) => {
      const bad = new Set(
        edits.flatMap(({ text }) =>
          text.flatMap(({ deployments }) =>
            deployments.flatMap(({ spec, version }) => (spec.initArgs['bad'] === true ? [version] : [])),
          ),
        ),
      );
      const model = new Model((version) => bad.has(version));
      for (const { text, steps, kills } of edits) {
        model.targets = text;
        for (let step = 0; step < steps; step++) {
          model.step();
          model.happen(picks[step % picks.length] ?? 0);
        }
        for (const kill of kills) model.kill(kill);
      }
      if (!model.settle(picks)) throw new Error('it never came to rest');
      if (model.mistakes.length > 0) throw new Error(model.mistakes.join('; '));
      for (const wanted of model.targets) {
        const broken = wanted.deployments.some(({ version }) => bad.has(version));
        const serving = model.serving.get(wanted.spec.name);
        if (!broken && serving?.target.hash !== wanted.hash)
          throw new Error(`${wanted.spec.name} does not serve what was asked for`);
        if (broken && serving?.target.hash === wanted.hash) throw new Error(`${wanted.spec.name} serves what cannot run`);
        const left = model.replicas.filter(
          (each) =>
            each.application === wanted.spec.name &&
            !serving?.target.deployments.some((one) => one.spec.name === each.deployment && one.version === each.version),
        );
        if (serving !== undefined && left.length > 0) throw new Error(`${left.length} replicas are left that serve nothing`);
        for (const { spec, version } of serving?.target.deployments ?? []) {
          const running = model.replicas.filter(
            (each) =>
              each.application === wanted.spec.name &&
              each.deployment === spec.name &&
              each.version === version &&
              each.state === 'RUNNING',
          ).length;
          const count =
            wanted.deployments.find((each) => each.spec.name === spec.name && each.version === version)?.spec.numReplicas ??
            spec.numReplicas;
          if (running !== count) throw new Error(`${running} replicas of ${spec.name} where ${count} are wanted`);
        }
      }
      const names = model.targets.map(({ spec }) => spec.name);
      return model.replicas.every(({ application }) => names.includes(application));
    }),
    { numRuns: 300 },
  );
  t.pass();
});

t.test('scaling up and down keeps the oldest replicas', async (t) => {
  const of = (numReplicas: number) => target(applicationSpec({ deployments: [deploymentSpec({ numReplicas })] }));
  const model = new Model(() => false);
  const ids = () => model.replicas.filter(({ state }) => state === 'RUNNING').map(({ id }) => id);
  const seen: string[][] = [];
  for (const count of [2, 4, 1, 3]) {
    model.targets = [of(count)];
    t.ok(model.settle([0]));
    seen.push(ids());
  }
  t.same(seen, [['r0', 'r1'], ['r0', 'r1', 'r2', 'r3'], ['r0'], ['r0', 'r4', 'r5']]);
});
