/** Loads what a config names in replicas of their own, one for each deployment, sees whether they become ready, and ends them. */
import { randomBytes } from 'node:crypto';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import PQueue from 'p-queue';
import type { FileProblem } from '../domain/diagnostic.ts';
import { listenForReplicas } from '../protocol/accept.ts';
import { encodeFrame, FRAME } from '../protocol/frame.ts';
import { makeToken } from '../protocol/token.ts';
import { Enforcer, runCommand } from '../quota/enforcer.ts';
import { limitsOf } from '../quota/group.ts';
import { deathText, ReplicaProcess } from './replica-process.ts';
import type { TargetApplication, TargetDeployment } from './target.ts';

export interface ProbeOptions {
  /** The replica's program. */
  readonly entry: string;
  /** For sockets: short, and nobody else's. */
  readonly folder: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly configDir: string;
}

/** Between being told to stop and being stopped. */
const STOP_MS = 2000;

/**
 * Nobody answers calls of the code to other deployments: a constructor that waits for one is not ready within `startup_timeout_s`.
 * @param targets by the index of the application in the config
 */
export const probe = async (
  targets: ReadonlyMap<number, TargetApplication>,
  options: ProbeOptions,
): Promise<readonly FileProblem[]> => {
  const key = randomBytes(32).toString('hex');
  const replicas = new Map<string, ReplicaProcess>();
  // What would be ended for its memory when it serves is ended here.
  const enforcer = await Enforcer.start('auto', { root: '/', env: options.env, run: runCommand, pid: process.pid }, () => {});
  const [controlSocket, dataSocket] = [join(options.folder, 'control'), join(options.folder, 'data')];
  const control = await listenForReplicas(
    controlSocket,
    key,
    ({ replica }, socket, reader) => replicas.get(replica)?.attach(socket, reader),
    () => {},
  );
  const data = await listenForReplicas(
    dataSocket,
    key,
    (_, socket) => {
      socket.on('error', () => socket.destroy());
      socket.on('data', () => {});
      for (const buffer of encodeFrame(FRAME.WELCOME, {})) socket.write(buffer);
    },
    () => {},
  );
  const load = (application: string, { spec, run, version }: TargetDeployment): Promise<string | undefined> =>
    new Promise((resolve) => {
      const id = `${application}/${spec.name}/probe`;
      let ready = false;
      const replica = new ReplicaProcess(
        {
          entry: options.entry,
          cwd: spec.workingDir ?? options.configDir,
          env: {
            ...options.env,
            ...spec.env,
            SERVE_CONTROL_SOCKET: controlSocket,
            SERVE_DATA_SOCKET: dataSocket,
            SERVE_REPLICA_TOKEN: makeToken(key, { replica: id, deployment: `${application}/${spec.name}`, version }),
            SERVE_REPLICA_ID: id,
          },
          run,
          startupTimeoutMs: spec.startupTimeoutMs,
          settings: () => ({ logLevel: 'fatal' }),
          openQuota: (onBreach) => enforcer.open(limitsOf(spec), onBreach),
        },
        {
          onReady: () => {
            ready = true;
            replica.stop(STOP_MS);
          },
          onLine: () => {},
          onOddMetrics: () => {},
          onDeath: (death) => resolve(ready ? undefined : `expected a replica that becomes ready, got: ${deathText(death)}`),
        },
      );
      replicas.set(id, replica);
    });
  const queue = new PQueue({ concurrency: Math.max(2, availableParallelism()) });
  const told = [...targets].flatMap(([index, { spec, deployments }]) =>
    deployments.map(async (deployment, at): Promise<readonly FileProblem[]> => {
      const message = await queue.add(() => load(spec.name, deployment));
      if (message === undefined) return [];
      const key = deployment.spec.runs.kind === 'model' ? ['model', 'path'] : ['import_path'];
      const path = ['applications', index, 'deployments', at, ...key];
      return [{ severity: 'error', code: 'LOAD_FAILED', path, message, application: spec.name }];
    }),
  );
  try {
    return (await Promise.all(told)).flat();
  } finally {
    control.close();
    data.close();
    enforcer.close();
  }
};
