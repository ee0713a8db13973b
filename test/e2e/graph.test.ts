/** Deployments that work together: steps that the daemon runs, and code that calls code through handles. */
import { existsSync, readFileSync } from 'node:fs';
import { request } from 'node:http';
import t from 'tap';
import { type DaemonRig, launchDaemon, startDaemon, until } from '../support/daemon-rig.ts';
import { configOf, ECHO, HEAD, NEIGHBOUR, single } from './configs.ts';

t.setTimeout(120_000);

const STEPS = `import { existsSync, writeFileSync } from 'node:fs';
import { HttpError } from 'serve-daemon';
/** Says that it is here, and waits for the other. */
export async function meet({ me, other }) {
  writeFileSync(me, '');
  while (!existsSync(other)) await new Promise((resolve) => setTimeout(resolve, 5));
  return me + ' met ' + other;
}
export async function list({ tag, count }) { return Array.from({ length: count }, (_, n) => ({ tag, n })); }
export class Batch { async call(items) { return items.map((item) => ({ ...item, company: items.map(({ tag }) => tag) })); } }
export async function fails(input) {
  if (input === 'http') throw new HttpError(422, 'expected more of the step');
  if (input === 'fail') throw new RangeError('the secret of the step');
  return 'was ' + input;
}
`;

const graphOf = (name: string, deployments: object[], graph: object) => ({
  name,
  route_prefix: `/${name}`,
  deployments,
  graph,
});

const BATCH = { name: 'Batch', import_path: './steps.ts:Batch', batching: { max_batch_size: 8, batch_wait_timeout_s: 10 } };
const FAILS = { name: 'Fails', import_path: './steps.ts:fails' };

t.test('steps that the daemon runs', async (t) => {
  const config = configOf([
    NEIGHBOUR,
    graphOf('meet', [{ name: 'Meet', import_path: './steps.ts:meet' }], {
      steps: {
        left: { call: 'Meet', input: { me: 'left', other: 'right' } },
        right: { call: 'Meet', input: { me: 'right', other: 'left' } },
      },
      output: { both: ['$left', '$right'], query: '$request.query.q', path: '$request.path', literal: '$$5' },
    }),
    graphOf('each', [{ name: 'List', import_path: './steps.ts:list' }, BATCH], {
      steps: {
        items: { call: 'List', input: '$request.json' },
        done: { call: 'Batch', for_each: '$items', input: { tag: '$item.tag', n: '$item.n', index: '$index' } },
      },
      output: '$done',
    }),
    graphOf('fails', [FAILS], { steps: { only: { call: 'Fails', input: '$request.json' } } }),
    graphOf('minds', [FAILS], {
      steps: {
        each: { call: 'Fails', for_each: '$request.json', on_error: { value: { instead: 'nothing' } } },
      },
    }),
  ]);
  await using daemon = await startDaemon(config, { files: { 'steps.ts': STEPS, 'echo.ts': ECHO } });

  await t.test('steps that need nothing of each other run side by side, and output is made of them', async (t) => {
    const answer = await daemon.ask('/meet/x?q=here', { headers: { 'x-request-id': 'meet', 'x-request-timeout-seconds': '10' } });
    t.same(JSON.parse(answer.text), {
      both: ['left met right', 'right met left'],
      query: 'here',
      path: '/meet/x',
      literal: '$5',
    });
    t.match(await daemon.access('meet'), { deployments: [{ deployment: 'meet/Meet', calls: 2 }] });
  });

  await t.test('items of for_each share batches with those of other clients, and come back in order', async (t) => {
    // Eight fill a batch, which would wait for ten seconds else: neither client can have its answer without the other.
    const [a, b] = await Promise.all([
      daemon.post('/each', { tag: 'a', count: 5 }, { 'x-request-timeout-seconds': '8', 'x-request-id': 'each-a' }),
      daemon.post('/each', { tag: 'b', count: 3 }, { 'x-request-timeout-seconds': '8', 'x-request-id': 'each-b' }),
    ]);
    for (const [answer, tag, count] of [
      [a, 'a', 5],
      [b, 'b', 3],
    ] as const) {
      t.equal(answer.status, 200);
      const items = JSON.parse(answer.text) as { tag: string; n: number; index: number; company: string[] }[];
      t.same(
        items.map((item) => [item.tag, item.n, item.index]),
        Array.from({ length: count }, (_, n) => [tag, n, n]),
      );
      for (const { company } of items) t.same([...company].sort(), [...'aaaaabbb']);
    }
    t.match(await daemon.access('each-a'), { deployments: [{ calls: 1 }, { deployment: 'each/Batch', calls: 5, batch: 8 }] });
  });

  await t.test('a list of no items is a list of no results', async (t) => {
    t.equal((await daemon.post('/each', { tag: 'a', count: 0 })).text, '[]');
  });

  await t.test('a step that throws is 500 for the client, and the detail is in the log only', async (t) => {
    const answer = await daemon.post('/fails', 'fail', { 'x-request-id': 'step-fails' });
    t.match(answer, { status: 500, text: 'Internal Server Error', headers: { 'x-serve-error': 'USER_ERROR' } });
    t.notMatch(JSON.stringify(answer.headers) + answer.text, /secret/);
    const line = await daemon.waitForLog((line) => line.msg === 'request failed' && line['requestId'] === 'step-fails');
    t.match(line, {
      source: 'fails/Fails',
      error: { name: 'RangeError', message: 'the secret of the step', stack: /steps\.ts:\d+/ },
    });
    t.equal((await daemon.post('/fails', 'well')).text, 'was well');
  });

  await t.test('an HttpError of a step reaches the client with its status and text', async (t) => {
    t.match(await daemon.post('/fails', 'http'), { status: 422, text: 'expected more of the step' });
  });

  await t.test('on_error gives a value in place of what failed, item by item', async (t) => {
    const answer = await daemon.post('/minds', ['a', 'fail', 'b', 'http']);
    t.same(JSON.parse(answer.text), ['was a', { instead: 'nothing' }, 'was b', { instead: 'nothing' }]);
  });

  await t.test('a request that the steps cannot read is 400, and says what was expected', async (t) => {
    const bad = await daemon.post('/minds', { no: 'list' });
    t.match(bad, { status: 400, text: '`for_each` of the step `each`: expected a list, got an object' });
    const json = await daemon.ask('/fails', { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{oops' });
    t.match(json, { status: 400, text: /unexpected "o" at line 1, column 2/ });
    t.equal((await daemon.post('/neighbour', 'well')).text, 'well');
  });

  t.same(await daemon.stop(), { code: 0, signal: null });
});

t.test('a graph with a mistake is refused at load', async (t) => {
  const appOf = (graph: string) => `${HEAD}applications:
- name: app
  route_prefix: /app
  deployments:
  - {name: One, import_path: ./echo.ts:echo}
  - {name: Two, import_path: ./echo.ts:echo}
  graph:
${graph}
- {name: neighbour, route_prefix: /neighbour, deployments: [{name: Only, import_path: ./echo.ts:echo}]}
`;
  const good = appOf('    steps: {one: {call: One, input: $request.json}, two: {call: Two, input: $one}}');
  const files = { 'echo.ts': ECHO };
  const mistakes: [string, string, string, RegExp][] = [
    [
      'an unknown reference is named with line and column, and with what may be meant',
      '    steps:\n      one: {call: One, input: $request.json}\n      two: {call: Two, input: {x: $onne.deep}}',
      '$onne.deep',
      /\$onne.*`\$?one`/,
    ],
    [
      'an unknown deployment is named with line and column, and with what may be meant',
      '    steps:\n      one: {call: Onne, input: $request.json}\n      two: {call: Two, input: $one}',
      'Onne',
      /no deployment `Onne`.*`One`/,
    ],
    [
      'a circle of steps is named',
      '    steps:\n      one: {call: One, input: $two}\n      two: {call: Two, input: $one}',
      '{call: One, input: $two}',
      /wait for each other: one → two → one/,
    ],
    [
      'a circle of calls is named',
      '    ingress: One\n    calls:\n      One: {two: Two}\n      Two: {one: One}',
      'One: {two',
      /circle.*app\/One → app\/Two → app\/One/,
    ],
  ];

  await t.test('at the start: exit code 1', async (t) => {
    const [, graph, place, text] = mistakes[0] as (typeof mistakes)[0];
    const config = appOf(graph);
    await using daemon = await launchDaemon(config, { files });
    t.same(await daemon.exited, { code: 1, signal: null });
    t.match(daemon.errors, text);
    t.match(daemon.errors, `config.yaml:${placeOf(config, place).join(':')}: error`);
  });

  await using daemon = await startDaemon(good, { files });
  for (const [title, graph, place, text] of mistakes) {
    await t.test(title, async (t) => {
      const from = daemon.log.length;
      const config = appOf(graph);
      await daemon.save(config);
      const rejected = await daemon.waitForLog((line) => line.msg.startsWith('the config was rejected'), from);
      const [diagnostic] = rejected['diagnostics'] as { line: number; column: number; message: string }[];
      t.match(diagnostic?.message, text);
      t.same([diagnostic?.line, diagnostic?.column], placeOf(config, place));
      t.equal((await daemon.post('/app', 'still here')).text, 'still here');
      t.equal((await daemon.post('/neighbour', 'well')).text, 'well');
    });
  }
  t.same(await daemon.stop(), { code: 0, signal: null });
});

/** Line and column of a text in a config, from 1. */
const placeOf = (config: string, text: string): [number, number] => {
  const before = config.slice(0, config.indexOf(text)).split('\n');
  return [before.length, (before.at(-1)?.length ?? 0) + 1];
};

const CALLS = `import { appendFileSync, existsSync } from 'node:fs';
import { HttpError } from 'serve-daemon';
const opened = async (file, signal) => { while (!existsSync(file) && !signal?.aborted) await new Promise((resolve) => setTimeout(resolve, 5)); };
export class Child {
  async call(input) { return { got: input, kind: input?.constructor?.name }; }
  async two(a, b) { return a + '-' + b; }
  async fail(how) {
    if (how === 'http') throw new HttpError(418, 'I am a child', { 'x-child': 'yes' });
    if (how === 'type') throw new TypeError('a child of types', { cause: new RangeError('its cause') });
    throw how;
  }
  async *words(count) { try { for (let n = 0; n < count; n++) yield 'word ' + n + '\\n'; } finally { appendFileSync('ended', 'words ' + count + '\\n'); } }
  async wait(name, context) {
    appendFileSync('waits', 'began ' + name + ' ' + (context.deadline > Date.now()) + '\\n');
    await new Promise((resolve) => context.signal.addEventListener('abort', resolve));
    appendFileSync('waits', 'aborted ' + name + '\\n');
    await opened('over');
    return 'nobody reads this';
  }
}
export class Narrow { async call(file, { signal }) { await opened(file, signal); return 'through'; } }
export class Parent {
  constructor({ child, narrow }) { this.child = child; this.narrow = narrow; }
  async call(input, context) {
    switch (input.do) {
      case 'echo': return { one: await this.child.call(new Date(0)), two: await this.child.two('a', 'b'), bytes: (await this.child.call(new Uint8Array([1, 2]))).kind };
      case 'caught':
        try { await this.child.fail(input.how); } catch (error) {
          const { name, message, code, source, details, cause } = error;
          return { name, message, code, source, details, cause: cause && { name: cause.name, message: cause.message }, isError: error instanceof Error };
        }
        return 'nothing was thrown';
      case 'fail': return await this.child.fail(input.how);
      case 'unknown': return await this.child.nothing();
      case 'wait': return await this.child.wait(input.name);
      case 'timeout':
        try { return await this.child.options({ timeoutS: 0.2 }).wait(input.name); } catch (error) { return { code: error.code, mine: context.signal.aborted }; }
      case 'all': return await this.child.words(input.count);
      case 'narrow': return await this.narrow.call(input.file);
      case 'words': return this.#loud(input.count);
    }
  }
  async *#loud(count) { for await (const word of this.child.words(count)) yield word.toUpperCase(); }
}
`;

const wired = (calls: object) => ({
  name: 'code',
  route_prefix: '/code',
  deployments: [
    { name: 'Parent', import_path: './calls.ts:Parent', max_ongoing_requests: 20 },
    { name: 'Child', import_path: './calls.ts:Child', max_ongoing_requests: 20 },
    { name: 'Narrow', import_path: './calls.ts:Narrow', max_ongoing_requests: 1, max_queued_requests: 0 },
  ],
  graph: { ingress: 'Parent', calls },
});
const ALL = { Parent: { child: 'Child', narrow: 'Narrow' } };

t.test('code that calls code through handles', async (t) => {
  await using daemon = await startDaemon(configOf([NEIGHBOUR, wired(ALL)]), { files: { 'calls.ts': CALLS, 'echo.ts': ECHO } });
  const read = (name: string): string => (existsSync(daemon.path(name)) ? readFileSync(daemon.path(name), 'utf8') : '');

  await t.test('arguments and results cross as what they are, and the access log names both', async (t) => {
    const answer = await daemon.post('/code', { do: 'echo' }, { 'x-request-id': 'crosses' });
    t.same(JSON.parse(answer.text), { one: { got: '1970-01-01T00:00:00.000Z', kind: 'Date' }, two: 'a-b', bytes: 'Buffer' });
    const line = await daemon.access('crosses');
    t.match(line, { deployments: [{ deployment: 'code/Parent' }, { deployment: 'code/Child', calls: 3 }] });
  });

  await t.test('the caller gets the error of the child: name, message, code, source and cause', async (t) => {
    t.same(JSON.parse((await daemon.post('/code', { do: 'caught', how: 'type' })).text), {
      name: 'TypeError',
      message: 'a child of types',
      code: 'USER_ERROR',
      source: 'code/Child',
      details: {},
      cause: { name: 'RangeError', message: 'its cause' },
      isError: true,
    });
    t.match(JSON.parse((await daemon.post('/code', { do: 'caught', how: 'http' })).text), {
      name: 'HttpError',
      message: 'I am a child',
      code: 'HTTP_ERROR',
      details: { status: 418, headers: { 'x-child': 'yes' } },
    });
    t.match(JSON.parse((await daemon.post('/code', { do: 'caught', how: 'a bare text' })).text), { message: 'a bare text' });
  });

  await t.test('an HttpError of the child that nobody catches keeps its status up to the client', async (t) => {
    const answer = await daemon.post('/code', { do: 'fail', how: 'http' });
    t.match(answer, { status: 418, text: 'I am a child', headers: { 'x-child': 'yes' } });
  });

  await t.test('any other error of the child is 500, and the log names the child', async (t) => {
    const answer = await daemon.post('/code', { do: 'fail', how: 'type' }, { 'x-request-id': 'child-fails' });
    t.match(answer, { status: 500, text: 'Internal Server Error' });
    const line = await daemon.waitForLog((line) => line.msg === 'request failed' && line['requestId'] === 'child-fails');
    t.match(line, { source: 'code/Child', error: { message: 'a child of types' } });
  });

  await t.test('a method that the child has not is refused by name', async (t) => {
    const answer = await daemon.post('/code', { do: 'unknown' }, { 'x-request-id': 'no-method' });
    t.match(answer, { status: 500, text: 'Internal Server Error', headers: { 'x-serve-error': 'CALL_REFUSED' } });
    const line = await daemon.waitForLog((line) => line.msg === 'request failed' && line['requestId'] === 'no-method');
    t.match(line['error'], { message: /code\/Child has no method `nothing`; it has call, two, fail, words, wait/ });
  });

  await t.test('a full queue of the child is 503 for the client, with Retry-After', async (t) => {
    const first = daemon.post('/code', { do: 'narrow', file: 'narrow' });
    await daemon.when('one is in work', ({ applications }) => applications['code']?.deployments['Narrow']?.ongoing === 1);
    t.match(await daemon.post('/code', { do: 'narrow', file: 'narrow' }), {
      status: 503,
      headers: { 'x-serve-error': 'QUEUE_FULL', 'retry-after': '1' },
    });
    await daemon.write('narrow', '');
    t.match(await first, { status: 200, text: 'through' });
  });

  await t.test('when the client leaves, the signal of the child is aborted', async (t) => {
    const gone = new AbortController();
    const lost = daemon.ask('/code', {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-request-id': 'leaves' },
      body: JSON.stringify({ do: 'wait', name: 'left' }),
      signal: gone.signal,
    });
    await until('the child has begun', () => read('waits').includes('began left false'));
    t.notMatch(read('waits'), 'aborted left');
    gone.abort();
    await t.rejects(lost);
    await until('the child was told', () => read('waits').includes('aborted left'));
    t.match(await daemon.access('leaves'), { status: 499 });
  });

  await t.test('the deadline of the client reaches the child: 408, and its signal is aborted', async (t) => {
    const answer = await daemon.post('/code', { do: 'wait', name: 'timed' }, { 'x-request-timeout-seconds': '0.5' });
    t.match(answer, { status: 408, headers: { 'x-serve-error': 'DEADLINE_EXCEEDED' } });
    await until('the child was told', () => read('waits').includes('aborted timed'));
    t.match(read('waits'), 'began timed true', 'the child knew its deadline');
  });

  await t.test('a time-out of one call ends that call only', async (t) => {
    const answer = await daemon.post('/code', { do: 'timeout', name: 'brief' });
    t.same(JSON.parse(answer.text), { code: 'DEADLINE_EXCEEDED', mine: false });
    await until('the child was told', () => read('waits').includes('aborted brief'));
    await daemon.write('over', '');
  });

  await t.test('a generator of the child is streamed through the parent, or awaited as a whole', async (t) => {
    const streamed = await daemon.post('/code', { do: 'words', count: 500 });
    t.equal(streamed.text, Array.from({ length: 500 }, (_, n) => `WORD ${n}\n`).join(''));
    t.equal(streamed.headers['content-type'], 'text/plain; charset=utf-8');
    t.same(JSON.parse((await daemon.post('/code', { do: 'all', count: 3 })).text), ['word 0\n', 'word 1\n', 'word 2\n']);
  });

  await t.test('a client that leaves a stream ends the generator of the child', async () => {
    await firstBytes(daemon, '/code', { do: 'words', count: 10_000_000 });
    await until('its finally ran', () => read('ended').includes('words 10000000'));
    await daemon.when('nothing is left in work', ({ applications }) =>
      Object.values(applications['code']?.deployments ?? {}).every(({ ongoing }) => ongoing === 0),
    );
  });

  await t.test('an edge that is deleted: the call is refused by name, nothing restarts; put back, it goes through', async (t) => {
    const before = [await daemon.pids('code', 'Parent'), await daemon.pids('code', 'Child')];
    await daemon.apply(configOf([NEIGHBOUR, wired({ Parent: { narrow: 'Narrow' } })]));
    const answer = await daemon.post('/code', { do: 'echo' }, { 'x-request-id': 'refused' });
    t.match(answer, { status: 500, text: 'Internal Server Error', headers: { 'x-serve-error': 'CALL_REFUSED' } });
    const line = await daemon.waitForLog((line) => line.msg === 'request failed' && line['requestId'] === 'refused');
    t.match(line['error'], { message: /code\/Parent calls `child`, which the graph of application code does not declare: add/ });
    t.equal((await daemon.post('/neighbour', 'well')).text, 'well');
    await daemon.apply(configOf([NEIGHBOUR, wired(ALL)]));
    t.equal((await daemon.post('/code', { do: 'echo' })).status, 200);
    t.same([await daemon.pids('code', 'Parent'), await daemon.pids('code', 'Child')], before);
  });

  t.same(await daemon.stop(), { code: 0, signal: null });
});

t.test('a graph of one application calls a deployment of another', async (t) => {
  const config = configOf([
    single('far', '/far', { import_path: './echo.ts:echo' }),
    graphOf('near', [{ name: 'List', import_path: './steps.ts:list' }], {
      steps: {
        list: { call: 'List', input: { tag: 'x', count: 2 } },
        far: { call: 'far/Only', for_each: '$list', input: '$item.n' },
      },
      output: '$far',
    }),
  ]);
  await using daemon = await startDaemon(config, { files: { 'steps.ts': STEPS, 'echo.ts': ECHO } });
  t.equal((await daemon.ask('/near')).text, '[0,1]');
  t.same(await daemon.stop(), { code: 0, signal: null });
});

/** Posts, and leaves when the first bytes of the answer are there. */
const firstBytes = (daemon: DaemonRig, path: string, value: unknown): Promise<void> =>
  new Promise((resolve, reject) => {
    const outgoing = request(
      daemon.url + path,
      { method: 'POST', headers: { 'content-type': 'application/json' } },
      (incoming) => {
        incoming.on('error', () => {});
        incoming.once('data', () => {
          outgoing.destroy();
          resolve();
        });
      },
    );
    outgoing.on('error', reject);
    outgoing.end(JSON.stringify(value));
  });
