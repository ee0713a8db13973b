import { readFileSync } from 'node:fs';
import t from 'tap';
import { codes, compiled, withDeployment } from './fixtures/rig.ts';

const deployment = (extra: string) => {
  const { desired, diagnostics } = compiled(withDeployment(extra));
  const found = desired?.applications[0]?.deployments[0];
  if (found === undefined) throw new Error(JSON.stringify(diagnostics));
  return found;
};

const INHERITED = { encoding: null, level: null, directory: null, accessLog: null };

t.test('a minimal file gets every default', async (t) => {
  const { desired } = compiled(readFileSync(new URL('fixtures/minimal.good.yaml', import.meta.url)));
  t.match(desired, {
    proxy: {
      enabled: true,
      host: '127.0.0.1',
      port: 8000,
      requestTimeoutMs: null,
      keepAliveTimeoutMs: 90_000,
      maxRequestBodyBytes: 64 * 2 ** 20,
    },
    admin: { host: '127.0.0.1', port: 8265, token: null },
    logging: { encoding: null, level: 'info', directory: null, accessLog: true },
    shutdownTimeoutMs: 30_000,
    applications: [
      { name: 'default', routePrefix: '/', ingress: { kind: 'deployment', deployment: 'Echo' }, logging: INHERITED },
    ],
  });
  t.match(desired?.applications[0]?.deployments[0], {
    runs: { kind: 'module', file: '/srv/echo.ts', export: 'Echo' },
    initArgs: {},
    userConfig: undefined,
    numReplicas: 1,
    maxOngoingRequests: 5,
    maxQueuedRequests: -1,
    backpressure: { statusCode: 503, retryAfterS: 1 },
    retry: { maxAttempts: 1, backoffMs: 0, idempotent: false },
    batching: null,
    health: { periodMs: 10_000, timeoutMs: 30_000, failureThreshold: 3 },
    numCpus: null,
    workingDir: null,
  });
});

t.test('a full file is converted to milliseconds, bytes and absolute paths', async (t) => {
  const text = readFileSync(new URL('fixtures/full.good.yaml', import.meta.url));
  const { desired } = compiled(text, { HTTP_PORT: '8100', TOKEN: '0123' });
  t.same(desired?.proxy, {
    enabled: true,
    host: '0.0.0.0',
    port: 8100,
    rootPath: '/api',
    requestTimeoutMs: 12_500,
    keepAliveTimeoutMs: 5_000,
    maxRequestBodyBytes: 1e9,
    maxBufferedBytes: 2 * 2 ** 30,
    maxHeaderBytes: 32_768,
    maxWebSockets: 500,
    server: 'node',
    drainGraceMs: 500,
    tls: {
      keyFile: '/srv/tls/key.pem',
      certFile: '/etc/tls/cert.pem',
      password: '0123',
      caFile: '/ca.pem',
      fingerprint: '',
    },
  });
  t.equal(desired?.admin.token, '0123', 'in quotes a token of digits stays text');
  t.same(desired?.logging, { encoding: 'JSON', level: 'warn', directory: '/srv/logs', accessLog: false });
  const [texts, flow] = desired?.applications ?? [];
  const [front, back] = texts?.deployments ?? [];
  t.same(texts?.logging, { ...INHERITED, encoding: 'TEXT', directory: '/var/log/texts', accessLog: true });
  t.same(front?.logging, { ...INHERITED, level: 'debug' });
  t.match(front, { batching: { maxBatchSize: 8, waitMs: 5, maxConcurrentBatches: 2, method: 'many' }, workingDir: '/abs' });
  t.same({ ...front?.env }, { LANGUAGE: 'en', MODE: 'slow' }, "the deployment's variables win");
  t.match(back, { runs: { kind: 'model', path: '/srv/models/back.onnx' }, numCpus: 2, workingDir: '/srv/code' });
  t.same(back?.sequence, {
    states: { h: { output: 'hN', shape: null }, past: { output: 'present', shape: [1, 8, 0, 64] } },
    idleTimeoutMs: 2500,
    maxSequences: 20,
    maxStateBytes: 4 * 2 ** 20,
  });
  t.equal(front?.sequence, undefined);
  t.match(texts?.calls, { Front: { back: { application: 'texts', deployment: 'Back' } } });
  t.equal(flow?.routePrefix, null);
  t.match(flow?.ingress, { kind: 'graph', graph: { steps: [{ name: 'first', timeoutMs: 1500 }] } });
});

t.test('autoscaling: what is said, and what is not', async (t) => {
  const text = readFileSync(new URL('fixtures/full.good.yaml', import.meta.url));
  const { desired } = compiled(text, { HTTP_PORT: '8100', TOKEN: '0123' });
  t.equal(desired?.targetCapacity, 80);
  const scaled = desired?.applications.find(({ name }) => name === 'scaled')?.deployments[0];
  t.equal(scaled?.numReplicas, 2);
  t.same(scaled?.autoscaling, {
    minReplicas: 0,
    initialReplicas: 2,
    maxReplicas: 20,
    targetOngoingRequests: 1.5,
    targetQueueDelayMs: 250,
    lookBackMs: 4000,
    aggregation: 'max',
    upscalingFactor: 0.8,
    downscalingFactor: 0.4,
    upscaleDelayMs: 3000,
    downscaleDelayMs: 30_000,
    downscaleToZeroDelayMs: 300_000,
    policy: { file: '/srv/scaler.ts', export: 'policy', kwargs: { most: 3 }, isShared: false },
  });
  const together = desired?.applications.find(({ name }) => name === 'together')?.deployments[0];
  t.match(together?.autoscaling?.policy, { export: 'all', kwargs: { most: 9 }, isShared: true });
  t.equal(deployment('').autoscaling, null);
  t.match(deployment('num_replicas: auto').autoscaling, { minReplicas: 1, maxReplicas: 100, targetOngoingRequests: 2 });
  t.match(deployment('num_replicas: auto, autoscaling_config: {max_replicas: 3}').autoscaling, { maxReplicas: 3 });
  t.match(deployment('autoscaling_config: {}').autoscaling, { minReplicas: 1, maxReplicas: 1 });
  t.match(deployment('autoscaling_config: {downscale_delay_s: 7}').autoscaling, { downscaleToZeroDelayMs: 7000 });
  t.match(deployment('autoscaling_config: {target_queue_delay_s: 1}').autoscaling, {
    targetOngoingRequests: null,
    targetQueueDelayMs: 1000,
  });
});

t.test("Ray Serve's own default policies mean the targets", async (t) => {
  const policy = (name: string) =>
    deployment(`autoscaling_config: {policy: {policy_function: "${name}"}}`).autoscaling?.policy ?? null;
  t.equal(policy('ray.serve.autoscaling_policy:default_autoscaling_policy'), null);
  t.match(policy('scalers:mine'), { file: '/srv/scalers.ts', export: 'mine', kwargs: {} });
});

t.test('with batching and nothing said, a replica takes two batches of requests', async (t) => {
  t.equal(deployment('batching: {max_batch_size: 7}').maxOngoingRequests, 14);
  t.equal(deployment('batching: {max_batch_size: 7}, max_ongoing_requests: 9').maxOngoingRequests, 9);
});

t.test('a model that keeps sequences: a minute, and a thousand for each replica', async (t) => {
  const ofModel = (model: string) =>
    compiled(`applications: [{deployments: [{name: M, model: ${model}}]}]`).desired?.applications[0]?.deployments[0];
  t.same(ofModel('{path: m.onnx, sequence: {state: {h: hN}}}')?.sequence, {
    states: { h: { output: 'hN', shape: null } },
    idleTimeoutMs: 60_000,
    maxSequences: 1000,
    maxStateBytes: 256 * 2 ** 20,
  });
  for (const none of ['m.onnx', '{path: m.onnx}', '{path: m.onnx, sequence: null}'])
    t.equal(ofModel(none)?.sequence, undefined, none);
});

t.test('batching with nothing said: up to 64 rows of a model, 10 items of code, no wait and no target', async (t) => {
  const none = { waitMs: 0, targetMs: null };
  t.match(deployment('batching: {}').batching, { maxBatchSize: 10, ...none });
  const ofModel = (batching: string) =>
    compiled(`applications: [{deployments: [{name: M, model: m.onnx, batching: ${batching}}]}]`).desired?.applications[0]
      ?.deployments[0];
  t.match(ofModel('{}'), { batching: { maxBatchSize: 64, ...none }, maxOngoingRequests: 128 });
  t.equal(ofModel('{}')?.batching?.pad, undefined);
  t.match(ofModel('{max_batch_size: 8, latency_target_s: 0.05, pad: {ids: 0}}'), {
    batching: { maxBatchSize: 8, targetMs: 50, pad: { ids: 0 } },
    maxOngoingRequests: 16,
  });
});

t.test('a response cache is off unless it is named', async (t) => {
  t.equal(deployment('').responseCache, null);
  t.equal(deployment('response_cache: null').responseCache, null);
  t.same(deployment('response_cache: {}').responseCache, { maxBytes: 64 * 2 ** 20, ttlMs: null, vary: null });
  t.same(deployment('response_cache: {max_bytes: 1 MB, ttl_s: 0.5, vary: [X-Tenant]}').responseCache, {
    maxBytes: 1_000_000,
    ttlMs: 500,
    vary: ['x-tenant'],
  });
});

t.test('idempotent code is tried twice, unless the file says how often', async (t) => {
  t.match(deployment('retry: {idempotent: true}').retry, { maxAttempts: 2, idempotent: true });
  t.match(deployment('retry: {idempotent: true, max_attempts: 1}').retry, { maxAttempts: 1 });
});

t.test('a model is idempotent unless the file says otherwise', async (t) => {
  const retryOf = (retry: string) =>
    compiled(`applications: [{deployments: [{name: M, model: m.onnx, retry: ${retry}}]}]`).desired?.applications[0]
      ?.deployments[0]?.retry;
  t.match(retryOf('{}'), { maxAttempts: 2, idempotent: true });
  t.match(retryOf('{idempotent: false}'), { maxAttempts: 1, idempotent: false });
});

t.test('null is as good as nothing where a section or a default is meant', async (t) => {
  const result = compiled(
    withDeployment('retry: null, num_replicas: null, user_config: null', 'http_options:\nlogging_config:\n'),
  );
  t.same(codes(result), []);
  t.equal(result.desired?.proxy.port, 8000);
  t.equal(deployment('user_config: null').userConfig, undefined);
  t.equal(deployment('user_config: false').userConfig, false);
});

t.test("Python's names and numbers of log levels are known", async (t) => {
  const level = (said: string) => compiled(`logging_config: {log_level: ${said}}\napplications: []`).desired?.logging.level;
  t.same(['DEBUG', 'info', '30', 'ERROR', 'CRITICAL', '50'].map(level), ['debug', 'info', 'warn', 'error', 'fatal', 'fatal']);
});

t.test('keys such as __proto__ in free-form values stay data', async (t) => {
  const { initArgs } = deployment('init_args: {__proto__: {polluted: true}, constructor: 1}');
  t.same(Object.keys(initArgs), ['__proto__', 'constructor']);
  t.equal(({} as { polluted?: boolean }).polluted, undefined);
});
