/**
 * The queue of one deployment: the one bound and the one order of arrival in front of its replicas. Requests wait in lanes (version,
 * shape); a lane that cannot run never blocks another. A replica pulls work by having a free slot.
 */
import { ServeError } from '../domain/errors.ts';
import type { DeploymentRouting } from '../domain/snapshot.ts';
import type { HttpAnswerHead } from '../protocol/messages.ts';
import type { WireValue } from '../protocol/value.ts';
import { decideBatch } from './batch.ts';
import { chooseForSocket, chooseLeastLoaded } from './choose.ts';
import { chooseForModel } from './choose-model.ts';
import { chooseForSession } from './choose-session.ts';
import { DeploymentCounts } from './counts.ts';
import { Lane, type LaneForm } from './lane.ts';
import type { Link } from './link.ts';
import type { PendingCall } from './pending.ts';
import { split, stackableOf } from './stack.ts';

/** A request whose replica died twice while it was alone in work is not tried again: it would go on killing. */
const MAX_DEATHS_ALONE = 2;

/** Lanes that are kept although nothing waits in them. */
const MAX_EMPTY_LANES = 32;

/** Lanes in which requests for multiplexed models wait: clients make up the ids, and each lane is looked at when a place comes free. */
const MAX_LANES = 1000;

export class DeploymentQueue {
  /** `application/Deployment`. */
  readonly key: string;
  readonly counts = new DeploymentCounts();
  readonly #now: () => number;
  readonly #lanes = new Map<string, Lane>();
  /** The lane of single requests that was found last: the usual one, without making its key each time. */
  #plain: Lane | undefined;
  readonly #links: Link[] = [];
  #routing: DeploymentRouting;
  #queued = 0;
  #lastChosen = -1;
  #pumpScheduled = false;
  #destroyed: ServeError | undefined;
  readonly #onBuffered: (bytes: number) => void;
  readonly #onUnserved: (queue: DeploymentQueue) => void;

  /**
   * @param onBuffered told of bytes that come to wait (positive) and that no longer do (negative)
   * @param onUnserved told of each request that comes while no replica is connected
   */
  constructor(
    key: string,
    routing: DeploymentRouting,
    now: () => number,
    onBuffered: (bytes: number) => void,
    onUnserved: (queue: DeploymentQueue) => void = () => {},
  ) {
    this.key = key;
    this.#routing = routing;
    this.#now = now;
    this.#onBuffered = onBuffered;
    this.#onUnserved = onUnserved;
  }

  get routing(): DeploymentRouting {
    return this.#routing;
  }

  get queued(): number {
    return this.#queued;
  }

  /** When the request that has waited longest arrived; Infinity where none waits. */
  get oldest(): number {
    let oldest = Number.POSITIVE_INFINITY;
    for (const lane of this.#lanes.values()) oldest = Math.min(oldest, lane.oldest);
    return oldest;
  }

  get ongoing(): number {
    return this.#links.reduce((sum, link) => sum + link.ongoing, 0);
  }

  /** WebSockets that its replicas have. */
  get openSockets(): number {
    return this.#links.reduce((sum, link) => sum + link.openSockets, 0);
  }

  /** Nothing waits and no replica is connected. */
  get unused(): boolean {
    return this.#queued === 0 && this.#links.length === 0;
  }

  /** New limits are in force at once; what waits stays, except where nothing will ever come. */
  configure(routing: DeploymentRouting): void {
    this.#routing = routing;
    for (const link of this.#links) this.#tellModels(link);
    if (routing.refuse !== null) this.refuseAll(routing.version, routing.refuse);
    this.pump();
  }

  attach(link: Link): void {
    if (this.#links.includes(link)) return;
    this.#links.push(link);
    this.#tellModels(link);
    this.pump();
  }

  /** Before its first call: what it may load is known when it is asked for a model. */
  #tellModels(link: Link): void {
    link.allowModels(this.#routing.multiplexing?.maxNumModelsPerReplica ?? 0);
  }

  detach(link: Link): void {
    const index = this.#links.indexOf(link);
    if (index >= 0) this.#links.splice(index, 1);
  }

  /** @throws ServeError QUEUE_FULL or UNAVAILABLE: refused at the door */
  enqueue(call: PendingCall, exempt: boolean): void {
    if (this.#destroyed !== undefined) throw this.#destroyed;
    const { maxQueuedRequests, refuse, backpressure } = this.#routing;
    if (refuse !== null && call.version === this.#routing.version)
      throw new ServeError('UNAVAILABLE', refuse, { retryAfterS: 1 });
    if (this.#links.length === 0) this.#onUnserved(this);
    if (!exempt && maxQueuedRequests >= 0 && this.#queued >= maxQueuedRequests + this.#room(call.version, call.modelId)) {
      throw new ServeError(
        'QUEUE_FULL',
        `Request dropped due to backpressure (num_queued_requests=${this.#queued}, max_queued_requests=${maxQueuedRequests}).`,
        { status: backpressure.statusCode, retryAfterS: backpressure.retryAfterS },
      );
    }
    if (this.#queued === 0 && this.#sendAtOnce(call)) return;
    const lane = this.#laneOf(call);
    if (lane.modelId !== undefined && lane.size === 0 && this.#lanes.size > MAX_LANES) this.#refuseLane(lane);
    lane.push(call);
    this.#queued += 1;
    this.#onBuffered(call.bytes);
    // Requests that arrive in one turn may share a batch; where nothing is batched there is nothing to wait for.
    if (this.#routing.batching !== null) this.#pumpSoon();
    else if (lane.modelId === undefined || this.#waitsAlone()) this.pump();
    // What waits for other models could not run before either.
    else this.#pumpLane(lane, undefined);
  }

  /** The usual case: nothing waits before it, nothing is batched or sticks anywhere, and a replica has room. @returns false: it is not */
  #sendAtOnce(call: PendingCall): boolean {
    const { batching, multiplexing, router } = this.#routing;
    if (batching !== null || router.policy === 'session' || call.suspect || call.socketSink !== undefined) return false;
    if (multiplexing !== null && call.modelId !== undefined) return false;
    const room = (link: Link) => (link.serves(call.version) ? link.room(this.#routing, false) : 0);
    const chosen = chooseLeastLoaded(this.#links, room, this.#lastChosen);
    if (chosen === undefined) return false;
    this.#lastChosen = chosen;
    call.state = 'sent';
    call.attempts += 1;
    call.sentAt = call.queuedAt;
    call.batchSize = 1;
    (this.#links[chosen] as Link).send([call], 'one', call.sentAt);
    return true;
  }

  /** @throws ServeError QUEUE_FULL when requests for too many models wait already */
  #refuseLane(lane: Lane): void {
    this.#sweep();
    if (this.#lanes.size < MAX_LANES) return void this.#lanes.set(lane.key, lane);
    const { statusCode, retryAfterS } = this.#routing.backpressure;
    const message = `Request dropped due to backpressure: requests for ${MAX_LANES} models wait already.`;
    throw new ServeError('QUEUE_FULL', message, { status: statusCode, retryAfterS });
  }

  #waitsAlone(): boolean {
    for (const lane of this.#lanes.values()) if (lane.alone && lane.size > 0) return true;
    return false;
  }

  /** Takes a queued request out, for good: it was cancelled or its time is over. The caller marks it done. */
  remove(call: PendingCall): void {
    call.lane?.forget();
    this.#left(call);
  }

  /** Requests that no replica has begun: they go back to the head, in their order, and wait no longer for company. */
  giveBack(calls: readonly PendingCall[]): void {
    if (this.#destroyed !== undefined) {
      for (const call of calls) call.fail(this.#destroyed);
      return;
    }
    for (let index = calls.length - 1; index >= 0; index--) {
      const call = calls[index] as PendingCall;
      call.state = 'queued';
      call.link = undefined;
      call.begun = false;
      call.body?.detach();
      this.#queued += 1;
      this.#onBuffered(call.bytes);
      this.#laneOf(call).unshift([call]);
    }
    this.pump();
  }

  /** Ingress requests that still wait move to the generation that has just come into force. */
  move(from: string, to: (call: PendingCall) => boolean): void {
    const moved: PendingCall[] = [];
    for (const lane of this.#lanes.values()) {
      if (lane.version !== from) continue;
      for (const call of lane) {
        if (!call.movable || !to(call)) continue;
        // A version that goes on keeps its lanes: such a request stands where it should already.
        if (call.generation.deployment(this.#routing.name)?.version !== from) moved.push(call);
      }
    }
    const left = new Map<Lane, number>();
    for (const call of moved) {
      if (call.lane !== undefined) left.set(call.lane, (left.get(call.lane) ?? 0) + 1);
      call.version = call.generation.deployment(this.#routing.name)?.version ?? call.version;
      this.#laneOf(call).push(call);
    }
    for (const [lane, count] of left) lane.forgetMoved(count);
    this.#sweep();
    this.pump();
  }

  /** Hands what waits to replicas that have room. Called whenever either may have changed. */
  pump(): void {
    if (this.#queued === 0 || this.#links.length === 0) return;
    if (this.#lanes.size === 1) {
      for (const lane of this.#lanes.values()) this.#pumpLane(lane, undefined);
      return;
    }
    // Suspects first: the replica that is nearest to having nothing else is kept free for them.
    const lanes = [...this.#lanes.values()].filter((lane) => lane.size > 0);
    lanes.sort((a, b) => Number(b.alone) - Number(a.alone) || a.oldest - b.oldest);
    const reserved = new Map<string, Link>();
    for (const lane of lanes) {
      this.#pumpLane(lane, reserved.get(lane.version));
      const least = lane.alone && lane.size > 0 ? this.#leastLoaded(lane.version) : undefined;
      if (least !== undefined) reserved.set(lane.version, least);
    }
  }

  #leastLoaded(version: string): Link | undefined {
    const chosen = chooseLeastLoaded(this.#links, (link) => (link.serves(version) && link.accepting ? 1 : 0), this.#lastChosen);
    return chosen === undefined ? undefined : this.#links[chosen];
  }

  /** @param reserved a replica that is kept free for a suspect */
  #pumpLane(lane: Lane, reserved: Link | undefined): void {
    const { batching } = this.#routing;
    while (lane.size > 0) {
      const fills = batching !== null && !lane.alone && lane.size >= batching.maxBatchSize;
      const chosen = this.#choose(lane, (link) =>
        !link.serves(lane.version) || link === reserved || (lane.alone && link.ongoing > 0) || (lane.sockets && !link.websockets)
          ? 0
          : link.room(this.#routing, lane.form !== 'one', fills),
      );
      if (chosen === undefined) return;
      const link = this.#links[chosen] as Link;
      const now = this.#now();
      let take = 1;
      let reason: 'full' | 'idle' | 'window' | undefined;
      const fits = lane.form === 'one' || lane.alone ? undefined : this.#companions(lane);
      if (lane.alone) link.exclusive = true;
      else if (lane.form !== 'one' && batching !== null) {
        const decision = decideBatch(
          fits === undefined ? lane : filtered(lane, fits),
          batching,
          link.room(this.#routing, true, fills),
          now,
        );
        if ('until' in decision) {
          this.#lookAgain(lane, decision.until - now);
          return;
        }
        take = decision.take;
        reason = decision.reason;
      }
      this.#lastChosen = chosen;
      const calls = fits === undefined ? lane.take(take) : lane.takeThose(take, fits);
      let rows = 0;
      for (const call of calls) {
        this.#left(call);
        call.state = 'sent';
        call.attempts += 1;
        call.sentAt = now;
        call.queueMs += now - call.queuedAt;
        rows += call.rows;
      }
      const size = lane.form === 'rows' ? rows : calls.length;
      for (const call of calls) call.batchSize = size;
      if (reason !== undefined) this.counts.dispatched(reason, size);
      link.send(calls, lane.form, now);
    }
    // One lane for each shape that ever came would be a leak; the few that go on coming are kept.
    if (this.#lanes.size > MAX_EMPTY_LANES) this.#sweep();
  }

  /** Index of the replica that takes the head of a lane. */
  #choose(lane: Lane, room: (link: Link) => number): number | undefined {
    const { multiplexing, router } = this.#routing;
    const { modelId, version } = lane;
    if (modelId !== undefined && multiplexing !== null) {
      return chooseForModel(
        this.#links,
        (link) => link.serves(version) && link.holdsModel(modelId),
        multiplexing,
        (link) => (link.hasPlaceFor(modelId, multiplexing.maxNumModelsPerReplica) ? room(link) : 0),
        this.#lastChosen,
      );
    }
    if (router.policy === 'session') {
      const session = lane.first?.sessionHash;
      if (session !== undefined) return chooseForSession(this.#links, session, (link) => room(link) > 0);
    }
    return (lane.sockets ? chooseForSocket : chooseLeastLoaded)(this.#links, room, this.#lastChosen);
  }

  /** Where sessions stick, those that may share a batch with the head of a lane: whose replica is the same. undefined: all. */
  #companions(lane: Lane): ((call: PendingCall) => boolean) | undefined {
    if (this.#routing.router.policy !== 'session' || lane.modelId !== undefined) return undefined;
    const serves = (link: Link) => link.accepting && link.serves(lane.version);
    const homeOf = ({ sessionHash }: PendingCall) =>
      sessionHash === undefined ? undefined : chooseForSession(this.#links, sessionHash, serves);
    const first = lane.first;
    const home = first === undefined ? undefined : homeOf(first);
    return (call) => homeOf(call) === home;
  }

  /** A result for one or, split by rows, for all members of a batch. */
  settle(calls: readonly PendingCall[], value: WireValue, http: HttpAnswerHead | undefined): void {
    if (calls.length === 1) return void calls[0]?.complete(value, http, this.#now());
    let values: WireValue[];
    try {
      values = split(
        value,
        calls.map((call) => call.rows),
      );
    } catch (error) {
      return this.fail(
        calls.filter((call) => call.state !== 'done'),
        error as ServeError,
      );
    }
    for (const [index, call] of calls.entries()) call.complete(values[index] as WireValue, http, this.#now());
  }

  /** A batch failed as a whole: where its members may run again they do, in halves, so that the poisonous ones fail alone. */
  fail(calls: readonly PendingCall[], error: ServeError): void {
    const again = calls.length > 1 && this.#routing.retry.idempotent ? calls.filter((call) => mayHalve(call, calls.length)) : [];
    for (const call of calls) if (!again.includes(call)) call.fail(error);
    if (again.length === 0) return;
    const company = Math.ceil(calls.length / 2);
    for (const call of again) call.maxCompany = Math.min(call.maxCompany, company);
    this.counts.again('halved', again.length);
    this.giveBack(again.map((call) => this.#again(call)));
  }

  /**
   * What becomes of the requests that a dead replica had.
   * @param alone it had this one only: so this one may be what killed it
   */
  died(calls: readonly PendingCall[], reason: string, alone: boolean): void {
    const again: PendingCall[] = [];
    const lost: PendingCall[] = [];
    for (const call of calls) {
      if (alone && call.begun) call.deathsAlone += 1;
      const { idempotent, maxAttempts } = this.#routing.retry;
      const mayRun =
        !call.streaming &&
        call.body?.consumed !== true &&
        call.deathsAlone < MAX_DEATHS_ALONE &&
        (!call.begun || (idempotent && call.attempts < maxAttempts));
      if (call.begun) call.suspect = true;
      if (mayRun) again.push(this.#again(call));
      else lost.push(call);
    }
    const worked = again.filter((call) => call.begun);
    this.counts.again('died', worked.length);
    this.counts.again('not_begun', again.length - worked.length);
    this.giveBack(again.filter((call) => !call.begun));
    this.#holdBack(worked);
    for (const call of lost) {
      call.fail(
        new ServeError('REPLICA_DIED', `The replica of ${this.key} that worked on this request died (${reason}).`, {
          retryAfterS: 1,
        }),
      );
    }
  }

  /** Work that is repeated waits `retry.backoff_s`; its deadline and its client's leaving count meanwhile. */
  #holdBack(calls: readonly PendingCall[]): void {
    const { backoffMs } = this.#routing.retry;
    if (calls.length === 0) return;
    if (backoffMs === 0) return this.giveBack(calls);
    for (const call of calls) call.state = 'held';
    setTimeout(() => this.giveBack(calls.filter((call) => call.state === 'held')), backoffMs);
  }

  /** Nothing waits any more, and nothing may come back to wait. */
  destroy(error: ServeError): void {
    this.#destroyed = error;
    for (const lane of this.#lanes.values()) {
      clearTimeout(lane.timer);
      for (const call of [...lane]) {
        this.remove(call);
        call.fail(error);
      }
    }
    this.#lanes.clear();
  }

  #again(call: PendingCall): PendingCall {
    if (!call.begun) call.attempts -= 1;
    call.queuedAt = this.#now();
    return call;
  }

  /** Versions other than the current one that requests wait for, and no replica runs: none of them is ever started again. */
  strandedVersions(current: string | undefined): readonly string[] {
    const stranded = new Set<string>();
    for (const { version, size } of this.#lanes.values())
      if (size > 0 && version !== current && !this.#links.some((link) => link.version === version)) stranded.add(version);
    return [...stranded];
  }

  /** What waits for a version is failed. */
  refuseAll(version: string, message: string): void {
    for (const lane of this.#lanes.values()) {
      if (lane.version !== version) continue;
      for (const call of [...lane]) {
        this.remove(call);
        call.fail(new ServeError('UNAVAILABLE', message, { retryAfterS: 1 }));
      }
    }
  }

  /** How many more requests of a version, and for a model, the replicas could take at this moment. */
  #room(version: string, modelId?: string): number {
    let room = 0;
    const { batching, multiplexing } = this.#routing;
    for (const link of this.#links) {
      if (!link.serves(version)) continue;
      if (modelId !== undefined && multiplexing !== null && !link.hasPlaceFor(modelId, multiplexing.maxNumModelsPerReplica))
        continue;
      const each = link.room(this.#routing, batching !== null);
      // A replica with room for many takes as many as its free batches hold.
      room += Math.max(0, batching === null ? each : Math.min(each, batching.maxBatchSize * link.freeBatches(batching)));
    }
    return room;
  }

  /** How many more requests would begin at once: none where any waits. */
  idleSlots(version: string): number {
    return this.#queued > 0 ? 0 : this.#room(version);
  }

  /** Whether replicas are connected, and none of them takes WebSockets. */
  get refusesSockets(): boolean {
    return this.#links.length > 0 && !this.#links.some((link) => link.websockets);
  }

  /** Requests that the replicas of a version may work on at once. */
  slots(version: string): number {
    return this.#links.filter((link) => link.serves(version) && link.accepting).length * this.#routing.maxOngoingRequests;
  }

  /** The lane that a call belongs to. */
  #laneOf(call: PendingCall): Lane {
    const { batching, kind, multiplexing } = this.#routing;
    const modelId = multiplexing === null ? undefined : call.modelId;
    let form: LaneForm = 'one';
    let shape = '';
    if (batching !== null) {
      if (kind === 'model' && call.http === undefined) {
        const stackable = call.spread || batching.maxBatchSize === 1 ? undefined : stackableOf(call.value);
        if (stackable !== undefined) {
          form = 'rows';
          shape = stackable.key;
          call.rows = stackable.rows;
        }
      } else if (kind === 'model' ? call.http?.method === 'POST' : call.method === batching.method && !call.spread) {
        // Code that is written for arrays gets one even where it is of one.
        form = 'items';
        // A frame has one method, and bodies for a model come in two forms.
        if (kind === 'model') shape = call.method;
      }
    }
    const socket = call.socketSink !== undefined;
    const plain = form === 'one' && !call.suspect && !socket && modelId === undefined;
    if (plain && this.#plain?.version === call.version) return this.#plain;
    const key = `${call.suspect ? 'alone' : ''}${socket ? 'socket' : ''}\n${call.version}\n${form}\n${shape}${modelId === undefined ? '' : `\n${modelId}`}`;
    let lane = this.#lanes.get(key);
    if (lane === undefined) {
      lane = new Lane(key, call.version, form, call.suspect, modelId, socket);
      this.#lanes.set(key, lane);
    }
    if (plain) this.#plain = lane;
    return lane;
  }

  #left(call: PendingCall): void {
    this.#queued -= 1;
    this.#onBuffered(-call.bytes);
  }

  #sweep(): void {
    for (const lane of this.#lanes.values()) {
      if (lane.size > 0) continue;
      clearTimeout(lane.timer);
      this.#lanes.delete(lane.key);
      if (lane === this.#plain) this.#plain = undefined;
    }
  }

  #pumpSoon(): void {
    if (this.#pumpScheduled) return;
    this.#pumpScheduled = true;
    setImmediate(() => {
      this.#pumpScheduled = false;
      this.pump();
    });
  }

  #lookAgain(lane: Lane, delayMs: number): void {
    // A later arrival may have a nearer deadline: the sooner of the two times counts.
    const at = this.#now() + delayMs;
    if (lane.timer !== undefined && lane.timerAt <= at) return;
    clearTimeout(lane.timer);
    lane.timerAt = at;
    lane.timer = setTimeout(() => {
      lane.timer = undefined;
      this.pump();
    }, delayMs);
  }
}

/** Whether it was in a batch of so many, as its replica says, and can run again. */
const mayHalve = ({ maxCompany, streaming, body }: PendingCall, size: number): boolean =>
  maxCompany >= size && !streaming && body?.consumed !== true;

function* filtered(lane: Lane, fits: (call: PendingCall) => boolean): Generator<PendingCall> {
  for (const call of lane) if (fits(call)) yield call;
}
