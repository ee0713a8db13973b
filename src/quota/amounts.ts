/** Amounts of resources, counted exactly: integers, so that no number of changes makes them drift. Pure. */
import type { DeploymentSpec } from '../domain/desired.ts';

/** Of a CPU, a GPU or one of a custom resource there are ten thousand parts, as in Ray. */
export const PARTS = 10_000;

/** What is named and above 0 is at least one part. */
export const partsOf = (amount: number): number => (amount > 0 ? Math.max(1, Math.round(amount * PARTS)) : 0);

/** By resource: `cpu`, `gpu` and `custom.<name>` in parts, `memory` in bytes. */
export type Amounts = ReadonlyMap<string, number>;

/** What is said of one replica, as numbers of the config. null: not named, so neither reserved nor limited. */
export type Asked = Pick<DeploymentSpec, 'numCpus' | 'numGpus' | 'memoryBytes' | 'resources' | 'acceleratorType'>;

/** What one replica reserves. What is not named, or 0, is left out. */
export const askOf = ({ numCpus, numGpus, memoryBytes, resources, acceleratorType }: Asked): Amounts => {
  const amounts = new Map<string, number>([
    ['cpu', partsOf(numCpus ?? 0)],
    ['gpu', partsOf(numGpus ?? 0)],
    ['memory', Math.ceil(memoryBytes ?? 0)],
    ...Object.entries(resources).map(([name, amount]): [string, number] => [`custom.${name}`, partsOf(amount)]),
  ]);
  // Ray's own way: a trace of a resource that only a machine with such an accelerator offers.
  if (acceleratorType !== null) amounts.set(acceleratorKey(acceleratorType), TRACE);
  for (const [name, amount] of amounts) if (amount === 0) amounts.delete(name);
  return amounts;
};

const TRACE = partsOf(0.001);

export const acceleratorKey = (type: string): string => `custom.accelerator_type:${type}`;

export const sameAmounts = (a: Amounts, b: Amounts): boolean =>
  a.size === b.size && [...a].every(([name, amount]) => b.get(name) === amount);

/** `8 CPUs, 1 GPU, 2 GiB memory`, in the order in which the resources are named here. */
export const amountsText = (amounts: Amounts): string =>
  [...amounts].map(([name, amount]) => amountText(name, amount)).join(', ');

const amountText = (name: string, amount: number): string => {
  const shown = bareText(name, amount);
  switch (name) {
    case 'cpu':
      return `${shown} ${amount === PARTS ? 'CPU' : 'CPUs'}`;
    case 'gpu':
      return `${shown} ${amount === PARTS ? 'GPU' : 'GPUs'}`;
    case 'memory':
      return `${shown} memory`;
    default:
      return `${shown} ${name.slice('custom.'.length)}`;
  }
};

/** The number without its unit, but for bytes. */
export const bareText = (name: string, amount: number): string =>
  name === 'memory' ? bytesText(amount) : String(Math.round(amount) / PARTS);

const UNITS = ['TiB', 'GiB', 'MiB', 'KiB'] as const;

/** `256 MiB`, `1.5 GiB`, `12 bytes`. */
export const bytesText = (bytes: number): string => {
  const at = UNITS.findIndex((_, index) => bytes >= 1024 ** (4 - index));
  const unit = UNITS[at];
  return unit === undefined ? `${bytes} bytes` : `${Math.round((bytes / 1024 ** (4 - at)) * 100) / 100} ${unit}`;
};
