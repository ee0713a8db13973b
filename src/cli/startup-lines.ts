/** The start-up display as lines: one for each deployment, as many as the terminal shows, and where the daemon listens. Pure. */
import type { DeploymentProgress, Stage } from '../control/progress.ts';
import { fit, type ScreenSize, widthOf } from '../telemetry/screen.ts';

export interface Startup {
  readonly deployments: readonly DeploymentProgress[];
  /** Since the program was started. */
  readonly ms: number;
  /** undefined with `proxy_location: Disabled`. */
  readonly url: string | undefined;
  readonly adminUrl: string;
  /** Nothing more is waited for. */
  readonly over: boolean;
}

/** What an operator looks for first stands where there is no room for all. */
const URGENCY: readonly Stage[] = ['failed', 'loading', 'starting', 'waiting', 'ready'];
const COLOUR: Readonly<Record<Stage, number>> = { failed: 31, loading: 33, starting: 33, waiting: 2, ready: 32 };
const STAGE_WIDTH = Math.max(...URGENCY.map((stage) => stage.length));
const GAP = '  ';

/** @returns lines that fit the terminal, fewer than it has rows */
export const startupLines = (startup: Startup, { columns, rows }: ScreenSize, colours: boolean): readonly string[] => {
  const width = Math.max(1, columns - 1);
  const shown = mostUrgent(startup.deployments, Math.max(1, rows - 3));
  const nameWidth = Math.min(Math.max(0, ...shown.map((each) => widthOf(nameOf(each)))), Math.max(12, Math.floor(width / 2)));
  const countWidth = Math.max(0, ...shown.map((each) => countOf(each).length));
  const lines = shown.map((each) => {
    const name = fit(nameOf(each), nameWidth);
    const head = `${GAP}${name}${' '.repeat(nameWidth - widthOf(name))}${GAP}`;
    const tail = [countOf(each).padStart(countWidth), timeOf(each), plain(each.reason)].filter((part) => part !== '').join(GAP);
    const rest = fit(`${each.stage.padEnd(STAGE_WIDTH)}${GAP}${tail}`.trimEnd(), Math.max(1, width - widthOf(head)));
    return widthOf(head) < width ? head + coloured(rest, each.stage, colours) : fit(head + rest, width);
  });
  const left = startup.deployments.filter((each) => !shown.includes(each));
  if (left.length > 0) lines.push(fit(`${GAP}… and ${left.length} more: ${counted(left)}`, width));
  lines.push(fit(summary(startup), width));
  return lines;
};

const mostUrgent = (deployments: readonly DeploymentProgress[], room: number): readonly DeploymentProgress[] => {
  if (deployments.length <= room) return deployments;
  const urgent = new Set(
    [...deployments].sort((a, b) => URGENCY.indexOf(a.stage) - URGENCY.indexOf(b.stage)).slice(0, Math.max(1, room - 1)),
  );
  return deployments.filter((each) => urgent.has(each));
};

const nameOf = ({ application, deployment }: DeploymentProgress): string =>
  deployment === undefined ? application : `${application}/${deployment}`;

const countOf = ({ ready, wanted }: DeploymentProgress): string => (wanted > 1 ? `${ready}/${wanted}` : '');

/** Tenths where it is over; whole seconds while it runs, so that nothing flickers. */
const timeOf = ({ stage, ms }: DeploymentProgress): string => {
  if (ms === undefined) return stage === 'ready' ? 'scaled to zero' : '';
  if (stage === 'ready') return seconds(ms);
  return ms < 1000 ? '' : `${Math.floor(ms / 1000)} s`;
};

const seconds = (ms: number): string => `${(ms / 1000).toFixed(ms < 9950 ? 1 : 0)} s`;

const counted = (deployments: readonly DeploymentProgress[]): string =>
  [...URGENCY]
    .reverse()
    .map((stage) => [deployments.filter((each) => each.stage === stage).length, stage] as const)
    .filter(([count]) => count > 0)
    .map(([count, stage]) => `${count} ${stage}`)
    .join(', ');

const summary = ({ deployments, ms, url, adminUrl, over }: Startup): string => {
  const where = `${url ?? 'no HTTP'}${GAP}admin ${adminUrl}`;
  if (deployments.length === 0) return `nothing to serve${GAP}${where}`;
  const all = deployments.every(({ stage }) => stage === 'ready');
  if (!over) return `${counted(deployments)}${GAP}${where}`;
  return `${all ? 'ready' : counted(deployments)} after ${seconds(ms)}${GAP}${where}`;
};

const coloured = (rest: string, stage: Stage, colours: boolean): string =>
  colours ? `\x1b[${COLOUR[stage]}m${rest.slice(0, stage.length)}\x1b[0m${rest.slice(stage.length)}` : rest;

/** On one line, and without what a terminal would obey. */
const plain = (reason: string): string =>
  reason
    // biome-ignore lint/suspicious/noControlCharactersInRegex: what is taken out
    .replace(/\x1b\[[\d;?]*[A-Za-z]/g, '')
    // biome-ignore lint/suspicious/noControlCharactersInRegex: what is taken out
    .replace(/[\s\0-\x1f\x7f-\x9f]+/g, ' ')
    .trim();
