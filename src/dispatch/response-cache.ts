/** The response cache of one deployment: answers that are kept, and those that several wait for. ADR 21 says what is kept, and for whom. */
import type { CacheCounts } from '../domain/metrics.ts';
import type { DeploymentRouting, RoutingSnapshot } from '../domain/snapshot.ts';
import type { HttpAnswerHead } from '../protocol/messages.ts';
import type { WireValue } from '../protocol/value.ts';
import { fateOf, headForAll } from './answer-fate.ts';
import { keyOf } from './answer-key.ts';
import { bytesHeld, isCompact, ownCopy, sharedValue } from './answer-memory.ts';
import { AnswerStore } from './answer-store.ts';
import type { DeploymentCounts } from './counts.ts';
import type { CallRequest } from './dispatcher.ts';
import { Flight, type FlightOwner, type Run, type RunOptions } from './flight.ts';
import { type CacheUse, type CallUnderWay, note } from './pending.ts';
import { priorityOf } from './priority.ts';
import { SharedCall } from './shared-call.ts';

/** So many may wait for answers of others; each further one goes its own way, where `max_queued_requests` counts. */
const MAX_SHARING = 10_000;

/** Begins a run without a word to this cache. */
export type Begin = (request: CallRequest) => Run | undefined;

export class ResponseCache {
  readonly #key: string;
  readonly #counts: DeploymentCounts;
  readonly #now: () => number;
  readonly #store = new AnswerStore(0, 0);
  /** By key: those that more may join. Another map for each time that the answers follow from something else. */
  #flights = new Map<string, Flight>();
  #from: string | null = null;
  #sharing = 0;
  /** Of a run for one alone, whose answer is not kept. */
  readonly #alone: FlightOwner;
  readonly #requests: Record<CacheUse, number> = { hit: 0, shared: 0, miss: 0, bypass: 0 };

  /** @param key `application/Deployment` */
  constructor(key: string, counts: DeploymentCounts, now: () => number, begin: Begin) {
    this.#key = key;
    this.#counts = counts;
    this.#now = now;
    this.#alone = {
      now,
      begin: ({ request }, options) => begin(runOf(request, options)),
      closed: () => {},
      answered: () => true,
      streams: () => {},
      apart: (call, generation) => {
        call.cache = 'bypass';
        new Flight(this.#alone, call).begin(generation);
      },
    };
  }

  /** What has left is in nobody's memory from now on; what is under way is not kept when it comes. */
  follow({ responseCache }: DeploymentRouting): void {
    const { from = null, maxBytes = 0, ttlMs = null } = responseCache ?? {};
    this.#store.limit(maxBytes, ttlMs ?? Number.POSITIVE_INFINITY);
    if (from === this.#from) return;
    this.#from = from;
    this.#store.clear();
    this.#flights = new Map();
  }

  read(): CacheCounts {
    return {
      requests: { ...this.#requests },
      entries: this.#store.entries,
      bytes: this.#store.bytes,
      evictions: { size: this.#store.evicted, expired: this.#store.expired },
    };
  }

  /**
   * Answers from memory, or has the request wait with others, or begins the work for it and those to come.
   * @param routing of the generation that the request is of
   * @param deadlineAt its own and that of the deployment
   * @returns undefined: it is not for this cache; `answered`: its sink has the answer
   */
  take(request: CallRequest, routing: DeploymentRouting, deadlineAt: number): CallUnderWay | 'answered' | undefined {
    const now = this.#now();
    if (deadlineAt <= now) return undefined;
    // A request of a generation that is going, or while replicas are being given another `user_config`.
    const key = routing.responseCache?.from === this.#from ? keyOf(request, routing) : undefined;
    const stored = key === undefined ? 'pass' : this.#store.get(key, now);
    const flight = key === undefined ? undefined : this.#flights.get(key);
    if (key === undefined || stored === 'pass' || (flight !== undefined && this.#sharing >= MAX_SHARING)) {
      this.#requests.bypass += 1;
      return undefined;
    }
    const cacheMs = this.#now() - now;
    if (stored !== undefined) {
      this.#requests.hit += 1;
      note(request.traces, { deployment: this.#key, replica: '', batchSize: 0, queueMs: 0, workMs: 0, cache: 'hit', cacheMs });
      this.#counts.finished('OK');
      request.sink.result(sharedValue(stored.value), stored.http);
      return 'answered';
    }
    // Those who wait hold one body, not one each.
    const own = flight === undefined ? request : { ...request, value: flight.value };
    const call = this.#callOf(own, flight === undefined ? 'miss' : 'shared', cacheMs, deadlineAt);
    if (flight === undefined) this.#lead(call, routing, key);
    else flight.join(call);
    return call.isOver ? 'answered' : call;
  }

  #callOf(request: CallRequest, cache: 'miss' | 'shared', cacheMs: number, deadlineAt: number): SharedCall {
    const { parent, traces } = request;
    const isSharing = cache === 'shared';
    if (isSharing) this.#sharing += 1;
    const call = new SharedCall({
      deployment: this.#key,
      cache,
      cacheMs,
      deadlineAt,
      now: this.#now,
      request,
      finished: (over, result) => {
        if (isSharing) this.#sharing -= 1;
        this.#requests[over.cache] += 1;
        this.#counts.finished(result);
        parent?.children?.delete(over);
      },
    });
    note(traces, call);
    parent?.adopt(call);
    return call;
  }

  #lead(call: SharedCall, routing: DeploymentRouting, key: string): void {
    const flights = this.#flights;
    const closed = () => {
      if (flights.get(key) === flight) flights.delete(key);
    };
    const owner: FlightOwner = {
      ...this.#alone,
      closed,
      answered: (value, http) => {
        closed();
        const fate = fateOf(http, routing, Date.now());
        // What its answers follow from has changed meanwhile: of which of them this one is cannot be told.
        if (flights !== this.#flights) return fate.kind === 'keep';
        if (fate.kind === 'keep') this.#keep(key, value, http, fate.ttlMs);
        else if (fate.lasting) this.#store.pass(key, this.#now());
        return fate.kind === 'keep';
      },
      streams: () => {
        if (flights === this.#flights) this.#store.pass(key, this.#now());
      },
    };
    const flight = new Flight(owner, call);
    flights.set(key, flight);
    flight.begin(undefined);
  }

  #keep(key: string, value: WireValue, http: HttpAnswerHead | undefined, ttlMs: number): void {
    const head = headForAll(http);
    if (!isCompact(value, head)) return;
    const held = bytesHeld(value, head);
    if (this.#store.takes(held)) this.#store.keep(key, { value: ownCopy(value), http: head }, held, ttlMs, this.#now());
  }
}

/** Nobody's child, so that nobody's leaving ends it, and with no word for the access log: each who waits has his own. */
const runOf = (request: CallRequest, { generation, deadlineAt, isAgain, sink }: RunOptions): CallRequest => ({
  ...request,
  generation: generation ?? request.generation,
  deadlineAt,
  sink,
  exempt: isAgain || request.exempt === true,
  priority:
    request.priority ?? (request.http === undefined && request.parent !== undefined ? priorityOf(request.parent) : undefined),
  parent: undefined,
  traces: undefined,
  isShared: true,
});

/** Those of all deployments that have one. */
export class ResponseCaches {
  readonly #byKey = new Map<string, ResponseCache>();

  /** @param make for a deployment that has come to have one */
  follow({ applications }: RoutingSnapshot, make: (key: string) => ResponseCache): void {
    const left = new Set(this.#byKey.keys());
    for (const { name, deployments } of applications) {
      for (const routing of deployments) {
        if (routing.responseCache === undefined) continue;
        const key = `${name}/${routing.name}`;
        left.delete(key);
        let cache = this.#byKey.get(key);
        if (cache === undefined) {
          cache = make(key);
          this.#byKey.set(key, cache);
        }
        cache.follow(routing);
      }
    }
    for (const key of left) this.#byKey.delete(key);
  }

  /** @param key `application/Deployment` */
  of(key: string): ResponseCache | undefined {
    return this.#byKey.get(key);
  }
}
