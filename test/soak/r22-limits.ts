/** R22: no room for logs or compiled code, no descriptors, no processes. Serving goes on, the error is clear, and it heals by itself. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Status } from '../../src/control/status.ts';
import { configOf, single } from '../e2e/configs.ts';
import { ask, launchDaemon, pidsOf, startDaemon, until } from '../support/daemon-rig.ts';
import { OpenLoop } from './open-loop.ts';
import { code, echoes, QUIET } from './parts.ts';
import { Findings, type Promised, pause, type World } from './soak.ts';

/** A file system of one MiB; undefined: not for this user. */
const smallDisk = (): { path: string; fill: () => void; free: () => void; remove: () => void } | undefined => {
  const path = mkdtempSync(join(tmpdir(), 'sd-disk-'));
  if (spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', path]).status !== 0) {
    rmSync(path, { recursive: true });
    return undefined;
  }
  const ballast = join(path, 'ballast');
  return {
    path,
    fill: () => {
      try {
        writeFileSync(ballast, Buffer.alloc(2 ** 21));
      } catch {
        // That is what it is for.
      }
    },
    free: () => rmSync(ballast, { force: true }),
    remove: () => {
      spawnSync('umount', ['-l', path]);
      rmSync(path, { recursive: true, force: true });
    },
  };
};

const freePort = (): Promise<number> =>
  new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });

/** CPU time of a process and its threads, in seconds. */
const cpuSeconds = (pid: number): number => {
  const fields = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1]?.split(' ') ?? [];
  return (Number(fields[11]) + Number(fields[12])) / 100;
};

/** It may not spin while it waits for better times. */
const idles = async (pid: number, what: string, { strict }: World, found: Findings): Promise<void> => {
  const before = cpuSeconds(pid);
  await pause(1000);
  const share = cpuSeconds(pid) - before;
  found.expect(!strict || share < 0.2, `${what}: it uses ${share} of a CPU while nothing happens`);
};

/** Standard output goes to a file on a disk that is full. */
const fullLogDisk = async (world: World, found: Findings): Promise<string> => {
  const disk = smallDisk();
  if (disk === undefined) return 'skipped: no tmpfs for this user';
  try {
    const [http, admin] = [await freePort(), await freePort()];
    const text = configOf(
      [single('echo', '/echo', { import_path: './code.ts:Echo' })],
      `http_options: {host: 127.0.0.1, port: ${http}}\nadmin_options: {port: ${admin}}\n`,
    );
    const log = join(disk.path, 'log');
    await using daemon = await launchDaemon(text, {
      files: { 'code.ts': code() },
      program: world.program,
      through: ['/bin/sh', '-c', 'exec "$@" >>"$0"', log],
    });
    const url = `http://127.0.0.1:${http}`;
    const answers = () =>
      ask(`${url}/echo`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"n":1}' }).then(
        ({ status }) => status === 200,
        () => false,
      );
    await until('it serves', answers);
    disk.fill();
    // Each request is a line of the access log.
    let good = 0;
    for (let n = 0; n < 300; n++) if (await answers()) good += 1;
    await pause(300);
    for (let n = 0; n < 20; n++) if (await answers()) good += 1;
    found.expect(good === 320, `full log disk: ${good} of 320 requests were answered; ${daemon.errors.slice(0, 300)}`);
    // The control plane is there too: it tells its status, and replaces what dies.
    const pid = async (): Promise<number | undefined> => {
      const signal = AbortSignal.timeout(5000);
      const { text: status } = await ask(`http://127.0.0.1:${admin}/api/serve/applications/`, { signal });
      return pidsOf((JSON.parse(status) as Status).applications['echo']?.deployments['Only'])[0];
    };
    const before = await pid();
    if (before !== undefined) process.kill(before, 'SIGKILL');
    await until('another replica runs', async () => {
      const now = await pid();
      return now !== undefined && now !== before;
    });
    await idles(daemon.pid, 'full log disk', world, found);
    disk.free();
    await until('it logs again', async () => {
      const size = readFileSync(log).length;
      await answers();
      await pause(150);
      return readFileSync(log).length > size;
    });
    await until('it tells that lines may be missing', () => readFileSync(log, 'utf8').includes('the log could not be written'));
    await pause(500);
    found.expect(await answers(), 'full log disk: it serves no more when there is room again');
    const exit = await daemon.stop();
    found.expect(exit.code === 0, `full log disk: it ended with ${exit.code ?? exit.signal}`);
    return 'served';
  } finally {
    disk.remove();
  }
};

/** Compiled code cannot be kept. */
const fullStateDisk = async (world: World, found: Findings): Promise<string> => {
  const disk = smallDisk();
  if (disk === undefined) return 'skipped: no tmpfs for this user';
  try {
    const text = configOf([single('echo', '/echo', { import_path: './code.ts:Echo' })], QUIET);
    await using daemon = await startDaemon(text, {
      files: { 'code.ts': code() },
      program: world.program,
      args: ['--state-dir', disk.path],
    });
    await using load = new OpenLoop(() => daemon.url, [echoes('echo', '/echo', 40)]);
    disk.fill();
    const from = daemon.log.length;
    await daemon.write('code.ts', code(1));
    const line = await daemon
      .waitForLog(({ level, msg }) => level >= 50 || msg === 'config applied', from)
      .catch(() => undefined);
    found.expect(
      line !== undefined && /ENOSPC|no space/i.test(JSON.stringify(daemon.log.slice(from))),
      `full state disk: it says ${JSON.stringify(line)}`,
    );
    await load.more(20);
    await idles(daemon.pid, 'full state disk', world, found);
    disk.free();
    // The next edit finds room.
    const next = daemon.log.length;
    await daemon.write('code.ts', code(2));
    await daemon
      .waitForLog('config applied', next)
      .catch(() => found.broken.push('full state disk: an edit is not applied when there is room again'));
    await load.stop();
    found.expect(load.failures.length === 0, `full state disk: requests failed: ${load.failures}`);
    return 'served';
  } finally {
    disk.remove();
  }
};

/** More clients than there are descriptors. */
const fewDescriptors = async (world: World, found: Findings): Promise<string> => {
  const text = configOf([single('echo', '/echo', { import_path: './code.ts:Echo' })], QUIET);
  await using daemon = await startDaemon(text, {
    files: { 'code.ts': code() },
    program: world.program,
    through: ['/usr/bin/prlimit', '--nofile=90:90'],
  });
  await daemon.running();
  t0(await daemon.post('/echo', { n: 1 }), found, 'before');
  const { hostname, port } = new URL(daemon.url);
  const sockets: Socket[] = [];
  for (let n = 0; n < 150; n++) {
    const socket = connect(Number(port), hostname);
    socket.on('error', () => {});
    sockets.push(socket);
  }
  await pause(500);
  // The connection that was open before is served, and nothing spins.
  t0(await daemon.post('/echo', { n: 1 }).catch((error: Error) => error), found, 'on an open connection while there are none');
  await idles(daemon.pid, 'few descriptors', world, found);
  for (const socket of sockets) socket.destroy();
  await until('new connections are accepted again', async () => {
    const answer = await ask(`${daemon.url}/-/healthz`, {}).catch(() => undefined);
    return answer?.status === 200;
  }).catch(() => found.broken.push('few descriptors: nothing is accepted when there are descriptors again'));
  const [pid] = await daemon.pids('echo', 'Only');
  if (pid !== undefined) process.kill(pid, 'SIGKILL');
  await pause(100);
  await daemon.running().catch(() => found.broken.push('few descriptors: a replica does not come back'));
  return 'served';
};

const t0 = (answer: { status: number } | Error, found: Findings, when: string): void => {
  const status = answer instanceof Error ? answer.message : answer.status;
  found.expect(status === 200, `few descriptors: ${status} ${when}`);
};

/** No process can be started. */
const noFork = async (world: World, found: Findings): Promise<string> => {
  const group = `/sys/fs/cgroup/pids/sd-soak-${process.pid}`;
  try {
    mkdirSync(group);
  } catch {
    return 'skipped: no cgroup with pids for this user';
  }
  try {
    const text = configOf(
      [single('echo', '/echo', { import_path: './code.ts:Echo', num_replicas: 2, retry: { idempotent: true } })],
      QUIET,
    );
    await using daemon = await startDaemon(text, {
      files: { 'code.ts': code() },
      program: world.program,
      through: ['/bin/sh', '-c', `echo $$ > ${group}/cgroup.procs && exec "$@"`, 'sh'],
    });
    await daemon.running();
    const [pid] = await daemon.pids('echo', 'Only');
    const now = Number(readFileSync(`${group}/pids.current`, 'utf8'));
    writeFileSync(`${group}/pids.max`, String(Math.max(1, now - 14)));
    await using load = new OpenLoop(() => daemon.url, [echoes('echo', '/echo', 40)]);
    const from = daemon.log.length;
    if (pid !== undefined) process.kill(pid, 'SIGKILL');
    const line = await daemon
      .waitForLog(
        ({ msg, error }) => msg === 'replica died' && /EAGAIN|fork|resource|could not be started/i.test(String(error)),
        from,
      )
      .catch((error: Error) => error);
    found.expect(!(line instanceof Error), `no fork: it says ${line instanceof Error ? line.message : ''}`);
    await load.more(20);
    await idles(daemon.pid, 'no fork', world, found);
    writeFileSync(`${group}/pids.max`, 'max');
    await daemon
      .running(40_000)
      .catch(() => found.broken.push('no fork: the replica does not come back when processes can be started'));
    await load.stop();
    found.expect(load.failures.length === 0, `no fork: requests failed: ${load.failures}`);
    const exit = await daemon.stop();
    found.expect(exit.code === 0, `no fork: it ended with ${exit.code ?? exit.signal}`);
    return 'served';
  } finally {
    await until('the group is empty', () => readFileSync(`${group}/cgroup.procs`, 'utf8') === '', 5000).catch(() => {});
    // Groups of replicas, where the daemon was killed.
    for (const each of readdirSync(group, { withFileTypes: true })) if (each.isDirectory()) rmdirSync(join(group, each.name));
    rmdirSync(group);
  }
};

const run = async (world: World) => {
  const found = new Findings();
  const figures: Record<string, string> = {};
  for (const [name, part] of Object.entries({ fullLogDisk, fullStateDisk, fewDescriptors, noFork })) {
    figures[name] = await part(world, found).catch((error: Error) => {
      found.broken.push(`${name}: ${error.message.slice(0, 300)}`);
      return 'failed';
    });
  }
  return { figures, broken: found.broken };
};

export const limits: Promised = {
  id: 'R22',
  title: 'full disks, no descriptors and no processes are survived',
  run,
  sabotages: [
    {
      what: 'a log that cannot be written ends the daemon',
      patches: [
        {
          file: 'telemetry/log.js',
          from: 'failing.error = error.message;',
          to: 'throw error;',
        },
      ],
      shows: /fullLogDisk|full log disk/,
    },
    {
      what: 'a process that cannot be started ends the daemon',
      patches: [{ file: 'control/launch.js', from: 'exit(null, null);', to: 'throw error;' }],
      shows: /no fork|noFork/,
    },
  ],
};
