import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import t, { type Test } from 'tap';
import { type JudgedSplit, judgedSplits, mixedIn, weighed } from '../../src/control/judged-splits.ts';
import { restartKey } from '../../src/control/restart.ts';
import { VerdictRecord } from '../../src/control/verdict-record.ts';
import { Verdicts } from '../../src/control/verdicts.ts';
import type { Ingress } from '../../src/domain/desired.ts';
import { emptyLatency } from '../../src/domain/latency.ts';
import type { SplitCounts } from '../../src/domain/snapshot.ts';
import { compileGraph, type SplitSource } from '../../src/graph/compile.ts';
import { applicationSpec, deploymentSpec, target } from '../support/targets.ts';

const VERDICT = { window_s: 1, min_requests: 10, promote_when: { error_rate_below: 0.1 }, abort_when: { error_rate_above: 0.5 } };
const split = (canary = 5, call = 'New', verdict: SplitSource['verdict'] = VERDICT): SplitSource => ({
  targets: [
    { call: 'Old', weight: 100 - canary },
    { call, weight: canary },
  ],
  verdict,
});
const ingressOf = (source: SplitSource, tolerance?: number): Ingress => {
  const shadow = tolerance === undefined ? {} : { shadow: { call: 'New', tolerance } };
  const known = { name: 'app', deployments: ['Old', 'New'] };
  const other = { name: 'other', deployments: ['Far'] };
  const { ingress } = compileGraph({ steps: { score: { split: source, input: 1, ...shadow } } }, known, [known, other]);
  if (ingress === undefined) throw new Error('expected a graph');
  return ingress;
};
const served = (source = split(), code: Readonly<Record<string, string>> = {}, userConfig?: object, tolerance?: number) => {
  const deployments = [deploymentSpec({ name: 'Old' }), deploymentSpec({ name: 'New', userConfig: userConfig as never })];
  return { generation: 1, target: target(applicationSpec({ deployments, ingress: ingressOf(source, tolerance) }), code) };
};
const splitsIn = (serving: ReturnType<typeof served>): ReadonlyMap<string, JudgedSplit> =>
  judgedSplits(new Map([['app', serving]]), NOBODY);
const NOBODY = () => false;
const at = (deployment: string) => ({ application: 'app', deployment, method: 'call' });

const counts = (requests: number, errors = 0): SplitCounts => {
  const of = (count: number, failed: number) => ({
    requests: count,
    errors: failed,
    clientErrors: 0,
    abandoned: 0,
    latency: emptyLatency(),
    waited: emptyLatency(),
  });
  return { stable: of(requests * 9, 0), canary: of(requests, errors), shadow: { same: 0, different: 0, failed: 0, skipped: 0 } };
};

/** Verdicts over a record, and a clock. */
const rig = (t: Test) => {
  const root = mkdtempSync(join(tmpdir(), 'sd-verdicts-'));
  t.teardown(() => rmSync(root, { recursive: true, force: true }));
  const path = join(root, 'verdicts.json');
  const complaints: string[] = [];
  const open = () => {
    const record = new VerdictRecord(path, (message) => complaints.push(message));
    const verdicts = new Verdicts(record);
    let now = 0;
    const follow = (serving: ReturnType<typeof served>, isAwaited = NOBODY) =>
      verdicts.follow(splitsIn(serving), isAwaited, now, new Date(now));
    /** After a second of time, so much has been counted in all. */
    const observe = (counted: SplitCounts) => {
      now += 1000;
      const { judgedAs = '' } = verdicts.overlayOf('app', 'score') ?? {};
      return verdicts.observe({ [judgedAs]: counted }, now, new Date(now));
    };
    return {
      record,
      verdicts,
      follow,
      observe,
      view: () => verdicts.viewOf('app', 'score', now),
      percent: () => verdicts.viewOf('app', 'score', now)?.standing.percent,
    };
  };
  return { path, complaints, open };
};

t.test('a canary moves from step to step, each with counts of its own, and every move is told and kept', async (t) => {
  const { open } = rig(t);
  const { record, verdicts, follow, observe, view } = open();
  follow(served());
  t.equal(verdicts.overlayOf('app', 'score')?.percent, undefined, 'as the file says');
  t.match(view(), { standing: { state: 'progressing', percent: 5 }, next: 25, message: /0 of 10 requests of the canary/ });
  t.same(observe(counts(1000)), [], 'the first is where counting begins');
  t.same(observe(counts(1005)), [], 'too few');
  t.match(observe(counts(1020)), [{ from: 5, to: 25, state: 'progressing', why: /error rate 0 % of 15 requests/ }]);
  t.equal(verdicts.overlayOf('app', 'score')?.percent, 25);
  t.match(view(), { figures: { canary: { requests: 0 } }, counts: { canary: { requests: 1020 } } });
  t.match(observe(counts(1040)), [{ from: 25, to: 50 }]);
  t.match(observe(counts(1060)), [{ from: 50, to: 100, state: 'promoted', application: 'app', step: 'score', canary: 'New' }]);
  t.same(observe(counts(2000, 900)), [], 'what is promoted stays');
  t.match(view(), { standing: { state: 'promoted' }, message: /below 10 %/, next: undefined });
  t.equal(record.moves.length, 3);
});

t.test('what is not told says nothing, and counts of another canary are nobody’s', async (t) => {
  const { verdicts, follow, observe, percent } = rig(t).open();
  follow(served());
  observe(counts(0));
  t.same(verdicts.observe({ 'app/score@other': counts(100) }, 5000, new Date()), []);
  t.equal(percent(), 5);
});

t.test('an abort takes everything, at once, and stays over edits elsewhere and restarts', async (t) => {
  const { open, complaints } = rig(t);
  const first = open();
  first.follow(served());
  first.observe(counts(0));
  t.match(first.observe(counts(20, 15)), [
    { from: 5, to: 0, state: 'aborted', why: /error rate 75 % of 20 requests is above 50 %/ },
  ]);
  first.follow(served(split(), { Old: 'code 2' }));
  t.equal(first.percent(), 0, 'other code of the stable one is no other canary');
  const again = open();
  again.follow({ generation: 0, target: target(applicationSpec()) } as never, () => true);
  again.follow(served());
  t.match(again.view(), { standing: { state: 'aborted', percent: 0 }, message: /75 %/ });
  t.equal(again.verdicts.overlayOf('app', 'score')?.percent, 0);
  t.match(again.record.moves, [{ to: 0 }]);
  t.same(complaints, []);
});

const EDITS: readonly (readonly [what: string, serving: ReturnType<typeof served>, percent: number])[] = [
  ['a weight', served(split(10)), 10],
  ['a bound', served(split(5, 'New', { ...VERDICT, promote_when: { error_rate_below: 0.2 } })), 5],
  ['what it sticks by', served({ ...split(), sticky_by: '$request.query.u' }), 5],
  ['the code of the canary', served(split(), { New: 'code 2' }), 5],
  ['the user_config of the canary', served(split(), {}, { mode: 'fast' }), 5],
];
for (const [what, edited, percent] of EDITS) {
  t.test(`an edit of ${what} begins anew, and going back does not bring back what was decided`, async (t) => {
    const { open } = rig(t);
    const one = open();
    one.follow(served());
    one.observe(counts(0));
    one.observe(counts(20, 15));
    const { judgedAs } = one.verdicts.overlayOf('app', 'score') ?? {};
    one.follow(edited);
    t.match(one.view(), { standing: { state: 'progressing', percent } });
    t.not(one.verdicts.overlayOf('app', 'score')?.judgedAs, judgedAs);
    one.follow(served());
    t.match(one.view(), { standing: { state: 'progressing', percent: 5 } });
    t.equal(open().record.standings.size, 0);
  });
}

t.test('what the shadow compares by counts only where a bound is about it', async (t) => {
  const identityOf = (serving: ReturnType<typeof served>) => splitsIn(serving).get('app/score')?.identity;
  const compares = split(5, 'New', { ...VERDICT, abort_when: { difference_above: 0.2 } });
  t.not(identityOf(served(compares, {}, undefined, 0.1)), identityOf(served(compares, {}, undefined, 0.2)));
  t.equal(identityOf(served(split(), {}, undefined, 0.1)), identityOf(served(split(), {}, undefined, 0.2)));
});

t.test('a split that leaves the file is forgotten, and one of an application that does not serve just now is not', async (t) => {
  const { open } = rig(t);
  const { record, verdicts, follow, observe, view } = open();
  follow(served());
  observe(counts(0));
  observe(counts(20));
  t.equal(record.standings.size, 1);
  verdicts.follow(new Map(), () => true, 0, new Date());
  t.equal(record.standings.size, 1);
  t.equal(view(), undefined);
  follow(served());
  t.match(view(), { standing: { percent: 25 } });
  verdicts.follow(new Map(), NOBODY, 0, new Date());
  t.equal(record.standings.size, 0);
});

t.test('a canary of another application is judged once that serves', async (t) => {
  const far = served(split(5, 'other/Far'));
  t.match(splitsIn(far).get('app/score'), { identity: undefined, canary: 'Far' });
  const other = {
    generation: 1,
    target: target(applicationSpec({ name: 'other', deployments: [deploymentSpec({ name: 'Far' })] })),
  };
  const both = judgedSplits(
    new Map([
      ['app', far],
      ['other', other],
    ]),
    NOBODY,
  );
  t.type(both.get('app/score')?.identity, 'string');
});

t.test('weights stay over a restart while what the canary runs is not known yet, and nothing is counted meanwhile', async (t) => {
  const { open } = rig(t);
  const unknown = (source = split()) =>
    judgedSplits(new Map([['app', served(source)]]), ({ deployment }) => deployment === 'New');
  const first = open();
  first.follow(served());
  first.observe(counts(0));
  first.observe(counts(20, 15));
  const again = open();
  again.verdicts.follow(unknown(), NOBODY, 0, new Date());
  t.same(again.verdicts.overlayOf('app', 'score'), { judgedAs: undefined, percent: 0 });
  again.follow(served());
  t.match(again.view(), { standing: { state: 'aborted', percent: 0 }, message: /75 %/ });
  again.follow(served(split(), { New: 'code 2' }));
  t.match(again.view(), { standing: { state: 'progressing', percent: 5 } }, 'of another canary nothing is known');
  const edited = open();
  edited.verdicts.follow(unknown(split(10)), NOBODY, 0, new Date());
  t.equal(edited.verdicts.overlayOf('app', 'score'), undefined, 'another split has the weights of the file');
});

t.test('while replicas of the canary are exchanged step by step it stands still, and then begins anew', async (t) => {
  const { verdicts, follow, observe, view, percent } = rig(t).open();
  const next = served(split(), { New: 'code 2' });
  const version = next.target.deployments.find(({ spec }) => spec.name === 'New')?.version ?? '';
  const isMixed = mixedIn([next.target], { standsFor: new Map([[restartKey('app', 'New', version), 'old']]) });
  t.same([isMixed(at('New')), isMixed(at('Old')), isMixed(at('None'))], [true, false, false]);
  follow(served());
  observe(counts(0));
  observe(counts(20));
  t.equal(percent(), 25);
  verdicts.follow(judgedSplits(new Map([['app', served()]]), isMixed), NOBODY, 0, new Date());
  t.same(verdicts.overlayOf('app', 'score'), { judgedAs: undefined, percent: 25 });
  t.match(view(), { message: /nothing is counted meanwhile/ });
  t.same(observe(counts(5000, 5000)), []);
  follow(next);
  t.match(view(), { standing: { state: 'progressing', percent: 5 } });
});

t.test('weights of a verdict stand in place of those of the file, and of other steps nothing changes', async (t) => {
  const ingress = ingressOf(split());
  const splitOf = (given: Ingress) => (given.kind === 'graph' ? given.graph.steps[0]?.split : undefined);
  t.equal(weighed(ingress, () => undefined).kind, 'graph');
  t.same(splitOf(weighed(ingress, () => undefined)), splitOf(ingress));
  const uncounted = splitOf(weighed(ingress, () => ({ judgedAs: undefined, percent: 25 })));
  t.match(uncounted, { targets: [{ weight: 75 }, { weight: 25 }] });
  t.notOk(Object.hasOwn(uncounted ?? {}, 'judgedAs'));
  t.match(splitOf(weighed(ingress, () => ({ judgedAs: 'x', percent: undefined }))), {
    judgedAs: 'x',
    targets: [{ weight: 95 }, { weight: 5 }],
  });
  const moved = splitOf(weighed(ingress, () => ({ judgedAs: 'x', percent: 25 })));
  t.match(moved, {
    judgedAs: 'x',
    targets: [
      { weight: 75, target: { deployment: 'Old' } },
      { weight: 25, target: { deployment: 'New' } },
    ],
  });
  const plain = ingressOf(split(5, 'New', null));
  t.equal(
    weighed(plain, () => ({ judgedAs: 'x', percent: 25 })),
    plain,
    'nothing is judged, nothing is copied',
  );
});

t.test('moves are bounded; what is broken on disk is told, left out, and harms nothing', async (t) => {
  const { path, complaints, open } = rig(t);
  const { record } = open();
  const move = {
    at: '2026-01-01T00:00:00.000Z',
    application: 'a',
    step: 's',
    canary: 'C',
    from: 5,
    to: 25,
    state: 'progressing' as const,
    why: 'w',
  };
  for (let count = 0; count < 150; count++) record.keep(new Map(), [move, { ...move, from: count / 2 }]);
  t.equal(record.moves.length, 200);
  t.equal(statSync(path).mode & 0o777, 0o600);
  t.equal(open().record.moves.at(-1)?.from, 149 / 2);
  writeFileSync(
    path,
    JSON.stringify({ standings: { 'a/s': { state: 'won' }, 'a/t': 5 }, moves: [5, { ...move, to: 500 }, move] }),
  );
  const half = open().record;
  t.same([half.standings.size, half.moves.length], [0, 1]);
  writeFileSync(path, '{"standings": ');
  t.same(open().record.moves, []);
  t.match(complaints, [/cannot be read from .*verdicts\.json: .*; it is kept as .*verdicts\.json\.unreadable/]);
  t.equal(readFileSync(`${path}.unreadable`, 'utf8'), '{"standings": ');
  open().record.keep(new Map(), [move]);
  t.equal(open().record.moves.length, 1);
  t.same(readdirSync(dirname(path)).sort(), ['verdicts.json', 'verdicts.json.unreadable']);
  const lost = new VerdictRecord(join(path, 'no-folder.json'), (message) => complaints.push(message));
  lost.keep(new Map(), [move]);
  t.equal(lost.moves.length, 1);
  t.match(complaints.at(-1), /cannot be kept/);
});
