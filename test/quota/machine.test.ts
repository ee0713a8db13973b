import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir, totalmem } from 'node:os';
import { dirname, join } from 'node:path';
import t, { type Test } from 'tap';
import { detectMachine } from '../../src/quota/machine.ts';

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

t.test('without groups and devices it is what the system says', async (t) => {
  t.same(detectMachine({}, rootOf(t, {})), { cpus: availableParallelism(), memoryBytes: totalmem(), gpus: [] });
});

t.test('v1: the least of a group and all above it', async (t) => {
  const root = rootOf(t, {
    'proc/self/cgroup': '4:memory:/pod/box\n1:cpu,cpuacct:/pod/box\n0::/\n',
    'proc/self/mountinfo':
      '30 20 0:27 / /cg/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct\n31 20 0:28 / /cg/memory rw - cgroup cgroup rw,memory\n',
    'cg/cpu/pod/box/cpu.cfs_quota_us': '-1\n',
    'cg/cpu/pod/cpu.cfs_quota_us': '50000\n',
    'cg/cpu/pod/cpu.cfs_period_us': '100000\n',
    'cg/memory/pod/box/memory.limit_in_bytes': '9223372036854771712\n',
    'cg/memory/pod/memory.limit_in_bytes': '1048576\n',
  });
  t.match(detectMachine({}, root), { cpus: 0.5, memoryBytes: 1048576 });
});

t.test('v2, mounted from the group of a container', async (t) => {
  const root = rootOf(t, {
    'proc/self/cgroup': '0::/docker/abc/box\n',
    'proc/self/mountinfo': '30 20 0:27 /docker/abc /sys/fs/cgroup rw,relatime - cgroup2 cgroup rw,nsdelegate\n',
    'sys/fs/cgroup/box/cpu.max': 'max 100000\n',
    'sys/fs/cgroup/cpu.max': '75000 100000\n',
    'sys/fs/cgroup/box/memory.max': 'max\n',
    'sys/fs/cgroup/memory.max': '2097152\n',
  });
  t.match(detectMachine({}, root), { cpus: 0.75, memoryBytes: 2097152 });
});

t.test('devices are those of the driver, and of them those that CUDA_VISIBLE_DEVICES leaves', async (t) => {
  const root = rootOf(t, {
    'proc/driver/nvidia/gpus/0000:02:00.0/information': 'Model: \t\t NVIDIA T4\nDevice Minor: \t 1\n',
    'proc/driver/nvidia/gpus/0000:01:00.0/information': 'Model: \t\t NVIDIA L4\nDevice Minor: \t 0\n',
  });
  t.same(detectMachine({}, root).gpus, [
    { id: '0', model: 'NVIDIA L4' },
    { id: '1', model: 'NVIDIA T4' },
  ]);
  t.same(detectMachine({ CUDA_VISIBLE_DEVICES: '1' }, root).gpus, [{ id: '1', model: 'NVIDIA T4' }]);
  t.same(detectMachine({ CUDA_VISIBLE_DEVICES: '' }, root).gpus, []);
});
