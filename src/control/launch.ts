/** Spawns a replica process: in a group of its own, ended by the kernel when the daemon dies, its output always drained. */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { LineSplitter } from './lines.ts';

export interface LaunchOptions {
  /** The replica's program. */
  readonly entry: string;
  readonly cwd: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly onLine: (stream: 'stdout' | 'stderr', line: string) => void;
  readonly onExit: (exitCode: number | null, signal: NodeJS.Signals | null) => void;
}

export interface ReplicaHandle {
  /** undefined: it could not be spawned; `onExit` is called all the same. */
  readonly pid: number | undefined;
  /** Signals the whole process group. A process that has gone is no error. */
  kill(signal: NodeJS.Signals): void;
}

const found = (name: string): string | undefined => [`/usr/bin/${name}`, `/bin/${name}`].find((path) => existsSync(path));

/** A daemon that is killed cannot stop its replicas: a second means, beside their socket, for those that are stuck. */
export const SETPRIV = found('setpriv');
/** A replica that is handed work does not push the data plane, which still has requests to hand out, off its core: a tenth more requests. */
const CHRT = found('chrt');

/** Each of these replaces itself by the next: what runs in the end is the replica, with this process id. */
const PREFIX = [
  ...(SETPRIV === undefined ? [] : [SETPRIV, '--pdeathsig', 'KILL']),
  ...(CHRT === undefined ? [] : [CHRT, '--batch', '0']),
];

export const launchReplica = ({ entry, cwd, env, onLine, onExit }: LaunchOptions): ReplicaHandle => {
  const [file = process.execPath, ...args] = [...PREFIX, process.execPath, entry];
  const child: ChildProcess = spawn(file, args, {
    cwd,
    env: env as NodeJS.ProcessEnv,
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  let exited = false;
  const exit = (code: number | null, signal: NodeJS.Signals | null) => {
    if (exited) return;
    exited = true;
    onExit(code, signal);
  };
  for (const name of ['stdout', 'stderr'] as const) {
    const lines = new LineSplitter((line) => onLine(name, line));
    child[name]?.on('data', (chunk: Buffer) => lines.push(chunk));
    child[name]?.on('end', () => lines.end());
  }
  child.on('error', (error) => {
    onLine('stderr', `the process could not be started: ${error.message}`);
    exit(null, null);
  });
  // `close` comes after the last of the output: what a dying replica said is part of why it died.
  child.on('close', exit);
  // A grandchild may hold the pipes open for ever.
  child.on('exit', (code, signal) => setTimeout(() => exit(code, signal), 200));
  return {
    pid: child.pid,
    kill: (signal) => {
      if (child.pid === undefined) return;
      try {
        process.kill(-child.pid, signal);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
      }
    },
  };
};
