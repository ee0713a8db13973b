/** Who listens on a port of this machine, as far as `/proc` tells this user. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { basename, join } from 'node:path';

export interface PortHolder {
  readonly pid: number;
  /** The program and its first arguments, shortened: what comes later may be secret. */
  readonly command: string;
}

/** Looking through every process must not take longer: the answer is a help, no more. */
const WITHIN_MS = 500;
const SHOWN_ARGUMENTS = 3;
const ARGUMENT_LENGTH = 40;

/**
 * @param proc where the process file system is
 * @param withinMs what has not been found by then is not told
 * @returns undefined where there is none, or the process belongs to another user
 */
export const portHolder = (host: string, port: number, proc = '/proc', withinMs = WITHIN_MS): PortHolder | undefined => {
  const until = performance.now() + withinMs;
  const sockets = new Set(
    ['tcp', 'tcp6'].flatMap((table) => listeners(text(join(proc, 'net', table)), host, port)).map((inode) => `socket:[${inode}]`),
  );
  if (sockets.size === 0) return undefined;
  for (const name of list(proc)) {
    if (performance.now() > until) return undefined;
    if (!/^\d+$/.test(name)) continue;
    const folder = join(proc, name, 'fd');
    if (list(folder).some((fd) => sockets.has(link(join(folder, fd)))))
      return { pid: Number(name), command: commandOf(text(join(proc, name, 'cmdline')), text(join(proc, name, 'comm'))) };
  }
  return undefined;
};

/**
 * Inodes of the sockets that are in the way of one on `host` and `port`.
 * @param table of `/proc/net/tcp` or `tcp6`: `sl local_address rem_address st … uid timeout inode`, all in hexadecimal but the last
 */
export const listeners = (table: string, host: string, port: number): string[] => {
  const wanted = encoded(host);
  return table.split('\n').flatMap((line) => {
    const [, local = '', , state, , , , , , inode = ''] = line.trim().split(/\s+/);
    const [address = '', at = ''] = local.split(':');
    if (state !== '0A' || Number.parseInt(at, 16) !== port) return [];
    const inTheWay = /^0+$/.test(address) || wanted === undefined || /^0+$/.test(wanted) || wanted === address;
    return inTheWay ? [inode] : [];
  });
};

/** An IPv4 address as the kernel writes it, with its bytes in reverse; of what is none, any listener may be in the way. */
const encoded = (host: string): string | undefined => {
  const bytes = host.split('.').map(Number);
  if (bytes.length !== 4 || !bytes.every((byte) => Number.isInteger(byte) && byte >= 0 && byte <= 255)) return undefined;
  return bytes
    .reverse()
    .map((byte) => byte.toString(16).toUpperCase().padStart(2, '0'))
    .join('');
};

const commandOf = (cmdline: string, comm: string): string => {
  const [program = '', ...rest] = cmdline.split('\0').filter((argument) => argument !== '');
  if (program === '') return comm.trim();
  // Some write what they do over their arguments, as one: `ray::ProxyActor`, `nginx: master process`.
  const all = [program.includes(' ') ? program : basename(program), ...rest].slice(0, SHOWN_ARGUMENTS);
  return (
    all
      .map((argument) => (argument.length > ARGUMENT_LENGTH ? `…${argument.slice(1 - ARGUMENT_LENGTH)}` : argument))
      .join(' ')
      // biome-ignore lint/suspicious/noControlCharactersInRegex: they would be printed to a terminal
      .replace(/[\0-\x1f\x7f-\x9f]/g, '?')
  );
};

const list = (folder: string): string[] => {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
};

const text = (file: string): string => {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
};

const link = (file: string): string => {
  try {
    return readlinkSync(file);
  } catch {
    return '';
  }
};
