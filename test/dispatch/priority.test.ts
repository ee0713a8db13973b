import t from 'tap';
import { isPriority, priorityOf, rankOf } from '../../src/dispatch/priority.ts';
import { priorityOfHeaders } from '../../src/protocol/routing-headers.ts';

const call = (given: Partial<Parameters<typeof priorityOf>[0]>) => ({
  priority: undefined,
  http: undefined,
  parent: undefined,
  ...given,
});
const http = (priority: string) => ({ headers: ['host', 'a', 'x-priority', priority] });

t.test('a header of one figure from 0 to 7 says how urgent a request is, anything else says nothing', async (t) => {
  for (const [text, priority] of [
    ['0', 0],
    ['7', 7],
    ['8', undefined],
    ['-1', undefined],
    ['1.5', undefined],
    ['', undefined],
    ['high', undefined],
    ['03', undefined],
  ] as const)
    t.equal(priorityOfHeaders(http(text).headers), priority, text);
  t.equal(priorityOfHeaders([]), undefined);
});

t.test('what is said for a call counts before its header, that before its parent, and 3 where nothing is said', async (t) => {
  const parent = call({ http: http('6') });
  t.equal(priorityOf(call({})), 3);
  t.equal(priorityOf(call({ priority: 0, http: http('1'), parent })), 0);
  t.equal(priorityOf(call({ http: http('1'), parent })), 1);
  t.equal(priorityOf(call({ http: http('urgent'), parent })), 6, 'a header that says nothing');
  t.equal(priorityOf(call({ parent: call({ parent: call({ priority: 5 }) }) })), 5, 'of whoever began it all');
});

t.test('a priority is a whole number from 0 to 7', async (t) => {
  t.same([0, 3, 7].map(isPriority), [true, true, true]);
  t.same([-1, 8, 1.5, '1', null, undefined, Number.NaN].map(isPriority), new Array(7).fill(false));
});

t.test('each step counts as a second of waiting: the least urgent is before all that come 7 seconds later', async (t) => {
  t.ok(rankOf({ arrivedAt: 100, priority: 0 }) < rankOf({ arrivedAt: 0, priority: 1 }));
  t.ok(rankOf({ arrivedAt: 1001, priority: 0 }) > rankOf({ arrivedAt: 0, priority: 1 }));
  t.ok(rankOf({ arrivedAt: 7001, priority: 0 }) > rankOf({ arrivedAt: 0, priority: 7 }));
  t.equal(rankOf({ arrivedAt: 5 }), rankOf({ arrivedAt: 5, priority: 3 }));
});
