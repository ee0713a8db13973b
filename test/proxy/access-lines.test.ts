/** Which requests have a line in the access log, how it is written, and with whose lines it leaves. */
import t from 'tap';
import type { ApplicationRouting } from '../../src/domain/snapshot.ts';
import { AccessLines } from '../../src/proxy/access-lines.ts';
import { applicationRouting, deploymentRouting } from '../support/routing.ts';

const record = (application: string, deployments: readonly string[]) => ({
  time: 0,
  requestId: 'id',
  method: 'GET',
  path: '/',
  application,
  route: '/',
  status: 200,
  totalMs: 1,
  traces: deployments.map((deployment) => ({ deployment, replica: '', batchSize: 1, queueMs: 0, workMs: 0 })),
});

const lines = (applications: readonly ApplicationRouting[], records: readonly ReturnType<typeof record>[]) => {
  const posted: { application: string | undefined; lines: string }[] = [];
  const access = new AccessLines('JSON', (text, application) => posted.push({ application, lines: text }));
  access.follow({ applications });
  for (const each of records) access.add(each);
  access.flush();
  return posted;
};

t.test('lines leave together, but for those of an application that logs in a way of its own', async (t) => {
  const posted = lines(
    [
      applicationRouting({ name: 'a' }),
      applicationRouting({ name: 'b', ownLog: { encoding: 'TEXT' } }),
      applicationRouting({ name: 'c', ownLog: { encoding: null } }),
    ],
    [record('a', []), record('b', []), record('a', []), record('c', [])],
  );
  t.match(posted, [{ application: undefined }, { application: 'b' }, { application: 'c' }]);
  t.equal(posted[0]?.lines.split('\n').length, 3);
  t.match(posted[1]?.lines, /^1970-01-01T00:00:00\.000Z GET \/ 200/, 'with the day, for a file');
  t.match(posted[2]?.lines, /^\{/);
});

t.test('calls of a silent deployment do not show, and what called nothing else has no line', async (t) => {
  const loud = deploymentRouting({ name: 'Loud' });
  const posted = lines(
    [applicationRouting({ name: 'a', deployments: [loud, deploymentRouting({ name: 'Quiet', silent: true })] })],
    [record('a', ['a/Quiet']), record('a', ['a/Loud', 'a/Quiet']), record('a', [])],
  );
  const told = (posted[0]?.lines ?? '')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { deployments: { deployment: string }[] });
  t.same(
    told.map(({ deployments }) => deployments.map(({ deployment }) => deployment)),
    [['a/Loud'], []],
  );
});
