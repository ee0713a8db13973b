import t from 'tap';
import { requestScope } from '../../src/proxy/request-scope.ts';

const scope = (body: string, head: object = {}) =>
  requestScope(
    { method: 'POST', path: '/a%20b', query: 'x=1&x=2&y=%20', headers: ['x-a', 'one', 'x-a', 'two'], ...head },
    Buffer.from(body),
  );

t.test('query, headers and path are those that were sent, null where there is none', async (t) => {
  const { path, ...rest } = {
    path: scope('').path.json,
    query: scope('').query('x').json,
    y: scope('').query('y').json,
    z: scope('').query('z').json,
  };
  t.equal(path, '/a%20b');
  t.same(rest, { query: '1', y: ' ', z: null });
  t.same([scope('').header('x-a').json, scope('').header('x-b').json], ['one', null]);
});

t.test('a body is parsed once, keys with a dollar are a user’s keys, and bytes are not read', async (t) => {
  const each = scope('{"$seg":0}');
  t.equal(each.json, each.json);
  t.same(each.json.json, { $$seg: 0 });
  t.equal(Buffer.from(scope('not json').body.segments[0]?.bytes ?? []).toString(), 'not json');
});
