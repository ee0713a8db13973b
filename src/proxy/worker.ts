/** The data plane: entry of the worker thread. Listens for clients and replicas, and follows the snapshots that the control plane publishes. */
import { parentPort, workerData } from 'node:worker_threads';
import { BusyPoll } from '../dispatch/busy-poll.ts';
import { Dispatcher } from '../dispatch/dispatcher.ts';
import { ServeError } from '../domain/errors.ts';
import type { ApplicationRouting, DataPlaneSettings, FromDataPlane, RoutingSnapshot, ToDataPlane } from '../domain/snapshot.ts';
import { LoopWatch } from '../loop-watch.ts';
import { listenForReplicas } from '../protocol/accept.ts';
import { AccessLines } from './access-lines.ts';
import type { AccessRecord } from './access-log.ts';
import { Connections, ownDescriptors } from './connections.ts';
import { HttpCounts } from './http-counts.ts';
import { Ingress } from './ingress.ts';
import { Listener } from './listener.ts';
import { RetryBudgets } from './retry-budget.ts';
import { Shadows } from './shadow.ts';
import { Splits } from './splits.ts';

/** With fewer, a replica would have to wait for the CPU on which we look whether it has answered. */
const CPUS_TO_POLL = 2;

if (parentPort === null) throw new Error('proxy/worker runs on a worker thread');
const port = parentPort;
const options = workerData as DataPlaneSettings;
const post = (message: FromDataPlane): void => port.postMessage(message);
const now = (): number => performance.now();

const accessLines = new AccessLines(options.accessLog, (lines, application) =>
  post({ type: 'access', lines, ...(application === undefined ? {} : { application }) }),
);
const log = (level: 'debug' | 'info' | 'warn' | 'error', message: string, fields: Readonly<Record<string, unknown>> = {}): void =>
  post({ type: 'log', level, message, fields });

const dispatcher = new Dispatcher(now, post, options.cpus < CPUS_TO_POLL ? undefined : new BusyPoll(now));
const shadows = new Shadows();
const splits = new Splits(shadows, now, (counts) => post({ type: 'splits', splits: counts }));
const retries = new RetryBudgets();
const counts = new HttpCounts();
const loop = new LoopWatch();
const ingress = new Ingress({
  shadows,
  splits,
  retries,
  counts,
  dispatcher,
  now,
  logged: (record: AccessRecord) => accessLines.add(record),
  failed: (requestId, application, error) => {
    const { code, message, source, stack, name } = error;
    const cause = error.cause instanceof Error ? error.cause.message : undefined;
    log('error', 'request failed', { requestId, application, code, source, error: { name, message, stack, cause } });
  },
});

let snapshot: RoutingSnapshot | undefined;
/** Not there yet, or never, where the socket for replicas cannot be had. */
let replicas: Awaited<ReturnType<typeof listenForReplicas>> | undefined;
let watch: NodeJS.Timeout | undefined;
const connections = new Connections(ownDescriptors(), now, (message, fields) => log('warn', message, fields));
const isObjectPath = (path: string): boolean => ingress.speaksInference(path);

const listener = new Listener({
  door: connections,
  handler: ingress.handle,
  limits: () => ({
    maxHeaderBytes: snapshot?.proxy.maxHeaderBytes ?? 0,
    maxRequestBodyBytes: snapshot?.proxy.maxRequestBodyBytes ?? 0,
    keepAliveTimeoutMs: snapshot?.proxy.keepAliveTimeoutMs ?? 0,
    draining: ingress.draining,
    isObjectPath,
  }),
  post,
});

const apply = (next: RoutingSnapshot): void => {
  snapshot = next;
  dispatcher.apply(next);
  ingress.apply(next);
  shadows.keep(new Set(next.applications.flatMap(shadowed)));
  splits.follow(next.applications);
  retries.keep(new Set(next.applications.flatMap(({ name, deployments }) => deployments.map((each) => `${name}/${each.name}`))));
  listener.follow(next);
  accessLines.follow(next);
};

/** Steps whose answers are compared, as `application/step`. */
const shadowed = ({ name, ingress }: ApplicationRouting): readonly string[] =>
  ingress.kind === 'graph' ? ingress.graph.steps.flatMap((step) => (step.shadow ? [`${name}/${step.name}`] : [])) : [];

const drain = async (graceMs: number, timeoutMs: number): Promise<void> => {
  ingress.drain();
  if (graceMs > 0) await new Promise((resolve) => setTimeout(resolve, graceMs));
  listener.stopAccepting();
  ingress.goAway();
  const late = setTimeout(
    () => dispatcher.destroy(new ServeError('UNAVAILABLE', 'The daemon is stopping.', { retryAfterS: 1 })),
    timeoutMs,
  );
  await ingress.quiet();
  clearTimeout(late);
  // An answer behind which its connection closes leaves in the next turn; who hears `drained` may close all connections before that.
  await new Promise((resolve) => setImmediate(resolve));
  accessLines.flush();
  post({ type: 'drained' });
};

/** The only way out: a live uWebSockets.js app would abort the process at exit. */
const close = (): void => {
  accessLines.flush();
  clearInterval(watch);
  splits.close();
  dispatcher.destroy(new ServeError('UNAVAILABLE', 'The daemon is stopping.'));
  listener.destroy();
  replicas?.close();
  loop.close();
  post({ type: 'closed' });
};

const lastResort = (error: unknown): void => {
  const { message, stack } = error instanceof Error ? error : new Error(String(error));
  log('error', 'the data plane failed', { error: { message, stack } });
  close();
};
process.on('uncaughtException', lastResort);
process.on('unhandledRejection', lastResort);

replicas = await listenForReplicas(
  options.socket,
  options.key,
  (identity, socket, reader, purpose) => dispatcher.connect(identity, socket, reader, purpose),
  (reason) => log('warn', 'a connection to the replica socket was refused', { reason }),
);
watch = setInterval(() => dispatcher.checkLinks(), 500);

port.on('message', (message: ToDataPlane) => {
  switch (message.type) {
    case 'snapshot':
      return apply(message.snapshot);
    case 'drain':
      return void drain(message.graceMs, message.timeoutMs);
    case 'close':
      return close();
    case 'access-log':
      accessLines.encoding = message.encoding;
      return;
    case 'report':
      return post({ type: 'report', id: message.id, load: { ...dispatcher.load(), shadows: shadows.counts } });
    case 'metrics': {
      const metrics = {
        http: counts.read(),
        inFlight: ingress.ongoing,
        connections: connections.counts,
        deployments: dispatcher.metrics(),
        loopDelay: loop.delay,
      };
      return post({ type: 'metrics', id: message.id, metrics });
    }
    default:
      return message satisfies never;
  }
});
post({ type: 'started' });
