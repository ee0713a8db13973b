/** R25: the same config and the same events end in the same status, by steps that may follow each other. */
import { configOf, single } from '../e2e/configs.ts';
import { type DaemonRig, startDaemon, until } from '../support/daemon-rig.ts';
import { code, QUIET } from './parts.ts';
import { Findings, type Promised, type World } from './soak.ts';

const BROKEN = "export class Broken { constructor() { throw new Error('it cannot start'); } call() {} }\n";
const good = single('good', '/good', { import_path: './code.ts:Echo', num_replicas: 2 });
const config = (...more: readonly object[]) => configOf([good, ...more], QUIET);
const broken = single('broken', '/broken', { import_path: './broken.ts:Broken', max_constructor_retry_count: 2 });
const shared = (num_replicas: number) => single('shared', '/shared', { import_path: './code.ts:Echo', num_replicas });

/** What may come right after a state, or after others that nobody looked at in between; '' is before and after there is one. */
const REPLICA: Readonly<Record<string, readonly string[]>> = {
  '': ['PENDING', 'STARTING'],
  PENDING: ['STARTING', ''],
  STARTING: ['RUNNING', 'STOPPING', ''],
  RUNNING: ['UPDATING', 'DRAINING', 'STOPPING', ''],
  UPDATING: ['RUNNING', 'DRAINING', 'STOPPING', ''],
  DRAINING: ['STOPPING', ''],
  STOPPING: [''],
};
const APPLICATION: Readonly<Record<string, readonly string[]>> = {
  '': ['DEPLOYING'],
  DEPLOYING: ['RUNNING', 'DEPLOY_FAILED', 'UNHEALTHY', 'DELETING'],
  RUNNING: ['DEPLOYING', 'UNHEALTHY', 'DELETING'],
  DEPLOY_FAILED: ['DEPLOYING', 'DELETING'],
  UNHEALTHY: ['DEPLOYING', 'RUNNING', 'DELETING'],
  DELETING: ['DEPLOYING', ''],
};

/** @param once what has been left is not come back to: a replica has one life */
const mayFollow = (steps: Readonly<Record<string, readonly string[]>>, from: string, to: string, once: boolean): boolean => {
  const seen = new Set<string>();
  const open = [...(steps[from] ?? [])];
  for (let state = open.pop(); state !== undefined; state = open.pop()) {
    if (state === to) return true;
    if (seen.has(state) || (once && state === '')) continue;
    seen.add(state);
    open.push(...(steps[state] ?? []));
  }
  return false;
};

interface Told {
  readonly type: string;
  readonly application?: string;
  readonly status?: string;
  readonly replica_id?: string;
  readonly state?: string;
  readonly gone?: boolean;
}

/** Follows the events of a daemon, and tells each step that may not be. */
const watch = async (daemon: DaemonRig, found: Findings): Promise<{ readonly steps: () => number; readonly end: () => void }> => {
  const abort = new AbortController();
  const answer = await fetch(`${daemon.adminUrl}/api/serve/events`, { signal: abort.signal });
  const states = new Map<string, string>();
  let steps = 0;
  const take = (event: Told): void => {
    const isReplica = event.type === 'replica';
    if (!isReplica && event.type !== 'application') return;
    const key = `${event.type} ${isReplica ? event.replica_id : event.application}`;
    const to = event.gone === true ? '' : ((isReplica ? event.state : event.status) ?? '');
    const from = states.get(key) ?? '';
    states.set(key, to);
    if (from === to) return;
    steps += 1;
    found.expect(
      mayFollow(isReplica ? REPLICA : APPLICATION, from, to, isReplica),
      `${key} went from ${from || 'nothing'} to ${to || 'nothing'}`,
    );
  };
  void (async () => {
    let text = '';
    const decoder = new TextDecoder();
    for await (const chunk of answer.body as ReadableStream<Uint8Array>) {
      text += decoder.decode(chunk, { stream: true });
      const events = text.split('\n\n');
      text = events.pop() ?? '';
      for (const event of events) {
        const data = /^data: (.*)$/m.exec(event)?.[1];
        if (data !== undefined) take(JSON.parse(data) as Told);
      }
    }
  })().catch(() => {});
  return { steps: () => steps, end: () => abort.abort() };
};

/** What does not depend on when it happened or which number it got. */
const shapeOf = async (daemon: DaemonRig): Promise<string> => {
  const { applications } = await daemon.status();
  return JSON.stringify(
    Object.values(applications).map(({ name, status, deployments }) => [
      name,
      status,
      Object.values(deployments).map((each) => [each.name, each.status, each.target_num_replicas, each.replica_states]),
    ]),
  );
};

/** One after another, each when the one before has come to rest. @returns the status after each */
const events = async (daemon: DaemonRig): Promise<string[]> => {
  const shapes: string[] = [];
  const rest = async (what: string, is: (shape: string) => boolean): Promise<void> => {
    let last = '';
    const look = async (): Promise<boolean> => {
      last = await shapeOf(daemon);
      return is(last);
    };
    await until(what, look, 20_000);
    shapes.push(last);
  };
  const saved = async (text: string): Promise<void> => {
    const from = daemon.log.length;
    await daemon.save(text);
    await daemon.waitForLog('config applied', from);
  };
  await saved(config(shared(1)));
  await rest(
    'shared runs',
    (shape) => shape.includes('["shared","RUNNING"') && !shape.includes('STARTING') && !shape.includes('DRAINING'),
  );
  await saved(config(shared(3), broken));
  await rest(
    'broken has failed',
    (shape) =>
      shape.includes('["broken","DEPLOY_FAILED"') && shape.includes('["shared","RUNNING"') && !shape.includes('STARTING'),
  );
  const [pid] = await daemon.pids('good', 'Only');
  const deaths = daemon.log.length;
  if (pid !== undefined) process.kill(pid, 'SIGKILL');
  await daemon.waitForLog('replica died', deaths);
  await rest('good is back', (shape) => shape.includes('["good","RUNNING",[["Only","HEALTHY",2,{"RUNNING":2}]]]'));
  await saved(config());
  await rest('only good is left', (shape) => shape === '[["good","RUNNING",[["Only","HEALTHY",2,{"RUNNING":2}]]]]');
  return shapes;
};

const run = async ({ size, program }: World) => {
  const found = new Findings();
  await using daemon = await startDaemon(config(), { files: { 'code.ts': code(), 'broken.ts': BROKEN }, program });
  await daemon.running();
  const watched = await watch(daemon, found);
  const rounds = size(100, 3);
  let first: string[] | undefined;
  for (let round = 0; round < rounds; round++) {
    const shapes = await events(daemon).catch((error: Error) => {
      found.expect(false, `round ${round + 1} ends otherwise: ${error.message.slice(0, 300)}`);
      return undefined;
    });
    if (shapes === undefined) break;
    first ??= shapes;
    found.expect(
      JSON.stringify(shapes) === JSON.stringify(first),
      `round ${round + 1} ends otherwise: ${shapes.join(' ')}, the first ${first.join(' ')}`,
    );
  }
  watched.end();
  found.expect(watched.steps() >= rounds * 8, `only ${watched.steps()} steps were told in ${rounds} rounds`);
  return { figures: { rounds, steps: watched.steps() }, broken: found.broken.slice(0, 5) };
};

export const sameStatus: Promised = {
  id: 'R25',
  title: 'the same events end in the same status, by steps that may be',
  run,
  sabotages: [
    {
      what: 'a start that fails is forgotten',
      patches: [
        {
          file: 'control/restart.js',
          from: 'export const hasFailed = (memory, maxRetries) => !memory.everReady && memory.failures >= maxRetries;',
          to: 'export const hasFailed = (memory, maxRetries) => !memory.everReady && memory.failures >= maxRetries + 40;',
        },
      ],
      shows: /ends otherwise/,
    },
  ],
};
