/** Decides what a config asks of the HTTP listener, given what listens now. Pure: the data plane does it, and a preview tells it before. */
import type { AdminSpec, ProxySpec, TlsSpec } from './desired.ts';

export type HttpDriver = 'uWebSockets.js' | 'node:http';

/** What listens. */
export interface Listening {
  readonly host: string;
  /** As it was asked for; 0: any that is free. */
  readonly askedPort: number;
  /** As it was bound. */
  readonly port: number;
  readonly driver: HttpDriver;
  readonly tls: TlsSpec | null;
  readonly maxHeaderBytes: number;
}

/**
 * - `none`: it is as it is wanted, or follows by itself.
 * - `open`, `close`: there is none, or is to be none.
 * - `renew`: the socket stays; new connections meet the new certificate and limits.
 * - `move`: the new socket listens before the old one stops.
 * - `reopen`: the old socket stands where the new one is to be, so it makes room first: for a moment nothing listens.
 */
export type ListenerMove = 'none' | 'open' | 'close' | 'renew' | 'move' | 'reopen';

/** @param driver what `wanted.server` comes to on this machine */
export const listenerMove = (now: Listening | undefined, wanted: ProxySpec, driver: HttpDriver): ListenerMove => {
  if (!wanted.enabled) return now === undefined ? 'none' : 'close';
  if (now === undefined) return 'open';
  if (now.port !== wanted.port && now.askedPort !== wanted.port) return 'move';
  if (now.host !== wanted.host) return wanted.port !== 0 && overlap(now.host, wanted.host) ? 'reopen' : 'move';
  if (now.driver !== driver) return 'reopen';
  // A socket of uWebSockets.js speaks TLS or does not.
  if ((now.tls === null) !== (wanted.tls === null)) return driver === 'node:http' ? 'renew' : 'reopen';
  if (!sameTls(now.tls, wanted.tls)) return 'renew';
  return driver === 'node:http' && now.maxHeaderBytes !== wanted.maxHeaderBytes ? 'renew' : 'none';
};

const sameTls = (a: TlsSpec | null, b: TlsSpec | null): boolean => JSON.stringify(a) === JSON.stringify(b);

const ANY = new Set(['0.0.0.0', '::', '[::]']);

/** Whether one port cannot be had on both hosts. A name may be any address. */
const overlap = (a: string, b: string): boolean => [a, b].some((host) => ANY.has(host) || !/^[\d.]+$|:/.test(host));

/** Whether the admin API needs another socket. */
export const adminMoves = (now: AdminSpec, wanted: AdminSpec): boolean => now.host !== wanted.host || now.port !== wanted.port;
