/** An application in this process: the data plane and the replicas of the daemon, with nothing between them but memory. */
import { availableParallelism } from 'node:os';
import { type Logger, pino } from 'pino';
import { Dispatcher } from '../dispatch/dispatcher.ts';
import { ServeError } from '../domain/errors.ts';
import type { Json } from '../domain/json.ts';
import type { RoutingSnapshot } from '../domain/snapshot.ts';
import { HttpCounts } from '../proxy/http-counts.ts';
import { Ingress } from '../proxy/ingress.ts';
import { RetryBudgets } from '../proxy/retry-budget.ts';
import { Shadows } from '../proxy/shadow.ts';
import { Splits } from '../proxy/splits.ts';
import { type CodeDeployment, deploymentsOf } from '../replica/application.ts';
import type { Handle } from '../sdk/index.ts';
import { Caller } from './caller.ts';
import { nextTurn } from './connection.ts';
import { LocalExchange } from './exchange.ts';
import { LocalReplica } from './replica.ts';
import { readRequest } from './request.ts';
import { type LocalPlan, planOf, type RunningReplica, snapshotOf } from './routing.ts';

export interface StartOptions {
  readonly name: string;
  readonly args: Readonly<Record<string, unknown>>;
  readonly logLevel: string;
  /** Of each deployment at most so many. */
  readonly maxReplicas: number;
}

const now = (): number => performance.now();

export class LocalApplication {
  readonly #name: string;
  readonly #names: readonly string[];
  readonly #dispatcher: Dispatcher;
  readonly #ingress: Ingress;
  readonly #caller: Caller;
  readonly #log: Logger;
  readonly #exchanges = new Set<LocalExchange>();
  readonly #replicas: LocalReplica[] = [];
  #maxBodyBytes = 0;
  #closed: Promise<void> | undefined;

  private constructor(name: string, names: readonly string[], log: Logger) {
    this.#name = name;
    this.#names = names;
    this.#log = log;
    this.#dispatcher = new Dispatcher(now, () => {});
    const shadows = new Shadows();
    this.#ingress = new Ingress({
      dispatcher: this.#dispatcher,
      now,
      shadows,
      // Nobody judges: an application in code declares no split.
      splits: new Splits(shadows, now, () => {}),
      retries: new RetryBudgets(),
      counts: new HttpCounts(),
      logged: () => {},
      // The detail that clients do not get.
      failed: (requestId, application, error) => log.error({ requestId, application, err: error }, 'request failed'),
    });
    this.#caller = new Caller(this.#dispatcher, name);
  }

  /**
   * @param exported as `import_path` of an application may name it
   * @throws ServeError INVALID_INPUT for what cannot be served; else what the code throws as it starts
   */
  static async start(exported: unknown, { name, args, logLevel, maxReplicas }: StartOptions): Promise<LocalApplication> {
    // Arguments need not be JSON here: a test may give whatever its code takes.
    const called = typeof exported === 'function' && exported.name !== '' ? exported.name : 'app';
    const deployments = await deploymentsOf(exported, called, args as Readonly<Record<string, Json>>);
    const plan = planOf(name, deployments);
    const log = pino({ base: null, level: logLevel }, pino.destination({ fd: 2, sync: true }));
    const application = new LocalApplication(
      name,
      deployments.map((each) => each.name),
      log,
    );
    try {
      application.#serve(await application.#startReplicas(plan, deployments, maxReplicas));
      return application;
    } catch (error) {
      await application.close().catch((closing: unknown) => log.error({ err: closing }, 'close() failed'));
      throw error;
    }
  }

  /** Of a deployment; of the ingress where none is named. @throws TypeError where there is none of that name */
  handle(deployment = this.#names[0] as string): Handle<unknown> {
    if (!this.#names.includes(deployment))
      throw new TypeError(`expected a deployment of the application (${this.#names.join(', ')}), got ${deployment}`);
    return this.#caller.handle(deployment);
  }

  /** @throws as `fetch` does: where the request cannot be one, its signal is aborted, or there is nobody to send it to */
  async fetch(input: string | URL | Request, init?: RequestInit): Promise<Response> {
    const request = await readRequest(input, init);
    request.signal.throwIfAborted();
    if (this.#closed !== undefined) throw new TypeError('fetch failed', { cause: closedError() });
    const leave = () => exchange.leave(request.signal.reason);
    const exchange = new LocalExchange(request, this.#maxBodyBytes, () => {
      request.signal.removeEventListener('abort', leave);
      this.#exchanges.delete(exchange);
    });
    request.signal.addEventListener('abort', leave, { once: true });
    this.#exchanges.add(exchange);
    exchange.enter(this.#ingress.handle);
    return exchange.answer;
  }

  /** Everything under way fails, and the code is closed as when a replica stops. @throws what its `close` throws */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    this.#dispatcher.destroy(closedError());
    // What had no call yet: its body was still to come.
    for (const exchange of [...this.#exchanges]) exchange.leave(closedError());
    const closed = await Promise.allSettled(this.#replicas.map((replica) => replica.close()));
    const errors = closed.flatMap((each) => (each.status === 'rejected' ? [each.reason as unknown] : []));
    if (errors.length === 1) throw errors[0];
    if (errors.length > 1) throw new AggregateError(errors, 'several replicas could not be closed');
  }

  async #startReplicas(plan: LocalPlan, deployments: readonly CodeDeployment[], maxReplicas: number): Promise<RoutingSnapshot> {
    const next = nextTurn();
    const wanted = plan.target.deployments.flatMap((target) => {
      const deployment = deployments.find(({ name }) => name === target.spec.name) as CodeDeployment;
      const count = Math.min(target.spec.numReplicas, maxReplicas);
      return Array.from({ length: count }, (_, rank) => ({
        target,
        deployment,
        rank,
        id: `${this.#name}/${deployment.name}/${rank}`,
      }));
    });
    // All begin at once, as in the daemon; those that have begun are closed where one of them cannot.
    const started = await Promise.allSettled(
      wanted.map(async ({ target, deployment, rank, id }): Promise<RunningReplica> => {
        const replica = await LocalReplica.start({
          id,
          rank,
          deployment,
          target,
          dispatcher: this.#dispatcher,
          next,
          log: this.#log,
        });
        this.#replicas.push(replica);
        return { id, rank, deployment: deployment.name, version: target.version, streams: replica.streams };
      }),
    );
    const running = started.map((each) => {
      if (each.status === 'rejected') throw each.reason;
      return each.value;
    });
    return snapshotOf(plan, running, availableParallelism());
  }

  #serve(snapshot: RoutingSnapshot): void {
    this.#maxBodyBytes = snapshot.proxy.maxRequestBodyBytes;
    this.#dispatcher.apply(snapshot);
    this.#ingress.apply(snapshot);
  }
}

const closedError = (): ServeError => new ServeError('UNAVAILABLE', 'The application was closed.');
