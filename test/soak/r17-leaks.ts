/**
 * R17: two million requests of every kind, a thousand reloads and a thousand deaths of replicas: memory does not grow, everything else
 * that was held is given back to the last piece, and every request is counted once.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { configOf, single } from '../e2e/configs.ts';
import { type DaemonRig, startDaemon, until } from '../support/daemon-rig.ts';
import { MIXED_APPLICATIONS, MIXED_CODE, MixedTraffic, toldByMetrics } from '../support/mixed-traffic.ts';
import { belongingsOf, leftOver } from './belongings.ts';
import { code, QUIET, residentMb } from './parts.ts';
import { ResourceReports } from './resources.ts';
import { type Point, quartersOf, seriesText, slopeOf } from './slope.ts';
import { Findings, type Promised, pause, type World } from './soak.ts';

const CLIENTS = 32;
/** One dies while the others come back. */
const MORTALS = Array.from({ length: 6 }, (_, index) => `mortal${index}`);
/** A replica that dies sooner, on a machine where it takes a second to start, is replaced with back-off. */
const LIVES_MS = 3000;
/** What processes need to get going: heaps take their size, code is compiled, each kind of thing has been there once. */
const WARM_REQUESTS = 200_000;
const MB_PER_100_000 = 1;

/** Each is another config: settings in force at once, new values for the code, a replica more or less, and now and then new replicas. */
const config = (v: number): string =>
  configOf(
    [
      ...MIXED_APPLICATIONS,
      single('other', '/other', {
        import_path: './mixed.ts:Work',
        num_replicas: 1 + (v % 2),
        max_ongoing_requests: 50 + (v % 7),
        user_config: { v },
        init_args: { v: Math.floor(v / 5) },
      }),
      ...MORTALS.map((name) => single(name, `/${name}`, { import_path: './code.ts:Echo' })),
    ],
    QUIET,
  );

const run = async ({ size, pace, strict, program }: World) => {
  const found = new Findings();
  const rounds = pace(20, 4);
  const share = (full: number, short: number) => Math.ceil(size(full, short) / rounds);
  const [requests, reloads, deaths] = [share(2_000_000, 6_000), share(1_000, 8), share(1_000, 8)];
  const temporary = mkdtempSync(join(tmpdir(), 'sd-leaks-'));
  using reports = new ResourceReports();
  try {
    await using daemon = await startDaemon(config(0), {
      files: { 'mixed.ts': MIXED_CODE, 'code.ts': code() },
      program,
      // What is garbage and not collected yet would be most of what is seen.
      node: ['--expose-gc', ...reports.node],
      env: { ...reports.env, TMPDIR: temporary },
    });
    await daemon.running();
    const traffic = new MixedTraffic({ port: Number(new URL(daemon.url).port), clients: CLIENTS, other: '/other' });
    const before = await toldBy(daemon);
    const [worker] = (await daemon.pids('work', 'Only')) as [number];
    /** Every second; and at the end of each round, without garbage. */
    const memory: Point[] = [];
    const kept: Point[] = [];
    const ofReplica: Point[] = [];
    const sampler = setInterval(
      () => {
        memory.push([traffic.sent, residentMb(daemon.pid)]);
        ofReplica.push([traffic.sent, residentMb(worker)]);
      },
      pace(1000, 100),
    );
    let version = 0;
    const killed: Record<string, number> = {};
    let died = 0;
    const round = async (): Promise<void> => {
      await Promise.all([
        traffic.send(requests),
        (async () => {
          for (let n = 0; n < reloads; n++) await reload(daemon, ++version);
        })(),
        (async () => {
          for (let n = 0; n < deaths; n++) {
            await die(daemon, MORTALS[died++ % MORTALS.length] as string, pace(LIVES_MS, 0), killed);
          }
        })(),
      ]);
      // As many replicas as at first, and none of the clients.
      if (version % 2 === 1) await reload(daemon, ++version);
      await daemon.running(60_000);
      daemon.agent.destroy();
      await reports.ask(daemon);
      kept.push([traffic.sent, residentMb(daemon.pid)]);
    };
    const look = () => belongingsOf(daemon, reports, temporary);
    const warm = Math.min(rounds / 2, Math.max(2, Math.ceil(WARM_REQUESTS / requests)));
    for (let n = 0; n < warm; n++) await round();
    await pause(pace(5000, 1000));
    const base = await look();
    const from = ofReplica.length;
    for (let n = warm; n < rounds; n++) await round();
    clearInterval(sampler);
    // Applied configs are kept, up to fifty of them.
    const left = await leftOver(base, look, { 'files of state': 50 }, 30_000);
    found.expect(left.length === 0, `left over: ${left.join('; ')}`);

    const sent = { ...before };
    for (const ends of [traffic.ends, killed])
      for (const [end, count] of Object.entries(ends)) sent[end] = (sent[end] ?? 0) + count;
    const isSame = async () => sorted(await toldBy(daemon)) === sorted(sent);
    await until('the counts agree', isSame, 10_000).catch(() => {});
    found.expect(await isSame(), `sent ${sorted(sent)}, told ${sorted(await toldBy(daemon))}`);
    found.expect(
      traffic.wrong.size === 0,
      `requests ended otherwise than they should: ${[...traffic.wrong].map(([text, count]) => `${count} × ${text}`).join('; ')}`.slice(
        0,
        800,
      ),
    );
    const { text } = await daemon.ask('/metrics', {}, daemon.adminUrl);
    found.expect(text.includes('\nserve_http_requests_in_flight 0\n'), 'requests are in flight when all is over');
    const deathsTold = Object.values((await daemon.status()).applications)
      .flatMap((each) => Object.values(each.deployments))
      .reduce((sum, each) => sum + each.restarts, 0);
    found.expect(deathsTold === died, `${deathsTold} replicas died by the status, expected ${died}`);

    const figures: Record<string, number | string> = { daemon_with_garbage_mb: seriesText(memory) };
    for (const [what, points] of [
      ['daemon', kept.slice(warm)],
      ['replica', ofReplica.slice(from)],
    ] as const) {
      const slope = slopeOf(points) * 100_000;
      const { first, last } = quartersOf(points);
      figures[`${what}_mb_per_100000`] = Math.round(slope * 100) / 100;
      figures[`${what}_mb`] = seriesText(points);
      // In the short form only what no collector would explain.
      found.expect(
        !strict || slope <= MB_PER_100_000,
        `memory of the ${what} grows by ${slope.toFixed(2)} MB in 100,000 requests`,
      );
      found.expect(
        last <= first * (strict ? 1.05 : 1) + (strict ? 0 : 75),
        `memory of the ${what} went from ${first.toFixed(0)} to ${last.toFixed(0)} MB`,
      );
    }
    const exit = await daemon.stop();
    found.expect(exit.code === 0, `the daemon ended with ${exit.code ?? exit.signal}`);
    return {
      figures: {
        sent: traffic.sent,
        left_early: traffic.left,
        reloads: version,
        deaths: died,
        ...figures,
        ends: sorted(traffic.ends),
      },
      broken: found.broken,
    };
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
};

const sorted = (counts: Readonly<Record<string, number>>): string =>
  JSON.stringify(Object.fromEntries(Object.entries(counts).sort()));

const toldBy = async (daemon: DaemonRig) => toldByMetrics((await daemon.ask('/metrics', {}, daemon.adminUrl)).text);

const reload = async (daemon: DaemonRig, version: number): Promise<void> => {
  const from = daemon.log.length;
  await daemon.save(config(version));
  await daemon.waitForLog('config applied', from, 60_000);
  // The others may just be dying.
  if (version % 2 === 0)
    await daemon.when('its reload is done', ({ applications }) => applications['other']?.status === 'RUNNING', 60_000);
};

/** Its replica ends itself, and whoever asked for that is told so. A replica that is not back yet is asked again. */
const die = (daemon: DaemonRig, name: string, livesMs: number, killed: Record<string, number>): Promise<true> =>
  until(
    `${name} dies`,
    async () => {
      const replicas = await daemon.replicas(name, 'Only');
      if (!replicas.some(({ state, since }) => state === 'RUNNING' && Date.now() - Date.parse(since) >= livesMs)) return false;
      const { status, headers } = await daemon.post(`/${name}`, { n: 1, die: true });
      killed[`${name} ${status}`] = (killed[`${name} ${status}`] ?? 0) + 1;
      return headers['x-serve-error'] === 'REPLICA_DIED';
    },
    120_000,
  );

export const noLeaks: Promised = {
  id: 'R17',
  title: 'after two million requests, a thousand reloads and a thousand deaths nothing is held that was not held before',
  run,
  sabotages: [
    {
      what: 'each request keeps a piece of memory',
      patches: [
        {
          file: 'proxy/ingress-request.js',
          from: 'this.#finished = true;\n',
          to: 'this.#finished = true;\n        (globalThis.kept ??= []).push(Buffer.alloc(100_000, 1));\n',
        },
      ],
      shows: /memory of the daemon went from/,
    },
    {
      what: 'control groups stay when their replicas have gone',
      patches: [
        {
          file: 'quota/enforcer.js',
          from: 'this.#remove(group);\n            },\n        });',
          to: '{}\n            },\n        });',
        },
      ],
      shows: /control groups: /,
    },
    {
      what: 'clients that leave are not counted',
      patches: [
        {
          file: 'proxy/ingress-request.js',
          from: "if (refusal === undefined)\n            this.#finish(499, 'CLIENT_CLOSED');",
          to: 'if (refusal === undefined) { this.#finished = true; this.#over(); }',
        },
      ],
      shows: /^sent /,
    },
  ],
};
