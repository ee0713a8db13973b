/** Whatever happens in whatever order: every replica goes by the state machine, and the same events lead to the same end. */
import fc from 'fast-check';
import t from 'tap';
import { type ActualReplica, plan, type ReplicaState, restartKey, type Serving } from '../../src/control/plan.ts';
import { afterDeath, NO_FAILURES, type RestartMemory } from '../../src/control/restart.ts';
import type { TargetApplication } from '../../src/control/target.ts';
import { applicationSpec, deploymentSpec, target } from '../support/targets.ts';

/** As drawn in plan.ts. A process may die in any state. */
const LEGAL: Readonly<Record<ReplicaState, readonly ReplicaState[]>> = {
  STARTING: ['RUNNING', 'STOPPING'],
  RUNNING: ['UPDATING', 'DRAINING'],
  UPDATING: ['RUNNING', 'DRAINING'],
  DRAINING: ['STOPPING'],
  STOPPING: [],
};

/** All that the world may do to the controller; `pick` chooses among the replicas that it may happen to. */
type Event =
  | {
      readonly type: 'edit';
      readonly code: number;
      readonly replicas: number;
      readonly userConfig: number;
      readonly wanted: boolean;
    }
  | { readonly type: 'ready' | 'fail' | 'die' | 'idle' | 'gone' | 'configured' | 'refuse'; readonly pick: number }
  | { readonly type: 'wait'; readonly ms: number };

class World {
  readonly illegal: string[] = [];
  replicas: ActualReplica[] = [];
  readonly serving = new Map<string, Serving>();
  readonly restarts = new Map<string, RestartMemory>();
  readonly since = new Map<string, number>();
  /** The user config that each replica was last asked to take. */
  readonly asked = new Map<string, string>();
  targets: readonly TargetApplication[] = [];
  now = 0;
  #order = 0;

  happen(event: Event): void {
    switch (event.type) {
      case 'edit': {
        const deployments = ['A', 'B'].map((name) =>
          deploymentSpec({ name, numReplicas: event.replicas, userConfig: event.userConfig }),
        );
        this.targets = event.wanted ? [target(applicationSpec({ deployments }), `code ${event.code}`)] : [];
        break;
      }
      case 'ready':
        this.#some(['STARTING'], event.pick, (one) => {
          this.#become(one, 'RUNNING');
          const key = keyOf(one);
          this.restarts.set(key, { ...(this.restarts.get(key) ?? NO_FAILURES), everReady: true });
          this.since.set(one.id, this.now);
        });
        break;
      case 'fail':
        this.#some(['STARTING'], event.pick, (one) => this.#died(one));
        break;
      case 'die':
        this.#some(['RUNNING', 'UPDATING', 'DRAINING'], event.pick, (one) => this.#died(one));
        break;
      case 'gone':
        this.#some(['STOPPING'], event.pick, (one) => this.#remove(one));
        break;
      case 'idle':
        this.#some(['DRAINING'], event.pick, (one) => this.#change(one, { idle: true }));
        break;
      case 'configured':
      case 'refuse':
        this.#some(['UPDATING'], event.pick, (one) => {
          const hash = this.asked.get(one.id) ?? one.userConfigHash;
          this.#become(one, 'RUNNING', event.type === 'refuse' ? { refusedConfigHash: hash } : { userConfigHash: hash });
        });
        break;
      case 'wait':
        this.now += event.ms;
        break;
      default:
        event satisfies never;
    }
    this.reconcile();
  }

  /** As the controller does it: what the plan says, and once more where an application moved. */
  reconcile(): number | undefined {
    let wakeAt: number | undefined;
    let moved = false;
    for (const action of plan(
      this.targets,
      { replicas: this.replicas, serving: this.serving, restarts: this.restarts },
      this.now,
    )) {
      switch (action.type) {
        case 'start':
          for (let count = 0; count < action.count; count++) this.#start(action.application, action.deployment);
          break;
        case 'reconfigure':
          this.asked.set(action.replica, action.deployment.userConfigHash);
          this.#byId(action.replica, (one) => this.#become(one, 'UPDATING'));
          break;
        case 'drain':
          this.#byId(action.replica, (one) => this.#become(one, 'DRAINING', { drainBy: action.by }));
          break;
        case 'stop':
          this.#byId(action.replica, (one) => this.#become(one, 'STOPPING'));
          break;
        case 'serve':
          moved = true;
          this.serving.set(action.target.spec.name, { target: action.target, generation: 0 });
          break;
        case 'remove':
          moved = true;
          this.serving.delete(action.application);
          break;
        case 'wakeAt':
          wakeAt = Math.min(wakeAt ?? action.at, action.at);
          break;
        case 'pending':
        case 'requota':
        case 'keepQuota':
          throw new Error(`nothing here asks for a quota, and the plan says ${action.type}`);
        default:
          action satisfies never;
      }
    }
    return moved ? (this.reconcile() ?? wakeAt) : wakeAt;
  }

  /** Everything that is under way comes to its end. @returns what there is then, without what differs from run to run */
  settle(): string {
    for (let turn = 0; turn < 500; turn++) {
      const wakeAt = this.reconcile();
      const one = this.replicas.find(({ state }) => state !== 'RUNNING');
      if (one === undefined && wakeAt === undefined) break;
      if (one === undefined) this.now = Math.max(this.now, wakeAt as number);
      else
        this.happen({
          type: ({ STARTING: 'ready', UPDATING: 'configured', DRAINING: 'idle', STOPPING: 'gone', RUNNING: 'idle' } as const)[
            one.state
          ],
          pick: 0,
        });
      if (turn === 499) this.illegal.push('it never came to rest');
    }
    const seen = this.replicas.map(
      ({ deployment, version, state, userConfigHash }) => `${deployment} ${version} ${state} ${userConfigHash}`,
    );
    return JSON.stringify([
      seen.sort(),
      [...this.serving].map(
        ([
          name,
          {
            target: { hash },
          },
        ]) => [name, hash],
      ),
    ]);
  }

  #start(application: string, { spec, version, userConfigHash }: TargetApplication['deployments'][number]): void {
    this.#order += 1;
    this.replicas.push({
      id: `r${this.#order}`,
      application,
      deployment: spec.name,
      version,
      state: 'STARTING',
      order: this.#order,
      userConfigHash,
      refusedConfigHash: undefined,
      idle: false,
      drainBy: Number.POSITIVE_INFINITY,
    });
  }

  #died(one: ActualReplica): void {
    this.#remove(one);
    if (one.state === 'DRAINING') return;
    const key = keyOf(one);
    const since = this.since.get(one.id);
    const life = since === undefined ? undefined : { startMs: 100, readyForMs: this.now - since, killed: true };
    this.restarts.set(key, afterDeath(this.restarts.get(key) ?? NO_FAILURES, life, 'it died', this.now, 0.5));
  }

  #become(one: ActualReplica, state: ReplicaState, more: Partial<ActualReplica> = {}): void {
    if (!LEGAL[one.state].includes(state)) this.illegal.push(`${one.id}: ${one.state} → ${state}`);
    this.#change(one, { state, ...more });
  }

  #change(one: ActualReplica, change: Partial<ActualReplica>): void {
    this.replicas = this.replicas.map((each) => (each.id === one.id ? { ...each, ...change } : each));
  }

  #remove(one: ActualReplica): void {
    this.replicas = this.replicas.filter((each) => each.id !== one.id);
  }

  #byId(id: string, act: (one: ActualReplica) => void): void {
    const one = this.replicas.find((each) => each.id === id);
    if (one === undefined) this.illegal.push(`${id} is not there`);
    else act(one);
  }

  #some(states: readonly ReplicaState[], pick: number, act: (one: ActualReplica) => void): void {
    const ones = this.replicas.filter(({ state }) => states.includes(state));
    const one = ones[pick % Math.max(1, ones.length)];
    if (one !== undefined) act(one);
  }
}

const keyOf = (one: ActualReplica): string => restartKey(one.application, one.deployment, one.version);

const event: fc.Arbitrary<Event> = fc.oneof(
  {
    weight: 2,
    arbitrary: fc.record({
      type: fc.constant('edit' as const),
      code: fc.nat(2),
      replicas: fc.integer({ min: 1, max: 3 }),
      userConfig: fc.nat(2),
      wanted: fc.constantFrom(true, true, true, false),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      type: fc.constantFrom('ready', 'fail', 'die', 'idle', 'gone', 'configured', 'refuse'),
      pick: fc.nat(20),
    }),
  },
  { weight: 1, arbitrary: fc.record({ type: fc.constant('wait' as const), ms: fc.constantFrom(1, 500, 30_000) }) },
);

/** An event as a command of fast-check: it may always happen, and the state machine must hold after it. */
class Happens implements fc.Command<object, World> {
  readonly event: Event;

  constructor(event: Event) {
    this.event = event;
  }

  check(): boolean {
    return true;
  }

  run(_model: object, world: World): void {
    world.happen(this.event);
    if (world.illegal.length > 0) throw new Error(world.illegal.join('; '));
  }

  toString(): string {
    return JSON.stringify(this.event);
  }
}

t.test('no event, at no time, makes a replica go where the state machine has no arrow', async (t) => {
  fc.assert(
    fc.property(fc.commands([event.map((each) => new Happens(each))], { maxCommands: 60 }), (commands) => {
      const world = new World();
      fc.modelRun(() => ({ model: {}, real: world }), commands);
      world.settle();
      if (world.illegal.length > 0) throw new Error(world.illegal.join('; '));
    }),
    { numRuns: 300 },
  );
  t.pass();
});

t.test('the same events, a hundred times, end in the same state', async (t) => {
  fc.assert(
    fc.property(fc.array(event, { maxLength: 40 }), (events) => {
      const ends = new Set<string>();
      for (let time = 0; time < 100; time++) {
        const world = new World();
        for (const each of events) world.happen(each);
        ends.add(world.settle());
      }
      return ends.size === 1;
    }),
    { numRuns: 20 },
  );
  t.pass();
});
