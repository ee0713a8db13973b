import t from 'tap';
import type { ApplicationRouting } from '../../src/domain/snapshot.ts';
import { modelList, modelsByFolder } from '../../src/proxy/model-list.ts';
import { applicationRouting } from '../support/routing.ts';

const routing = (name: string, routePrefix: string, more: Partial<ApplicationRouting> = {}): ApplicationRouting =>
  applicationRouting({ name, routePrefix, deployments: [], ...more });
const zoo = routing('zoo', '/zoo', { ingress: { kind: 'models' } });
const of = (name: string, unavailable: string | null = null) =>
  routing(`zoo.${name}`, `/zoo/${name}`, { models: [name], repository: 'zoo', unavailable });
const other = routing('other', '/other', { models: ['x'] });
const ask = (method: string, path: string, applications = [zoo, of('a'), of('b', 'it is broken'), other]) =>
  modelList(
    zoo,
    modelsByFolder({ applications }).get('zoo') ?? [],
    ({ unavailable }, model) => unavailable ?? (model === 'gone' ? 'no replica is ready' : undefined),
    method,
    path,
  );

t.test('its own models, whether they serve or not', async (t) => {
  const expected = {
    models: [
      { name: 'a', route: '/zoo/a', state: 'READY', reason: '' },
      { name: 'b', route: '/zoo/b', state: 'UNAVAILABLE', reason: 'it is broken' },
    ],
  };
  for (const path of ['/zoo', '/zoo/']) t.same(ask('GET', path), expected);
  t.same(ask('HEAD', '/zoo'), expected);
  t.same(ask('GET', '/zoo', [zoo, other]), { models: [] });
});

t.test('one that serves and whose replicas have gone is not ready, in the order of names', async (t) => {
  t.match(ask('GET', '/zoo', [of('gone'), zoo, of('a')]), {
    models: [
      { name: 'a', state: 'READY' },
      { name: 'gone', state: 'UNAVAILABLE', reason: 'no replica is ready' },
    ],
  });
});

t.test('anything else is told what there is', async (t) => {
  t.throws(() => ask('GET', '/zoo/c'), { code: 'ROUTE_NOT_FOUND', message: /There is a, b\.$/ });
  t.throws(() => ask('GET', '/zoo/c', [zoo]), { message: /There is none\.$/ });
  const many = Array.from({ length: 30 }, (_, index) => of(`m${String(index).padStart(2, '0')}`));
  t.throws(() => ask('GET', '/zoo/c', [zoo, ...many]), { message: /m19 and 10 more\.$/ });
  t.throws(() => ask('POST', '/zoo'), { code: 'METHOD_NOT_ALLOWED' });
});
