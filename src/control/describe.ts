/** Asks a child what an application in code consists of: user code never runs in the daemon. */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { errorFromShape } from '../domain/errors.ts';
import { listenForReplicas } from '../protocol/accept.ts';
import { encodeFrame, FRAME } from '../protocol/frame.ts';
import type { ApplicationMeta, FailedMeta } from '../protocol/messages.ts';
import type { DescribeRun } from '../protocol/start.ts';
import { makeToken } from '../protocol/token.ts';
import { launchReplica } from './launch.ts';
import { type Death, deathText } from './replica-process.ts';

export interface DescribeOptions {
  /** The replica's program. */
  readonly entry: string;
  readonly cwd: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** A folder for a socket. */
  readonly folder: string;
  readonly withinMs: number;
}

const KEPT_STDERR_LINES = 20;

/** @throws Error with what is wrong: what the code threw, what it said last, or that it took too long */
export const describeApplication = async (run: DescribeRun, options: DescribeOptions): Promise<ApplicationMeta> => {
  const key = randomBytes(32).toString('hex');
  const id = `${run.application}/describe/${randomBytes(3).toString('hex')}`;
  const path = join(options.folder, `d-${randomBytes(4).toString('hex')}`);
  let settle!: { resolve: (meta: ApplicationMeta) => void; reject: (error: Error) => void };
  const described = new Promise<ApplicationMeta>((resolve, reject) => {
    settle = { resolve, reject };
  });
  described.catch(() => {});
  const server = await listenForReplicas(
    path,
    key,
    (_identity, socket, reader) => {
      socket.on('data', (chunk: Buffer) => {
        try {
          reader.push(chunk, ({ type, meta }) => {
            if (type === FRAME.DESCRIBED) settle.resolve(checked(meta));
            else if (type === FRAME.FAILED) settle.reject(errorOf(meta as unknown as FailedMeta));
            else throw new Error(`a frame of type ${type} has no place here`);
          });
        } catch (error) {
          settle.reject(error as Error);
        }
      });
      socket.on('error', () => socket.destroy());
      for (const buffer of encodeFrame(FRAME.START, run)) socket.write(buffer);
    },
    () => {},
  );
  const stderr: string[] = [];
  const child = launchReplica({
    entry: options.entry,
    cwd: options.cwd,
    enter: [],
    env: {
      ...options.env,
      SERVE_CONTROL_SOCKET: path,
      SERVE_DATA_SOCKET: path,
      SERVE_REPLICA_TOKEN: makeToken(key, { replica: id, deployment: `${run.application}/describe`, version: '' }),
      SERVE_REPLICA_ID: id,
    },
    onLine: (stream, line) => {
      if (stream !== 'stderr') return;
      stderr.push(line);
      if (stderr.length > KEPT_STDERR_LINES) stderr.shift();
    },
    onExit: (exitCode, signal) => {
      const cause: Death['cause'] = signal === null ? 'exit' : 'signal';
      const death = deathText({ cause, exitCode, signal, error: undefined, stderr });
      settle.reject(new Error(`the code ended its process before it had said what it consists of: ${death}`));
    },
  });
  const late = setTimeout(
    () => settle.reject(new Error(`the code did not say what it consists of within ${options.withinMs / 1000} s`)),
    options.withinMs,
  );
  try {
    return await described;
  } finally {
    clearTimeout(late);
    child.kill('SIGKILL');
    server.close();
  }
};

const errorOf = ({ error: shape }: FailedMeta): Error => {
  const error = errorFromShape(shape);
  // Our own messages have what was thrown in them.
  const { cause } = error.name === 'ServeError' && error.cause instanceof Error ? error.cause : error;
  const own = error.name === 'ServeError' ? error.message : `${error.name}: ${error.message}`;
  return new Error(`${own}${causesText(cause)}`);
};

const causesText = (cause: unknown): string =>
  cause instanceof Error ? `, because of ${cause.name}: ${cause.message}${causesText(cause.cause)}` : '';

/** The child ran user code: nothing that it says is taken as it is. */
const checked = (meta: unknown): ApplicationMeta => {
  const { deployments, ingress, bare } = meta as Partial<Record<keyof ApplicationMeta, unknown>>;
  const isRecord = (value: unknown): value is Record<string, unknown> =>
    typeof value === 'object' && value !== null && !Array.isArray(value);
  const isDeployment = (each: unknown): boolean =>
    isRecord(each) &&
    typeof each['name'] === 'string' &&
    isRecord(each['options']) &&
    isRecord(each['handles']) &&
    Object.values(each['handles']).every((name) => typeof name === 'string') &&
    (each['args'] === undefined || isRecord(each['args']));
  const isKnown =
    Array.isArray(deployments) &&
    deployments.length > 0 &&
    deployments.every(isDeployment) &&
    typeof ingress === 'string' &&
    (bare === undefined || (bare === true && deployments.length === 1));
  if (!isKnown) throw new Error('the code told what it consists of in a form that is not known');
  return meta as ApplicationMeta;
};
