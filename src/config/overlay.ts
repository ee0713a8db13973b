/** Fields of a deployment said in several places, one over the other. Pure. */
import { isMapping, type Mapping } from './finding.ts';

/** Two ways to say one thing: who says it in one of them takes back what was said in the other. */
const ALTERNATIVES: readonly (readonly [string, string])[] = [
  ['num_replicas', 'autoscaling_config'],
  ['rolling_update', 'rolling_update_percentage'],
  ['ray_actor_options', 'replica_options'],
  ['batch_wait_timeout_s', 'latency_target_s'],
];

/** What is said wins over what lies under it; of a section each of its fields for itself, and null takes all of it away. */
export const overlay = (under: Mapping, over: Mapping): Mapping => {
  const merged = plain(under, over);
  for (const [key, value] of Object.entries(over)) {
    const before = under[key];
    if (isMapping(value) && isMapping(before)) merged[key] = plain(before, value);
  }
  return merged;
};

const plain = (under: Mapping, over: Mapping): Mapping => {
  const merged = Object.assign(Object.create(null) as Mapping, under);
  for (const [a, b] of ALTERNATIVES) {
    if (isGiven(over[a]) === isGiven(over[b])) continue;
    const other = isGiven(over[a]) ? b : a;
    // `num_replicas: auto` goes together with how it scales.
    if (over.num_replicas !== 'auto' && under[other] !== 'auto') delete merged[other];
  }
  return Object.assign(merged, over);
};

const isGiven = (value: unknown): boolean => value !== undefined && value !== null;
