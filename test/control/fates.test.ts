/** What becomes of each application of a config, by what is on disk and by what was taken before. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { type FoundApplication, fatesOf, modelFilesOf } from '../../src/control/fates.ts';
import { applicationSpec, artifact, deploymentSpec, target } from '../support/targets.ts';

const spec = (name: string, repository?: string, replicas = 1) =>
  applicationSpec({
    name,
    deployments: [deploymentSpec({ numReplicas: replicas })],
    ...(repository === undefined ? {} : { repository }),
  });
const found = (application: ReturnType<typeof spec>, code = 'code 1'): FoundApplication => ({
  spec: application,
  artifacts: { found: new Map([['A', artifact(code)]]), files: [] },
});
const none = { problems: new Map(), models: new Map(), unseen: new Map(), previous: [] };
const settling = (name: string) => new Map([[name, { unsettled: true }]]);
const PROBLEM = 'it is cut off';

t.test('what is sound is a target, and what is not is broken', async (t) => {
  const fates = fatesOf({
    ...none,
    applications: [found(spec('a')), found(spec('b')), found(spec('zoo.m', 'zoo')), found(spec('zoo.n', 'zoo'))],
    problems: new Map([
      ['b', PROBLEM],
      ['zoo.n', PROBLEM],
    ]),
  });
  t.same(
    fates.targets.map(({ spec: { name } }) => name),
    ['a', 'zoo.m'],
  );
  t.match(fates.broken, [
    { spec: { name: 'b' }, problem: PROBLEM },
    { spec: { name: 'zoo.n' }, problem: PROBLEM },
  ]);
  t.equal(fates.held.size, 0);
});

t.test('a model that was served and is broken stays as it was, but for where it is reached', async (t) => {
  const before = target(spec('zoo.m', 'zoo'));
  const moved = { ...spec('zoo.m', 'zoo', 3), routePrefix: '/elsewhere' };
  const { targets, broken, held } = fatesOf({
    ...none,
    applications: [found(moved, 'code 2')],
    problems: new Map([['zoo.m', PROBLEM]]),
    previous: [before],
  });
  t.match(targets, [
    {
      spec: { routePrefix: '/elsewhere', deployments: [{ numReplicas: 1 }] },
      deployments: [{ version: before.deployments[0]?.version }],
    },
  ]);
  t.same(targets[0]?.deployments[0]?.run, before.deployments[0]?.run);
  t.same(broken, []);
  t.same([...held], [['zoo.m', PROBLEM]]);
  const same = fatesOf({
    ...none,
    applications: [found(spec('zoo.m', 'zoo'))],
    problems: new Map([['zoo.m', PROBLEM]]),
    previous: [before],
  });
  t.equal(same.targets[0]?.hash, before.hash, 'nothing moves');
});

t.test('of an application that the file names, what was before does not count', async (t) => {
  const fates = fatesOf({
    ...none,
    applications: [found(spec('a'))],
    problems: new Map([['a', PROBLEM]]),
    previous: [target(spec('a'))],
  });
  t.match(fates, { targets: [], broken: [{ problem: PROBLEM }] });
});

t.test('what is being written is as it was, or not there yet, and nothing is said of it', async (t) => {
  const before = target(spec('zoo.m', 'zoo'));
  for (const problems of [new Map<string, string>(), new Map([['zoo.m', PROBLEM]])]) {
    const input = { ...none, applications: [found(spec('zoo.m', 'zoo'), 'code 2')], problems, models: settling('zoo.m') };
    const known = fatesOf({ ...input, previous: [before] });
    t.equal(known.targets[0]?.hash, before.hash);
    t.equal(known.held.size + known.broken.length, 0);
    t.same(fatesOf(input), { targets: [], broken: [], held: new Map() });
  }
});

t.test('a folder that cannot be looked at keeps what it had, and one that is empty does not', async (t) => {
  const previous = [target(spec('zoo.m', 'zoo')), target(spec('other.m', 'other')), target(spec('plain'))];
  const unseen = new Map([['zoo', 'it is not there']]);
  const { targets, held } = fatesOf({ ...none, applications: [], unseen, previous });
  t.same(targets, [previous[0]]);
  t.same(
    [...held],
    [
      ['zoo', 'it is not there'],
      ['zoo.m', 'it is not there'],
    ],
  );
  t.same(fatesOf({ ...none, applications: [], previous }).targets, []);
});

t.test('what goes on as it was gives up the path that the config gives to somebody else', async (t) => {
  const before = target(spec('zoo.m', 'zoo'));
  const heir = found({ ...spec('heir'), routePrefix: '/zoo.m' });
  const lost = found({ ...spec('zoo.m', 'zoo'), routePrefix: null });
  const names = (fates: ReturnType<typeof fatesOf>) => fates.targets.map((each) => each.spec.name);
  const broken = fatesOf({
    ...none,
    applications: [heir, lost],
    problems: new Map([['zoo.m', 'its path is that of `heir`']]),
    previous: [before],
  });
  t.same(names(broken), ['heir']);
  t.match(broken.broken, [{ spec: { name: 'zoo.m' } }]);
  const written = fatesOf({ ...none, applications: [heir, lost], models: settling('zoo.m'), previous: [before] });
  t.same(names(written), ['heir']);
  const unseen = new Map([['zoo', 'it is not there']]);
  t.same(names(fatesOf({ ...none, applications: [heir], unseen, previous: [before] })), ['heir']);
  const off = target({ ...spec('zoo.m', 'zoo'), routePrefix: null });
  t.same(
    names(fatesOf({ ...none, applications: [heir], unseen, previous: [off] })),
    ['heir', 'zoo.m'],
    'who has none loses none',
  );
});

t.test('a model that is away while its folder is being written is not drained yet', async (t) => {
  const previous = [target(spec('zoo.m', 'zoo')), target(spec('other.m', 'other'))];
  const input = { ...none, applications: [found(spec('zoo.n', 'zoo'))], previous };
  const { targets, held } = fatesOf({ ...input, models: settling('zoo') });
  t.same(
    targets.map((each) => each.spec.name),
    ['zoo.n', 'zoo.m'],
  );
  t.equal(held.size, 0);
  t.same(
    fatesOf({ ...input, models: new Map([['zoo', { unsettled: false }]]) }).targets.map((each) => each.spec.name),
    ['zoo.n'],
  );
});

t.test('a folder of models that was changed a moment ago is looked at again, and at the start nothing is', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'sd-fates-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const about = { follows: new Map([['zoo', [folder]]]), unseen: new Map(), refused: new Map() };
  t.match(modelFilesOf([], about, false).get('zoo'), { files: [folder], unsettled: true });
  t.match(modelFilesOf([], about, true).get('zoo'), { unsettled: false });
});
