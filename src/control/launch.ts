/** Spawns a replica process: in a group of its own, ended by the kernel when the daemon dies, its output always drained. */
import { type ChildProcess, spawn } from 'node:child_process';
import { killReplica, systemMeans } from './kill.ts';
import { LineSplitter } from './lines.ts';
import { meansOf, THIS_PLATFORM } from './platform.ts';

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

export const MEANS = meansOf(THIS_PLATFORM);
const KILL = systemMeans(MEANS.groups);

export const launchReplica = ({ entry, cwd, env, onLine, onExit }: LaunchOptions): ReplicaHandle => {
  const [file = process.execPath, ...args] = [...MEANS.prefix, process.execPath, entry];
  const child: ChildProcess = spawn(file, args, {
    cwd,
    env: env as NodeJS.ProcessEnv,
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: MEANS.groups,
    windowsHide: true,
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
      if (child.pid !== undefined) killReplica(child.pid, signal, KILL);
    },
  };
};
