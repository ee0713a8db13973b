/** Writes families of metrics as text. The library is loaded when somebody first asks. */
import type { Registry } from 'prom-client';
import type { Family } from './family.ts';

/** @returns the text and its content type */
export const exposition = async (families: readonly Family[]): Promise<{ readonly text: string; readonly type: string }> => {
  const { default: client } = await import('prom-client');
  const registry: Registry = new client.Registry();
  for (const { name, help, type, values } of families) {
    // What the registry reads of a metric; the classes of the library count for themselves, and cannot be set.
    const metric = { name, help, get: async () => ({ name, help, type, values, aggregator: 'sum' }) };
    registry.registerMetric(metric as unknown as Parameters<Registry['registerMetric']>[0]);
  }
  return { text: await registry.metrics(), type: registry.contentType };
};
