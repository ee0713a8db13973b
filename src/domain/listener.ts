/** When a listener has to be another socket, and what is said when there is none to be had. */
import type { AdminSpec, ProxySpec } from './desired.ts';

/** Equal texts: the same socket can serve both. '' : there is none. */
export const httpListener = (proxy: ProxySpec): string =>
  proxy.enabled ? `${proxy.host} ${proxy.port} ${proxy.server} ${proxy.server === 'node' ? proxy.maxHeaderBytes : ''}` : '';

export const adminListener = (admin: AdminSpec): string => `${admin.host} ${admin.port}`;

/** One line that says why, and which key to change. @param code the system's */
export const listenText = (section: string, host: string, port: number, code: string): string => {
  if (code === 'EADDRINUSE')
    return `${host}:${port} is in use: stop what listens there, or set ${section}.port to another (0 for a free one)`;
  if (code === 'EACCES') return `${host}:${port} may not be used by this user: set ${section}.port to one above 1023`;
  if (code === 'EADDRNOTAVAIL')
    return `${host} is no address of this machine: set ${section}.host to 127.0.0.1, 0.0.0.0 or one that is`;
  return `cannot listen on ${host}:${port} (${code}): change ${section}`;
};
