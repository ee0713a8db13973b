/** Entry of a replica process: connects to the daemon, builds what it is told to run, and serves until it is told to stop — or the daemon is gone. */
import { connect, type OnReadOpts, type Socket } from 'node:net';
import { shapeOfError } from '../domain/errors.ts';
import type { Json } from '../domain/json.ts';
import { encodeFrame, FRAME, type Frame, type FrameType, PROTOCOL_VERSION } from '../protocol/frame.ts';
import type { FailedMeta, HelloMeta, ReadyMeta, SettingsMeta, StartMeta } from '../protocol/messages.ts';
import { FrameReader } from '../protocol/reader.ts';
import type { DeploymentRun, DescribeRun } from '../protocol/start.ts';
import type { MetricsMeta } from '../protocol/user-metrics.ts';
import { setBatchedFunctions, unknownNames } from '../sdk/batch-settings.ts';
import { deploymentsOf, describe } from './application.ts';
import { ChildCalls } from './child-calls.ts';
import { ReplicaContext } from './context.ts';
import type { Engine } from './engine.ts';
import { exportOf, startModule } from './engines/module.ts';
import { startOnnx } from './engines/onnx.ts';
import { Models } from './models.ts';
import { Runner } from './runner.ts';

const MAX_CONTROL_FRAME_BYTES = 64 * 1024 * 1024;

/** What the launcher puts into the environment; taken out again, so that user code does not see it. */
const take = (name: string): string => {
  const value = process.env[name];
  delete process.env[name];
  if (value === undefined) throw new Error(`${name} is not set: a replica is started by the daemon`);
  return value;
};

const open = (path: string, onread?: OnReadOpts): Promise<Socket> =>
  new Promise((resolve, reject) => {
    const socket = connect({ path, ...(onread === undefined ? {} : { onread }) });
    socket.once('error', reject);
    socket.once('connect', () => {
      socket.off('error', reject);
      resolve(socket);
    });
  });

/** At once and whatever threads are doing: an ordered end would wait for a model that is running. */
const vanish = (): never => {
  process.kill(process.pid, 'SIGKILL');
  throw new Error('unreachable');
};

const isDescribe = (run: StartMeta): run is DescribeRun => run.runs.kind === 'application';

class Replica {
  readonly #control: Socket;
  readonly #dataPath: string;
  readonly #hello: HelloMeta;
  #logLevel = 'info';
  #maxRows = Number.POSITIVE_INFINITY;
  #context: ReplicaContext | undefined;
  /** Undefined: the daemon does not ask for them. */
  #tellMetrics: ((meta: MetricsMeta) => void) | undefined;
  #engine: Engine | undefined;
  #runner: Runner | undefined;

  constructor(control: Socket, dataPath: string, token: string, replica: string) {
    this.#control = control;
    this.#dataPath = dataPath;
    this.#hello = { protocol: PROTOCOL_VERSION, token, replica, runtime: `node ${process.versions.node}` };
  }

  begin(): void {
    const reader = new FrameReader(MAX_CONTROL_FRAME_BYTES);
    this.#control.on('data', (chunk: Buffer) => reader.push(chunk, (frame) => void this.#take(frame)));
    // The daemon owns its replicas: without it there is nothing to do here.
    this.#control.on('close', vanish);
    this.#control.on('error', vanish);
    this.#send(FRAME.HELLO, this.#hello);
  }

  #send(type: FrameType, meta: object): void {
    this.#control.cork();
    for (const buffer of encodeFrame(type, meta)) this.#control.write(buffer);
    this.#control.uncork();
  }

  async #take(frame: Frame): Promise<void> {
    switch (frame.type) {
      case FRAME.SETTINGS: {
        const { logLevel, maxRows, batchedFunctions = {}, metrics } = frame.meta as unknown as SettingsMeta;
        this.#logLevel = logLevel;
        this.#maxRows = maxRows ?? Number.POSITIVE_INFINITY;
        this.#context?.setLogLevel(this.#logLevel);
        this.#engine?.limitRows?.(this.#maxRows);
        setBatchedFunctions(batchedFunctions);
        if (metrics === true) this.#tellMetrics = (meta) => this.#send(FRAME.METRICS, meta);
        this.#warnOfFunctions();
        return;
      }
      case FRAME.START:
        return this.#begin(frame.meta as unknown as StartMeta);
      case FRAME.RECONFIGURE:
        return this.#answer(FRAME.RECONFIGURED, frame, () => this.#engine?.reconfigure(frame.meta['userConfig'] as Json));
      case FRAME.CHECK:
        return this.#answer(FRAME.CHECKED, frame, () => this.#engine?.check());
      case FRAME.STOP:
        return this.#stop();
      default:
        return;
    }
  }

  async #begin(run: StartMeta): Promise<void> {
    try {
      if (isDescribe(run)) await this.#describe(run);
      else await this.#start(run);
    } catch (error) {
      this.#send(FRAME.FAILED, { error: shapeOfError(error) } satisfies FailedMeta);
      this.#control.end(() => process.exit(1));
    }
  }

  /** Says what an application in code consists of, and ends: its deployments are run elsewhere. */
  async #describe({ application, runs }: DescribeRun): Promise<void> {
    const deployments = await deploymentsOf(await exportOf(runs), runs.export || application, runs.args);
    this.#send(FRAME.DESCRIBED, describe(deployments));
    this.#control.end(() => process.exit(0));
  }

  async #start(run: DeploymentRun): Promise<void> {
    const context = new ReplicaContext(run.application, run.deployment, this.#hello.replica, run.rank, this.#tellMetrics);
    context.setLogLevel(this.#logLevel);
    this.#context = context;
    const calls = new ChildCalls(this.#hello.replica);
    const intake = Runner.intake();
    const data = await open(this.#dataPath, intake.onread);
    data.on('error', vanish);
    const models = new Models((model, error) => context.log.error({ model, err: error }, 'a model could not be unloaded'));
    const runner = new Runner(data, intake, calls, models);
    this.#runner = runner;
    const able = { brief: true, websockets: true, bodies: true, secure: true, briefValues: true };
    await runner.begin({ ...this.#hello, ...able } satisfies HelloMeta);
    data.on('close', vanish);
    const begun = await open(this.#dataPath);
    begun.on('error', vanish);
    await runner.openBegun(begun, { ...this.#hello, link: 'begun' } satisfies HelloMeta);
    const engine =
      run.runs.kind === 'model' ? await startOnnx(run, runner) : await startModule(run, context, calls, runner, models);
    this.#engine = engine;
    engine.limitRows?.(this.#maxRows);
    // One that is not healthy from the start must not get a single request.
    await engine.check();
    runner.serve(engine);
    this.#warnOfFunctions();
    const ready: ReadyMeta = { methods: engine.methods, describes: engine.describes };
    this.#send(FRAME.READY, ready);
  }

  /** A name that the file has wrong would be of no effect, and nobody would know. */
  #warnOfFunctions(): void {
    const { unknown, known } = unknownNames();
    if (this.#engine === undefined || unknown.length === 0) return;
    this.#context?.log.warn({ unknown, known }, 'batched_functions names functions that the code has not made');
  }

  async #answer(type: FrameType, frame: Frame, work: () => Promise<void> | undefined): Promise<void> {
    const id = frame.meta['id'];
    try {
      await work();
      this.#send(type, { id });
    } catch (error) {
      this.#send(type, { id, error: shapeOfError(error) });
    }
  }

  async #stop(): Promise<void> {
    this.#context?.stop();
    try {
      await this.#engine?.close();
    } catch (error) {
      console.error('close() failed:', error);
    }
    this.#runner?.flush();
    process.exit(0);
  }
}

// What becomes of a replica is for the daemon to say, also where somebody signals all that hangs on a terminal.
process.on('SIGINT', () => {});
process.setSourceMapsEnabled(true);
process.title = `serve-daemon replica ${process.env['SERVE_REPLICA_ID'] ?? ''}`;
const [controlPath, dataPath, token, replica] = [
  take('SERVE_CONTROL_SOCKET'),
  take('SERVE_DATA_SOCKET'),
  take('SERVE_REPLICA_TOKEN'),
  take('SERVE_REPLICA_ID'),
];
new Replica(await open(controlPath), dataPath, token, replica).begin();
