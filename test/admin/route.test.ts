import t from 'tap';
import { AdminError, findRoute, type Method, type Route } from '../../src/admin/route.ts';

const route = (method: Method, path: string): Route => ({ method, path, handle: () => ({ status: 200 }) });
const routes = [
  route('GET', '/api/serve/applications/'),
  route('PUT', '/api/serve/applications/'),
  route('POST', '/api/v1/applications/:app/deployments/:deployment/scale'),
];
const refusal = (method: string, path: string): Pick<AdminError, 'status' | 'message' | 'headers'> => {
  try {
    findRoute(routes, method, path);
  } catch (error) {
    if (error instanceof AdminError) return { status: error.status, message: error.message, headers: error.headers };
  }
  throw new Error('it was found');
};

t.test('a path is found with and without its last slash, by its method; HEAD is GET', async (t) => {
  for (const path of ['/api/serve/applications', '/api/serve/applications/'])
    for (const method of ['GET', 'PUT', 'HEAD'])
      t.equal(findRoute(routes, method, path).route.method, method === 'HEAD' ? 'GET' : method);
});

t.test('what stands for a name is decoded', async (t) => {
  const { params } = findRoute(routes, 'POST', '/api/v1/applications/a%20b/deployments/C/scale');
  t.same(params, { app: 'a b', deployment: 'C' });
  t.match(refusal('POST', '/api/v1/applications/%/deployments/C/scale'), { status: 400 });
});

t.test('an unknown path says what there is, a wrong method what the path takes', async (t) => {
  t.match(refusal('GET', '/nope'), { status: 404, message: /\/nope; there are \/api\/serve\/applications\/, \/api\/v1/ });
  t.match(refusal('POST', '/api/serve/applications'), {
    status: 405,
    message: 'expected GET or PUT, got POST',
    headers: { allow: 'GET, PUT' },
  });
});
