/** What the machine offers to replicas: detected, or what the config says in its place, more than detected included. Pure. */
import type { ResourcesSpec } from '../domain/desired.ts';
import { type Amounts, acceleratorKey, PARTS, partsOf } from './amounts.ts';

/** What was found on the machine. */
export interface Machine {
  /** CPUs that this process may use: affinity and the groups it is in considered. Fractions where a group says so. */
  readonly cpus: number;
  readonly memoryBytes: number;
  readonly gpus: readonly Gpu[];
}

export interface Gpu {
  /** As `CUDA_VISIBLE_DEVICES` names it. */
  readonly id: string;
  /** `NVIDIA L4`; empty: unknown. */
  readonly model: string;
}

export interface Offer {
  readonly amounts: Amounts;
  /** Parts of each device; they sum to `gpu` of the amounts. */
  readonly devices: ReadonlyMap<string, number>;
}

export const offerOf = (machine: Machine, resources: ResourcesSpec): Offer => {
  const devices = devicesOf(machine.gpus, resources.numGpus);
  const amounts = new Map<string, number>([
    ['cpu', partsOf(resources.numCpus ?? machine.cpus)],
    ['gpu', [...devices.values()].reduce((sum, parts) => sum + parts, 0)],
    ['memory', resources.memoryBytes ?? machine.memoryBytes],
  ]);
  for (const { model } of machine.gpus) {
    for (const type of typesOf(model)) amounts.set(acceleratorKey(type), (amounts.get(acceleratorKey(type)) ?? 0) + PARTS);
  }
  for (const [name, amount] of Object.entries(resources.custom)) amounts.set(`custom.${name}`, partsOf(amount));
  return { amounts, devices };
};

/** More than were found are numbered on; fewer are the first. */
const devicesOf = (found: readonly Gpu[], wanted: number | null): ReadonlyMap<string, number> => {
  const parts = wanted === null ? found.length * PARTS : partsOf(wanted);
  const devices = new Map<string, number>();
  for (let at = 0; at * PARTS < parts; at++) devices.set(found[at]?.id ?? String(at), Math.min(PARTS, parts - at * PARTS));
  return devices;
};

/** `NVIDIA A100-SXM4-80GB` is an `A100`, and an `A100-80G` as Ray calls it. */
const typesOf = (model: string): readonly string[] => {
  const [, name, more = ''] = /^(?:NVIDIA |Tesla |GeForce )*([A-Za-z]+ ?\d+[A-Za-z]*)(.*)$/.exec(model) ?? [];
  if (name === undefined) return [];
  const size = /(\d+)GB/.exec(more)?.[1];
  const short = name.replace(' ', '-');
  return size === undefined ? [short] : [short, `${short}-${size}G`];
};
