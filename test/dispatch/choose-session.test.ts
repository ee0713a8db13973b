import fc from 'fast-check';
import t from 'tap';
import { chooseForSession, hashOf } from '../../src/dispatch/choose-session.ts';

const replica = (name: string) => ({ name, hash: hashOf(name) });
const fleet = (count: number) => Array.from({ length: count }, (_, index) => replica(`app/A/${index.toString(16)}f3a`));
type Replica = ReturnType<typeof replica>;
const homeOf = (all: readonly Replica[], session: string, mayTake: (each: Replica) => boolean = () => true) => {
  const chosen = chooseForSession(all, hashOf(session), mayTake);
  return chosen === undefined ? undefined : all[chosen]?.name;
};
const sessions = Array.from({ length: 5000 }, (_, index) => `session-${index}`);

t.test('each replica has its share of the sessions', async (t) => {
  for (const size of [2, 3, 10]) {
    const counts = new Map<string | undefined, number>();
    const all = fleet(size);
    for (const session of sessions) counts.set(homeOf(all, session), (counts.get(homeOf(all, session)) ?? 0) + 1);
    const fair = sessions.length / size;
    t.equal(counts.size, size);
    for (const count of counts.values()) t.ok(count > 0.8 * fair && count < 1.2 * fair, `${count} of ${fair} over ${size}`);
  }
});

t.test('a replica that comes takes its share and moves no other session', async (t) => {
  const [before, after] = [fleet(4), fleet(5)];
  const moved = sessions.filter((session) => homeOf(before, session) !== homeOf(after, session));
  t.ok(moved.every((session) => homeOf(after, session) === after[4]?.name));
  t.ok(moved.length > 0.15 * sessions.length && moved.length < 0.25 * sessions.length, `${moved.length} of ${sessions.length}`);
});

t.test('one that goes leaves its sessions to all, and the others stay', async (t) => {
  const all = fleet(5);
  const left = all.slice(1);
  const heirs = new Set<string | undefined>();
  for (const session of sessions) {
    const home = homeOf(all, session);
    if (home === all[0]?.name) heirs.add(homeOf(left, session));
    else if (homeOf(left, session) !== home) t.fail(`${session} moved`);
  }
  t.equal(heirs.size, 4);
});

t.test('a full replica hands on to always the same next one, and none is chosen where none has room', async (t) => {
  const all = fleet(4);
  const home = homeOf(all, 's');
  const next = homeOf(all, 's', ({ name }) => name !== home);
  t.equal(
    next,
    homeOf(
      all.filter(({ name }) => name !== home),
      's',
    ),
  );
  t.equal(
    homeOf(all, 's', () => false),
    undefined,
  );
});

t.test('the order in which replicas are listed means nothing', async () => {
  fc.assert(
    fc.property(fc.string(), fc.shuffledSubarray(fleet(6), { minLength: 1 }), (session, all) => {
      const sorted = all.toSorted((a, b) => (a.name < b.name ? -1 : 1));
      return homeOf(all, session) === homeOf(sorted, session);
    }),
  );
});
