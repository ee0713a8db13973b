/** One application in three ways, in code, in `calls` and in `steps`: it answers, fails, ends and is retried alike, on both HTTP drivers. */
import { existsSync, readFileSync } from 'node:fs';
import t from 'tap';
import { type DaemonRig, startDaemon, until } from '../support/daemon-rig.ts';
import { configOf, HEAD } from './configs.ts';

t.setTimeout(180_000);

type Test = typeof t;

/** Each part notes what becomes of it in a file, under the id of its request, and does what the request says of it under `at`. */
const STORY = `import { appendFileSync, readFileSync } from 'node:fs';
import { deployment, HttpError } from 'serve-daemon';
const note = (what, name, { id }) => appendFileSync('notes', what + ' ' + name + ' ' + id + '\\n');
const noted = (what, name, { id }) => readFileSync('notes', 'utf8').includes(what + ' ' + name + ' ' + id + '\\n');
const begin = async (name, input, { signal }) => {
  note('began', name, input);
  switch (input.at?.[name]) {
    case 'type': throw new TypeError(name + ' has no idea', { cause: new RangeError('its cause') });
    case 'http': throw new HttpError(422, name + ' expected more', { 'x-why': name });
    case 'die':
      if (noted('died', name, input)) return;
      note('died', name, input);
      return process.kill(process.pid, 'SIGKILL');
    case 'wait':
      if (!signal.aborted) await new Promise((resolve) => signal.addEventListener('abort', resolve));
      note('aborted', name, input);
      throw signal.reason;
  }
};
export class Cut {
  async cut(input, context) { await begin('Cut', input, context); return input.text.split(' ').slice(0, 2).join(' '); }
}
export class Translate {
  async translate(input, context) { await begin('Translate', input, context); return input.to + ': ' + input.text; }
}
export class Join {
  async join(input, context) { await begin('Join', input, context); return { parts: input.parts, count: input.parts.length }; }
}
const told = ({ name, message, code, source, details, cause }) => ({ name, message, code, source, details, cause: cause && told(cause) });
export class Story {
  constructor({ cut, translate, join }) { Object.assign(this, { cut, translate, join }); }
  async call(input) {
    try { return await this.tell(input); } catch (error) {
      if (!input.catches) throw error;
      return told(error);
    }
  }
  async tell({ id, at, text, to }) {
    const short = await this.cut.cut({ id, at, text });
    const parts = await Promise.all(to.map((each) => this.translate.translate({ id, at, text: short, to: each })));
    return this.join.join({ id, at, parts });
  }
}
export class Stage {
  async work(input, context) { await begin(input.name, input, context); return input.name; }
}
/** Goes on whatever becomes of a stage. */
export class Stubborn {
  constructor({ stage }) { this.stage = stage; }
  async call({ id, at }) {
    const done = [];
    for (const name of ['1', '2', '3', '4']) done.push(await this.stage.work({ id, at, name }).catch(() => 'nothing'));
    return done;
  }
}
export const stubborn = deployment(Stubborn, { maxOngoingRequests: 20 }).bind({ stage: deployment(Stage).bind() });
export const app = deployment(Story, { maxOngoingRequests: 20 }).bind({
  cut: deployment(Cut).bind(),
  translate: deployment(Translate).bind(),
  join: deployment(Join, { retry: { idempotent: true } }).bind(),
});
`;

const part = (name: string, more: object = {}) => ({ name, import_path: `./story.ts:${name}`, ...more });
const PARTS = [part('Cut'), part('Translate'), part('Join', { retry: { idempotent: true } })];
const ID_AND_AT = { id: '$request.json.id', at: '$request.json.at' };
const APPLICATIONS = [
  { name: 'code', route_prefix: '/code', import_path: './story.ts:app' },
  {
    name: 'calls',
    route_prefix: '/calls',
    deployments: [part('Story', { max_ongoing_requests: 20 }), ...PARTS],
    graph: { ingress: 'Story', calls: { Story: { cut: 'Cut', translate: 'Translate', join: 'Join' } } },
  },
  {
    name: 'steps',
    route_prefix: '/steps',
    deployments: PARTS,
    graph: {
      steps: {
        cut: { call: 'Cut.cut', input: '$request.json' },
        parts: {
          call: 'Translate.translate',
          for_each: '$request.json.to',
          input: { ...ID_AND_AT, text: '$cut', to: '$item' },
        },
        join: { call: 'Join.join', input: { ...ID_AND_AT, parts: '$parts' } },
      },
      output: '$join',
    },
  },
];
const stage = (name: string, after: string | null) => ({
  call: 'Stage.work',
  input: { ...ID_AND_AT, name, after },
  on_error: { value: 'nothing' },
});
/** Four stages one behind the other, none of which takes a failure of the one before for a reason to end. */
const STUBBORN = [
  { name: 'stubborn-code', route_prefix: '/stubborn-code', import_path: './story.ts:stubborn' },
  {
    name: 'stubborn-calls',
    route_prefix: '/stubborn-calls',
    deployments: [part('Stubborn', { max_ongoing_requests: 20 }), part('Stage')],
    graph: { ingress: 'Stubborn', calls: { Stubborn: { stage: 'Stage' } } },
  },
  {
    name: 'stubborn-steps',
    route_prefix: '/stubborn-steps',
    deployments: [part('Stage')],
    graph: {
      steps: { a: stage('1', null), b: stage('2', '$a'), c: stage('3', '$b'), d: stage('4', '$c') },
      output: ['$a', '$b', '$c', '$d'],
    },
  },
];
const WAYS = ['code', 'calls', 'steps'] as const;
type Way = (typeof WAYS)[number];

/** One way to the application, and what its parts have noted. */
class Client {
  readonly #daemon: DaemonRig;
  readonly #way: string;
  #next = 0;

  constructor(daemon: DaemonRig, way: string) {
    this.#daemon = daemon;
    this.#way = way;
  }

  newId(): string {
    return `${this.#way}-${this.#next++}`;
  }

  /** @param at what a part is to do, by its name */
  ask(id: string, at: Readonly<Record<string, string>> = {}, headers: object = {}, signal?: AbortSignal, more: object = {}) {
    return this.#daemon.ask(`/${this.#way}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-request-id': id, ...headers },
      body: JSON.stringify({ id, at, text: 'one two three', to: ['fr', 'de'], ...more }),
      ...(signal === undefined ? {} : { signal }),
    });
  }

  /** What the parts noted for one request, in order: `began Cut`. */
  notes(id: string): readonly string[] {
    const file = this.#daemon.path('notes');
    if (!existsSync(file)) return [];
    const mine = readFileSync(file, 'utf8').split('\n');
    return mine.filter((line) => line.endsWith(` ${id}`)).map((line) => line.slice(0, -id.length - 1));
  }

  noted(id: string, what: string, times = 1): Promise<true> {
    return until(`${what} of ${id}, ${times} times`, () => this.notes(id).filter((line) => line === what).length >= times);
  }

  /** Whatever was to begin for any request has begun. */
  quiet(): Promise<unknown> {
    return this.#daemon.when('nothing is in work', ({ applications }) =>
      Object.values(applications[this.#way]?.deployments ?? {}).every(({ ongoing, queued }) => ongoing + queued === 0),
    );
  }

  failure(id: string) {
    return this.#daemon.waitForLog((line) => line.msg === 'request failed' && line['requestId'] === id);
  }
}

const ALL = ['began Cut', 'began Translate', 'began Translate', 'began Join'];

const conforms = async (t: Test, daemon: DaemonRig, way: Way): Promise<void> => {
  const client = new Client(daemon, way);

  await t.test('it answers', async (t) => {
    const id = client.newId();
    const { status, text, headers } = await client.ask(id);
    t.match({ status, headers }, { status: 200, headers: { 'content-type': 'application/json', 'x-request-id': id } });
    t.same(JSON.parse(text), { parts: ['fr: one two', 'de: one two'], count: 2 });
    t.same(client.notes(id), ALL);
  });

  for (const [at, begun] of [
    ['Cut', ['began Cut']],
    ['Translate', ['began Cut', 'began Translate', 'began Translate']],
    ['Join', ALL],
  ] as const)
    await t.test(
      `what ${at} throws ends it: the client has the status, the log has the rest, and nothing more begins`,
      async (t) => {
        const id = client.newId();
        const answer = await client.ask(id, { [at]: 'type' });
        t.match(answer, { status: 500, text: 'Internal Server Error', headers: { 'x-serve-error': 'USER_ERROR' } });
        t.match(await client.failure(id), {
          source: `${way}/${at}`,
          error: { name: 'TypeError', message: `${at} has no idea`, cause: 'its cause' },
        });
        const http = client.newId();
        const chosen = await client.ask(http, { [at]: 'http' });
        t.match(chosen, { status: 422, text: `${at} expected more`, headers: { 'x-why': at } });
        await client.quiet();
        // The second of those that start together may not have begun when the first has failed.
        for (const each of [id, http]) t.same([...new Set(client.notes(each))], [...new Set(begun)]);
      },
    );

  await t.test('a deadline that runs out ends the work, and what would be next never begins', async (t) => {
    const id = client.newId();
    const answer = await client.ask(id, { Translate: 'wait' }, { 'x-request-timeout-seconds': '0.5' });
    t.match(answer, { status: 408, headers: { 'x-serve-error': 'DEADLINE_EXCEEDED' } });
    await client.noted(id, 'aborted Translate', 2);
    await client.quiet();
    t.notOk(client.notes(id).includes('began Join'));
  });

  for (const [at, count] of [
    ['Cut', 1],
    ['Translate', 2],
  ] as const)
    await t.test(`a client that leaves while ${at} works ends that work, and nothing more begins`, async (t) => {
      const id = client.newId();
      const leaves = new AbortController();
      const answer = client.ask(id, { [at]: 'wait' }, {}, leaves.signal);
      await client.noted(id, `began ${at}`, count);
      leaves.abort();
      await t.rejects(answer);
      await client.noted(id, `aborted ${at}`, count);
      await client.quiet();
      t.same(
        client.notes(id).filter((line) => line.startsWith('began')),
        ALL.slice(0, at === 'Cut' ? 1 : 3),
      );
      t.match(await daemon.access(id), { status: 499 });
    });

  await t.test('a part that dies at work runs again only where it is idempotent', async (t) => {
    const once = client.newId();
    const lost = await client.ask(once, { Cut: 'die' });
    t.match(lost, { status: 503, headers: { 'x-serve-error': 'REPLICA_DIED', 'retry-after': '1' } });
    t.match(lost.text, `${way}/Cut`);
    const again = client.newId();
    t.match(await client.ask(again, { Join: 'die' }), { status: 200 });
    t.same(client.notes(again).slice(-3), ['began Join', 'died Join', 'began Join']);
    await client.quiet();
    t.same(client.notes(once), ['began Cut', 'died Cut']);
  });
};

const whatHandlesTell = async (t: Test, daemon: DaemonRig, way: Way): Promise<void> => {
  const client = new Client(daemon, way);
  /** The error of a part as the code that called it has it. */
  const caught = async (at: Readonly<Record<string, string>>) =>
    JSON.parse((await client.ask(client.newId(), at, {}, undefined, { catches: true })).text) as unknown;
  const source = `${way}/Cut`;

  await t.test('code that called a part has its error, with name, code, cause and where it is from', async (t) => {
    const cause = { name: 'RangeError', message: 'its cause', code: 'USER_ERROR' };
    t.match(await caught({ Cut: 'type' }), { name: 'TypeError', message: 'Cut has no idea', code: 'USER_ERROR', source, cause });
    const details = { status: 422, headers: { 'x-why': 'Cut' } };
    t.match(await caught({ Cut: 'http' }), {
      name: 'HttpError',
      message: 'Cut expected more',
      code: 'HTTP_ERROR',
      source,
      details,
    });
  });

  await t.test('and that of one that died, which says so', async (t) => {
    const died = { name: 'ServeError', message: /Cut that worked on this request died/, code: 'REPLICA_DIED', source };
    t.match(await caught({ Cut: 'die' }), died);
  });
};

/** What ends a request ends it for code that will not hear of it, and for steps with `on_error`. */
const ends = async (t: Test, daemon: DaemonRig, way: Way): Promise<void> => {
  const client = new Client(daemon, `stubborn-${way}`);

  await t.test('what goes on after a failure does so while there is time', async (t) => {
    const id = client.newId();
    t.same(JSON.parse((await client.ask(id, { 3: 'type' }, { 'x-request-timeout-seconds': '20' })).text), [
      '1',
      '2',
      'nothing',
      '4',
    ]);
    t.equal(client.notes(id).at(-1), 'began 4');
  });

  await t.test('a deadline that runs out in the third never begins the fourth', async (t) => {
    const id = client.newId();
    const answer = await client.ask(id, { 3: 'wait' }, { 'x-request-timeout-seconds': '0.5' });
    t.match(answer, { status: 408, headers: { 'x-serve-error': 'DEADLINE_EXCEEDED' } });
    await client.noted(id, 'aborted 3');
    await client.quiet();
    t.same(client.notes(id), ['began 1', 'began 2', 'began 3', 'aborted 3']);
  });

  await t.test('nor does a client that leaves in the third', async (t) => {
    const id = client.newId();
    const leaves = new AbortController();
    const answer = client.ask(id, { 3: 'wait' }, {}, leaves.signal);
    await client.noted(id, 'began 3');
    leaves.abort();
    await t.rejects(answer);
    await client.noted(id, 'aborted 3');
    await client.quiet();
    t.same(client.notes(id), ['began 1', 'began 2', 'began 3', 'aborted 3']);
  });
};

for (const server of ['uws', 'node']) {
  const head = HEAD.replace('port: 0}', `port: 0, server: ${server}}`);
  const files = { 'story.ts': STORY };

  t.test(`an application in three ways, on ${server}`, async (t) => {
    await using daemon = await startDaemon(configOf(APPLICATIONS, head), { files });
    const { applications } = await daemon.status();
    const wiring = (way: Way) => JSON.stringify(applications[way]?.deployment_topology).replaceAll(`"${way}`, '"');
    t.equal(wiring('calls'), wiring('code'), 'what code says is what the file would say');
    for (const way of WAYS) await t.test(way, (t) => conforms(t as Test, daemon, way));
    for (const way of ['code', 'calls'] as const) await t.test(way, (t) => whatHandlesTell(t as Test, daemon, way));
    t.same(await daemon.stop(), { code: 0, signal: null });
  });

  t.test(`stages that go on whatever happens, on ${server}`, async (t) => {
    await using daemon = await startDaemon(configOf(STUBBORN, head), { files });
    for (const way of WAYS) await t.test(way, (t) => ends(t as Test, daemon, way));
    t.same(await daemon.stop(), { code: 0, signal: null });
  });
}
