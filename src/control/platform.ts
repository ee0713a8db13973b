/** With what means replicas are run on a platform, and what is missing there. */
import { existsSync, realpathSync } from 'node:fs';

export interface Platform {
  /** As `process.platform` has it. */
  readonly name: string;
  /** What a path leads to in the end; undefined: nothing. */
  readonly find: (path: string) => string | undefined;
}

export const THIS_PLATFORM: Platform = {
  name: process.platform,
  find: (path) => (existsSync(path) ? realpathSync(path) : undefined),
};

export interface Means {
  /** What a command line begins with so that the process ends with the daemon: it replaces itself by what follows. */
  readonly endsWithUs: readonly string[];
  /** The same of a replica's, and how it is scheduled. */
  readonly prefix: readonly string[];
  /** A replica leads a group of processes, which is signalled as a whole. */
  readonly groups: boolean;
  /** One sentence each, for the log: what does not hold here that holds elsewhere. */
  readonly missing: readonly string[];
}

export const meansOf = (platform: Platform): Means => {
  // BusyBox has programs of these names that do not know the options.
  const found = (name: string) =>
    [`/usr/bin/${name}`, `/bin/${name}`].find((path) => !/^$|busybox/.test(platform.find(path) ?? ''));
  // A daemon that is killed cannot stop its replicas: a second means, beside their socket, for those that are stuck.
  const setpriv = found('setpriv');
  // A replica that is handed work does not push the data plane, which still has requests to hand out, off its core: a tenth more requests.
  const chrt = found('chrt');
  const windows = platform.name === 'win32';
  const endsWithUs = setpriv === undefined ? [] : [setpriv, '--pdeathsig', 'KILL'];
  return {
    endsWithUs,
    prefix: [...endsWithUs, ...(chrt === undefined ? [] : [chrt, '--batch', '0'])],
    groups: !windows,
    missing: [
      ...(setpriv === undefined
        ? ['no setpriv of util-linux: a replica that is stuck outlives a daemon that is killed; the others end by themselves']
        : []),
      ...(windows ? ['no signals: replicas that do not end by themselves are ended with taskkill'] : []),
      ...(windows || platform.find('/proc/self') !== undefined
        ? []
        : ['no /proc: who has a port that is in use, and what a replica uses, cannot be told']),
    ],
  };
};

/** Where a local socket is: a file, or a named pipe where there are no such files. */
export const socketPath = (folder: string, name: string, platform: string): string =>
  platform === 'win32' ? `\\\\.\\pipe\\${folder.replace(/^.*[\\/]/, '')}-${name}` : `${folder}/${name}`;
