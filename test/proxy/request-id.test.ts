import t from 'tap';
import { newRequestId } from '../../src/proxy/request-id.ts';

t.test('ids are UUIDs of version 4, and no two are the same', async (t) => {
  const ids = Array.from({ length: 1000 }, newRequestId);
  for (const id of ids) t.match(id, /^[\da-f]{8}-[\da-f]{4}-4[\da-f]{3}-[89ab][\da-f]{3}-[\da-f]{12}$/);
  t.equal(new Set(ids).size, ids.length);
});
