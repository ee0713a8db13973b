/** Under which name a model is found, and when the protocol is on at all. */
import t from 'tap';
import type { ApplicationRouting } from '../../src/domain/snapshot.ts';
import { InferenceModels } from '../../src/proxy/inference-models.ts';
import { applicationRouting } from '../support/routing.ts';

const said = (name: string, routePrefix: string | null = `/${name}`): ApplicationRouting =>
  applicationRouting({ name, routePrefix, models: ['M'] });
const inFolder = (repository: string, unavailable: string | null = null, model = 'M'): ApplicationRouting =>
  applicationRouting({
    name: `${repository}.${model}`,
    repository,
    routePrefix: `/${repository}/${model}`,
    models: [model],
    unavailable,
  });
/** By application: the name that its model has. */
const namesOf = (...applications: readonly ApplicationRouting[]) =>
  Object.fromEntries(new InferenceModels({ applications }).all.map(({ application, name }) => [application.name, name]));

t.test('a name that the config says is taken away by no folder', async (t) => {
  t.same(namesOf(inFolder('zoo'), said('api')), { api: 'M', 'zoo.M': 'zoo/M' });
  t.same(namesOf(said('api'), inFolder('zoo', 'it is broken')), { api: 'M', 'zoo.M': 'zoo/M' });
  t.same(namesOf(said('a'), said('b'), inFolder('zoo')), { a: 'a/M', b: 'b/M', 'zoo.M': 'zoo/M' }, 'nobody, if two say it');
  const models = new InferenceModels({ applications: [said('api'), inFolder('zoo')] });
  t.equal(models.get('M').application.name, 'api');
  t.equal(models.get('zoo/M').application.name, 'zoo.M', 'by its full name each is found');
});

t.test('of folders the first has the name, and one that does not serve takes it from none that does', async (t) => {
  t.same(namesOf(inFolder('one'), inFolder('two')), { 'one.M': 'M', 'two.M': 'two/M' });
  t.same(namesOf(inFolder('one', 'it is broken'), inFolder('two')), { 'one.M': 'one/M', 'two.M': 'M' });
  t.same(namesOf(inFolder('one', 'x'), inFolder('two', 'x')), { 'one.M': 'M', 'two.M': 'two/M' });
});

t.test('the path of the protocol is taken by what the config says, never by a folder', async (t) => {
  const isOn = (...applications: readonly ApplicationRouting[]) => new InferenceModels({ applications }).isOn;
  const v2 = { ...inFolder('zoo', 'it is refused', 'v2'), routePrefix: '/v2' };
  t.equal(isOn(inFolder('zoo'), v2), true);
  t.equal(isOn(inFolder('zoo'), said('own', '/v2')), false);
  t.equal(isOn(inFolder('zoo'), said('own', '/v2/below')), false);
  t.equal(isOn(said('own', null)), false);
});
