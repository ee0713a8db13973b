/** What a replica may use is held by the machine: it is stopped, slowed or weighed, and nobody else is. */
import { accessSync, constants, readdirSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { hierarchiesOf } from '../../src/quota/hierarchy.ts';
import { allGone, type DaemonRig, isGone, startDaemon, until } from '../support/daemon-rig.ts';
import { configOf, ECHO, HEAD, NEIGHBOUR, single } from './configs.ts';

t.setTimeout(120_000);

const { v1 } = hierarchiesOf();
const isWritable = (folder: string | undefined) => {
  try {
    accessSync(folder ?? '/nowhere', constants.W_OK);
    return true;
  } catch {
    return false;
  }
};
const skip =
  isWritable(v1.get('cpu')?.folder) && isWritable(v1.get('memory')?.folder)
    ? false
    : 'no writable cgroup v1 hierarchy with cpu and memory';

const CODE = `import { spawn } from 'node:child_process';
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const spin = 'const until = Date.now() + 1e9; while (Date.now() < until);';
export class Work {
  kept = [];
  async call({ eat, child, spin: threads, childEats, upTo = 1000 }) {
    if (child) return spawn('sleep', ['1000'], { detached: true, stdio: 'ignore' }).pid;
    if (childEats) return spawn(process.execPath, ['-e', 'const a = []; setInterval(() => a.push(Buffer.alloc(16 * 2 ** 20, 1)), 5)'], { stdio: 'ignore' }).pid;
    if (threads) { for (let n = 0; n < threads; n++) spawn(process.execPath, ['-e', spin], { stdio: 'ignore' }); return 'spinning'; }
    for (let n = 0; eat && n < upTo; n++) { this.kept.push(Buffer.alloc(8 * 2 ** 20, 1)); console.log(\`rss \${process.memoryUsage.rss()}\`); await sleep(5); }
    return 'ate';
  }
}
`;
const files = { 'work.ts': CODE, 'echo.ts': ECHO };
const work = (ray_actor_options: object) => single('work', '/work', { import_path: './work.ts:Work', ray_actor_options });
const configWith = (options: object, head = HEAD) => configOf([work(options), NEIGHBOUR], head);
const MIB = 2 ** 20;

/** The folder of a controller that a process is in. */
const folderOf = (pid: number, controller: string): string => {
  const line = readFileSync(`/proc/${pid}/cgroup`, 'utf8')
    .split('\n')
    .find((each) => each.split(':')[1]?.split(',').includes(controller));
  const top = v1.get(controller)?.upwards.at(-1) as string;
  return join(top, line?.slice(line.indexOf('/')) ?? '');
};
const fileOf = (pid: number, controller: string, file: string) =>
  readFileSync(join(folderOf(pid, controller), file), 'utf8').trim();
const groupsIn = (controller: string) =>
  readdirSync(v1.get(controller)?.folder as string).filter((name) => name.startsWith('serve-daemon.'));
const groupsOf = (daemon: DaemonRig) => groupsIn('memory').filter((name) => name.split('.')[2] === String(daemon.pid));

t.test('a replica that passes its memory is stopped, named, and back; its neighbour notices nothing', { skip }, async (t) => {
  await using daemon = await startDaemon(configWith({ memory: '256MiB' }), { files });
  await daemon.waitForLog((line) => line.msg === 'quotas are enforced' && line['mechanism'] === 'cgroup-v1');
  const neighbours = await daemon.pids('neighbour', 'Only');
  const [pid] = (await daemon.pids('work', 'Only')) as [number];
  const { applications } = await daemon.status();
  const [before] = applications['work']?.deployments['Only']?.replicas ?? [];
  t.match(before?.quota, { mechanism: 'cgroup-v1', num_cpus: null, memory: 256 * MIB });
  t.ok((before?.memory_bytes ?? 0) > MIB && (before?.memory_bytes ?? 0) < 256 * MIB, String(before?.memory_bytes));
  const child = Number((await daemon.post('/work', { child: true })).text);
  t.notOk(isGone(child));
  const lost = await daemon.post('/work', { eat: true });
  t.equal(lost.status, 503);
  const died = await daemon.waitForLog('replica died');
  t.match(died, { cause: 'oom', error: /^OOM_KILLED: it passed its memory of 256 MiB/ });
  const said = daemon.log.filter((line) => /^rss \d+$/.test(line.msg));
  const most = Math.max(...said.map(({ msg }) => Number(msg.slice(4))));
  t.ok(most < 320 * MIB, `${most}`);
  const last = said.at(-1);
  t.ok(Number(died['time']) - Number(last?.['time']) < 2000, 'it was stopped soon after it had last been seen below');
  await allGone([child, pid], 2000);
  const status = await daemon.running();
  t.match(status.applications['work']?.deployments['Only'], {
    restarts: 1,
    last_death: { cause: 'oom', signal: 'SIGKILL', message: /OOM_KILLED/ },
    replicas: [{ state: 'RUNNING' }],
  });
  t.same(await daemon.pids('neighbour', 'Only'), neighbours);
});

t.test('a child that eats the memory of its replica takes it along', { skip }, async (t) => {
  await using daemon = await startDaemon(configWith({ memory: '256MiB' }), { files });
  await daemon.post('/work', { childEats: true });
  const died = await daemon.waitForLog('replica died');
  t.match(died, { cause: 'oom', error: /OOM_KILLED/ });
  await daemon.running();
});

t.test('a quota that is edited is written to the running group', { skip }, async (t) => {
  await using daemon = await startDaemon(configWith({ num_cpus: 0.5 }), { files });
  const [pid] = (await daemon.pids('work', 'Only')) as [number];
  t.equal(fileOf(pid, 'cpu', 'cpu.shares'), '512');
  t.equal(fileOf(pid, 'cpu', 'cpu.cfs_quota_us'), '-1');
  await daemon.apply(configWith({ num_cpus: 1.5, cpu_limit: 0.5, memory: '512MiB' }));
  t.same(await daemon.pids('work', 'Only'), [pid], 'the same process');
  t.equal(fileOf(pid, 'cpu', 'cpu.shares'), '1536');
  t.equal(fileOf(pid, 'cpu', 'cpu.cfs_quota_us'), '50000');
  t.equal(fileOf(pid, 'memory', 'memory.limit_in_bytes'), String(512 * MIB));
  const [replica] = await daemon.replicas('work', 'Only');
  t.match(replica?.quota, { num_cpus: 1.5, cpu_limit: 0.5, memory: 512 * MIB });
  await daemon.apply(configWith({ num_cpus: 1.5, memory: '256MiB' }));
  t.equal(fileOf(pid, 'cpu', 'cpu.cfs_quota_us'), '-1');
  t.equal(fileOf(pid, 'memory', 'memory.limit_in_bytes'), String(256 * MIB));
  await daemon.apply(
    configWith({ num_cpus: 1.5, memory: '256MiB' }, `${HEAD}resources: {enforce: off}\n`.replace('off', '"off"')),
  );
  t.equal(fileOf(pid, 'cpu', 'cpu.shares'), '1024', 'and off takes all of it away');
  t.same(await daemon.pids('work', 'Only'), [pid]);
});

t.test('memory that is lowered below what is in use ends the replica, by name', { skip }, async (t) => {
  await using daemon = await startDaemon(configWith({ memory: '512MiB' }), { files });
  await daemon.post('/work', { eat: true, upTo: 20 });
  await daemon.save(configWith({ memory: '64MiB' }));
  t.match(await daemon.waitForLog('replica died'), { cause: 'oom', error: /^OOM_KILLED: it passed its memory of 64 MiB/ });
  await daemon.running();
});

t.test('a quota that does not fit waits, and the one before it stays in force', { skip }, async (t) => {
  const head = `${HEAD}resources: {num_cpus: 2}\n`;
  await using daemon = await startDaemon(configWith({ num_cpus: 1 }, head), { files });
  const [pid] = (await daemon.pids('work', 'Only')) as [number];
  await daemon.apply(configWith({ num_cpus: 3 }, head));
  const [replica] = await daemon.replicas('work', 'Only');
  t.match(replica, { pid, state: 'RUNNING', reason: /asks 3 CPUs; this machine offers 2/, quota: { num_cpus: 1 } });
  await daemon.apply(configWith({ num_cpus: 3 }, `${HEAD}resources: {num_cpus: 4}\n`));
  const [after] = await daemon.replicas('work', 'Only');
  t.match(after, { pid, reason: null, quota: { num_cpus: 3 } });
});

/** CPU time, in seconds, of all processes of the group that one is in. */
const secondsOf = (pid: number): number =>
  readFileSync(join(folderOf(pid, 'memory'), 'cgroup.procs'), 'utf8')
    .trim()
    .split('\n')
    .reduce((sum, each) => {
      const fields = readFileSync(`/proc/${each}/stat`, 'latin1').split(') ')[1]?.split(' ') ?? [];
      return sum + (Number(fields[11]) + Number(fields[12])) / 100;
    }, 0);

t.test('a busy loop gets no more than its cpu_limit, whatever is idle', { skip }, async (t) => {
  await using daemon = await startDaemon(configWith({ cpu_limit: 0.3 }), { files });
  const [pid] = (await daemon.pids('work', 'Only')) as [number];
  await daemon.post('/work', { spin: 2 });
  const [used, since] = [secondsOf(pid), performance.now()];
  await until('three seconds are over', () => performance.now() - since > 3000);
  const cpus = (secondsOf(pid) - used) / ((performance.now() - since) / 1000);
  // How little a busy machine leaves it is not for this test to say.
  t.ok(cpus > 0 && cpus < 0.4, `${cpus}`);
  await daemon.when('the status tells that it was held back', ({ applications }) =>
    Boolean(applications['work']?.deployments['Only']?.replicas.some(({ cpu_throttled_s }) => (cpu_throttled_s ?? 0) > 0)),
  );
  const { text } = await daemon.ask('/metrics', {}, daemon.adminUrl);
  const told = /^serve_replica_cpu_throttled_seconds_total\{application="work",deployment="Only",replica="[^"]+"\} ([\d.]+)$/m;
  t.ok(Number(told.exec(text)?.[1]) > 0, 'and so do the metrics');
  t.same(await daemon.stop(), { code: 0, signal: null }, 'and what it started goes with it');
});

t.test('two busy replicas share in proportion to num_cpus', { skip }, async (t) => {
  const busy = (name: string, num_cpus: number) =>
    single(name, `/${name}`, { import_path: './work.ts:Work', ray_actor_options: { num_cpus } });
  const head = `${HEAD}resources: {num_cpus: 4}\n`;
  await using daemon = await startDaemon(configOf([busy('more', 1.5), busy('less', 0.5)], head), { files });
  const [more, less] = (await Promise.all(['more', 'less'].map(async (name) => (await daemon.pids(name, 'Only'))[0]))) as [
    number,
    number,
  ];
  for (const name of ['more', 'less']) await daemon.post(`/${name}`, { spin: availableParallelism() });
  const before = { more: secondsOf(more), less: secondsOf(less) };
  await until('the lesser has had its part of some seconds', () => secondsOf(less) - before.less > 0.6);
  const ratio = (secondsOf(more) - before.more) / (secondsOf(less) - before.less);
  t.ok(ratio > 1.5 && ratio < 6, `${ratio}`);
  t.same(await daemon.stop(), { code: 0, signal: null });
});

t.test('groups go with their replicas, and those of a daemon that was killed are swept by the next', { skip }, async (t) => {
  const daemon = await startDaemon(configWith({ memory: '256MiB' }), { files });
  const [pid] = (await daemon.pids('work', 'Only')) as [number];
  t.equal(groupsOf(daemon).length, 2);
  await daemon.apply(configOf([NEIGHBOUR]));
  await allGone([pid], 5000);
  await until('its group is gone', () => groupsOf(daemon).length === 1);
  daemon.signal('SIGKILL');
  await daemon[Symbol.asyncDispose]();
  // Its group is left, unless another daemon of this machine has started meanwhile.
  const next = await startDaemon(configOf([NEIGHBOUR]), { files });
  t.equal(groupsOf(daemon).length, 0);
  await next.stop();
  t.equal(groupsOf(next).length, 0);
  t.notOk(groupsIn('cpu').some((name) => name.split('.')[2] === String(next.pid)));
  await next[Symbol.asyncDispose]();
});

t.test('what starts yields to what serves, and no longer than half a second', { skip }, async (t) => {
  const code = `import { readFileSync } from 'node:fs';
const idle = (folder) => readFileSync(folder + '/cpu.idle', 'utf8').trim();
const read = () => idle(process.env.CPU_ROOT + /:cpu(?:,[^:]*)?:(.*)/.exec(readFileSync('/proc/self/cgroup', 'utf8'))[1]);
const [at, first] = [performance.now(), read()];
await new Promise((resolve) => setTimeout(resolve, 1500));
const later = read();
export class Work { call() { return { at, first, later: [later, read()] }; } }
`;
  const CPU_ROOT = v1.get('cpu')?.upwards.at(-1) as string;
  const config = (start: number) => configWith({ runtime_env: { env_vars: { CPU_ROOT, START: `${start}` } } });
  await using daemon = await startDaemon(config(0), { files: { ...files, 'work.ts': code } });
  await daemon.running();
  // Code that came to run when the half second was nearly over cannot tell.
  for (let start = 1; ; start++) {
    const { at, first, later } = JSON.parse((await daemon.post('/work', {})).text);
    t.same(later, ['0', '0']);
    if (at < 300) {
      t.equal(first, '1', `${at} ms after its start`);
      break;
    }
    t.ok(start < 10, `${start} starts took so long that nothing was seen: ${at} ms`);
    if (start >= 10) break;
    await daemon.apply(config(start));
  }
});

t.test('off holds nobody, and says so', async (t) => {
  await using daemon = await startDaemon(configWith({ memory: '256MiB' }, `${HEAD}resources: {enforce: "off"}\n`), { files });
  const [replica] = await daemon.replicas('work', 'Only');
  t.match(replica?.quota, { mechanism: 'none', memory: 256 * MIB });
});

t.test('each deployment has its own packages and environment, and a change of one rolls that one only', async (t) => {
  const pack = (version: string) => ({
    [`${version}/node_modules/pack/package.json`]: `{"name": "pack", "version": "${version}", "type": "module", "main": "index.js"}`,
    [`${version}/node_modules/pack/index.js`]: `export const version = '${version}';\n`,
    [`${version}/main.ts`]: `import { version } from 'pack';\nexport class Main { constructor({ other }) { this.other = other; } async call() { return [version, process.env.WHO, process.cwd().split('/').at(-1), ...(this.other ? await this.other.call() : [])]; } }\n`,
  });
  const config = (who: string) =>
    configOf([
      {
        name: 'both',
        route_prefix: '/',
        graph: { ingress: 'One', calls: { One: { other: 'Two' } } },
        deployments: ['One', 'Two'].map((name, index) => ({
          name,
          import_path: `./${index + 1}.0.0/main.ts:Main`,
          ray_actor_options: {
            runtime_env: { working_dir: `./${index + 1}.0.0`, env_vars: { WHO: index === 0 ? 'first' : who } },
          },
        })),
      },
    ]);
  await using daemon = await startDaemon(config('second'), { files: { ...pack('1.0.0'), ...pack('2.0.0') } });
  t.same(JSON.parse((await daemon.ask('/')).text), ['1.0.0', 'first', '1.0.0', '2.0.0', 'second', '2.0.0']);
  const [one, two] = [await daemon.pids('both', 'One'), await daemon.pids('both', 'Two')];
  await daemon.apply(config('changed'));
  t.same(JSON.parse((await daemon.ask('/')).text), ['1.0.0', 'first', '1.0.0', '2.0.0', 'changed', '2.0.0']);
  t.same(await daemon.pids('both', 'One'), one);
  t.not((await daemon.pids('both', 'Two'))[0], two[0]);
});
