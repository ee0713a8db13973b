import t from 'tap';
import { RouteTable } from '../../src/proxy/route-table.ts';

t.test('the longest prefix that ends where a segment ends takes the path', async (t) => {
  const routes = new RouteTable(['/', '/a', '/a/b', '/ab'].map((prefix) => [prefix, prefix] as const));
  const table = {
    '/': '/',
    '/a': '/a',
    '/a/': '/a',
    '/a/x': '/a',
    '/a/b': '/a/b',
    '/a/b/c': '/a/b',
    '/a/bc': '/a',
    '/ab': '/ab',
    '/abc': '/',
    '/A': '/',
  };
  for (const [path, prefix] of Object.entries(table)) t.equal(routes.match(path), prefix, path);
});

t.test('without a route for the rest a path may have none', async (t) => {
  const routes = new RouteTable([['/a', 1]]);
  t.equal(routes.match('/'), undefined);
  t.equal(routes.match('/ab'), undefined);
  t.equal(new RouteTable([]).match('/'), undefined);
});

t.test('hundreds of routes, and paths of nothing but slashes', async (t) => {
  const prefixes = Array.from({ length: 500 }, (_, index) => `/models/m${index}`);
  const routes = new RouteTable(['/models', ...prefixes].map((prefix) => [prefix, prefix] as const));
  for (const prefix of prefixes) t.equal(routes.match(`${prefix}/x`), prefix);
  t.equal(routes.match('/models/m500'), '/models');
  t.equal(routes.match('/'.repeat(16_000)), undefined);
});
