/** `request_router_config: {policy: session}`: requests with one `x-session-id` stay with one replica, over real ones. */
import t from 'tap';
import { type DaemonRig, startDaemon, until } from '../support/daemon-rig.ts';
import { configOf, HEAD, single } from './configs.ts';

t.setTimeout(240_000);

const CODE = `import { existsSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
export class Chat {
  said = new Map();
  async call(input, context) {
    if (input?.until) while (!existsSync(input.until)) await pause(5);
    const turns = (this.said.get(context.sessionId) ?? 0) + 1;
    this.said.set(context.sessionId, turns);
    return { pid: process.pid, session: context.sessionId ?? null, turns };
  }
}
export class Front {
  constructor({ chat }) { this.chat = chat; }
  call(input) { return this.chat.options({ sessionId: input.session }).call(null); }
}
`;
const chat = (more: object = {}) => ({
  import_path: './code.ts:Chat',
  num_replicas: 3,
  request_router_config: { policy: 'session' },
  max_ongoing_requests: 100,
  ...more,
});

interface Turn {
  readonly pid: number;
  readonly session: string | null;
  readonly turns: number;
}
const say = async (daemon: DaemonRig, session: string | undefined, body: unknown = null, path = '/chat'): Promise<Turn> => {
  const { status, text } = await daemon.post(path, body, session === undefined ? {} : { 'x-session-id': session });
  if (status !== 200) throw new Error(`${status} ${text}`);
  return JSON.parse(text) as Turn;
};
const sessions = Array.from({ length: 40 }, (_, index) => `user-${index}`);
/** Where each session is answered. */
const homesOf = async (daemon: DaemonRig) =>
  new Map(await Promise.all(sessions.map(async (session) => [session, (await say(daemon, session)).pid] as const)));

for (const driver of ['uws', 'node']) {
  t.test(`${driver}: a session stays, and its replica remembers it`, async (t) => {
    const config = configOf([single('chat', '/chat', chat())], HEAD.replace('port: 0}', `port: 0, server: ${driver}}`));
    await using daemon = await startDaemon(config, { files: { 'code.ts': CODE } });
    await daemon.running();
    for (let turn = 1; turn <= 5; turn++) {
      const answers = await Promise.all(sessions.map((session) => say(daemon, session)));
      t.ok(answers.every(({ session, turns }, index) => session === sessions[index] && turns === turn));
    }
    t.equal(new Set((await homesOf(daemon)).values()).size, 3, 'over all replicas');
    const without = await Promise.all(Array.from({ length: 9 }, () => say(daemon, undefined)));
    t.equal(new Set(without.map(({ pid }) => pid)).size, 3, 'without a session they take turns');
    t.ok(without.every(({ session }) => session === null));
  });
}

t.test('sessions and what changes', async (t) => {
  const withReplicas = (count: number) =>
    configOf([
      single('chat', '/chat', chat({ num_replicas: count })),
      single('one', '/one', chat({ num_replicas: 2, max_ongoing_requests: 1 })),
      {
        name: 'front',
        route_prefix: '/front',
        graph: { ingress: 'Front', calls: { Front: { chat: 'Chat' } } },
        deployments: [
          { name: 'Front', import_path: './code.ts:Front' },
          { name: 'Chat', ...chat() },
        ],
      },
      {
        name: 'flow',
        route_prefix: '/flow',
        graph: { steps: { chat: { call: 'Chat', input: null } } },
        deployments: [{ name: 'Chat', ...chat() }],
      },
    ]);
  await using daemon = await startDaemon(withReplicas(3), { files: { 'code.ts': CODE } });
  await daemon.running();

  await t.test("the option of a handle and the header of a graph's request say it too", async (t) => {
    for (let turn = 1; turn <= 4; turn++) {
      t.match(await say(daemon, undefined, { session: 's' }, '/front'), { session: 's', turns: turn });
      t.match(await say(daemon, 's', null, '/flow'), { session: 's', turns: turn });
    }
  });

  await t.test('a replica that comes takes few sessions, and one that goes leaves only its own', async (t) => {
    const before = await homesOf(daemon);
    await daemon.apply(withReplicas(4));
    const after = await homesOf(daemon);
    const old = new Set(before.values());
    const moved = sessions.filter((session) => before.get(session) !== after.get(session));
    t.ok(moved.length > 0 && moved.length < sessions.length / 2, `${moved.length} of ${sessions.length} moved`);
    t.ok(
      moved.every((session) => !old.has(after.get(session) as number)),
      'all of them to the new one',
    );
    await daemon.apply(withReplicas(3));
    t.same(await homesOf(daemon), before, 'and when it has gone they are back');
  });

  await t.test('when a replica dies its sessions move, and no other', async (t) => {
    const before = await homesOf(daemon);
    const [victim] = before.values();
    process.kill(victim as number, 'SIGKILL');
    await until('it is replaced', async () => {
      const pids = await daemon.pids('chat', 'Only');
      return pids.length === 3 && !pids.includes(victim as number);
    });
    const after = await homesOf(daemon);
    const strangers = new Set(await daemon.pids('chat', 'Only'));
    for (const pid of before.values()) strangers.delete(pid);
    for (const session of sessions) {
      const [was, is] = [before.get(session), after.get(session) as number];
      if (was === victim) t.not(is, victim, `${session} has another`);
      else t.ok(is === was || strangers.has(is), `${session} stays, unless it is the share of the new one`);
    }
  });

  await t.test('a session whose replica is full goes to another at once', async (t) => {
    const first = say(daemon, 's', { until: 'go' }, '/one');
    await daemon.when('it is in work', ({ applications }) => applications['one']?.deployments['Only']?.ongoing === 1);
    const { pid } = await say(daemon, 's', null, '/one');
    await daemon.write('go', '');
    const home = (await first).pid;
    t.not(pid, home);
    t.equal((await say(daemon, 's', null, '/one')).pid, home, 'and then comes back');
  });
});
