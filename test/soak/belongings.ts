/** All that a daemon holds of a machine, to be compared with what it held before. */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { hierarchiesOf } from '../../src/quota/hierarchy.ts';
import { type DaemonRig, until } from '../support/daemon-rig.ts';
import { holdings } from './parts.ts';
import type { ResourceReports } from './resources.ts';

/** What → how many. */
export type Belongings = Readonly<Record<string, number>>;

const filesIn = (folder: string): number =>
  existsSync(folder)
    ? readdirSync(folder, { recursive: true, withFileTypes: true }).filter((each) => !each.isDirectory()).length
    : 0;

/** Control groups of one daemon and its replicas, over all hierarchies. */
const groupsOf = (pid: number): number => {
  const { v1, v2 } = hierarchiesOf();
  const folders = new Set([...v1.values(), ...(v2 === undefined ? [] : [v2])].map(({ folder }) => folder));
  return [...folders]
    .flatMap((folder) => readdirSync(folder))
    .filter((name) => name.startsWith('serve-daemon.') && name.split('.')[2] === String(pid)).length;
};

/** @param temporary the folder that the daemon has for `TMPDIR` */
export const belongingsOf = async (daemon: DaemonRig, reports: ResourceReports, temporary: string): Promise<Belongings> => {
  const resources = await reports.ask(daemon);
  return {
    ...holdings(daemon.pid),
    ...Object.fromEntries(
      Object.entries(resources).flatMap(([thread, kinds]) =>
        Object.entries(kinds).map(([kind, count]) => [`${kind} of ${thread}`, count]),
      ),
    ),
    processes: daemon.processes().length,
    'control groups': groupsOf(daemon.pid),
    'temporary files': filesIn(temporary) + filesIn(join(daemon.root, 'run')),
    'files of state': filesIn(join(daemon.root, 'state')),
  };
};

/** What there is more of than there may be, once all that goes by itself has gone. */
export const leftOver = async (
  base: Belongings,
  look: () => Promise<Belongings>,
  slack: Belongings,
  withinMs: number,
): Promise<readonly string[]> => {
  let more: string[] = [];
  await until(
    'all is as before',
    async () => {
      const now = await look();
      more = Object.keys({ ...base, ...now }).flatMap((what) => {
        const [before = 0, after = 0, may = 0] = [base[what], now[what], slack[what]];
        return after > before + may ? [`${what}: ${before} before, ${after} after`] : [];
      });
      return more.length === 0;
    },
    withinMs,
  ).catch(() => {});
  return more;
};
