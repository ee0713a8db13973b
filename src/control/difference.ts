/**
 * What taking a config would do to what is served: beforehand, and from the very values that then decide it — versions, hashes of
 * `user_config`, the key of a listener. Pure.
 */
import type { AdminSpec, DesiredState, ProxySpec } from '../domain/desired.ts';
import { adminMoves, type HttpDriver, type ListenerMove, type Listening, listenerMove } from '../domain/listener.ts';
import { changedFields } from './fields.ts';
import { type ActualState, countOf } from './plan.ts';
import type { Room } from './room-preview.ts';
import type { BrokenApplication, TargetApplication, TargetDeployment } from './target.ts';

/** From the lightest. Every process is kept up to and with `reconfigure`, but for those that `num_replicas` takes away. */
const CHANGES = ['nothing', 'live', 'reconfigure', 'stop', 'start', 'restart'] as const;
export type Change = (typeof CHANGES)[number];

export interface DeploymentChange {
  readonly change: Change;
  /** Of its config, what is not as before. */
  readonly fields: readonly string[];
  /** Of `restart`: what a running replica cannot take; `code` is the content of code or model. */
  readonly why: readonly string[];
  readonly replicas: { readonly from: number; readonly to: number };
  /** Of those, how many would wait for room, and for what. */
  readonly pending?: { readonly count: number; readonly reason: string };
  /** Why its replicas would not all be replaced at once. */
  readonly steps?: string;
}

export interface ApplicationChange {
  /** The heaviest of its deployments and its own fields; `start` and `stop`: of the whole application. */
  readonly change: Change;
  readonly fields: readonly string[];
  readonly deployments: Readonly<Record<string, DeploymentChange>>;
  /** Why it cannot be served. */
  readonly problem?: string;
  readonly note?: string;
}

export interface ListenerChange {
  /** As `ListenerMove` has it, where the socket or its certificate is concerned. */
  readonly change: 'nothing' | 'live' | Exclude<ListenerMove, 'none'>;
  readonly fields: readonly string[];
  readonly note?: string;
}

export interface Difference {
  readonly applications: Readonly<Record<string, ApplicationChange>>;
  readonly listeners: { readonly http: ListenerChange; readonly admin: ListenerChange };
  /** Other fields of the daemon itself, all of them live. */
  readonly daemon: readonly string[];
  /** Anything at all. */
  readonly changed: boolean;
  /** Replicas that run and would be replaced. */
  readonly restarts: number;
}

export interface Before {
  readonly desired: DesiredState;
  /** What listens for HTTP. */
  readonly http: Omit<Listening, 'tls' | 'maxHeaderBytes'> | undefined;
  readonly serving: ActualState['serving'];
  /** The goal so far: what does not serve yet is on its way. */
  readonly targets: readonly TargetApplication[];
  readonly counts?: ActualState['counts'] | undefined;
}

export interface After {
  readonly desired: DesiredState;
  readonly targets: readonly TargetApplication[];
  readonly broken: readonly BrokenApplication[];
  /** By application: what is wrong with what is on disk, while its target is what it was. */
  readonly held?: ReadonlyMap<string, string> | undefined;
  readonly counts?: ActualState['counts'] | undefined;
  readonly room?: Room | undefined;
}

/** @param before undefined: nothing runs yet */
export const difference = (before: Before | undefined, after: After): Difference => {
  const applications: Record<string, ApplicationChange> = {};
  const counts: Counts = { before: before?.counts, after: after.counts };
  const now = new Map<string, TargetApplication>();
  for (const target of before?.targets ?? []) now.set(target.spec.name, target);
  for (const [name, { target }] of before?.serving ?? []) now.set(name, target);
  for (const target of after.targets) {
    const { name } = target.spec;
    const goal = before?.targets.find((each) => each.spec.name === name);
    const change = withRoom(name, applicationChange(now.get(name), target, counts), after.room);
    const held = after.held?.get(name);
    const note =
      held === undefined
        ? noteOf(change.change, goal !== undefined && goal.hash === target.hash, goal !== undefined)
        : `what is on disk is not taken: ${held}`;
    applications[name] = note === undefined ? change : { ...change, note };
  }
  for (const { spec, problem } of after.broken)
    applications[spec.name] = { change: 'nothing', fields: [], deployments: {}, problem };
  for (const [name, target] of now) applications[name] ??= leaving(target, counts);
  const { proxy: _, admin: __, applications: ___, ...rest } = after.desired;
  const listeners = {
    http: httpChange(before, after.desired.proxy),
    admin: adminChange(before?.desired.admin, after.desired.admin),
  };
  const daemon = before === undefined ? [] : changedFields(restOf(before.desired), rest);
  const deployments = Object.values(applications).flatMap((each) => Object.values(each.deployments));
  return {
    applications,
    listeners,
    daemon,
    changed:
      daemon.length > 0 ||
      [...Object.values(applications), ...Object.values(listeners)].some(({ change }) => change !== 'nothing'),
    restarts: deployments.reduce((sum, { change, replicas }) => sum + (change === 'restart' ? replicas.from : 0), 0),
  };
};

/** What the quota means for it. */
const withRoom = (application: string, change: ApplicationChange, room: Room | undefined): ApplicationChange => {
  const deployments: Record<string, DeploymentChange> = {};
  for (const [name, each] of Object.entries(change.deployments)) {
    const key = `${application}/${name}`;
    const pending = room?.pending.get(key);
    const steps = each.change === 'restart' ? room?.steps.get(key) : undefined;
    deployments[name] = { ...each, ...(pending === undefined ? {} : { pending }), ...(steps === undefined ? {} : { steps }) };
  }
  return { ...change, deployments };
};

/** @param isGoal it is what is wanted already @param hasGoal something is wanted */
const noteOf = (change: Change, isGoal: boolean, hasGoal: boolean): string | undefined => {
  if (change === 'nothing') return hasGoal && !isGoal ? 'what is under way is given up' : undefined;
  return isGoal ? 'this is under way already' : undefined;
};

/** What scaling says, in place of the file. */
interface Counts {
  readonly before: ActualState['counts'] | undefined;
  readonly after: ActualState['counts'] | undefined;
}

const restOf = ({ proxy: _, admin: __, applications: ___, ...rest }: DesiredState): object => rest;

const applicationChange = (
  before: TargetApplication | undefined,
  after: TargetApplication,
  counts: Counts,
): ApplicationChange => {
  const { name } = after.spec;
  const deployments: Record<string, DeploymentChange> = {};
  for (const deployment of after.deployments) {
    const old = before?.deployments.find((each) => each.spec.name === deployment.spec.name);
    deployments[deployment.spec.name] = deploymentChange(name, old, deployment, counts);
  }
  for (const old of before?.deployments ?? []) deployments[old.spec.name] ??= deploymentChange(name, old, undefined, counts);
  const fields = before === undefined ? [] : changedFields(ownOf(before), ownOf(after));
  return { change: before === undefined ? 'start' : heaviest(fields, deployments), fields, deployments };
};

const leaving = (target: TargetApplication, counts: Counts): ApplicationChange => ({
  change: 'stop',
  fields: [],
  deployments: Object.fromEntries(
    target.deployments.map((each) => [each.spec.name, deploymentChange(target.spec.name, each, undefined, counts)]),
  ),
});

const ownOf = ({ spec: { deployments: _, name: __, ...own } }: TargetApplication): object => own;

const heaviest = (fields: readonly string[], deployments: Readonly<Record<string, DeploymentChange>>): Change => {
  const all = Object.values(deployments).map(({ change }) => CHANGES.indexOf(change));
  return CHANGES[Math.max(fields.length > 0 ? 1 : 0, ...all)] ?? 'nothing';
};

const deploymentChange = (
  application: string,
  before: TargetDeployment | undefined,
  after: TargetDeployment | undefined,
  counts: Counts,
): DeploymentChange => {
  const countIn = (deployment: TargetDeployment | undefined, said: ActualState['counts'] | undefined) =>
    deployment === undefined ? 0 : countOf(application, deployment.spec, said === undefined ? {} : { counts: said });
  const replicas = { from: countIn(before, counts.before), to: countIn(after, counts.after) };
  if (after === undefined) return { change: 'stop', fields: [], why: [], replicas };
  if (before === undefined) return { change: 'start', fields: [], why: [], replicas };
  const fields = changedFields(before.spec, after.spec);
  if (before.version !== after.version) return { change: 'restart', fields, why: whyOf(before, after, fields), replicas };
  if (before.userConfigHash !== after.userConfigHash) return { change: 'reconfigure', fields, why: [], replicas };
  return { change: fields.length > 0 ? 'live' : 'nothing', fields, why: [], replicas };
};

/** Other code because the path names another file is told as the path alone. */
const whyOf = (before: TargetDeployment, after: TargetDeployment, fields: readonly string[]): readonly string[] => {
  const made = Object.keys(after.made).filter((field) => before.made[field] !== after.made[field]);
  const path = fields.find((field) => field === 'import_path' || field === 'model');
  return path === undefined
    ? made
    : [...new Set(made.map((field) => (field === 'code' || field === 'import_path' ? path : field)))];
};

const httpChange = (before: Before | undefined, wanted: ProxySpec): ListenerChange => {
  const now = before?.desired.proxy;
  const fields = now === undefined ? [] : changedFields(now, wanted, 'proxy');
  const at: Listening | undefined =
    before?.http === undefined || now === undefined
      ? undefined
      : { ...before.http, tls: now.tls, maxHeaderBytes: now.maxHeaderBytes };
  const move = listenerMove(at, wanted, driverOf(wanted.server, now?.server, at?.driver));
  switch (move) {
    case 'none':
      return { change: fields.length > 0 ? 'live' : 'nothing', fields };
    case 'reopen':
      return { change: move, fields, note: 'for a moment nothing listens there' };
    default:
      return { change: move, fields };
  }
};

/** What `auto` comes to is known where it is in force; elsewhere the fast one, which nearly every machine has. */
const driverOf = (
  wanted: ProxySpec['server'],
  server: ProxySpec['server'] | undefined,
  driver: HttpDriver | undefined,
): HttpDriver => {
  if (wanted === 'node') return 'node:http';
  return wanted === server && driver !== undefined ? driver : 'uWebSockets.js';
};

const adminChange = (now: AdminSpec | undefined, wanted: AdminSpec): ListenerChange => {
  if (now === undefined) return { change: 'open', fields: [] };
  const fields = changedFields(now, wanted, 'admin');
  return { change: adminMoves(now, wanted) ? 'move' : fields.length > 0 ? 'live' : 'nothing', fields };
};
