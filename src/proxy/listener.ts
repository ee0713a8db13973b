/** Keeps the HTTP listener where the config wants it. A new one takes over before the old one stops; what was accepted is answered. */
import { type Listening, listenerMove } from '../domain/listener.ts';
import type { FromDataPlane, RoutingSnapshot } from '../domain/snapshot.ts';
import type { Door } from './connections.ts';
import { type ChosenDriver, chooseDriver } from './http-driver.ts';
import { type HttpHandler, type HttpLimits, type HttpServer, ListenError } from './http-server.ts';

export interface ListenerOptions {
  readonly handler: HttpHandler;
  readonly limits: () => HttpLimits;
  readonly door: Door;
  readonly post: (message: FromDataPlane) => void;
}

/** So long an old port is still accepted on when another has taken over, for clients that have just looked up where to connect. */
const LINGER_MS = 1000;

interface Held {
  readonly server: HttpServer;
  readonly at: Listening;
}

type Wanted = RoutingSnapshot['proxy'];

export class Listener {
  readonly #options: ListenerOptions;
  #held: Held | undefined;
  /** Accept no longer than their timer. */
  readonly #lingering = new Map<Held, NodeJS.Timeout>();
  /** Accept no more, and still have connections. */
  readonly #leaving = new Set<HttpServer>();
  #work: Promise<void> = Promise.resolve();
  /** The attempt that failed; it is not tried again before the next. */
  #failed: number | undefined;
  #isStopping = false;

  constructor(options: ListenerOptions) {
    this.#options = options;
  }

  /** One move at a time; the last one wanted is the last one done. */
  follow({ proxy, attempt }: Pick<RoutingSnapshot, 'proxy' | 'attempt'>): void {
    this.#work = this.#work.then(() => this.#apply(proxy, attempt));
  }

  /** Everything that was wanted so far is done, or has failed. */
  get settled(): Promise<void> {
    return this.#work;
  }

  /** Stops accepting; what is in work is answered, idle connections are closed. */
  stopAccepting(): void {
    this.#isStopping = true;
    for (const server of this.#all()) server.stopAccepting();
  }

  /** Closes everything at once. A move that is under way closes what it opens. */
  destroy(): void {
    this.#isStopping = true;
    for (const timer of this.#lingering.values()) clearTimeout(timer);
    for (const server of this.#all()) server.destroy();
  }

  #all(): HttpServer[] {
    const lingering = [...this.#lingering.keys()].map(({ server }) => server);
    return [...(this.#held === undefined ? [] : [this.#held.server]), ...lingering, ...this.#leaving];
  }

  async #apply(wanted: Wanted, attempt: number): Promise<void> {
    if (this.#isStopping || this.#failed === attempt) return;
    const hadFailed = this.#failed !== undefined;
    this.#failed = undefined;
    try {
      const moved = await this.#move(wanted);
      if (this.#isStopping) this.destroy();
      else if (moved || hadFailed) this.#tell();
    } catch (error) {
      this.#failed = attempt;
      const code = error instanceof ListenError ? error.code : 'UNKNOWN';
      this.#options.post({ type: 'listen-failed', code, message: (error as Error).message });
    }
  }

  #tell(): void {
    if (this.#held === undefined) return this.#options.post({ type: 'not-listening' });
    const { host, askedPort, port, driver, tls } = this.#held.at;
    this.#options.post({ type: 'listening', host, askedPort, port, driver, secure: tls !== null });
  }

  /**
   * @returns whether the address, the driver or the scheme is another one now
   * @throws ListenError or Error; what listened before goes on
   */
  async #move(wanted: Wanted): Promise<boolean> {
    const driver = chooseDriver(wanted.server);
    const move = listenerMove(this.#held?.at, wanted, driver.name);
    switch (move) {
      case 'none':
        return false;
      case 'close':
        this.#letGo();
        return true;
      case 'renew':
        return this.#renew(this.#held as Held, wanted);
      case 'open':
      case 'move': {
        const before = this.#held;
        this.#held = await this.#open(driver, wanted);
        if (before !== undefined) this.#linger(before);
        return true;
      }
      case 'reopen':
        await this.#reopen(driver, wanted, this.#held as Held);
        return true;
      default:
        return move satisfies never;
    }
  }

  async #renew(held: Held, { tls, maxHeaderBytes }: Wanted): Promise<boolean> {
    await held.server.renew({ tls, maxHeaderBytes });
    this.#held = { server: held.server, at: { ...held.at, tls, maxHeaderBytes } };
    if (tls !== null) this.#log('new connections meet the new certificate');
    return (held.at.tls === null) !== (tls === null);
  }

  async #open(driver: ChosenDriver, wanted: Wanted, port = wanted.port): Promise<Held> {
    const { host, port: askedPort, tls, maxHeaderBytes } = wanted;
    for (const [old, timer] of this.#lingering) {
      if (port === 0 || old.at.port !== port) continue;
      clearTimeout(timer);
      this.#lingering.delete(old);
      // One of ours that was on its way out: it goes on or, where it cannot, makes room.
      const move = listenerMove(old.at, wanted, driver.name);
      if (move === 'none' || move === 'renew') {
        const at = { ...old.at, askedPort, tls, maxHeaderBytes };
        try {
          await old.server.renew({ tls, maxHeaderBytes });
        } catch (error) {
          this.#linger(old);
          throw error;
        }
        return { server: old.server, at };
      }
      this.#leave(old.server);
    }
    const { limits, door, handler } = this.#options;
    const server = await driver.start({ host, port, tls, maxHeaderBytes, limits, door }, handler);
    const { fallbackReason } = server;
    if (fallbackReason !== undefined && this.#held?.server.fallbackReason !== fallbackReason)
      this.#log('uWebSockets.js could not be loaded: node:http serves, which is slower', 'warn', { reason: fallbackReason });
    return { server, at: { host, askedPort, port: server.port, driver: server.driver, tls, maxHeaderBytes } };
  }

  /** The old one makes room, and comes back where the new one cannot be had. */
  async #reopen(driver: ChosenDriver, wanted: Wanted, before: Held): Promise<void> {
    const { host, askedPort, port, tls, maxHeaderBytes } = before.at;
    this.#log('the port changes hands: for a moment nothing listens there', 'warn', { port });
    this.#letGo();
    try {
      this.#held = await this.#open(driver, wanted, port);
    } catch (error) {
      try {
        const old = chooseDriver(before.at.driver === 'node:http' ? 'node' : 'uws');
        this.#held = await this.#open(old, { ...wanted, host, port: askedPort, tls, maxHeaderBytes }, port);
      } catch {
        this.#tell();
      }
      throw error;
    }
  }

  #letGo(): void {
    if (this.#held === undefined) return;
    this.#leave(this.#held.server);
    this.#held = undefined;
  }

  #linger(held: Held): void {
    held.server.retire();
    const timer = setTimeout(() => {
      this.#lingering.delete(held);
      this.#leave(held.server);
    }, LINGER_MS);
    this.#lingering.set(held, timer);
  }

  #leave(server: HttpServer): void {
    this.#leaving.add(server);
    void server.leave().then(() => this.#leaving.delete(server));
  }

  #log(message: string, level: 'info' | 'warn' = 'info', fields: Readonly<Record<string, unknown>> = {}): void {
    this.#options.post({ type: 'log', level, message, fields });
  }
}
