/** Calls deployments: knows the generations, the queues and the links, and runs every call — from HTTP, from a graph, from code — through them. */
import type { Duplex } from 'node:stream';
import { ServeError } from '../domain/errors.ts';
import type { CallTarget } from '../domain/graph.ts';
import type { DeploymentMetrics } from '../domain/metrics.ts';
import type {
  DataPlaneLoad,
  DeploymentRouting,
  FromDataPlane,
  ReplicaLoad,
  ReplicaRouting,
  RoutingSnapshot,
} from '../domain/snapshot.ts';
import type { Purpose } from '../protocol/accept.ts';
import { type CallMeta, type HttpHead, MAX_MODEL_ID } from '../protocol/messages.ts';
import type { FrameReader } from '../protocol/reader.ts';
import {
  modelIdOf,
  type SequenceAsk,
  type SequenceParameters,
  sequenceOf,
  sessionIdOf,
  traceparentOf,
} from '../protocol/routing-headers.ts';
import { PeerSlotTable } from '../protocol/slots.ts';
import type { WireValue } from '../protocol/value.ts';
import { CLOSE_CODE } from '../protocol/websocket.ts';
import { Broadcast } from './broadcast.ts';
import type { BusyPoll } from './busy-poll.ts';
import { hashOf } from './choose-session.ts';
import { Generation } from './generation.ts';
import { type Calling, Link, type LinkOwner } from './link.ts';
import { LoadMeter } from './load-meter.ts';
import { type CallTrace, type CallUnderWay, note, PendingCall, type Sink, timedOut } from './pending.ts';
import { isPriority, LEAST_URGENT, MOST_URGENT } from './priority.ts';
import { DeploymentQueue } from './queue.ts';
import type { RequestBody } from './request-body.ts';
import { ResponseCache, ResponseCaches } from './response-cache.ts';
import type { SocketSink } from './socket.ts';

/** Calls that one replica may have under way at once: beyond it something is wrong in its code. */
const MAX_CHILD_CALLS = 10_000;
/** Links are looked at twice a second; so long after the last look it was the daemon that had no turn. */
const HELD_UP_MS = 1500;

export interface CallRequest {
  readonly generation: Generation;
  readonly target: CallTarget;
  readonly requestId: string;
  readonly value: WireValue;
  readonly spread?: boolean;
  readonly http?: HttpHead;
  /** Comes beside the value, in pieces. */
  readonly body?: RequestBody;
  /** Monotonic milliseconds; Infinity: none. The deployment's own limit is applied besides. */
  readonly deadlineAt: number;
  readonly sink: Sink;
  readonly parent?: PendingCall;
  /** It asks for a WebSocket; the same as `sink`. */
  readonly socketSink?: SocketSink;
  /** An ingress request: goes on with the next generation as long as nothing has begun it. */
  readonly movable?: boolean;
  /** Not refused for `max_queued_requests`: an item of a fan-out whose first item was let in. */
  readonly exempt?: boolean;
  /** Where what this call cost is written down for the access log of the request that it serves. */
  readonly traces?: CallTrace[];
  /** The one replica that it is for. */
  readonly pinned?: Link;
  /** Several may wait for its answer: see `PendingCall`. */
  readonly isShared?: boolean;
  /** Where they are not in the headers of `http`. */
  readonly modelId?: string | undefined;
  readonly sessionId?: string | undefined;
  /** What its body says of its sequence, beside the headers of `http`. */
  readonly sequence?: SequenceParameters | undefined;
  /** Of the trace that it is part of, where there are no headers of `http`. */
  readonly traceparent?: string | undefined;
  /** Where it is neither in the headers of `http` nor that of the parent. */
  readonly priority?: number | undefined;
}

/** What a replica takes that says nothing of what it takes. */
const NOTHING_SPECIAL: Purpose = {
  begun: false,
  brief: false,
  websockets: false,
  bodies: false,
  secure: false,
  briefValues: false,
};

export class Dispatcher implements LinkOwner {
  readonly #now: () => number;
  #checkedAt: number;
  readonly #post: (message: FromDataPlane) => void;
  readonly #generations = new Map<string, Generation>();
  readonly #queues = new Map<string, DeploymentQueue>();
  /** The same, found without making a key for each call. */
  #queueByRouting = new WeakMap<DeploymentRouting, DeploymentQueue>();
  readonly #links = new Map<string, Link>();
  readonly #meter: LoadMeter;
  /** Calls made by replicas: link → the replica's id → the call. */
  readonly #children = new Map<Calling, PeerSlotTable<CallUnderWay>>();
  readonly #caches = new ResponseCaches();
  #replicas: ReadonlyMap<string, ReplicaRouting> = new Map();
  #maxBufferedBytes = Number.POSITIVE_INFINITY;
  #bufferedBytes = 0;

  readonly #busyPoll: BusyPoll | undefined;

  /** @param busyPoll undefined: the thread sleeps whenever it waits */
  constructor(now: () => number, post: (message: FromDataPlane) => void, busyPoll?: BusyPoll) {
    this.#busyPoll = busyPoll;
    this.#now = now;
    this.#checkedAt = now();
    this.#post = post;
    this.#meter = new LoadMeter(
      () => this.#queues.values(),
      now,
      (deployments) => post({ type: 'load', deployments }),
    );
  }

  /** Takes over a snapshot as a whole. */
  apply(snapshot: RoutingSnapshot): void {
    this.#maxBufferedBytes = snapshot.proxy.maxBufferedBytes;
    const replaced: [Generation, Generation][] = [];
    const names = new Set<string>();
    const known = new Set<string>();
    for (const routing of snapshot.applications) {
      names.add(routing.name);
      const before = this.#generations.get(routing.name);
      for (const deployment of routing.deployments) {
        const key = `${routing.name}/${deployment.name}`;
        known.add(key);
        const queue = this.#queues.get(key);
        if (queue === undefined)
          this.#queues.set(key, new DeploymentQueue(key, deployment, this.#now, this.#buffered, this.#unserved));
        else queue.configure(deployment);
      }
      if (before?.number === routing.generation) {
        before.update(routing);
        continue;
      }
      const generation = new Generation(routing, this.#generationIdle);
      this.#generations.set(routing.name, generation);
      if (before !== undefined) replaced.push([before, generation]);
    }
    for (const [name, generation] of this.#generations) {
      if (names.has(name)) continue;
      this.#generations.delete(name);
      generation.retire();
    }
    for (const [key, queue] of this.#queues) {
      if (known.has(key)) continue;
      if (queue.unused) this.#queues.delete(key);
      else queue.endSequences();
    }
    this.#queueByRouting = new WeakMap();
    this.#caches.follow(snapshot, this.#cacheOf);
    this.#listReplicas(snapshot);
    this.#meter.follow();
    for (const [before, generation] of replaced) {
      this.#move(before, generation);
      before.retire();
    }
    this.#followSockets();
    for (const queue of this.#queues.values()) queue.pump();
  }

  generation(application: string): Generation | undefined {
    return this.#generations.get(application);
  }

  /**
   * Begins a call; its answer goes to the sink. Refusals at the door come to the sink too, before this returns.
   * @returns the call; undefined when it was refused, or answered from memory
   */
  call(request: CallRequest): CallUnderWay | undefined {
    const { target } = request;
    const routing = request.generation.deployment(target.deployment);
    if (routing?.responseCache === undefined) return this.#begin(request, routing);
    const cache = this.#caches.of(`${target.application}/${target.deployment}`);
    const deadlineAt = Math.min(request.deadlineAt, ownDeadline(routing, this.#now()));
    const taken = cache?.take(request, routing, deadlineAt);
    if (taken !== undefined) return taken === 'answered' ? undefined : taken;
    const call = this.#begin(request, routing);
    if (call !== undefined) call.cache = 'bypass';
    return call;
  }

  #begin(request: CallRequest, routing: DeploymentRouting | undefined): PendingCall | undefined {
    const { generation, target, sink } = request;
    const queue = routing === undefined ? undefined : this.#queueOf(routing, target);
    if (routing === undefined || queue === undefined) {
      sink.error(new ServeError('CALL_REFUSED', `Application ${target.application} has no deployment ${target.deployment}.`));
      return undefined;
    }
    const now = this.#now();
    const call = new PendingCall({
      requestId: request.requestId,
      generation,
      queue,
      version: routing.version,
      method: target.method,
      value: request.value,
      spread: request.spread ?? false,
      http: request.http,
      deadlineAt: Math.min(request.deadlineAt, ownDeadline(routing, now)),
      sink,
      socketSink: request.socketSink,
      parent: request.parent,
      isShared: request.isShared ?? false,
      now,
    });
    call.movable = request.movable ?? false;
    call.traces = request.traces;
    call.pinned = request.pinned;
    call.modelId = request.modelId;
    call.sessionId = request.sessionId;
    call.traceparent = request.traceparent;
    call.priority = request.priority;
    call.body = request.body;
    call.body?.account(this.#buffered);
    note(request.traces, call);
    let asked: SequenceAsk | undefined;
    try {
      // Before anything is refused: a start that is takes along what it was to replace.
      if (routing.sequence !== undefined) asked = askedOf(call, request);
      if (call.deadlineAt <= now) throw timedOut();
      call.limit(call.deadlineAt, this.#now);
      // Headers are read only where something depends on them.
      if (routing.multiplexing !== null) nameModel(call);
      if (routing.router.policy === 'session') nameSession(call);
      if (this.#bufferedBytes > this.#maxBufferedBytes) {
        throw new ServeError(
          'QUEUE_FULL',
          'Request dropped: the requests that wait hold as many bytes as http_options.max_buffered_bytes allows.',
          { retryAfterS: 1 },
        );
      }
      if (call.socketSink !== undefined && queue.refusesSockets)
        throw new ServeError('INVALID_INPUT', `The replicas of ${queue.key} take no WebSockets.`);
      queue.enqueue(call, request.exempt ?? false, asked);
    } catch (error) {
      if (asked?.isStart === true) queue.startRefused(asked);
      call.fail(error as ServeError);
      return undefined;
    }
    return call;
  }

  readonly #cacheOf = (key: string): ResponseCache => {
    // A deployment has its queue before it has a cache.
    const { counts } = this.#queues.get(key) as DeploymentQueue;
    const begin = (request: CallRequest) => this.#begin(request, request.generation.deployment(request.target.deployment));
    return new ResponseCache(key, counts, this.#now, begin);
  };

  #queueOf(routing: DeploymentRouting, target: CallTarget): DeploymentQueue | undefined {
    const known = this.#queueByRouting.get(routing);
    if (known !== undefined) return known;
    const queue = this.#queues.get(`${target.application}/${target.deployment}`);
    if (queue !== undefined) this.#queueByRouting.set(routing, queue);
    return queue;
  }

  /**
   * Counts bytes that somebody keeps for a request, or with a negative number lets them go.
   * @returns whether all that is kept is within `http_options.max_buffered_bytes`
   */
  hold(bytes: number): boolean {
    this.#buffered(bytes);
    return this.#bufferedBytes <= this.#maxBufferedBytes;
  }

  /** Requests that the replicas of a deployment may work on at once. */
  slots(generation: Generation, target: CallTarget): number {
    const version = generation.deployment(target.deployment)?.version;
    return version === undefined ? 0 : (this.#queues.get(`${target.application}/${target.deployment}`)?.slots(version) ?? 0);
  }

  /** Requests that the replicas of a deployment would take at this moment without any waiting. */
  idleSlots(generation: Generation, target: CallTarget): number {
    const version = generation.deployment(target.deployment)?.version;
    return version === undefined ? 0 : (this.#queues.get(`${target.application}/${target.deployment}`)?.idleSlots(version) ?? 0);
  }

  /** Says hello to a replica that has proven who it is. */
  connect(
    identity: { replica: string; deployment: string; version: string },
    socket: Duplex,
    reader: FrameReader,
    purpose: Purpose = NOTHING_SPECIAL,
  ): void {
    if (purpose.begun) {
      const link = this.#links.get(identity.replica);
      if (link === undefined) socket.destroy();
      else link.attachBegun(socket, reader);
      return;
    }
    this.#links.get(identity.replica)?.close('it connected a second time');
    const link = new Link(identity, purpose, socket, reader, this, this.#now);
    const listed = this.#replicas.get(identity.replica);
    link.accepting = listed !== undefined;
    link.also = listed?.also ?? [];
    this.#links.set(identity.replica, link);
    // Before it is given anything: a replica waits for it.
    link.welcome();
    this.#queues.get(identity.deployment)?.attach(link);
    this.#post({ type: 'link-up', replica: identity.replica });
  }

  metrics(): readonly DeploymentMetrics[] {
    return [...this.#queues.values()].flatMap((queue) => {
      const [application = '', deployment = ''] = queue.key.split('/');
      // One that has left the config lives on until its last request is answered.
      if (this.#generations.get(application)?.deployment(deployment) === undefined) return [];
      return {
        application,
        deployment,
        ...queue.counts.read(),
        queued: queue.queued,
        ongoing: queue.ongoing,
        websockets: queue.openSockets,
        batchSizeInForce: queue.batchSize,
        ...(queue.sequences === undefined ? {} : { sequences: queue.sequences }),
        cache: this.#caches.of(queue.key)?.read(),
      };
    });
  }

  load(): DataPlaneLoad {
    const deployments: Record<string, DataPlaneLoad['deployments'][string]> = {};
    for (const [key, queue] of this.#queues) {
      const cache = this.#caches.of(key)?.read();
      const { queued, ongoing, openSockets: websockets } = queue;
      deployments[key] = { queued, ongoing, websockets, ...(cache === undefined ? {} : { cache }) };
    }
    const replicas: Record<string, ReplicaLoad> = {};
    for (const [id, { ongoing, modelIds, sequences, deployment }] of this.#links) {
      const keeps = this.#queues.get(deployment)?.routing.sequence !== undefined;
      replicas[id] = {
        ongoing,
        ...(modelIds === undefined ? {} : { models: modelIds }),
        ...(keeps ? { sequences } : {}),
      };
    }
    return {
      ongoing: Object.values(deployments).reduce((sum, each) => sum + each.queued + each.ongoing, 0),
      deployments,
      replicas,
    };
  }

  /**
   * Tells the controller of replicas whose loop is stuck, or all of whose slots are held by requests that nobody waits for; and sees to
   * requests that a dead replica gave back when nobody was left to take them.
   */
  checkLinks(): void {
    this.#rescue();
    const now = this.#now();
    const heldUp = now - this.#checkedAt > HELD_UP_MS;
    this.#checkedAt = now;
    // The daemon itself was stopped, or got no turn: answers that have come meanwhile are read before the next look.
    if (heldUp) return;
    for (const [replica, link] of this.#links) {
      const queue = this.#queues.get(link.deployment);
      const limitMs = queue?.routing.unresponsiveTimeoutMs ?? Number.POSITIVE_INFINITY;
      if (link.lateMs > limitMs) this.#post({ type: 'unresponsive', replica });
      else if (queue !== undefined && link.stuckMs(queue.routing) > queue.routing.gracefulShutdownTimeoutMs)
        this.#post({ type: 'stuck', replica });
    }
  }

  destroy(error: ServeError): void {
    this.#meter.close();
    // First the queues, so that what the links give back is failed instead of waiting for replicas that will not come.
    for (const queue of this.#queues.values()) queue.destroy(error);
    for (const link of [...this.#links.values()]) link.close('the daemon is stopping', error);
  }

  // What links tell.

  awaits(calls: number): void {
    this.#busyPoll?.awaits(calls);
  }

  heard(): void {
    this.#busyPoll?.heard();
  }

  childCall(link: Calling, id: number, meta: CallMeta, value: WireValue): void {
    const children = this.#children.get(link) ?? new PeerSlotTable<CallUnderWay>();
    this.#children.set(link, children);
    const refuse = (message: string) => link.answerError(id, new ServeError('CALL_REFUSED', message));
    if (children.get(id) !== undefined) return refuse(`the id ${id} of a call is in use`);
    if (children.size >= MAX_CHILD_CALLS) return refuse(`a replica may have ${MAX_CHILD_CALLS} calls under way, and has`);
    const [application = '', caller = ''] = link.deployment.split('/');
    const parent = typeof meta.parent === 'number' ? link.call(meta.parent) : undefined;
    // A call of its own accord (from a constructor, a timer) has no parent; one whose parent was cancelled must not begin.
    if (parent === undefined && typeof meta.parent === 'number')
      return refuse('the call in whose work this one was made is over');
    const from = parent?.generation ?? this.#generations.get(application);
    if (from === undefined) return refuse(`application ${application} does not serve yet`);
    const handle = typeof meta.handle === 'string' ? meta.handle : '';
    const calls = from.routing.calls[caller];
    const declared = calls !== undefined && Object.hasOwn(calls, handle) ? calls[handle] : undefined;
    if (declared === undefined) {
      return refuse(
        `${link.deployment} calls \`${handle}\`, which the graph of application ${application} does not declare: add \`${caller}: {${handle}: <Deployment>}\` under graph.calls`,
      );
    }
    const generation = declared.application === application ? from : this.#generations.get(declared.application);
    if (generation === undefined) return refuse(`there is no application ${declared.application}`);
    const { modelId, sessionId, priority } = meta;
    if (!isIdOrNone(modelId) || !isIdOrNone(sessionId))
      return refuse('expected `modelId` and `sessionId` to be texts that are not empty');
    if (priority !== undefined && !isPriority(priority))
      return refuse(`expected \`priority\` to be a whole number from ${MOST_URGENT} to ${LEAST_URGENT}, got ${String(priority)}`);
    const own = typeof meta.timeoutMs === 'number' ? this.#now() + meta.timeoutMs : Number.POSITIVE_INFINITY;
    const over = () => children.delete(id);
    const request: CallRequest = {
      generation,
      target: { ...declared, method: meta.method },
      requestId: parent?.requestId ?? link.replica,
      value,
      spread: meta.spread === true,
      deadlineAt: Math.min(parent?.companyDeadlineAt ?? Number.POSITIVE_INFINITY, own),
      parent,
      traces: parent?.traces,
      modelId,
      sessionId,
      traceparent: parent === undefined ? undefined : traceOf(parent),
      priority,
      sink: {
        result: (result) => {
          over();
          link.answer(id, result, children.size === 0);
        },
        error: (error) => {
          over();
          link.answerError(id, error, `${declared.application}/${declared.deployment}`);
        },
        open: () => link.answerOpen(id),
        chunk: (chunk) => link.answerChunk(id, chunk),
        end: () => {
          over();
          link.answerEnd(id);
        },
      },
    };
    if (meta.broadcast === true && modelId !== undefined)
      return refuse('a call with `broadcast` is for all replicas, and for no model');
    const call = meta.broadcast === true ? this.#broadcast(request) : this.call(request);
    if (call !== undefined && !call.isOver && !children.set(id, call))
      call.abandon(new ServeError('CALL_REFUSED', `the id ${id} of a call is taken, or not one that a replica may give`));
  }

  /** Past the cache: it is to reach the replicas. */
  #broadcast(request: CallRequest): CallUnderWay {
    const { generation, target, sink } = request;
    const routing = generation.deployment(target.deployment);
    const queue = routing === undefined ? undefined : this.#queueOf(routing, target);
    const rankOf = (link: Link) => this.#replicas.get(link.replica)?.rank ?? 0;
    const links = [...(queue?.takers(routing?.version ?? '') ?? [])].sort((a, b) => rankOf(a) - rankOf(b));
    const begin = (pinned: Link, own: Sink) => this.#begin({ ...request, sink: own, pinned }, routing);
    return new Broadcast(`${target.application}/${target.deployment}`, links, begin, sink);
  }

  childCancelled(link: Calling, id: number): void {
    const children = this.#children.get(link);
    children?.get(id)?.abandon(undefined);
    children?.delete(id);
  }

  childCredit(link: Calling, id: number, bytes: number): void {
    this.#children.get(link)?.get(id)?.credit(bytes);
  }

  freed(link: Link): void {
    // An upgrade that was under way when its replica was told to go.
    if (!link.accepting) this.#followSocketsOf(link);
    if (!link.accepting && link.idle) this.emptied(link);
    this.#queues.get(link.deployment)?.pump();
  }

  emptied(link: Link): void {
    this.#post({ type: 'replica-idle', replica: link.replica });
  }

  down(link: Link, reason: string): void {
    if (this.#links.get(link.replica) === link) this.#links.delete(link.replica);
    this.#queues.get(link.deployment)?.detach(link);
    for (const call of this.#children.get(link)?.values() ?? []) call.abandon(undefined);
    this.#children.delete(link);
    this.#post({ type: 'link-down', replica: link.replica, reason });
  }

  #listReplicas(snapshot: RoutingSnapshot): void {
    this.#replicas = new Map(snapshot.replicas.map((replica) => [replica.id, replica]));
    for (const [id, link] of this.#links) {
      const listed = this.#replicas.get(id);
      const was = link.accepting;
      link.accepting = listed !== undefined;
      link.also = listed?.also ?? [];
      if (was && listed === undefined && link.idle) this.#post({ type: 'replica-idle', replica: id });
      // A queue may have come into being after its replica connected.
      this.#queues.get(link.deployment)?.attach(link);
    }
  }

  #move(before: Generation, after: Generation): void {
    for (const deployment of after.routing.deployments) {
      const old = before.deployment(deployment.name);
      if (old === undefined) continue;
      this.#queues
        .get(`${after.application}/${deployment.name}`)
        ?.move(old.version, (call) => call.generation === before && takeOver(call, after));
    }
  }

  #followSockets(): void {
    for (const link of this.#links.values()) this.#followSocketsOf(link);
  }

  /** WebSockets stay with a replica that stays, under the config that is in force now; the others get their drain time. */
  #followSocketsOf(link: Link): void {
    for (const socket of link.sockets) {
      const { call } = socket;
      const current = this.#generations.get(call.generation.application);
      if (current !== undefined && link.accepting && isIngress(current, link)) {
        if (current !== call.generation) takeOver(call, current);
        continue;
      }
      const code = current === undefined ? CLOSE_CODE.GOING_AWAY : CLOSE_CODE.SERVICE_RESTART;
      socket.drain(code, call.queue.routing.gracefulShutdownTimeoutMs);
    }
  }

  /**
   * The last replica of a version that was replaced may die with requests: what came from clients goes on with the version that serves
   * now; what was called in the work of a request that began on the old one cannot be answered.
   */
  #rescue(): void {
    for (const [key, queue] of this.#queues) {
      const [application = '', deployment = ''] = key.split('/');
      const generation = this.#generations.get(application);
      const current = generation?.deployment(deployment)?.version;
      for (const version of queue.strandedVersions(current)) {
        if (generation !== undefined && current !== undefined) queue.move(version, (call) => takeOver(call, generation));
        queue.refuseAll(version, `The last replica of the version of ${key} that this request began with has died.`);
      }
    }
  }

  readonly #buffered = (bytes: number): void => {
    this.#bufferedBytes += bytes;
  };

  readonly #unserved = (queue: DeploymentQueue): void => {
    if (queue.routing.autoscales) this.#meter.urgent(queue);
  };

  readonly #generationIdle = (generation: Generation): void => {
    this.#post({ type: 'generation-idle', application: generation.application, generation: generation.number });
  };
}

/** Whether the replica serves what the application's clients get now. */
const isIngress = (generation: Generation, link: Link): boolean => {
  const { application, routing } = generation;
  const { ingress } = routing;
  if (ingress.kind !== 'deployment' || `${application}/${ingress.deployment}` !== link.deployment) return false;
  const version = generation.deployment(ingress.deployment)?.version;
  return version !== undefined && link.serves(version);
};

/** What is called in the work of a call is part of the same trace. */
const traceOf = ({ http, traceparent }: PendingCall): string | undefined =>
  http === undefined ? traceparent : traceparentOf(http.headers);

/** As a replica sends it: it may be anything. */
const isIdOrNone = (id: unknown): boolean => id === undefined || (typeof id === 'string' && id !== '');

/** @throws ServeError INVALID_INPUT when the id is longer than one may be */
const nameModel = (call: PendingCall): void => {
  call.modelId ??= call.http === undefined ? undefined : modelIdOf(call.http.headers);
  const length = call.modelId?.length ?? 0;
  if (length > MAX_MODEL_ID)
    throw new ServeError('INVALID_INPUT', `expected a model id of at most ${MAX_MODEL_ID} characters, got ${length}`);
};

const nameSession = (call: PendingCall): void => {
  call.sessionId ??= call.http === undefined ? undefined : sessionIdOf(call.http.headers);
  if (call.sessionId !== undefined) call.sessionHash = hashOf(call.sessionId);
};

/** Steps of graphs and calls of code give the state themselves. @throws ServeError INVALID_INPUT */
const askedOf = ({ http }: PendingCall, { sequence }: CallRequest): SequenceAsk | undefined =>
  http?.method === 'POST' ? sequenceOf(http.headers, sequence) : undefined;

const takeOver = (call: PendingCall, generation: Generation): true => {
  generation.enter();
  call.generation.leave();
  call.generation = generation;
  return true;
};

const ownDeadline = ({ requestTimeoutMs }: DeploymentRouting, now: number): number =>
  requestTimeoutMs === null ? Number.POSITIVE_INFINITY : now + requestTimeoutMs;
