/** Short ways to write down what a routing snapshot says. */
import type { ProxySpec } from '../../src/domain/desired.ts';
import type { ApplicationRouting, DeploymentRouting, RoutingSnapshot } from '../../src/domain/snapshot.ts';

export const proxySpec = (given: Partial<ProxySpec> = {}): ProxySpec => ({
  enabled: true,
  host: '127.0.0.1',
  port: 0,
  rootPath: '',
  requestTimeoutMs: null,
  keepAliveTimeoutMs: 90_000,
  maxRequestBodyBytes: 1_000_000,
  maxBufferedBytes: 100_000_000,
  maxHeaderBytes: 16_384,
  maxWebSockets: 1000,
  server: 'node',
  drainGraceMs: 0,
  tls: null,
  ...given,
});

export const deploymentRouting = (given: Partial<DeploymentRouting> = {}): DeploymentRouting => ({
  name: 'A',
  version: 'v1',
  kind: 'module',
  maxOngoingRequests: 1,
  maxQueuedRequests: -1,
  backpressure: { statusCode: 503, retryAfterS: 1 },
  requestTimeoutMs: null,
  retry: { maxAttempts: 1, backoffMs: 0, idempotent: false },
  batching: null,
  multiplexing: null,
  router: { policy: 'least_loaded' },
  unresponsiveTimeoutMs: 30_000,
  autoscales: false,
  gracefulShutdownTimeoutMs: 20_000,
  refuse: null,
  ...given,
});

export const applicationRouting = (given: Partial<ApplicationRouting> = {}): ApplicationRouting => ({
  name: 'app',
  generation: 1,
  routePrefix: '/',
  unavailable: null,
  ingress: { kind: 'deployment', deployment: 'A' },
  calls: {},
  deployments: [deploymentRouting()],
  accessLog: false,
  ...given,
});

/** @param replicas `id` → `application/Deployment@version` */
export const routingSnapshot = (
  applications: readonly ApplicationRouting[],
  replicas: Readonly<Record<string, string>> = {},
  proxy: Partial<ProxySpec> = {},
): RoutingSnapshot => ({
  revision: 1,
  attempt: 1,
  ready: true,
  proxy: proxySpec(proxy),
  applications,
  replicas: Object.entries(replicas).map(([id, what]) => {
    const [deployment = '', version = ''] = what.split('@');
    return { id, deployment, version };
  }),
});
