/** What one config says of one application, for as long as a request that began with it is alive. */
import type { ApplicationRouting, DeploymentRouting } from '../domain/snapshot.ts';

export class Generation {
  readonly application: string;
  readonly number: number;
  #routing: ApplicationRouting;
  #deployments: ReadonlyMap<string, DeploymentRouting>;
  readonly #onIdle: (generation: Generation) => void;
  #alive = 0;
  #current = true;

  constructor(routing: ApplicationRouting, onIdle: (generation: Generation) => void) {
    this.application = routing.name;
    this.number = routing.generation;
    this.#routing = routing;
    this.#deployments = byName(routing);
    this.#onIdle = onIdle;
  }

  get routing(): ApplicationRouting {
    return this.#routing;
  }

  /** Limits changed, versions did not: the same generation goes on. */
  update(routing: ApplicationRouting): void {
    this.#routing = routing;
    this.#deployments = byName(routing);
  }

  deployment(name: string): DeploymentRouting | undefined {
    return this.#deployments.get(name);
  }

  /** A request begins with this generation: its replicas stay until as many `leave`. */
  enter(): void {
    this.#alive += 1;
  }

  leave(): void {
    this.#alive -= 1;
    if (this.#alive === 0 && !this.#current) this.#onIdle(this);
  }

  /** A newer one takes its place. */
  retire(): void {
    this.#current = false;
    if (this.#alive === 0) this.#onIdle(this);
  }
}

const byName = (routing: ApplicationRouting): ReadonlyMap<string, DeploymentRouting> =>
  new Map(routing.deployments.map((deployment) => [deployment.name, deployment]));
