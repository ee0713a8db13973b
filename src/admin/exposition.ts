/** Writes families of metrics as text. The library is loaded when somebody first asks. */
import type { Registry } from 'prom-client';
import type { Family } from './family.ts';

/** What cannot be written is left out and named: one family must not cost all others. @returns the text and its content type */
export const exposition = async (families: readonly Family[]): Promise<{ readonly text: string; readonly type: string }> => {
  const { default: client } = await import('prom-client');
  const registry: Registry = new client.Registry();
  const written: string[] = [];
  for (const { name, help, type, values } of families) {
    // What the registry reads of a metric; the classes of the library count for themselves, and cannot be set.
    const metric = { name, help, get: async () => ({ name, help, type, values, aggregator: 'sum' }) };
    try {
      registry.registerMetric(metric as unknown as Parameters<Registry['registerMetric']>[0]);
      written.push(await registry.getSingleMetricAsString(name));
    } catch (error) {
      written.push(`# ${JSON.stringify(name)} is left out: ${JSON.stringify(String(error))}`);
    }
  }
  return { text: `${written.join('\n\n')}\n`, type: registry.contentType };
};
