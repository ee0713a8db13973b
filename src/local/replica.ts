/** A replica inside this process: the runner and the engine of every replica, on connections that lead to a dispatcher beside it. */
import type { Duplex } from 'node:stream';
import type { Logger } from 'pino';
import type { TargetDeployment } from '../control/target.ts';
import type { Dispatcher } from '../dispatch/dispatcher.ts';
import { readerFor } from '../protocol/accept.ts';
import { takesStreams } from '../protocol/messages.ts';
import type { CodeDeployment } from '../replica/application.ts';
import { ChildCalls } from '../replica/child-calls.ts';
import { ReplicaContext } from '../replica/context.ts';
import type { Engine } from '../replica/engine.ts';
import { startBound } from '../replica/engines/module.ts';
import type { Intake } from '../replica/intake.ts';
import { Models } from '../replica/models.ts';
import { Runner } from '../replica/runner.ts';
import { connect, type NextTurn } from './connection.ts';

export interface LocalReplicaOptions {
  readonly id: string;
  readonly rank: number;
  readonly deployment: CodeDeployment;
  readonly target: TargetDeployment;
  readonly dispatcher: Dispatcher;
  readonly next: NextTurn;
  readonly log: Logger;
}

/** As the replicas of this version say of themselves. */
const ABLE = { brief: true, websockets: true, bodies: true, secure: true, briefValues: true };
/** Code that does not look at its signal holds `close` no longer. */
const ENDS_WITHIN_MS = 1000;

/** Its log is that of the test. */
class LocalContext extends ReplicaContext {
  readonly #log: Logger;

  constructor(application: string, deployment: string, replicaId: string, rank: number, log: Logger) {
    super(application, deployment, replicaId, rank);
    this.#log = log.child({ application, deployment, replica: replicaId });
  }

  override get log(): Logger {
    return this.#log;
  }
}

export class LocalReplica {
  /** It reads the bodies of HTTP requests as they come. */
  readonly streams: boolean;
  readonly #context: ReplicaContext;
  readonly #runner: Runner;
  readonly #engine: Engine;

  private constructor(context: ReplicaContext, runner: Runner, engine: Engine) {
    this.#context = context;
    this.#runner = runner;
    this.#engine = engine;
    this.streams = takesStreams(engine);
  }

  /** @throws what the constructor, `reconfigure` or `checkHealth` throws */
  static async start({ id, rank, deployment, target, dispatcher, next, log }: LocalReplicaOptions): Promise<LocalReplica> {
    const { run, version } = target;
    const identity = { replica: id, deployment: `${run.application}/${run.deployment}`, version };
    const open = (begun: boolean): Duplex => {
      const [ours, theirs] = connect(next);
      const purpose = { ...ABLE, begun };
      // Its HELLO, which has nothing to prove here.
      ours.once('data', () => dispatcher.connect(identity, ours, readerFor(purpose), purpose));
      return theirs;
    };
    const context = new LocalContext(run.application, run.deployment, id, rank, log);
    const calls = new ChildCalls();
    const intake = Runner.intake();
    const models = new Models((model, error) => context.log.error({ model, err: error }, 'a model could not be unloaded'));
    const data = open(false);
    feed(intake, data);
    const runner = new Runner(data, intake, calls, models);
    await runner.begin({});
    await runner.openBegun(open(true), {});
    const engine = await startBound(deployment, run, context, calls, runner, models);
    const replica = new LocalReplica(context, runner, engine);
    try {
      if (run.userConfig !== undefined) await engine.reconfigure(run.userConfig);
      // One that is not healthy from the start must not get a single request.
      await engine.check();
    } catch (error) {
      await replica.close().catch((closing: unknown) => context.log.error({ err: closing }, 'close() failed'));
      throw error;
    }
    runner.serve(engine);
    return replica;
  }

  /**
   * For when nobody waits for any of its calls any more: their signals are aborted, and when they have ended, or a second later, the code's
   * own `close` is called.
   * @throws what that throws
   */
  async close(): Promise<void> {
    this.#context.stop();
    let late: NodeJS.Timeout | undefined;
    const patience = new Promise<void>((resolve) => {
      late = setTimeout(resolve, ENDS_WITHIN_MS);
    });
    await Promise.race([this.#runner.cancelAll(), patience]);
    clearTimeout(late);
    await this.#engine.close();
  }
}

/** What a socket with `onread` does: reads to where the receiver says. */
const feed = (intake: Intake, data: Duplex): void => {
  const { buffer, callback } = intake.onread;
  data.on('data', (bytes: Buffer) => {
    for (let at = 0; at < bytes.byteLength; ) {
      const into = typeof buffer === 'function' ? buffer() : buffer;
      const taken = bytes.copy(into, 0, at, Math.min(bytes.byteLength, at + into.byteLength));
      at += taken;
      callback(taken, into);
    }
  });
};
