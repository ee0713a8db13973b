import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import t, { type Test } from 'tap';
import { CannotEnforce, Enforcer, runCommand } from '../../src/quota/enforcer.ts';
import { type Limits, NO_LIMITS, type Run, type Stage, sharesOf, weightOf } from '../../src/quota/group.ts';
import { until } from '../support/daemon-rig.ts';

/** A file system of these files. */
const rootOf = (t: Test, files: Readonly<Record<string, string>>): string => {
  const root = mkdtempSync(join(tmpdir(), 'sd-root-'));
  t.teardown(() => rmSync(root, { recursive: true }));
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, name)), { recursive: true });
    writeFileSync(join(root, name), text);
  }
  return root;
};
const noRun: Run = async () => ({ status: null, out: '' });
const start = (
  root: string,
  enforce: 'auto' | 'strict' | 'off' = 'auto',
  given: { run?: Run; env?: Record<string, string>; pid?: number } = {},
) => Enforcer.start(enforce, { root, env: {}, run: noRun, pid: 77, ...given }, () => {});

const LIMITS: Limits = { numCpus: 0.5, cpuLimit: 1.5, memoryBytes: 2 ** 28 };
const PROC = {
  'proc/self/stat': '77 (node) S',
  'proc/77/stat': `77 (node) S ${'0 '.repeat(18)}4711 0`,
  'proc/self/cgroup': '0::/user/box\n',
  'proc/self/mountinfo': '30 20 0:27 / /cg rw,relatime shared:4 - cgroup2 cgroup2 rw\n',
};
const V2 = {
  ...PROC,
  'cg/user/box/cgroup.controllers': 'cpuset cpu io memory pids\n',
  'cg/user/box/cgroup.type': 'domain\n',
};
const text = (...path: string[]) => readFileSync(join(...path), 'utf8');
const groupIn = (folder: string, index: number) => join(folder, `serve-daemon.0.77.4711.${index}`);

t.test('v2: the daemon makes room for groups beside its own, and writes what a replica may use', async (t) => {
  const root = rootOf(t, V2);
  const base = join(root, 'cg/user/box');
  const enforcer = await start(root);
  t.teardown(() => enforcer.close());
  t.equal(enforcer.mechanism, 'cgroup-v2');
  t.equal(text(base, 'serve-daemon.0.77.4711.daemon/cgroup.procs'), '77');
  t.equal(text(base, 'cgroup.subtree_control'), '+cpu +memory +pids');
  const breaches: string[] = [];
  const quota = enforcer.open(LIMITS, (why) => breaches.push(why));
  const group = groupIn(base, 2);
  t.equal(quota.prefix.at(-1), join(group, 'cgroup.procs'), 'entered before the replica runs');
  t.equal(text(group, 'memory.max'), String(2 ** 28));
  t.equal(text(group, 'cpu.weight'), '100', 'nothing is withheld while it starts');
  t.equal(text(group, 'cpu.max'), 'max 100000');
  // The kernel makes the file; what starts has it at 1 (`test/e2e/enforcement.test.ts`).
  writeFileSync(join(group, 'cpu.idle'), '1');
  quota.entered(78);
  await until('it yields no longer', () => text(group, 'cpu.idle') === '0');
  t.equal(text(group, 'cpu.weight'), '100', 'although it is not ready yet');
  quota.ready();
  t.equal(text(group, 'cpu.weight'), '50');
  t.equal(text(group, 'cpu.idle'), '0');
  t.equal(text(group, 'cpu.max'), '150000 100000');
  quota.change({ ...NO_LIMITS, memoryBytes: 2 ** 30 });
  t.equal(text(group, 'memory.max'), String(2 ** 30));
  t.equal(text(group, 'cpu.max'), 'max 100000');
  for (const [name, content] of Object.entries({
    'memory.current': '5000\n',
    'memory.stat': 'anon 1\ninactive_file 1000\n',
    'cpu.stat': 'usage_usec 900\nnr_periods 40\nnr_throttled 30\nthrottled_usec 2500000\n',
    'memory.events': 'low 0\noom 2\noom_kill 0\noom_group_kill 0\n',
    'cgroup.kill': '',
  }))
    writeFileSync(join(group, name), content);
  t.equal(quota.memoryBytes, 4000);
  t.equal(quota.throttledS, 2.5);
  t.equal(quota.oom(), undefined);
  writeFileSync(join(group, 'memory.events'), 'oom 2\noom_kill 3\n');
  quota.watch();
  quota.watch();
  t.same(breaches, ['OOM_KILLED: it passed its memory of 1 GiB (cgroup-v2, oom_kill 3)'], 'told once');
  quota.kill();
  t.equal(text(group, 'cgroup.kill'), '1');
  t.equal(enforcer.set('off'), undefined);
  t.equal(text(group, 'memory.max'), 'max', 'off takes the limits away');
});

t.test('v2 that is not delegated is left alone, and the next step is taken', async (t) => {
  const root = rootOf(t, { ...V2, 'cg/user/box/cgroup.subtree_control/x': 'cannot be written' });
  const enforcer = await start(root);
  t.teardown(() => enforcer.close());
  t.equal(enforcer.mechanism, 'rlimit+watchdog');
  t.match(enforcer.tried, [
    { mechanism: 'cgroup-v2', why: /not delegated/ },
    { mechanism: 'systemd', why: 'no user manager of systemd runs' },
    { mechanism: 'cgroup-v1', why: 'no cpu and memory hierarchy is mounted' },
  ]);
});

t.test('systemd: a replica is a scope, and a change is a property of it', async (t) => {
  const root = rootOf(t, {
    ...PROC,
    'cg/user/box/cgroup.controllers': 'pids\n',
    'run/user/1/systemd/private': '',
    'proc/78/cgroup': '0::/user.slice/serve-daemon-77-0.scope\n',
    'cg/user.slice/serve-daemon-77-0.scope/memory.events': 'oom_kill 1\n',
    'cg/user.slice/serve-daemon-77-0.scope/memory.current': '7\n',
    'cg/user.slice/serve-daemon-77-0.scope/cpu.stat': 'throttled_usec 125000\n',
  });
  const ran: string[] = [];
  const run: Run = async (command, args) => {
    ran.push([command, ...args].join(' '));
    return { status: 0, out: '' };
  };
  const enforcer = await start(root, 'strict', { run, env: { XDG_RUNTIME_DIR: '/run/user/1' } });
  t.teardown(() => enforcer.close());
  t.equal(enforcer.mechanism, 'systemd');
  t.match(ran[0], /^systemd-run --user --scope .* -- true$/);
  const quota = enforcer.open(LIMITS, () => {});
  t.match(
    quota.prefix.join(' '),
    /^systemd-run --user --scope --quiet --collect --unit=serve-daemon-77-0.scope -p CPUWeight=100 -p CPUQuota= -p MemoryMax=268435456 -p MemorySwapMax=0 .*--$/,
  );
  quota.entered(78);
  quota.ready();
  t.match(ran.at(-1), /^systemctl --user set-property --runtime serve-daemon-77-0.scope CPUWeight=50 CPUQuota=150% /);
  t.match(quota.oom(), /systemd, oom_kill 1/);
  t.equal(quota.memoryBytes, 7);
  t.equal(quota.throttledS, 0.125);
  const without = await start(root, 'auto', {
    run: async () => ({ status: 1, out: 'no bus' }),
    env: { XDG_RUNTIME_DIR: '/run/user/1' },
  });
  without.close();
  t.equal(without.mechanism, 'rlimit+watchdog');
});

t.test('strict refuses to start below control groups, and says why', async (t) => {
  t.ok((await start(rootOf(t, PROC), 'strict').catch((error: Error) => error)) instanceof CannotEnforce);
  await t.rejects(start(rootOf(t, PROC), 'strict'), {
    message:
      /^resources.enforce is strict, and no control groups can be used here \(cgroup-v2: its tree has no cpu and memory controller here; /,
  });
});

t.test('off is off', async (t) => {
  const enforcer = await start(rootOf(t, V2), 'off');
  t.teardown(() => enforcer.close());
  t.equal(enforcer.mechanism, 'none');
  t.same(enforcer.open(LIMITS, () => {}).prefix, []);
  t.match(enforcer.set('auto'), /from the next start on/);
});

t.test('groups of daemons that are gone are swept, those of others are not', async (t) => {
  const root = rootOf(t, { ...V2, 'proc/80/stat': `80 (node) S ${'0 '.repeat(18)}99 0` });
  const base = join(root, 'cg/user/box');
  const names = ['serve-daemon.0.79.1.1', 'serve-daemon.0.80.98.1', 'serve-daemon.0.80.99.1', 'serve-daemon.5.79.1.1', 'other'];
  for (const name of names) mkdirSync(join(base, name));
  const enforcer = await start(root);
  t.teardown(() => enforcer.close());
  const left = readdirSync(base).filter((name) => names.includes(name));
  t.same(
    left.sort(),
    ['other', 'serve-daemon.0.80.99.1', 'serve-daemon.5.79.1.1'],
    'of this namespace, by pid and time of start',
  );
});

t.test('shares and weights are in proportion to num_cpus, from ready on', async (t) => {
  const at = (numCpus: number | null, stage: Stage = 'ready') => [
    sharesOf({ ...NO_LIMITS, numCpus }, stage),
    weightOf({ ...NO_LIMITS, numCpus }, stage),
  ];
  t.same(at(1.5), [1536, 150]);
  t.same(at(0.5), [512, 50]);
  t.same(at(null), [1024, 100]);
  t.same(at(0), [2, 1], 'the least that the kernel takes');
  t.same(at(1000), [262_144, 10_000], 'and the most');
  t.same(at(0.5, 'starts'), [1024, 100]);
  t.same(at(4, 'yields'), [4096, 400]);
});

t.test('the watchdog sees what a process and its children use, and says when it is too much', async (t) => {
  const root = rootOf(t, {});
  symlinkSync('/proc', join(root, 'proc'));
  symlinkSync('/usr', join(root, 'usr'));
  const enforcer = await start(root, 'auto', { run: runCommand, pid: process.pid });
  t.teardown(() => enforcer.close());
  t.equal(enforcer.mechanism, 'rlimit+watchdog');
  const breaches: string[] = [];
  const quota = enforcer.open({ numCpus: 0.5, cpuLimit: 1, memoryBytes: 200 * 2 ** 20 }, (why) => breaches.push(why));
  const eater = `require('node:child_process').spawn(process.execPath, ['-e', 'const kept = []; const more = setInterval(() => { kept.push(Buffer.alloc(2 ** 23, 1)); if (kept.length > 40) clearInterval(more); }, 2); setInterval(() => {}, 1000)'], {stdio: 'ignore'}); setInterval(() => {}, 1000)`;
  const [file = process.execPath, ...args] = [...quota.prefix, process.execPath, '-e', eater];
  const child = spawn(file, args, { detached: true, stdio: 'ignore' });
  const { pid } = child as { pid: number };
  t.teardown(() => quota.close());
  quota.entered(pid);
  quota.ready();
  t.match(text(`/proc/${pid}/limits`), /Max data size +2357198848 /);
  await until('it was noticed', () => breaches.length > 0);
  t.match(breaches[0], /^OOM_KILLED: it passed its memory of 200 MiB/);
  t.equal(text(`/proc/${pid}/oom_score_adj`).trim(), '500');
  t.match(text(`/proc/${pid}/status`), /Cpus_allowed_list:\s+\d+\n/, 'one CPU');
  t.equal(quota.throttledS, undefined, 'nobody counts it');
  quota.kill();
  await until('its children are gone with it', () => (quota.memoryBytes ?? 0) === 0);
  t.ok(existsSync('/proc/self'));
});
