/** Random starts, steps, ends, cancels, failures, deaths and pauses: each request runs on the state of its own start, or not at all. */
import fc from 'fast-check';
import t from 'tap';
import { type Holder, Sequences, type Step } from '../../src/dispatch/sequences.ts';

const HOLDERS = 3;
const MOST = 2;
const IDLE_MS = 100;

class Call {
  state: 'queued' | 'sent' | 'done' = 'queued';
  step: Step<Call, Replica> | undefined;
  lost = false;
  /** Of the start that it belongs to. */
  number = -1;
  readonly order: number;

  constructor(order: number) {
    this.order = order;
  }
}

/** What it has is what it was given to run: number of the start → orders of the requests that ran on its state. */
class Replica implements Holder {
  sequences = 0;
  readonly states = new Map<number, number[]>();
}

type Act =
  | { readonly type: 'come'; readonly id: number; readonly isStart: boolean; readonly isEnd: boolean }
  | {
      readonly type: 'send' | 'answer' | 'fail' | 'cancel' | 'abandon' | 'kill' | 'wait' | 'refuse' | 'close';
      readonly which: number;
    };

class World {
  time = 0;
  replicas = Array.from({ length: HOLDERS }, () => new Replica());
  readonly all: Call[] = [];
  readonly ready = new Map<Call, Replica | undefined>();
  readonly sent = new Map<Call, Replica>();
  readonly gone = new Set<Replica>();
  readonly wrong: string[] = [];
  readonly table: Sequences<Call, Replica>;

  constructor() {
    this.table = new Sequences<Call, Replica>(
      {
        ready: (call, holder) => {
          this.ready.set(call, holder);
        },
        lost: (call) => {
          call.lost = true;
          if (this.replicas.some(({ states }) => states.has(call.number))) this.wrong.push('lost, and its state is there');
          this.#leave(call);
        },
        forget: (holder, number) => {
          holder.states.delete(number);
        },
      },
      () => this.time,
    );
  }

  #leave(call: Call): void {
    this.ready.delete(call);
    this.table.left(call);
    call.state = 'done';
  }

  do(act: Act): void {
    if (act.type === 'come') {
      const call = new Call(this.all.length);
      this.all.push(call);
      const known = this.table.get(String(act.id)) !== undefined;
      if (this.table.come(call, { ...act, id: String(act.id) }) !== (known || act.isStart))
        this.wrong.push('taken, and not known');
      call.number = call.step?.number ?? -1;
      if (call.step === undefined) call.state = 'done';
      return;
    }
    const pick = <T>(from: Iterable<T>): T | undefined => {
      const list = [...from];
      return list[act.which % Math.max(1, list.length)];
    };
    switch (act.type) {
      case 'send': {
        const call = pick(this.ready.keys());
        if (call !== undefined) this.#send(call, act.which);
        return;
      }
      case 'answer':
      case 'fail': {
        const call = pick(this.sent.keys());
        if (call !== undefined) this.#answer(call, act.type === 'answer');
        return;
      }
      case 'cancel': {
        const call = pick(this.all.filter(({ state }) => state === 'queued'));
        if (call !== undefined) this.#leave(call);
        return;
      }
      case 'abandon': {
        // Nobody waits for it: it runs all the same.
        const call = pick(this.sent.keys());
        if (call !== undefined) call.state = 'done';
        return;
      }
      case 'kill':
        return this.#kill(this.replicas[act.which % HOLDERS] as Replica, act.which % 2 === 0);
      case 'refuse':
        return this.table.refused(String(act.which % 4));
      case 'close':
        this.table.endAll();
        this.table.keep();
        return;
      case 'wait':
        this.time += act.which;
        this.table.sweep(IDLE_MS);
        return;
      default:
        act satisfies never;
    }
  }

  #send(call: Call, which: number): void {
    const step = call.step as Step<Call, Replica>;
    const holder = this.ready.get(call);
    const free = this.replicas.filter(({ sequences }) => sequences < MOST);
    const at = holder ?? free[which % Math.max(1, free.length)];
    if (at === undefined) return this.#leave(call);
    if (holder !== undefined && !at.states.has(step.number)) this.wrong.push('sent to where its state is not');
    if ([...this.sent.keys()].some((each) => each.step?.sequence === step.sequence)) this.wrong.push('two at a time');
    this.ready.delete(call);
    call.state = 'sent';
    this.sent.set(call, at);
    this.table.sent(call, at);
  }

  #answer(call: Call, ran: boolean): void {
    const { number, isStart } = call.step as Step<Call, Replica>;
    const at = this.sent.get(call) as Replica;
    this.sent.delete(call);
    if (ran && isStart) at.states.set(number, [call.order]);
    // A run keeps what it leaves, also where that was to be forgotten before.
    else if (ran) at.states.set(number, [...(at.states.get(number) ?? []), call.order]);
    const history = at.states.get(number) ?? [];
    if (history.some((order, index) => index > 0 && order <= (history[index - 1] as number))) this.wrong.push('out of order');
    call.state = 'done';
    this.table.over(call, ran);
  }

  #kill(dead: Replica, begun: boolean): void {
    this.gone.add(dead);
    this.replicas = this.replicas.map((each) => (each === dead ? new Replica() : each));
    this.table.gone(dead, 'died');
    for (const [call, at] of [...this.sent]) {
      if (at !== dead) continue;
      this.sent.delete(call);
      if (call.state === 'sent' && call.step?.isStart === true && !begun) {
        call.state = 'queued';
        this.ready.set(call, undefined);
        continue;
      }
      call.state = 'done';
      this.table.over(call, false);
    }
  }

  check(): readonly string[] {
    for (const replica of this.replicas) {
      const starting = [...this.sent].filter(([{ step }, at]) => at === replica && step?.isStart === true).length;
      if (replica.sequences !== replica.states.size + starting)
        this.wrong.push(`${replica.sequences} counted, ${replica.states.size} held and ${starting} starting`);
      if (replica.sequences > MOST) this.wrong.push('more than a replica may hold');
    }
    const held = this.replicas.reduce((sum, { states }) => sum + states.size, 0);
    // Their sequence has ended while they are in work: the state goes with them.
    const ending = [...this.sent].filter(
      ([{ step }, at]) => step?.isStart === false && step.number !== step.sequence.number && at.states.has(step.number),
    ).length;
    if (this.table.open !== held - ending) this.wrong.push(`${this.table.open} open, and ${held} held`);
    const waiting = [...this.table.queued()].length;
    const queued = this.all.filter(({ state }) => state === 'queued').length;
    if (waiting !== queued) this.wrong.push(`${waiting} wait, and ${queued} should`);
    return this.wrong;
  }

  /** Until nothing is under way, and nobody comes any more. */
  finish(): void {
    for (let left = 10_000; this.ready.size + this.sent.size > 0 && left > 0; left--) {
      this.do({ type: 'send', which: left });
      this.do({ type: 'answer', which: left });
    }
    this.do({ type: 'wait', which: IDLE_MS });
  }
}

const acts = fc.array(
  fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({
        type: fc.constant('come' as const),
        id: fc.nat(3),
        isStart: fc.oneof({ weight: 2, arbitrary: fc.constant(false) }, { weight: 1, arbitrary: fc.constant(true) }),
        isEnd: fc.oneof({ weight: 5, arbitrary: fc.constant(false) }, { weight: 1, arbitrary: fc.constant(true) }),
      }),
    },
    {
      weight: 9,
      arbitrary: fc.record({
        type: fc.constantFrom(
          ...([
            'send',
            'send',
            'send',
            'answer',
            'answer',
            'answer',
            'fail',
            'cancel',
            'abandon',
            'kill',
            'wait',
            'refuse',
            'close',
          ] as const),
        ),
        which: fc.nat(60),
      }),
    },
  ),
  { minLength: 20, maxLength: 120 },
) as fc.Arbitrary<Act[]>;

t.test(
  'a request runs once, in order, on the state of its own start, where that is; or is told that there is none',
  async (t) => {
    let [ran, lost] = [0, 0];
    fc.assert(
      fc.property(acts, (list) => {
        const world = new World();
        for (const act of list) {
          world.do(act);
          const wrong = world.check();
          if (wrong.length > 0) throw new Error(wrong.join('; '));
        }
        world.finish();
        ran += world.table.started;
        lost += world.all.filter((call) => call.lost).length;
        const { open, size, started, ended } = world.table;
        const left = world.all.filter(({ state }) => state !== 'done').length;
        const sum = Object.values(ended).reduce((total, each) => total + each, 0);
        if (open + size + left > 0 || started !== sum)
          throw new Error(`${open} open, ${size} kept, ${left} left, ${started} of ${sum}`);
        if (world.check().length > 0) throw new Error(world.wrong.join('; '));
      }),
      { numRuns: 2000 },
    );
    t.ok(ran > 1000 && lost > 500, `${ran} were started, ${lost} lost: it was tried`);
  },
);
