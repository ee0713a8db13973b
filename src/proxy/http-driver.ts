/** Chooses what serves HTTP: uWebSockets.js where a binary of it can be loaded, else node:http. */

import { createRequire } from 'node:module';
import type { HttpDriver } from '../domain/listener.ts';
import { startNodeServer } from './http-node.ts';
import type { HttpHandler, HttpServer, HttpServerOptions } from './http-server.ts';
import { startUwsServer } from './http-uws.ts';
import type { UwsModule } from './uws-types.ts';

export type HttpDriverKind = 'auto' | 'uws' | 'node';

/** A driver that can be had on this machine. */
export interface ChosenDriver {
  readonly name: HttpDriver;
  /**
   * Starts a server and waits until it listens.
   * @throws ListenError when the address cannot be had; Error when the certificate cannot be served
   */
  start(options: HttpServerOptions, handler: HttpHandler): Promise<HttpServer>;
}

/**
 * @param kind `auto` takes the faster driver that loads; `fallbackReason` of its servers says why it is the other one
 * @throws Error when `uws` is asked for and cannot be loaded
 */
export const chooseDriver = (kind: HttpDriverKind): ChosenDriver => {
  if (kind === 'node') return nodeDriver(undefined);
  loaded ??= loadUws(createRequire(import.meta.url));
  const { uws, reason } = loaded;
  if (uws !== undefined) return { name: 'uWebSockets.js', start: (options, handler) => startUwsServer(uws, options, handler) };
  if (kind === 'uws') throw new Error(`uWebSockets.js cannot be loaded: ${reason}`);
  return nodeDriver(reason);
};

const nodeDriver = (fallbackReason: string | undefined): ChosenDriver => ({
  name: 'node:http',
  start: (options, handler) => startNodeServer(options, handler, fallbackReason),
});

/** What is installed does not change while the process lives. */
let loaded: Loaded | undefined;

type Loaded = { uws: UwsModule; reason?: undefined } | { uws?: undefined; reason: string };

/** The author's own package when the user installed it, else the binary that npm chose for this Node. A load that fails falls through. */
export const loadUws = (load: (name: string) => unknown): Loaded => {
  const reasons: string[] = [];
  for (const name of ['uWebSockets.js', ...binaries()]) {
    try {
      const uws = load(name);
      if (isUws(uws)) return { uws };
      reasons.push(`${name} is something else`);
    } catch (error) {
      reasons.push(`${name}: ${firstLine(error)}`);
    }
  }
  return { reason: reasons.join('; ') };
};

/** A binary for another libc may load and crash later, so it is not tried; one for a newer glibc fails to load and says so. */
const binaries = (): string[] => {
  if (process.platform !== 'linux' || process.arch !== 'x64' || !hasGlibc()) return [];
  return [`@uwsjs/linux-x64-${process.versions.node.split('.')[0]}`];
};

const hasGlibc = (): boolean => {
  const report = process.report?.getReport() as { header?: { glibcVersionRuntime?: string } } | undefined;
  return report?.header?.glibcVersionRuntime !== undefined;
};

const isUws = (value: unknown): value is UwsModule =>
  typeof value === 'object' &&
  value !== null &&
  'App' in value &&
  typeof value.App === 'function' &&
  'us_socket_local_port' in value;

const firstLine = (error: unknown): string => String(error instanceof Error ? error.message : error).split('\n', 1)[0] as string;
