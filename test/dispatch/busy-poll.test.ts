import t from 'tap';
import { BusyPoll, LookingPays } from '../../src/dispatch/busy-poll.ts';

/** A loop whose turns are taken by hand. */
const loop = () => {
  let now = 0;
  let next: (() => void) | undefined;
  const poll = new BusyPoll(
    () => now,
    (look) => {
      next = look;
    },
  );
  return {
    poll,
    get now() {
      return now;
    },
    /** One turn of so long. */
    turn: (ms = 0.01) => {
      now += ms;
      const look = next;
      next = undefined;
      look?.();
    },
    sleeps: () => next === undefined,
    pass: (ms: number) => {
      now += ms;
    },
  };
};

/** Turns until the thread may sleep; so many at most. */
const looked = (it: ReturnType<typeof loop>, most = 1000): number => {
  let turns = 0;
  for (; turns < most && !it.sleeps(); turns++) it.turn();
  return turns;
};

t.test('a call keeps the thread awake for a moment, and no longer', async (t) => {
  const it = loop();
  t.ok(it.sleeps());
  it.poll.awaits(1);
  t.notOk(it.sleeps());
  const turns = looked(it);
  t.ok(turns > 20 && turns < 30, `a quarter of a millisecond, in turns of a hundredth: ${turns}`);
});

t.test('nothing under way, or much: it sleeps as ever', async (t) => {
  const it = loop();
  it.poll.awaits(0);
  t.ok(it.sleeps());
  it.poll.awaits(9);
  t.ok(it.sleeps());
  it.poll.awaits(8);
  t.notOk(it.sleeps());
  it.poll.awaits(9);
  it.turn();
  t.ok(it.sleeps(), 'what has begun ends when the calls become many');
});

t.test('behind an answer it looks for the next request, for as long', async (t) => {
  const it = loop();
  it.poll.awaits(1);
  it.turn();
  it.poll.heard();
  it.turn();
  t.notOk(it.sleeps(), 'the answer has come: another request may');
  const turns = looked(it);
  t.ok(turns > 20 && turns < 30, String(turns));
});

t.test('an answer that brings the next call is followed by the answer to that', async (t) => {
  const it = loop();
  it.poll.awaits(1);
  for (let hop = 0; hop < 100; hop++) {
    for (let turn = 0; turn < 5; turn++) it.turn();
    it.poll.heard();
    it.poll.awaits(1);
    t.notOk(it.sleeps());
  }
  t.ok(it.now > 1, 'each of them has its own moment');
});

t.test('answers that take long are soon slept through, with a few looks now and then', async (t) => {
  const it = loop();
  let turns = 0;
  for (let call = 0; call < 1000; call++) {
    it.poll.awaits(1);
    turns += looked(it);
    it.pass(5);
    it.poll.heard();
  }
  // 5 s of calls of 5 ms each.
  t.ok(turns * 0.01 < 0.01 * it.now, `${(turns * 0.01).toFixed(1)} ms of ${it.now.toFixed(0)} ms`);
  t.ok(turns > 200, 'it tries again');
});

t.test('requests that do not follow each other stop the looking for requests, not that for answers', async (t) => {
  const it = loop();
  let afterAnswers = 0;
  for (let call = 0; call < 100; call++) {
    it.poll.awaits(1);
    for (let turn = 0; turn < 4; turn++) it.turn();
    t.notOk(it.sleeps(), 'the answer is waited for awake');
    it.poll.heard();
    it.turn();
    afterAnswers += looked(it);
    it.pass(1);
  }
  t.ok(afterAnswers < 300, `a few looks: ${afterAnswers}`);
});

t.test('where others want the CPU it gives way', async (t) => {
  const it = loop();
  for (let call = 0; call < 8; call++) {
    it.poll.awaits(1);
    it.poll.heard();
    // The answer was there at the end of the turn, as were 4 ms of somebody else's.
    it.turn(4);
    looked(it);
  }
  it.poll.awaits(1);
  t.ok(it.sleeps(), 'each of its turns took 4 ms');
});

t.test('two good looks of three are enough, one of two is not', async (t) => {
  const pays = new LookingPays();
  for (let round = 0; round < 1000; round++) {
    pays.came();
    pays.came();
    pays.missed(round);
    t.ok(pays.at(round));
  }
  let round = 0;
  for (; round < 1000 && pays.at(round); round++) {
    pays.came();
    pays.missed(round);
  }
  t.ok(round < 50, `rests after ${round}`);
  t.notOk(pays.at(round + 200));
  t.ok(pays.at(round + 300), 'and tries again');
});
