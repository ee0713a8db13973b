/** `/metrics`: what is counted everywhere in the daemon, as Prometheus reads it. `docs/metrics.md` says what each name means. */
import type { ApplicationStatus, Status } from '../control/status.ts';
import type { CacheCounts, DataPlaneMetrics, DeploymentMetrics, LoopDelay, UserMetrics } from '../domain/metrics.ts';
import { counted, type Family, family, histogram, type Labels, type Value } from './family.ts';
import { userFamilies } from './user-families.ts';

export interface Measured {
  /** undefined: the data plane was too busy to say. */
  readonly plane: DataPlaneMetrics | undefined;
  readonly status: Status;
  readonly reloads: Readonly<Record<string, number>>;
  readonly controlLoop: LoopDelay;
  readonly user: readonly UserMetrics[];
}

export const familiesOf = (measured: Measured): readonly Family[] => [
  ...(measured.plane === undefined ? [] : planeFamilies(measured.plane)),
  ...statusFamilies(measured.status),
  family(
    'counter',
    'serve_config_reloads_total',
    'Configs that were read, by what became of them.',
    counted({}, 'result', measured.reloads),
  ),
  loopFamily([
    ['control', measured.controlLoop],
    ...(measured.plane === undefined ? [] : [['data-plane', measured.plane.loopDelay] as const]),
  ]),
  ...processFamilies(),
  ...userFamilies(measured.user, deploymentsOf(measured.status)),
];

/** As `application/deployment`, in the order of the config. */
const deploymentsOf = ({ applications }: Status): readonly string[] =>
  Object.entries(applications).flatMap(([application, { deployments }]) =>
    Object.keys(deployments).map((deployment) => `${application}/${deployment}`),
  );

const planeFamilies = ({ http, inFlight, connections, deployments }: DataPlaneMetrics): readonly Family[] => {
  const each = <T>(read: (metrics: DeploymentMetrics, labels: Labels) => T): T[] =>
    deployments.map((metrics) => read(metrics, { application: metrics.application, deployment: metrics.deployment }));
  const sequences = each(({ sequences: of }, labels) => (of === undefined ? [] : [{ labels, ...of }])).flat();
  return [
    family(
      'counter',
      'serve_http_requests_total',
      'Requests that were answered, by status; 499: the client had gone. Without an application: unknown paths and the daemon’s own.',
      http.flatMap(({ application, route, statuses }) => counted({ application, route }, 'code', { 200: 0, ...statuses })),
    ),
    histogram(
      'serve_http_request_duration_seconds',
      'From the head of a request to the end of its answer.',
      http.map(({ application, route, duration }) => [{ application, route }, duration]),
    ),
    family('gauge', 'serve_http_requests_in_flight', 'Requests whose answer is not complete.', [[{}, inFlight]]),
    family('gauge', 'serve_http_connections', 'Connections of clients, WebSockets included.', [[{}, connections.open]]),
    family('counter', 'serve_http_connections_refused_total', 'Connections that were closed at once, for want of descriptors.', [
      [{}, connections.refused],
    ]),
    family(
      'counter',
      'serve_deployment_requests_total',
      'Calls of a deployment, from HTTP, steps and other replicas, by how they ended.',
      each(({ results }, labels) => counted(labels, 'result', results)).flat(),
    ),
    family(
      'gauge',
      'serve_deployment_queue_length',
      'Calls that wait for a replica.',
      each(({ queued }, labels): Value => [labels, queued]),
    ),
    family(
      'gauge',
      'serve_deployment_ongoing_requests',
      'Calls that replicas work on.',
      each(({ ongoing }, labels): Value => [labels, ongoing]),
    ),
    family(
      'gauge',
      'serve_deployment_open_websockets',
      'WebSockets that replicas have taken.',
      each(({ websockets }, labels): Value => [labels, websockets]),
    ),
    family(
      'gauge',
      'serve_sequences_open',
      'Sequences whose state replicas have.',
      sequences.map(({ labels, open }): Value => [labels, open]),
    ),
    family(
      'counter',
      'serve_sequences_started_total',
      'Sequences that were started.',
      sequences.map(({ labels, started }): Value => [labels, started]),
    ),
    family(
      'counter',
      'serve_sequences_ended_total',
      'Sequences that ended, by why.',
      sequences.flatMap(({ labels, ended }) => counted(labels, 'reason', ended)),
    ),
    histogram(
      'serve_deployment_queue_wait_seconds',
      'How long a call waited for a replica.',
      each(({ queueWait }, labels) => [labels, queueWait] as const),
    ),
    histogram(
      'serve_deployment_processing_seconds',
      'How long a replica worked on a call.',
      each(({ processing }, labels) => [labels, processing] as const),
    ),
    histogram(
      'serve_batch_size',
      'Rows of a model, items of code.',
      each(({ batchSize }, labels) => [labels, batchSize] as const),
    ),
    family(
      'gauge',
      'serve_batch_size_in_force',
      'Rows or items with which a batch is whole: of the shape that was served last.',
      deployments.flatMap(({ application, deployment, batchSizeInForce }): Value[] =>
        batchSizeInForce === undefined ? [] : [[{ application, deployment }, batchSizeInForce]],
      ),
    ),
    family(
      'counter',
      'serve_batch_dispatch_total',
      'Why batches left.',
      each(({ dispatches }, labels) => counted(labels, 'reason', dispatches)).flat(),
    ),
    family(
      'counter',
      'serve_deployment_early_drops_total',
      'Calls that were given up before they ran, as they could not have been answered in time.',
      each(({ dropped }, labels): Value => [labels, dropped]),
    ),
    family(
      'counter',
      'serve_deployment_retries_total',
      'Calls that were sent again.',
      each(({ retries }, labels) => counted(labels, 'reason', retries)).flat(),
    ),
    ...cacheFamilies(deployments),
  ];
};

/** Without values where no deployment has a response cache. */
const cacheFamilies = (deployments: readonly DeploymentMetrics[]): readonly Family[] => {
  const each = (read: (cache: CacheCounts, labels: Labels) => readonly Value[]): readonly Value[] =>
    deployments.flatMap(({ application, deployment, cache }) =>
      cache === undefined ? [] : read(cache, { application, deployment }),
    );
  return [
    family(
      'counter',
      'serve_response_cache_requests_total',
      'Calls of deployments with a response cache, by what it did for them.',
      each(({ requests }, labels) => counted(labels, 'result', requests)),
    ),
    family(
      'gauge',
      'serve_response_cache_bytes',
      'What a response cache takes of the memory of the daemon.',
      each(({ bytes }, labels) => [[labels, bytes]]),
    ),
    family(
      'gauge',
      'serve_response_cache_entries',
      'Answers that a response cache holds.',
      each(({ entries }, labels) => [[labels, entries]]),
    ),
    family(
      'counter',
      'serve_response_cache_evictions_total',
      'Answers that went, to make room or because their time was over.',
      each(({ evictions }, labels) => counted(labels, 'reason', evictions)),
    ),
  ];
};

const statusFamilies = ({ applications }: Status): readonly Family[] => {
  const deployments = Object.values(applications).flatMap(({ name: application, deployments: list }) =>
    Object.values(list).map((deployment) => ({ labels: { application, deployment: deployment.name }, deployment })),
  );
  return [
    ...graphFamilies(Object.values(applications)),
    family(
      'gauge',
      'serve_application_status',
      '1 for the status that an application has.',
      Object.values(applications).map(({ name, status }) => [{ application: name, status }, 1]),
    ),
    family(
      'gauge',
      'serve_deployment_status',
      '1 for the status that a deployment has.',
      deployments.map(({ labels, deployment }) => [{ ...labels, status: deployment.status }, 1]),
    ),
    family(
      'gauge',
      'serve_deployment_target_replicas',
      'Replicas that are wanted.',
      deployments.map(({ labels, deployment }) => [labels, deployment.target_num_replicas]),
    ),
    family(
      'gauge',
      'serve_deployment_replicas',
      'Replicas by state.',
      deployments.flatMap(({ labels, deployment }) => counted(labels, 'state', { RUNNING: 0, ...deployment.replica_states })),
    ),
    family(
      'counter',
      'serve_replica_deaths_total',
      'Replicas that ended without having been asked, by cause.',
      deployments.flatMap(({ labels, deployment }) => counted(labels, 'cause', { oom: 0, ...deployment.deaths })),
    ),
    family(
      'gauge',
      'serve_replica_memory_bytes',
      'What a replica uses, all its processes together.',
      deployments.flatMap(({ labels, deployment }) =>
        deployment.replicas.flatMap(({ replica_id, memory_bytes }): Value[] =>
          memory_bytes === null ? [] : [[{ ...labels, replica: replica_id }, memory_bytes]],
        ),
      ),
    ),
    family(
      'counter',
      'serve_replica_cpu_throttled_seconds_total',
      'For how long its cpu_limit kept a replica from running, over all CPUs.',
      deployments.flatMap(({ labels, deployment }) =>
        deployment.replicas.flatMap(({ replica_id, cpu_throttled_s }): Value[] =>
          cpu_throttled_s === null ? [] : [[{ ...labels, replica: replica_id }, cpu_throttled_s]],
        ),
      ),
    ),
    family(
      'gauge',
      'serve_multiplexed_models',
      'Models that a replica holds, up to a thousand.',
      deployments.flatMap(({ labels, deployment }) =>
        deployment.replicas.flatMap(({ replica_id, models }): Value[] =>
          models === null ? [] : [[{ ...labels, replica: replica_id }, models.length]],
        ),
      ),
    ),
  ];
};

/** Splits and shadows of graphs. */
const graphFamilies = (applications: readonly ApplicationStatus[]): readonly Family[] => {
  const splits = applications.flatMap(({ name: application, splits: of }) =>
    Object.entries(of).map(([step, split]) => ({ labels: { application, step }, ...split })),
  );
  // Who stands in a split twice has one value.
  const targets = splits.flatMap(({ labels, targets: of }) =>
    [...new Set(of.map(({ call }) => call))].map((call) => {
      const all = of.filter((target) => target.call === call);
      const percent = all.reduce((sum, target) => sum + target.percent, 0);
      return { labels: { ...labels, target: call }, percent, total: all[0]?.total ?? null };
    }),
  );
  return [
    family(
      'gauge',
      'serve_split_weight_ratio',
      'Share of the requests of a step that a target of its split gets.',
      targets.map(({ labels, percent }) => [labels, percent / 100]),
    ),
    family(
      'counter',
      'serve_split_requests_total',
      'Calls of a target of a split with a verdict, by what came of them.',
      targets.flatMap(({ labels, total }) =>
        total === null
          ? []
          : counted(labels, 'result', {
              ok: total.requests - total.errors,
              error: total.errors,
              client_error: total.client_errors,
              abandoned: total.abandoned,
            }),
      ),
    ),
    family(
      'gauge',
      'serve_split_verdict',
      '1 for the state that the verdict on a canary has.',
      splits.flatMap(({ labels, verdict }): Value[] => (verdict === null ? [] : [[{ ...labels, state: verdict.state }, 1]])),
    ),
    family(
      'counter',
      'serve_shadow_answers_total',
      'Copies that shadows of steps were to get, by what came of them.',
      applications.flatMap(({ name: application, shadows }) =>
        Object.entries(shadows).flatMap(([step, { same, different, failed, skipped }]) =>
          counted({ application, step }, 'result', { same, different, failed, skipped }),
        ),
      ),
    ),
  ];
};

/** By the names that every Prometheus client has for them. */
const processFamilies = (): readonly Family[] => {
  const { user, system } = process.cpuUsage();
  return [
    family('counter', 'process_cpu_seconds_total', 'CPU time of the daemon, replicas not counted.', [
      [{}, (user + system) / 1e6],
    ]),
    family('gauge', 'process_resident_memory_bytes', 'Of the daemon, replicas not counted.', [[{}, process.memoryUsage.rss()]]),
    family('gauge', 'process_start_time_seconds', 'Since the epoch.', [[{}, Math.round(performance.timeOrigin) / 1000]]),
  ];
};

const loopFamily = (threads: readonly (readonly [string, LoopDelay])[]): Family =>
  family(
    'gauge',
    'serve_event_loop_delay_seconds',
    'How late the event loop of a thread was, over the last seconds.',
    threads.flatMap(([thread, { p50, p99, max }]) => [
      [{ thread, stat: 'p50' }, p50],
      [{ thread, stat: 'p99' }, p99],
      [{ thread, stat: 'max' }, max],
    ]),
  );
