/** Looks at what the machine has: CPUs and memory that the groups of this process leave it, and its NVIDIA devices. */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { availableParallelism, totalmem } from 'node:os';
import { join } from 'node:path';
import { type Hierarchies, hierarchiesOf } from './hierarchy.ts';
import type { Gpu, Machine } from './offer.ts';

/** @param root of the file system, for tests */
export const detectMachine = (env: Readonly<Record<string, string | undefined>>, root = '/'): Machine => {
  const hierarchies = hierarchiesOf(root);
  return {
    cpus: Math.min(availableParallelism(), cpuQuotaOf(hierarchies)),
    memoryBytes: Math.min(totalmem(), memoryLimitOf(hierarchies)),
    gpus: gpusOf(env['CUDA_VISIBLE_DEVICES'], root),
  };
};

/** The least of a group and all above it. */
const leastOf = (folders: readonly string[], read: (folder: string) => number): number =>
  Math.min(Number.POSITIVE_INFINITY, ...folders.map((folder) => read(folder)).filter((value) => value > 0));

const numberIn = (file: string): number => {
  try {
    return Number(readFileSync(file, 'utf8'));
  } catch {
    return Number.NaN;
  }
};

const cpuQuotaOf = ({ v1, v2 }: Hierarchies): number =>
  Math.min(
    leastOf(v1.get('cpu')?.upwards ?? [], (folder) => {
      const quota = numberIn(join(folder, 'cpu.cfs_quota_us'));
      return quota > 0 ? quota / numberIn(join(folder, 'cpu.cfs_period_us')) : Number.NaN;
    }),
    leastOf(v2?.upwards ?? [], (folder) => {
      const [quota, period] = textIn(join(folder, 'cpu.max')).split(' ').map(Number);
      return (quota ?? Number.NaN) / (period ?? Number.NaN);
    }),
  );

const memoryLimitOf = ({ v1, v2 }: Hierarchies): number =>
  Math.min(
    leastOf(v1.get('memory')?.upwards ?? [], (folder) => numberIn(join(folder, 'memory.limit_in_bytes'))),
    leastOf(v2?.upwards ?? [], (folder) => numberIn(join(folder, 'memory.max'))),
  );

const textIn = (file: string): string => {
  try {
    return readFileSync(file, 'utf8').trim();
  } catch {
    return '';
  }
};

/** The driver's own list, in the order of its minor numbers, without starting a program; else what nvidia-smi says; else none. */
const gpusOf = (visible: string | undefined, root: string): readonly Gpu[] => {
  const all = fromDriver(join(root, 'proc/driver/nvidia/gpus')) ?? fromTool(root);
  if (visible === undefined) return all;
  const ids = visible.split(',').map((id) => id.trim());
  // As the driver does: what follows the first name that is none is not seen.
  const end = ids.findIndex((id) => id === '' || id === '-1');
  return ids.slice(0, end < 0 ? ids.length : end).map((id) => ({ id, model: all.find((gpu) => gpu.id === id)?.model ?? '' }));
};

const fromDriver = (folder: string): readonly Gpu[] | undefined => {
  if (!existsSync(folder)) return undefined;
  return readdirSync(folder)
    .map((name) => {
      const text = textIn(join(folder, name, 'information'));
      const field = (key: string) => new RegExp(`^${key}:\\s*(.*)$`, 'm').exec(text)?.[1]?.trim() ?? '';
      return { minor: Number(field('Device Minor') || 0), model: field('Model') };
    })
    .sort((a, b) => a.minor - b.minor)
    .map(({ model }, index) => ({ id: String(index), model }));
};

const fromTool = (root: string): readonly Gpu[] => {
  const program = ['usr/bin/nvidia-smi', 'usr/local/bin/nvidia-smi']
    .map((path) => join(root, path))
    .find((path) => existsSync(path));
  if (program === undefined) return [];
  const { status, stdout } = spawnSync(program, ['--query-gpu=index,name', '--format=csv,noheader'], {
    encoding: 'utf8',
    timeout: 5000,
  });
  if (status !== 0) return [];
  return stdout
    .split('\n')
    .map((line) => /^(\d+), (.*)$/.exec(line.trim()))
    .flatMap((match) => (match === null ? [] : [{ id: match[1] as string, model: match[2] as string }]));
};
