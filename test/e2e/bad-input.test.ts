/** Bad input of every kind gets a clear error, and nothing else suffers. */
import { mkdir, rename, rm, symlink, unlink } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import t from 'tap';
import { type DaemonRig, launchDaemon, startDaemon, until } from '../support/daemon-rig.ts';
import { addModel } from '../support/onnx-writer.ts';
import { configOf, ECHO, HEAD, NEIGHBOUR, single } from './configs.ts';

t.setTimeout(120_000);

const GOOD = configOf([NEIGHBOUR]);
const files = { 'echo.ts': ECHO };
const REJECTED = 'the config was rejected: what served before goes on serving';

/** By title: what the file is, and what is said of it. */
const CONFIGS: readonly (readonly [string, string | ((daemon: DaemonRig) => Promise<void>), RegExp])[] = [
  ['that is empty', '', /expected at least `applications: \[\]`, got an empty file/],
  ['that is no mapping', 'just text\n', /expected a mapping with `applications`, got a single value/],
  ['that is not YAML', 'applications: [}\n', /config\.yaml:1:\d+: error YAML_SYNTAX/],
  ['with a wrong type', `${HEAD}applications: 5\n`, /config\.yaml:3:15: error.*expected a list/s],
  ['with text for a number', GOOD.replace('port: 0}', 'port: many}'), /http_options\.port.*expected.*integer.*many/s],
  [
    'with an unknown key',
    GOOD.replace('"deployments"', '"deployment"'),
    /config\.yaml:4:\d+: error UNKNOWN_KEY.*`deployment`.*`deployments`/s,
  ],
  [
    'that asks for gRPC',
    `${GOOD}grpc_options: {grpc_servicer_functions: ['./service.proto:my.Service']}\n`,
    /grpc_servicer_functions.*not served yet/s,
  ],
  ['in UTF-16', (daemon) => daemon.write('config.yaml', Buffer.from(`\ufeff${GOOD}`, 'utf16le')), /expected UTF-8, got UTF-16/],
  [
    'of 5 MiB',
    `${GOOD}${`# ${'x'.repeat(1021)}\n`.repeat(5 * 1024)}`,
    /expected at most 4194304 bytes \(4 MiB\), got (\d+|more)/,
  ],
  ['of 4 MiB of lists', `x: ${'['.repeat(4_000_000)}`, /nested at most 64 deep/],
  ['that is missing', (daemon) => unlink(daemon.config), /there is no such file/],
  [
    'that is a symlink to itself',
    async (daemon) => {
      await symlink('config.yaml', daemon.path('loop'));
      await rename(daemon.path('loop'), daemon.config);
    },
    /it cannot be read: ELOOP/,
  ],
  [
    'that is a folder',
    async (daemon) => {
      await unlink(daemon.config);
      await mkdir(daemon.config);
    },
    /expected a file, got a folder/,
  ],
];

t.test('a daemon does not start on a config', async (t) => {
  for (const [title, content, text] of CONFIGS) {
    await t.test(title, async (t) => {
      // Made beside a daemon that has ended, so that the file is in place before one starts.
      await using first = await launchDaemon('applications: 0', { files });
      await first.exited;
      if (typeof content === 'string') await first.save(content);
      else await content(first);
      await using daemon = await launchDaemon(undefined, { folder: first.root });
      t.same(await daemon.exited, { code: 1, signal: null });
      t.match(daemon.errors, /^serve-daemon could not start:\n/);
      t.match(daemon.errors, text);
      t.notMatch(daemon.errors, /\n {4}at /, 'no stack');
      t.ok(daemon.errors.length < 4000, `${daemon.errors.length} characters`);
    });
  }
});

t.test('a daemon that runs goes on when its config becomes one', async (t) => {
  await using daemon = await startDaemon(GOOD, { files });
  const pids = await daemon.pids('neighbour', 'Only');
  for (const [title, content, text] of CONFIGS) {
    await t.test(title, async (t) => {
      const from = daemon.log.length;
      if (typeof content === 'string') await daemon.save(content);
      else await content(daemon);
      // What is between two states (no file, before there is a folder) may be told too.
      await daemon.waitForLog((line) => line.msg === REJECTED && text.test(shown(line['diagnostics'])), from);
      const { config, applications } = await daemon.status();
      t.match(shown(config.errors), text);
      t.equal(applications['neighbour']?.status, 'RUNNING');
      t.equal((await daemon.post('/neighbour', 'well')).text, 'well');
      await rm(daemon.config, { recursive: true, force: true });
      await daemon.save(GOOD);
      await daemon.when('no errors', ({ config }) => config.errors.length === 0);
    });
  }
  t.same(await daemon.pids('neighbour', 'Only'), pids);
  t.same(await daemon.stop(), { code: 0, signal: null });
});

/** Diagnostics as they are shown. */
const shown = (diagnostics: unknown): string =>
  (diagnostics as { file: string; line: number; column: number; severity: string; code: string; path: string; message: string }[])
    .map(
      ({ file, line, column, severity, code, path, message }) =>
        `${file}:${line}:${column}: ${severity} ${code} ${path} ${message}`,
    )
    .join('\n');

t.test('a port that is in use', async (t) => {
  const occupied = createServer();
  const port = await listening(occupied);
  t.teardown(() => occupied.close());
  for (const [key, head] of [
    ['http_options', HEAD.replace('host: 127.0.0.1, port: 0', `host: 127.0.0.1, port: ${port}`)],
    ['admin_options', HEAD.replace('admin_options: {port: 0', `admin_options: {port: ${port}`)],
  ] as const) {
    await t.test(`is an error that names ${key}.port, and the code is 1`, async (t) => {
      await using daemon = await launchDaemon(configOf([NEIGHBOUR], head), { files });
      t.same(await daemon.exited, { code: 1, signal: null });
      t.match(daemon.errors, `127.0.0.1:${port} is in use`);
      // Where the system tells who has it, and soon enough, that is said.
      t.ok(daemon.errors.includes(`(pid ${process.pid}): stop that`) || daemon.errors.includes('stop what listens there'));
      t.match(daemon.errors, `or set ${key}.port to another (0 for a free one)`);
      t.same(daemon.processes(), []);
    });
    await t.test(`that is saved as ${key}.port leaves the listener where it was`, async (t) => {
      await using daemon = await startDaemon(GOOD, { files });
      await daemon.save(configOf([NEIGHBOUR], head));
      const line = await daemon.waitForLog((line) => line.level >= 50);
      t.match(JSON.stringify(line), /in use|EADDRINUSE/);
      t.equal((await daemon.post('/neighbour', 'well')).text, 'well');
      t.equal((await daemon.status()).applications['neighbour']?.status, 'RUNNING');
      t.same(await daemon.stop(), { code: 0, signal: null });
    });
  }
});

const listening = (server: Server): Promise<number> =>
  new Promise((resolve, reject) => {
    server.on('error', reject);
    server.listen(0, '127.0.0.1', () => resolve((server.address() as { port: number }).port));
  });

const MODEL = addModel([1, 2]);
/** A model by its form, of an operator that there is not. */
const UNLOADABLE = Buffer.from(Buffer.from(MODEL).toString('latin1').replace('Add', 'Odd'), 'latin1');
const MODELS: readonly (readonly [string, Uint8Array | string | undefined, RegExp])[] = [
  ['missing', undefined, /missing\.onnx is missing/],
  ['text', 'this is a text, not a model\n', /text\.onnx is not an ONNX model/],
  ['empty', '', /empty\.onnx is not an ONNX model: it is empty/],
  ['truncated', MODEL.slice(0, MODEL.length - 30), /truncated\.onnx is not an ONNX model: it is cut off/],
  ['unloadable', UNLOADABLE, /Odd/],
];

t.test('models that are none', async (t) => {
  const modelFiles = Object.fromEntries(
    MODELS.flatMap(([name, content]) => (content === undefined ? [] : [[`${name}.onnx`, content]])),
  );
  const good = single('good', '/good', { model: 'good.onnx', max_constructor_retry_count: 1 });
  const apps = MODELS.map(([name]) => single(name, `/${name}`, { model: `${name}.onnx`, max_constructor_retry_count: 1 }));
  await using daemon = await startDaemon(configOf([NEIGHBOUR, good, ...apps]), {
    files: { ...files, ...modelFiles, 'good.onnx': MODEL },
  });

  await t.test('at the start each fails its own application with its own reason, and others serve', async (t) => {
    const { applications } = await daemon.status();
    for (const [name, , text] of MODELS) {
      t.equal(applications[name]?.status, 'DEPLOY_FAILED', name);
      t.match(applications[name]?.message, text);
      t.match(await daemon.ask(`/${name}`), { status: 503, text });
    }
    t.same(JSON.parse((await daemon.post('/good', [[1, 1]])).text), { y: [[2, 3]] });
    t.equal((await daemon.post('/neighbour', 'well')).text, 'well');
  });

  await t.test('a model that is mended serves', async (t) => {
    for (const [name] of MODELS) await daemon.write(`${name}.onnx`, MODEL);
    await daemon.running();
    for (const [name] of MODELS) t.same(JSON.parse((await daemon.post(`/${name}`, [[1, 1]])).text), { y: [[2, 3]] });
  });

  await t.test('while it serves each is told, and the old model goes on serving', async (t) => {
    const pids = await daemon.pids('good', 'Only');
    for (const [name, content, text] of MODELS) {
      if (content === undefined) await unlink(daemon.path('good.onnx'));
      else await daemon.write('good.onnx', content);
      const expected = new RegExp(text.source.replace(name, 'good'));
      await daemon.when(`${name}: DEPLOY_FAILED with the reason`, ({ applications }) => {
        const good = applications['good'];
        return good?.status === 'DEPLOY_FAILED' && expected.test(good.message);
      });
      t.same(JSON.parse((await daemon.post('/good', [[1, 1]])).text), { y: [[2, 3]] });
      t.equal((await daemon.post('/neighbour', 'well')).text, 'well');
      await daemon.write('good.onnx', MODEL);
      await daemon.running();
    }
    t.same(await daemon.pids('good', 'Only'), pids);
  });

  t.same(await daemon.stop(), { code: 0, signal: null });
});

const CLASSES = `export class Throws { constructor() { throw new RangeError('no constructor today'); } call() {} }
export class Never { constructor() { return new Promise(() => setInterval(() => {}, 1000)); } call() {} }
export class Stuck { constructor() { while (true); } call() {} }
export class Rejects { constructor() { return Promise.reject(new Error('rejected in time')); } call() {} }
export class Nothing { async fetch() {} }
export class Bare {}
export const number = 5;
`;
const STARTS: readonly (readonly [string, object, RegExp])[] = [
  ['import', { import_path: './import.ts:Throws' }, /the module does not want to be imported/],
  ['syntax', { import_path: './syntax.ts:Main' }, /syntax\.ts:2:\d+: .*Unexpected/],
  ['absent', { import_path: './absent.ts:Main' }, /absent\.ts/],
  ['unresolved', { import_path: './unresolved.ts:Main' }, /unresolved\.ts:1:\d+.*\.\/nowhere/],
  ['export', { import_path: './classes.ts:Throw' }, /has no export `Throw`; it has .*Throws/],
  ['number', { import_path: './classes.ts:number' }, /expected the export `number` to be a class, .*got number/],
  ['bare', { import_path: './classes.ts:Bare' }, /has no method to call: add `call\(input\)`/],
  ['throws', { import_path: './classes.ts:Throws' }, /RangeError: no constructor today/],
  ['rejects', { import_path: './classes.ts:Rejects' }, /rejected in time/],
  ['never', { import_path: './classes.ts:Never', startup_timeout_s: 1.5 }, /it was not ready within 1\.5 s/],
  ['stuck', { import_path: './classes.ts:Stuck', startup_timeout_s: 1.5 }, /it was not ready within 1\.5 s/],
  ['config', { import_path: './classes.ts:Nothing', user_config: { a: 1 } }, /no method `reconfigure`/],
];

t.test('code that does not start fails its own application with its own reason', async (t) => {
  const apps = STARTS.map(([name, deployment]) => single(name, `/${name}`, { max_constructor_retry_count: 1, ...deployment }));
  await using daemon = await startDaemon(configOf([NEIGHBOUR, ...apps]), {
    files: {
      ...files,
      'classes.ts': CLASSES,
      'import.ts': `throw new Error('the module does not want to be imported');\nexport class Throws { call() {} }\n`,
      'syntax.ts': `export class Main {\n  call() { return ( }\n}\n`,
      'unresolved.ts': `import { x } from './nowhere';\nexport class Main { call() { return x; } }\n`,
    },
    ready: false,
  });
  t.equal(
    (
      await until('the neighbour serves', async () => {
        const answer = await daemon.post('/neighbour', 'early');
        return answer.status === 200 && answer;
      })
    ).text,
    'early',
  );
  const { applications } = await daemon.when('all have failed', ({ applications }) =>
    STARTS.every(([name]) => applications[name]?.status === 'DEPLOY_FAILED'),
  );
  for (const [name, , text] of STARTS) {
    await t.test(name, async (t) => {
      t.match(applications[name]?.message, text);
      t.match(await daemon.ask(`/${name}`), { status: 503, text });
      t.equal((await daemon.post('/neighbour', 'well')).text, 'well');
    });
  }
  t.same(daemon.processes().length, 2, 'no replica is left of what failed');
  t.same(await daemon.stop(), { code: 0, signal: null });
});

const HANDLERS = `class Point { constructor() { this.x = 1; } }
const circle = { name: 'circle' };
circle.self = circle;
let deep = 'end';
for (let level = 0; level < 1000; level++) deep = [deep];
const RETURNS = {
  function: () => ({ list: [1, { bad: () => 1 }] }),
  symbol: () => ({ sign: Symbol('x') }),
  instance: () => ({ at: { point: new Point() } }),
  date: () => [new Date('never')],
  circle: () => circle,
  deep: () => deep,
};
const THROWS = {
  error: () => new Error('the secret of the handler'),
  nothing: () => undefined,
  null: () => null,
  text: () => 'only a text',
  odd: () => Object.create(null),
  getter: () => Object.defineProperty(new Error(), 'message', { get() { throw new Error('not even this'); } }),
};
export class Handler {
  call(input) {
    if (input?.returns) return RETURNS[input.returns]();
    if (input?.throws) throw THROWS[input.throws]();
    if (input?.do === 'loop') while (true);
    if (input?.do === 'later') { setTimeout(() => { throw new Error('thrown from a timer'); }); return new Promise(() => {}); }
    if (input?.do === 'rejection') { Promise.reject(new Error('awaited by nobody')); return new Promise((resolve) => setTimeout(resolve, 2000, 'still here')); }
    if (input?.do === 'heap') { const all = []; while (true) all.push(new Array(10000).fill(all.length)); }
    if (input?.do === 'header') return new Response('x', { headers: { 'x-long': 'y'.repeat(100000) } });
    return input;
  }
}
`;

t.test('handlers that go wrong', async (t) => {
  const handler = (name: string, options: object = {}) =>
    single(name, `/${name}`, { import_path: './handlers.ts:Handler', ...options });
  const heap = { ray_actor_options: { runtime_env: { env_vars: { NODE_OPTIONS: '--max-old-space-size=40' } } } };
  await using daemon = await startDaemon(
    configOf([NEIGHBOUR, handler('handler'), handler('loops', { unresponsive_timeout_s: 1 }), handler('heap', heap)]),
    { files: { ...files, 'handlers.ts': HANDLERS } },
  );
  const pids = await daemon.pids('handler', 'Only');
  let asked = 0;
  /** @returns the answer, and what the log says of the request */
  const provoke = async (value: object, path = '/handler') => {
    const id = `bad-${asked++}`;
    const answer = await daemon.post(path, value, { 'x-request-id': id });
    const line = await daemon.waitForLog((line) => line.msg === 'request failed' && line['requestId'] === id);
    return { answer, line };
  };

  await t.test('what cannot be encoded is 500, and the log names the path to it', async (t) => {
    for (const [name, text] of [
      ['function', /`list\[1\]\.bad` cannot be encoded: it is a function/],
      ['symbol', /`sign` cannot be encoded: it is a symbol/],
      ['instance', /`at\.point` cannot be encoded: it is an instance of Point/],
      ['date', /`\[0\]` cannot be encoded: it is an invalid date/],
      ['circle', /`self\.self\..*` cannot be encoded: it is nested deeper than 64 levels \(or contains itself\)/],
      ['deep', /`\[0\]\[0\].*` cannot be encoded: it is nested deeper than 64 levels/],
    ] as const) {
      const { answer, line } = await provoke({ returns: name });
      t.match(answer, { status: 500, text: 'Internal Server Error' }, name);
      t.match((line['error'] as { message: string }).message, text);
      t.equal((await daemon.post('/neighbour', 'well')).text, 'well');
    }
  });

  await t.test('whatever is thrown is 500, and the replica goes on', async (t) => {
    for (const [name, text] of [
      ['error', /the secret of the handler/],
      ['nothing', /undefined/],
      ['null', /null/],
      ['text', /only a text/],
      ['odd', /cannot be read \(object\)/],
      ['getter', /cannot be read \(object\)/],
    ] as const) {
      const { answer, line } = await provoke({ throws: name });
      t.match(answer, { status: 500, text: 'Internal Server Error' }, name);
      t.match((line['error'] as { message: string }).message, text);
    }
    t.equal((await daemon.post('/handler', 'well')).text, 'well');
  });

  await t.test('headers that are too long are 500', async (t) => {
    t.equal((await daemon.post('/handler', { do: 'header' })).status, 500);
    t.equal((await daemon.post('/handler', 'well')).text, 'well');
  });

  await t.test('none of this has ended the replica', async (t) => {
    t.same(await daemon.pids('handler', 'Only'), pids);
  });

  await t.test('a loop without end is found, the request gets 503, and the replica is replaced', async (t) => {
    const hung = daemon.post('/loops', { do: 'loop' });
    t.equal((await daemon.post('/neighbour', 'well')).text, 'well');
    t.match(await hung, { status: 503, headers: { 'x-serve-error': 'REPLICA_DIED' } });
    t.equal((await daemon.post('/loops', 'well')).text, 'well');
    const { applications } = await daemon.status();
    t.match(applications['loops']?.deployments['Only'], { restarts: 1, last_death: { cause: 'unresponsive' } });
  });

  await t.test('an error that is thrown from a timer ends the replica, is told in the status, and another comes', async (t) => {
    t.match(await daemon.post('/handler', { do: 'later' }), { status: 503, headers: { 'x-serve-error': 'REPLICA_DIED' } });
    t.equal((await daemon.post('/handler', 'well')).text, 'well');
    t.match(
      JSON.stringify((await daemon.status()).applications['handler']?.deployments['Only']?.last_death),
      /thrown from a timer/,
    );
    t.equal((await daemon.post('/neighbour', 'well')).text, 'well');
  });

  await t.test('a heap that is full ends the replica with that cause, and another comes', async (t) => {
    t.match(await daemon.post('/heap', { do: 'heap' }), { status: 503, headers: { 'x-serve-error': 'REPLICA_DIED' } });
    t.equal((await daemon.post('/heap', 'well')).text, 'well');
    t.match((await daemon.status()).applications['heap']?.deployments['Only'], { restarts: 1, last_death: { cause: 'heap' } });
    t.equal((await daemon.post('/neighbour', 'well')).text, 'well');
  });

  t.same(await daemon.stop(), { code: 0, signal: null });
});

t.test('requests that are bad', async (t) => {
  const graph = {
    name: 'steps',
    route_prefix: '/steps',
    deployments: [{ name: 'Echo', import_path: './echo.ts:echo' }],
    graph: { steps: { echo: { call: 'Echo', input: '$request.json' } } },
  };
  const config = configOf(
    [NEIGHBOUR, graph, single('model', '/model', { model: 'add.onnx' })],
    HEAD.replace('port: 0}', 'port: 0, max_request_body: 1MB}'),
  );
  await using daemon = await startDaemon(config, { files: { ...files, 'add.onnx': MODEL } });
  const send = (path: string, body: string | Uint8Array) =>
    daemon.ask(path, { method: 'POST', headers: { 'content-type': 'application/json' }, body });
  const well = async () => (await daemon.post('/neighbour', 'well')).text === 'well';

  for (const path of ['/neighbour', '/steps', '/model']) {
    await t.test(`JSON nested 100,000 deep is 400 at ${path}`, async (t) => {
      const deep = /nested (at most|deeper than) \d+ levels/;
      t.match(await send(path, '['.repeat(100_000) + ']'.repeat(100_000)), { status: 400, text: deep });
      t.match(await send(path, '{"a":'.repeat(100_000)), { status: 400 });
      t.ok(await well());
    });
    await t.test(`broken JSON is 400 with the place at ${path}`, async (t) => {
      t.match(await send(path, '[1,\n 2,, 3]'), { status: 400, text: /unexpected "," at line 2, column 4/ });
      t.match(await send(path, '{"a": '), { status: 400, text: /the text ends too early at line 1, column 7/ });
      t.equal((await send(path, Uint8Array.of(0x5b, 0xff, 0xfe, 0x5d))).status, 400);
      t.ok(await well());
    });
    await t.test(`a body that is too large is 413 at ${path}`, async (t) => {
      t.match(await send(path, `"${'x'.repeat(1_000_000)}"`), { status: 413, headers: { 'x-serve-error': 'PAYLOAD_TOO_LARGE' } });
      t.ok(await well());
    });
  }
  t.same(await daemon.stop(), { code: 0, signal: null });
});
