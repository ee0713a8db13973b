/** Ends a replica together with what it started, in the way of the platform. */
import { execFile } from 'node:child_process';

export interface KillMeans {
  readonly groups: boolean;
  readonly kill: (pid: number, signal: NodeJS.Signals) => void;
  /** Ends a process and all below it, by force. */
  readonly taskkill: (pid: number) => void;
}

export const systemMeans = (groups: boolean): KillMeans => ({
  groups,
  kill: (pid, signal) => void process.kill(pid, signal),
  // An error says that it has gone already.
  taskkill: (pid) => void execFile('taskkill', ['/pid', `${pid}`, '/T', '/F'], { windowsHide: true }, () => {}),
});

/** A process that has gone is no error. */
export const killReplica = (pid: number, signal: NodeJS.Signals, { groups, kill, taskkill }: KillMeans): void => {
  try {
    if (groups) kill(-pid, signal);
    // Without groups any signal is the last one, and children would be left.
    else taskkill(pid);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
};
