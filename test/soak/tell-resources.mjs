/**
 * Loaded into every thread of a daemon with `--import`: on SIGUSR2 each writes what keeps its loop alive, kind → how many, to a file in
 * the folder that SOAK_RESOURCES names. With `--expose-gc` it collects its garbage first.
 */
import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { BroadcastChannel, isMainThread } from 'node:worker_threads';

const folder = process.env.SOAK_RESOURCES;
const channel = new BroadcastChannel('soak-resources');
channel.unref();

const tell = () => {
  globalThis.gc?.();
  const kinds = {};
  for (const kind of process.getActiveResourcesInfo()) kinds[kind] = (kinds[kind] ?? 0) + 1;
  const path = join(folder, isMainThread ? 'main' : 'data plane');
  writeFileSync(`${path}.new`, JSON.stringify(kinds));
  renameSync(`${path}.new`, path);
};

channel.onmessage = tell;
if (isMainThread) {
  process.on('SIGUSR2', () => {
    tell();
    channel.postMessage('tell');
  });
}
