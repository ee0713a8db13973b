/** HTTP requests in: finds whose each is, and hands it to an application, to a WebSocket, to the Open Inference Protocol, or answers it here. */
import { ServeError } from '../domain/errors.ts';
import type { ApplicationRouting, RoutingSnapshot } from '../domain/snapshot.ts';
import { Decodes, Encodes } from './content-coding.ts';
import { inferenceErrorAnswer } from './error-answer.ts';
import type { HttpExchange, HttpUpgrade } from './http-server.ts';
import { Inference } from './inference.ts';
import { clientTimeoutMs, givenId, type IngressOptions, IngressRequest, thrown } from './ingress-request.ts';
import { modelList, modelsByFolder } from './model-list.ts';
import { newRequestId } from './request-id.ts';
import { RouteTable } from './route-table.ts';
import { WebSockets } from './websocket.ts';

/** A body that is said to be no longer is waited for: one frame carries it with its request. */
const WHOLE_BYTES = 65_536;

export class Ingress {
  readonly #options: IngressOptions;
  #snapshot: RoutingSnapshot | undefined;
  #routes = new RouteTable<ApplicationRouting>([]);
  #folders: ReadonlyMap<string, readonly ApplicationRouting[]> = new Map();
  #ongoing = 0;
  #draining = false;
  #onQuiet: (() => void) | undefined;
  readonly #webSockets: WebSockets;
  readonly #inference: Inference;
  readonly #decodes = new Decodes();
  readonly #encodes = new Encodes();

  constructor(options: IngressOptions) {
    this.#options = options;
    this.#inference = new Inference(options.dispatcher);
    this.#webSockets = new WebSockets(options);
  }

  apply(snapshot: RoutingSnapshot): void {
    this.#snapshot = snapshot;
    this.#folders = modelsByFolder(snapshot);
    this.#inference.apply(snapshot);
    this.#decodes.maxHeldBytes = snapshot.proxy.maxBufferedBytes;
    this.#options.counts.follow(new Map(snapshot.applications.map(({ name, routePrefix }) => [name, routePrefix ?? ''])));
    this.#routes = new RouteTable(
      snapshot.applications.flatMap((application) =>
        application.routePrefix === null ? [] : [[application.routePrefix, application] as const],
      ),
    );
  }

  /** Requests whose answer is not complete. */
  get ongoing(): number {
    return this.#ongoing;
  }

  get draining(): boolean {
    return this.#draining;
  }

  drain(): void {
    this.#draining = true;
  }

  /** WebSockets are closed with 1001. */
  goAway(): void {
    this.#webSockets.goAway();
  }

  /** Resolves when no request is under way, and the code of no WebSocket. */
  async quiet(): Promise<void> {
    await this.#webSockets.quiet();
    if (this.#ongoing === 0) return;
    await new Promise<void>((resolve) => {
      this.#onQuiet = resolve;
    });
  }

  /** Whether what is refused on a path is told in the form of the Open Inference Protocol. */
  speaksInference(path: string): boolean {
    return this.#inference.takes(this.#pathOf(path));
  }

  readonly handle = (exchange: HttpExchange): void => {
    const path = this.#pathOf(exchange.path);
    if (this.#inference.takes(path)) return this.#infer(exchange, path);
    if (exchange.upgrade !== undefined) {
      const application = path.startsWith('/-/') ? undefined : this.#routes.match(path);
      if (application !== undefined) return this.#upgrade(exchange, exchange.upgrade, application);
    }
    this.#ongoing += 1;
    const request = new IngressRequest(exchange, this.#options, this.#over);
    if (path.startsWith('/-/')) {
      exchange.body(() => this.#own(request, path));
      return;
    }
    const application = this.#routes.match(path);
    if (application === undefined) {
      exchange.body(() =>
        request.error(
          new ServeError(
            'ROUTE_NOT_FOUND',
            `Path '${exchange.path}' not found. Ping http://${exchange.header('host') ?? ''}/-/routes for available routes.`,
          ),
        ),
      );
      return;
    }
    if (application.ingress.kind === 'models') {
      exchange.body(() => this.#list(request, application, exchange.method, path));
      return;
    }
    const timeoutMs = this.#snapshot?.proxy.requestTimeoutMs ?? null;
    if ((exchange.bodyBytes > WHOLE_BYTES || exchange.bodyBytes < 0) && readsStreams(application))
      request.stream(application, timeoutMs);
    else exchange.body((body) => request.serve(application, body, timeoutMs));
  };

  #infer(exchange: HttpExchange, path: string): void {
    exchange.refusesWithObject = true;
    this.#ongoing += 1;
    const request = new IngressRequest(exchange, this.#options, this.#over, inferenceErrorAnswer);
    exchange.body((body) => {
      try {
        const { ready = false, proxy } = this.#snapshot ?? {};
        const outcome = this.#inference.ask(exchange.method, path, body, { ready, draining: this.#draining });
        if (outcome.kind === 'answer') request.json(outcome.json);
        else {
          const limits = { timeoutMs: proxy?.requestTimeoutMs ?? null, maxBodyBytes: proxy?.maxRequestBodyBytes ?? 0 };
          request.infer(outcome, path, body, limits, {
            inference: this.#inference,
            decodes: this.#decodes,
            encodes: this.#encodes,
          });
        }
      } catch (error) {
        request.error(thrown(error));
      }
    });
  }

  #upgrade(exchange: HttpExchange, upgrade: HttpUpgrade, application: ApplicationRouting): void {
    const { requestTimeoutMs = null, maxWebSockets = 0 } = this.#snapshot?.proxy ?? {};
    const leftMs = Math.min(
      requestTimeoutMs ?? Number.POSITIVE_INFINITY,
      clientTimeoutMs(exchange.header('x-request-timeout-seconds')),
    );
    const limits = { max: maxWebSockets, deadlineAt: this.#options.now() + leftMs, isDraining: this.#draining };
    this.#webSockets.begin({ exchange, upgrade, id: givenId(exchange) ?? newRequestId(), application }, limits);
  }

  readonly #over = (): void => {
    this.#ongoing -= 1;
    if (this.#ongoing === 0) this.#onQuiet?.();
  };

  readonly #whyNot = (application: ApplicationRouting, deployment: string): string | undefined =>
    this.#inference.whyNot({
      application,
      deployment,
      routing: application.deployments.find(({ name }) => name === deployment),
    });

  #list(request: IngressRequest, application: ApplicationRouting, method: string, path: string): void {
    try {
      const models = this.#folders.get(application.name) ?? [];
      request.json(modelList(application, models, this.#whyNot, method, path));
    } catch (error) {
      request.error(thrown(error));
    }
  }

  #pathOf(path: string): string {
    const root = this.#snapshot?.proxy.rootPath ?? '';
    if (root === '' || !(path === root || path.startsWith(`${root}/`))) return path;
    return path.slice(root.length) || '/';
  }

  /** `/-/healthz` and `/-/routes`. */
  #own(request: IngressRequest, path: string): void {
    const snapshot = this.#snapshot;
    if (path === '/-/healthz') {
      if (this.#draining) return request.text(503, 'draining: the daemon is stopping');
      if (snapshot === undefined || !snapshot.ready)
        return request.text(503, 'starting: not every application is ready yet; see `serve-daemon status`');
      return request.text(200, 'success');
    }
    if (path === '/-/routes') {
      const routes: Record<string, string> = {};
      for (const { routePrefix, name } of snapshot?.applications ?? []) if (routePrefix !== null) routes[routePrefix] = name;
      return request.json(routes);
    }
    request.error(
      new ServeError('ROUTE_NOT_FOUND', `Path '${path}' not found. Of the daemon's own there are /-/healthz and /-/routes.`),
    );
  }
}

/** Whether the code at a route reads bodies as they come. */
const readsStreams = ({ ingress, deployments }: ApplicationRouting): boolean =>
  ingress.kind === 'deployment' && deployments.some(({ name, streams }) => name === ingress.deployment && streams === true);
