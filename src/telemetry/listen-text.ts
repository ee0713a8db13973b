/** What to tell when a listener cannot be had: the key, the address, who has it, and what to do. Pure. */
import type { PortHolder } from './port-holder.ts';

export interface FailedListening {
  /** `http_options`, `admin_options`. */
  readonly section: string;
  readonly host: string;
  readonly port: number;
  /** The system's code, or a text where there is none. */
  readonly code: string;
  /** Asked only where it matters. */
  readonly holder: () => PortHolder | undefined;
  readonly platform: string;
}

export const listenText = ({ section, host, port, code, holder, platform }: FailedListening): string => {
  const at = `${host.includes(':') ? `[${host}]` : host}:${port}`;
  switch (code) {
    case 'EADDRINUSE': {
      const by = holder();
      const free = `set ${section}.port to another (0 for a free one)`;
      const ray = raysPort(port, by);
      if (by === undefined)
        return `${at} is in use${ray}: stop what listens there (\`${whoHas(port, platform)}\` tells what), or ${free}`;
      if (/[\s/]serve-daemon( |$)/.test(by.command))
        return `${at} is in use by another serve-daemon (pid ${by.pid}): stop that, edit the config that it serves, or ${free}`;
      return `${at} is in use by \`${by.command}\` (pid ${by.pid})${ray}: stop that, or ${free}`;
    }
    case 'EACCES':
      return `${at} may not be used by this user: set ${section}.port to one above 1023`;
    case 'EADDRNOTAVAIL':
      return `${host} is no address of this machine: set ${section}.host to 127.0.0.1, 0.0.0.0 or one that is`;
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return `${host} is a name that nothing resolves: set ${section}.host to 127.0.0.1, 0.0.0.0 or an address of this machine`;
    default:
      return `cannot listen on ${at} (${code}): change ${section}`;
  }
};

/** Both defaults are Ray's too, and who comes from there may have it running. */
const raysPort = (port: number, by: PortHolder | undefined): string => {
  if (by !== undefined && !/\bray\b|raylet/i.test(by.command)) return '';
  if (port === 8000) return ', which is the port of Ray Serve too';
  return port === 8265 ? ", which is the port of Ray's dashboard too" : '';
};

const whoHas = (port: number, platform: string): string => {
  if (platform === 'win32') return `netstat -ano | findstr :${port}`;
  return platform === 'linux' ? `ss -ltnp 'sport = :${port}'` : `lsof -nP -iTCP:${port} -sTCP:LISTEN`;
};
