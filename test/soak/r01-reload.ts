/** R1, and a thousand reloads while replicas are killed: every class of edit in turn under a constant load, and nothing is lost or left over. */
import { startDaemon } from '../support/daemon-rig.ts';
import { CLASSES, Edits } from './edits.ts';
import { OpenLoop, type Stream } from './open-loop.ts';
import { code, echoes, holdings, Killer, listenerOf, residentMb } from './parts.ts';
import { ResourceReports, type Resources } from './resources.ts';
import { Findings, type Promised, pause, percentile, seeded, type Verdict, type World } from './soak.ts';

interface Course {
  readonly reloads: number;
  readonly streams: readonly Stream[];
  /** A replica is killed at random in each such period; undefined: none. */
  readonly killEveryMs: number | undefined;
  readonly leastReplicas: number;
}

const course = async ({ reloads, streams, killEveryMs, leastReplicas }: Course, { strict, program }: World): Promise<Verdict> => {
  const found = new Findings();
  const rand = seeded(1);
  const edits = new Edits({ idempotent: killEveryMs !== undefined, leastReplicas, rand });
  const first = edits.config();
  using reports = new ResourceReports();
  await using daemon = await startDaemon(first, {
    files: { 'code.ts': edits.code, 'moving.ts': code() },
    program,
    node: reports.node,
    env: reports.env,
  });
  await daemon.running();
  const listener = listenerOf(Number(new URL(daemon.url).port));
  const pace = strict ? 50 : 15;
  const settled = async (): Promise<{ held: Readonly<Record<string, number>>; resources: Resources; processes: number }> => {
    await daemon.running(60_000);
    await pause(strict ? 3000 : 500);
    return { held: holdings(daemon.pid), resources: await reports.ask(daemon), processes: daemon.processes().length };
  };
  await using load = new OpenLoop(() => daemon.url, streams);
  await load.more(100);
  await pause(strict ? 10_000 : 0);
  const steadyP99Ms = load.p99Ms('kept');
  load.resetLatency();
  const memory: number[] = [];
  const sampler = setInterval(() => memory.push(residentMb(daemon.pid)), 1000);
  let base: Awaited<ReturnType<typeof settled>> | undefined;
  let kills = 0;
  const takenMs: number[] = [];
  try {
    const killer =
      killEveryMs === undefined ? undefined : new Killer(daemon, ['echo', 'many'], killEveryMs, strict ? 1 : 2, seeded(2));
    for (let n = 0; n < reloads; n++) {
      const edit = edits.next(CLASSES[n % CLASSES.length] as (typeof CLASSES)[number]);
      const from = daemon.log.length;
      const began = performance.now();
      await daemon.write(edit.file, edit.content);
      if (edit.told === undefined) await pause(300);
      else {
        await daemon.waitForLog(edit.told, from);
        takenMs.push(performance.now() - began);
      }
      // A mistake is mended before the next edit; every other edit comes while the one before it is still rolled out.
      if (edit.class === 'rejected') {
        await daemon.save(edits.config());
        await daemon.waitForLog((line) => line.msg.startsWith('the config is good again'), from);
      }
      if (n % 2 === 0) await daemon.running(60_000);
      // What the first of each class brings in once is no leak.
      if (n === 2 * CLASSES.length - 1 && strict) base = await settled();
      await pause(pace);
    }
    await killer?.stop();
    kills = killer?.kills.length ?? 0;
    await load.more(50);
  } finally {
    clearInterval(sampler);
  }
  await daemon.running(60_000);
  const sameListener = listenerOf(Number(new URL(daemon.url).port)) === listener;
  await load.stop();
  found.expect(load.failures.length === 0, `requests failed: ${load.failures.join('; ').slice(0, 1000)}`);
  found.expect(sameListener && listener !== undefined, 'the listener of an unchanged port is another one');
  const after = await settled();
  const status = await daemon.status();
  const replicas = Object.values(status.applications).flatMap(({ deployments }) =>
    Object.values(deployments).flatMap((each) => each.replicas),
  );
  // The daemon and its replicas, and nothing else that any of them started.
  found.expect(
    after.processes === replicas.length + 1,
    `${after.processes} processes are left where ${replicas.length} replicas run`,
  );
  for (const [name, { queued, ongoing }] of Object.values(status.applications).flatMap(({ deployments }) =>
    Object.entries(deployments),
  ))
    found.expect(queued + ongoing === 0, `${name} has ${queued} requests queued and ${ongoing} at work, and nobody waits`);
  if (base !== undefined) compareHoldings(base, after, found);
  const quarter = Math.floor(memory.length / 4);
  const mean = (values: readonly number[]) => values.reduce((sum, each) => sum + each, 0) / Math.max(1, values.length);
  const firstMb = Math.round(mean(memory.slice(quarter, 2 * quarter)));
  const lastMb = Math.round(mean(memory.slice(-quarter)));
  found.expect(
    !strict || quarter < 15 || Math.abs(lastMb - firstMb) <= 0.1 * firstMb,
    `resident memory went from ${firstMb} to ${lastMb} MB`,
  );
  const exit = await daemon.stop();
  found.expect(exit.code === 0, `the daemon ended with ${exit.code ?? exit.signal}`);
  return {
    figures: {
      reloads,
      kills,
      sent: load.sent,
      failed: load.failures.length,
      steady_p99_ms: steadyP99Ms,
      reload_p99_ms: load.p99Ms('kept'),
      applied_ms_p50: Math.round(percentile(takenMs, 0.5)),
      applied_ms_p99: Math.round(percentile(takenMs, 0.99)),
      // The raw series, in tenths of the run.
      memory_mb: Array.from({ length: 10 }, (_, tenth) => memory[Math.floor((tenth * memory.length) / 10)] ?? 0).join(' '),
      held: JSON.stringify(after.held),
    },
    broken: found.broken,
  };
};

/** Sockets of clients that have gone and replicas of today's number aside, nothing has become more. */
const compareHoldings = (
  base: { held: Readonly<Record<string, number>>; resources: Resources; processes: number },
  after: typeof base,
  found: Findings,
): void => {
  // Each replica has three sockets and two pipes; the load's own connections come on top of what the base had.
  const slack = 8 + 6 * Math.max(0, after.processes - base.processes);
  for (const kind of new Set([...Object.keys(base.held), ...Object.keys(after.held)])) {
    const [before = 0, now = 0] = [base.held[kind], after.held[kind]];
    found.expect(
      now <= before + (kind === 'watches' || kind === 'threads' ? 0 : slack),
      `${kind}: ${before} before, ${now} after`,
    );
  }
  for (const [thread, kinds] of Object.entries(after.resources)) {
    for (const [kind, now] of Object.entries(kinds)) {
      const before = base.resources[thread]?.[kind] ?? 0;
      found.expect(now <= before + slack, `${kind} of ${thread}: ${before} before, ${now} after`);
    }
  }
};

const rebinds = {
  what: 'the listener is opened anew at each snapshot',
  patches: [
    {
      file: 'proxy/listener.js',
      from: "case 'none':\n                return false;",
      to: "case 'none':\n                { const { port } = this.#held.at; this.#held.server.destroy(); await new Promise((r) => setTimeout(r, 20)); this.#held = await this.#open(driver, wanted, port); return false; }",
    },
  ],
  shows: /requests failed|another one/,
};

const rushes = {
  what: 'replicas that are no longer wanted are killed at once',
  patches: [
    {
      file: 'control/plan.js',
      from: "{ type: 'drain', replica: replica.id, by: now + graceMs, ...(because === undefined ? {} : { because }) },",
      to: "{ type: 'stop', replica: replica.id, withinMs: 0 },",
    },
  ],
  shows: /requests failed/,
};

export const reload: Promised = {
  id: 'R1',
  title: 'hot reloads of every class lose no request and touch no listener',
  run: (world) =>
    course(
      {
        reloads: world.size(500, 22),
        streams: [
          // Few requests, but some of them always at work.
          echoes('kept', '/echo', world.pace(350, 60), 'kept', world.strict ? {} : { ms: 30 }),
          echoes('batched', '/many', world.pace(150, 30)),
          echoes('new', '/echo', world.pace(100, 20), 'new'),
        ],
        killEveryMs: undefined,
        leastReplicas: 1,
      },
      world,
    ),
  sabotages: [rebinds, rushes],
};

export const thousandReloads: Promised = {
  id: 'RELOADS',
  title: 'a thousand reloads while a replica is killed every second: nothing is lost, nothing is left over',
  run: (world) =>
    course(
      {
        reloads: world.size(1000, 11),
        streams: [
          echoes('kept', '/echo', world.pace(150, 30), 'kept', { ms: 5 }),
          echoes('batched', '/many', world.pace(50, 15)),
          echoes('new', '/echo', world.pace(20, 5), 'new'),
        ],
        killEveryMs: 1000,
        leastReplicas: 2,
      },
      world,
    ),
  sabotages: [
    {
      what: 'replicas are left behind',
      patches: [
        {
          file: 'control/replica-process.js',
          from: "if (this.#socket === undefined || withinMs === 0)\n            return this.#handle.kill('SIGKILL');\n        this.#send(FRAME.STOP, {});",
          to: "return this.#events.onDeath({ cause: 'stopped', exitCode: 0, signal: null, error: undefined, stderr: [] });",
        },
      ],
      shows: /processes are left/,
    },
  ],
};
