/**
 * The queue of one deployment: the one bound and the one order of arrival in front of its replicas. Requests wait in lanes (version,
 * shape); a lane that cannot run never blocks another. A replica pulls work by having a free slot.
 */

import type { CostModel } from '../batching/cost.ts';
import type { BatchingSpec } from '../domain/desired.ts';
import { ServeError } from '../domain/errors.ts';
import type { SequenceMetrics } from '../domain/metrics.ts';
import type { DeploymentRouting } from '../domain/snapshot.ts';
import type { HttpAnswerHead } from '../protocol/messages.ts';
import type { SequenceAsk } from '../protocol/routing-headers.ts';
import type { WireValue } from '../protocol/value.ts';
import { companyAfter, mayHalve, mayRunAfterDeath } from './again.ts';
import { Batcher } from './batcher.ts';
import { chooseForSocket, chooseForStart, chooseLeastLoaded } from './choose.ts';
import { chooseForModel } from './choose-model.ts';
import { chooseForSession } from './choose-session.ts';
import { DeploymentCounts } from './counts.ts';
import type { Lane } from './lane.ts';
import { Lanes } from './lanes.ts';
import type { Link } from './link.ts';
import type { PendingCall } from './pending.ts';
import { priorityOf } from './priority.ts';
import { QueueSequences } from './queue-sequences.ts';
import { split } from './stack.ts';

/** Lanes in which requests for multiplexed models wait: clients make up the ids, and each lane is looked at when a place comes free. */
const MAX_LANES = 1000;

export class DeploymentQueue {
  /** `application/Deployment`. */
  readonly key: string;
  readonly counts = new DeploymentCounts();
  readonly #now: () => number;
  readonly #lanes = new Lanes();
  readonly #batcher = new Batcher();
  readonly #links: Link[] = [];
  #routing: DeploymentRouting;
  #queued = 0;
  #lastChosen = -1;
  #pumpScheduled = false;
  #destroyed: ServeError | undefined;
  /** Made when the first request of one comes. */
  #sequences: QueueSequences | undefined;
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
    return this.#lanes.oldest;
  }

  get ongoing(): number {
    return this.#links.reduce((sum, link) => sum + link.ongoing, 0);
  }

  /** Rows with which a batch is whole at this moment; undefined where nothing is batched. */
  get batchSize(): number | undefined {
    const { batching } = this.#routing;
    return batching === null ? undefined : this.#batcher.sizeInForce(this.#routing, batching);
  }

  /** WebSockets that its replicas have. */
  get openSockets(): number {
    return this.#links.reduce((sum, link) => sum + link.openSockets, 0);
  }

  /** undefined: its model keeps none. */
  get sequences(): SequenceMetrics | undefined {
    return this.#routing.sequence === undefined ? undefined : (this.#sequences?.read() ?? NO_SEQUENCES);
  }

  /** Nothing waits and no replica is connected. */
  get unused(): boolean {
    return this.#queued === 0 && this.#links.length === 0;
  }

  /** New limits are in force at once; what waits stays, except where nothing will ever come. */
  configure(routing: DeploymentRouting): void {
    this.#routing = routing;
    for (const link of this.#links) this.#tellModels(link);
    this.#sequences?.configure(routing.sequence);
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
    this.#refusePinned(link);
    if (this.#sequences === undefined) return;
    this.#sequences.gone(link);
    this.#lanes.sweep();
    this.pump();
  }

  /** What was for this replica alone, and has not been sent. */
  #refusePinned(link: Link): void {
    for (const lane of this.#lanes) {
      if (lane.pinned !== link) continue;
      this.#giveUpAll(lane, () => new ServeError('REPLICA_DIED', `The replica ${link.replica} has gone.`));
    }
  }

  /** Replicas that take requests of a version. */
  takers(version: string): readonly Link[] {
    return this.#links.filter((link) => link.accepting && link.serves(version));
  }

  /** Its deployment has left the config: nobody can go on with them. */
  endSequences(): void {
    this.#sequences?.configure(undefined);
  }

  /**
   * @param asked of the sequence that it belongs to
   * @throws ServeError QUEUE_FULL, UNAVAILABLE or SEQUENCE_NOT_FOUND: refused at the door
   */
  enqueue(call: PendingCall, exempt: boolean, asked?: SequenceAsk): void {
    if (this.#destroyed !== undefined) throw this.#destroyed;
    const { maxQueuedRequests, refuse, backpressure } = this.#routing;
    // A replica that has to go stays for the sequences that it has.
    const isHeld = asked !== undefined && this.#sequences?.isHeld(asked) === true;
    if (refuse !== null && call.version === this.#routing.version && !isHeld)
      throw new ServeError('UNAVAILABLE', refuse, { retryAfterS: 1 });
    if (this.#links.length === 0) this.#onUnserved(this);
    if (asked !== undefined) this.#sequencesKept().expect(asked);
    if (!exempt && maxQueuedRequests >= 0 && this.#queued >= maxQueuedRequests + this.#roomFor(call, asked)) {
      throw new ServeError(
        'QUEUE_FULL',
        `Request dropped due to backpressure (num_queued_requests=${this.#queued}, max_queued_requests=${maxQueuedRequests}).`,
        { status: backpressure.statusCode, retryAfterS: backpressure.retryAfterS },
      );
    }
    if (asked !== undefined) return this.#enqueueStep(call, asked);
    if (this.#queued === 0 && this.#sendAtOnce(call)) return;
    // Only where it comes to wait does it matter who is first.
    call.priority = priorityOf(call);
    const lane = this.#lanes.of(call, this.#routing);
    if (lane.modelId !== undefined && lane.size === 0 && this.#lanes.count > MAX_LANES) this.#refuseLane(lane);
    lane.push(call);
    this.#queued += 1;
    this.#onBuffered(call.bytes);
    // Requests that arrive in one turn may share a batch; where nothing is batched there is nothing to wait for.
    if (this.#routing.batching !== null) this.#pumpSoon();
    else if (lane.modelId === undefined || this.#lanes.someWaitAlone) this.pump();
    // What waits for other models could not run before either.
    else this.#pumpLane(lane, undefined);
  }

  /** A start was refused before it came to wait, here or before `enqueue`: nobody goes on with the state that it was to replace. */
  startRefused(asked: SequenceAsk): void {
    this.#sequences?.refused(asked);
  }

  /** Its replicas could take up more CPUs than there are. Where sessions stick, or sequences, it is for them to say who works. */
  get #isCrowded(): boolean {
    const { mostAtWork, router, sequence } = this.#routing;
    const isFree = router.policy !== 'session' && sequence === undefined;
    return mostAtWork !== undefined && this.#links.length > mostAtWork && isFree;
  }

  /** How many more replicas may begin to work before they take CPUs from each other. */
  #freeCpus(): number {
    if (!this.#isCrowded) return Number.POSITIVE_INFINITY;
    let atWork = 0;
    for (const { ongoing } of this.#links) if (ongoing > 0) atWork += 1;
    return (this.#routing.mostAtWork ?? 0) - atWork;
  }

  /** Which replicas may be given work, as far as CPUs go. */
  #mayWork(): (link: Link) => boolean {
    return this.#freeCpus() > 0 ? always : isAtWork;
  }

  /** Behind whom the next one is looked for: each takes its turn; where not all can work, those go on whose model is in the CPUs' caches. */
  get #after(): number {
    return this.#isCrowded ? -1 : this.#lastChosen;
  }

  /** A request of a sequence waits behind those of its own, and then with all others. */
  #enqueueStep(call: PendingCall, asked: SequenceAsk): void {
    call.priority = priorityOf(call);
    this.#queued += 1;
    this.#onBuffered(call.bytes);
    this.#sequencesKept().come(call, asked);
    if (call.lane === undefined) return;
    if (this.#lanes.someWaitAlone) this.pump();
    else this.#pumpLane(call.lane, undefined);
  }

  #sequencesKept(): QueueSequences {
    const limits = this.#routing.sequence;
    if (this.#sequences === undefined) {
      if (limits === undefined) throw new Error(`${this.key} keeps no sequences`);
      const ready = (call: PendingCall) => this.#stepReady(call);
      const refuse = (call: PendingCall, error: ServeError) => void this.#giveUp([call], () => error);
      this.#sequences = new QueueSequences(this.key, limits, { ready, refuse }, this.#now);
    }
    return this.#sequences;
  }

  #stepReady(call: PendingCall): void {
    const { refuse, version } = this.#routing;
    this.#lanes.of(call, this.#routing).push(call);
    // A start comes to wait only when what was before it is over.
    if (refuse !== null && call.version === version && call.step?.isStart === true)
      this.#giveUp([call], () => new ServeError('UNAVAILABLE', refuse, { retryAfterS: 1 }));
  }

  /** The replica has answered a request of a sequence: the next one may run. @param ran it was no error */
  stepOver(call: PendingCall, ran: boolean): void {
    if (call.step !== undefined) this.#sequences?.over(call, ran);
  }

  /** A request of a sequence was taken by a replica that it cannot be sent to. */
  stepFailed(call: PendingCall): void {
    if (call.step === undefined) return;
    this.stepOver(call, false);
    this.#pumpSoon();
  }

  /** The usual case: nothing waits before it, nothing is batched or sticks anywhere, and a replica has room. @returns false: it is not */
  #sendAtOnce(call: PendingCall): boolean {
    const { batching, multiplexing, router } = this.#routing;
    if (batching !== null || router.policy === 'session' || call.suspect || call.socketSink !== undefined) return false;
    if (call.pinned !== undefined) return false;
    if (multiplexing !== null && call.modelId !== undefined) return false;
    const mayWork = this.#mayWork();
    const room = (link: Link) => (link.serves(call.version) && mayWork(link) ? link.room(this.#routing, false) : 0);
    const chosen = chooseLeastLoaded(this.#links, room, this.#after);
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
    this.#lanes.sweep();
    if (this.#lanes.count < MAX_LANES) return this.#lanes.keep(lane);
    const { statusCode, retryAfterS } = this.#routing.backpressure;
    const message = `Request dropped due to backpressure: requests for ${MAX_LANES} models wait already.`;
    throw new ServeError('QUEUE_FULL', message, { status: statusCode, retryAfterS });
  }

  /** Takes a queued request out, for good: it was cancelled or its time is over. The caller marks it done. */
  remove(call: PendingCall): void {
    call.lane?.forget(call);
    this.#left(call);
    if (call.step === undefined) return;
    this.#sequences?.left(call);
    // The next of its sequence may stand in another lane, where there is room.
    this.#pumpSoon();
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
      // One that was sent at once has waited for nobody yet.
      call.priority ??= priorityOf(call);
      call.link = undefined;
      call.begun = false;
      call.body?.detach();
      this.#queued += 1;
      this.#onBuffered(call.bytes);
      this.#lanes.of(call, this.#routing).unshift([call]);
    }
    this.pump();
  }

  /** Ingress requests that still wait move to the generation that has just come into force. */
  move(from: string, to: (call: PendingCall) => boolean): void {
    const moved: PendingCall[] = [];
    for (const lane of this.#lanes) {
      // What a replica has the state of stays with it.
      if (lane.version !== from || typeof lane.sequences === 'object') continue;
      for (const call of lane) {
        if (!call.movable || !to(call)) continue;
        // A version that goes on keeps its lanes: such a request stands where it should already.
        if (call.generation.deployment(this.#routing.name)?.version !== from) moved.push(call);
      }
    }
    const left = new Map<Lane, { count: number; rows: number }>();
    for (const call of moved) {
      if (call.lane !== undefined) {
        const { count, rows } = left.get(call.lane) ?? { count: 0, rows: 0 };
        left.set(call.lane, { count: count + 1, rows: rows + call.rows });
      }
      call.version = call.generation.deployment(this.#routing.name)?.version ?? call.version;
      this.#lanes.of(call, this.#routing).push(call);
    }
    for (const [lane, { count, rows }] of left) lane.forgetMoved(count, rows);
    for (const call of this.#sequences?.queued() ?? [])
      if (call.version === from && call.movable && to(call))
        call.version = call.generation.deployment(this.#routing.name)?.version ?? call.version;
    this.#lanes.sweep();
    this.pump();
  }

  /** Hands what waits to replicas that have room. Called whenever either may have changed. */
  pump(): void {
    if (this.#queued === 0 || this.#links.length === 0) return;
    if (this.#lanes.count === 1) {
      for (const lane of this.#lanes) this.#pumpLane(lane, undefined);
      return;
    }
    // For suspects the replica that is nearest to having nothing else is kept free.
    const reserved = new Map<string, Link>();
    for (const lane of this.#lanes.inOrder()) {
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
    const batched = batching !== null && lane.form !== 'one' && !lane.alone;
    const takes = (link: Link): boolean =>
      link.serves(lane.version) &&
      link !== reserved &&
      !(lane.alone && link.ongoing > 0) &&
      !(lane.sockets && !link.websockets) &&
      !(lane.pinned !== undefined && lane.pinned !== link) &&
      !(lane.sequences !== undefined && !this.#mayTakeStep(lane.sequences, link));
    while (lane.size > 0) {
      const fills = batched && lane.rows >= this.#batcher.sizeOf(lane, this.#routing, batching);
      const mayWork = lane.alone ? always : this.#mayWork();
      const room = (link: Link) => {
        if (!takes(link) || !mayWork(link)) return 0;
        return lane.sequences === link ? link.roomForHeld(this.#routing) : link.room(this.#routing, lane.form !== 'one', fills);
      };
      const chosen = this.#choose(lane, room);
      if (chosen === undefined) return this.#refuseStarts(lane);
      const link = this.#links[chosen] as Link;
      const now = this.#now();
      if (batched && this.#dropLate(lane, batching, now, () => this.#idle(takes, batching))) continue;
      if (lane.alone) link.exclusive = true;
      if (!batched) this.#send(lane, lane.take(1), link, now);
      else {
        const fits = this.#companions(lane);
        const waiting = fits === undefined ? lane : filtered(lane, fits);
        // Where sessions stick, they divide what waits.
        const replicas = { room: room(link), idle: fits === undefined ? this.#idle(takes, batching) : 1 };
        const decision = this.#batcher.decide(lane, waiting, this.#routing, batching, replicas, now);
        if ('until' in decision) {
          this.#lookAgain(lane, decision.until - now);
          return;
        }
        const { take, reason } = decision;
        const calls = fits === undefined ? lane.take(take) : lane.takeThose(take, fits);
        const size = this.#send(lane, calls, link, now, this.#batcher.learnedOf(lane, batching).cost);
        this.counts.dispatched(reason, size);
      }
      this.#lastChosen = chosen;
    }
    this.#lanes.sweepWhereMany();
  }

  /** @param of whose states they go on with; `new`: they start */
  #mayTakeStep(of: Link | 'new', link: Link): boolean {
    return of === 'new' ? this.#sequences?.hasPlace(link) === true : of === link;
  }

  /** A sequence is not kept waiting for another to end: nobody knows when that will be. */
  #refuseStarts(lane: Lane): void {
    if (lane.sequences !== 'new' || this.#sequences === undefined) return;
    const able = this.#links.filter((link) => link.serves(lane.version) && link.accepting);
    if (able.length === 0 || able.some((link) => this.#sequences?.hasPlace(link))) return;
    const { statusCode, retryAfterS } = this.#routing.backpressure;
    const full = this.#sequences.full(statusCode, retryAfterS);
    this.#giveUpAll(lane, () => full);
  }

  /** Gives up what cannot be answered in time any more, before it takes the place of what can. @returns whether there was any */
  #dropLate(lane: Lane, batching: BatchingSpec, now: number, free: () => number): boolean {
    const late = this.#batcher.late(lane, this.#routing, batching, now, free);
    for (const call of late) if (call.state === 'queued') call.queueMs += now - call.queuedAt;
    const dropped = this.#giveUp(
      late,
      () => new ServeError('DEADLINE_EXCEEDED', 'The request could not be answered in time any more; it was not run.'),
    );
    this.counts.dropped(dropped);
    return late.length > 0;
  }

  /** Replicas that would begin a batch at once. */
  #idle(takes: (link: Link) => boolean, batching: BatchingSpec): number {
    if (this.#links.length === 1) return 1;
    const idle = this.#links.filter(
      (link) => takes(link) && link.freeBatches(batching) > 0 && link.ongoing === 0 && link.room(this.#routing, true) > 0,
    ).length;
    return Math.min(idle, Math.max(0, this.#freeCpus()));
  }

  /** @returns rows that went */
  #send(lane: Lane, calls: readonly PendingCall[], link: Link, now: number, cost?: CostModel): number {
    let rows = 0;
    for (const call of calls) {
      this.#left(call);
      call.state = 'sent';
      call.attempts += 1;
      call.sentAt = now;
      call.queueMs += now - call.queuedAt;
      rows += call.rows;
    }
    for (const call of calls) call.batchSize = rows;
    if (lane.sequences === 'new') this.#sequences?.sent(calls[0] as PendingCall, link);
    link.send(calls, lane.form, now, cost);
    return rows;
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
    if (lane.sequences !== undefined)
      return (lane.sequences === 'new' ? chooseForStart : chooseLeastLoaded)(this.#links, room, this.#lastChosen);
    if (router.policy === 'session') {
      const session = lane.first?.sessionHash;
      if (session !== undefined) return chooseForSession(this.#links, session, (link) => room(link) > 0);
    }
    return (lane.sockets ? chooseForSocket : chooseLeastLoaded)(this.#links, room, this.#after);
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
      // It is no matter of company: none of it can be told from the rest.
      for (const call of calls) call.fail(error as ServeError);
      return;
    }
    for (const [index, call] of calls.entries()) call.complete(values[index] as WireValue, http, this.#now());
  }

  /** A batch failed as a whole: where its members may run again they do, in halves, so that the poisonous ones fail alone. */
  fail(calls: readonly PendingCall[], error: ServeError): void {
    const again = calls.length > 1 && this.#routing.retry.idempotent ? calls.filter((call) => mayHalve(call, calls.length)) : [];
    for (const call of calls) if (!again.includes(call)) call.fail(error);
    if (again.length === 0) return;
    for (const call of again) call.maxCompany = Math.min(call.maxCompany, companyAfter(calls.length));
    this.counts.again('halved', again.length);
    this.giveBack(again.map((call) => this.#again(call)));
  }

  /**
   * What becomes of the requests that a dead replica had.
   * @param all   those included that nobody waits for any more
   * @param alone it had this one only: so this one may be what killed it
   */
  died(all: readonly PendingCall[], reason: string, alone: boolean): void {
    const calls = all.filter((call) => call.state !== 'done');
    for (const call of all) if (call.state === 'done') this.stepOver(call, false);
    const again: PendingCall[] = [];
    const lost: PendingCall[] = [];
    for (const call of calls) {
      if (alone && call.begun) call.deathsAlone += 1;
      const mayRun = call.pinned === undefined && mayRunAfterDeath(call, this.#routing.retry);
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
      const message = `The replica of ${this.key} that worked on this request died (${reason}).`;
      const unknown = call.step === undefined || call.begun ? undefined : this.#sequences?.unknown(call.step.sequence.id);
      call.fail(unknown ?? new ServeError('REPLICA_DIED', message, { retryAfterS: 1 }));
      this.stepOver(call, false);
    }
    if (this.#sequences !== undefined) this.pump();
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
    this.#giveUp([...(this.#sequences?.queued() ?? [])], () => error);
    for (const lane of this.#lanes) {
      clearTimeout(lane.timer);
      this.#giveUpAll(lane, () => error);
    }
    this.#sequences?.destroy();
    this.#lanes.clear();
  }

  #again(call: PendingCall): PendingCall {
    if (!call.begun) call.attempts -= 1;
    call.queuedAt = this.#now();
    // What its first run called was for that run, and for those who were in it.
    call.batch = [];
    call.cancelChildren(undefined);
    call.children = undefined;
    return call;
  }

  /** Versions other than the current one that requests wait for, and no replica runs: none of them is ever started again. */
  strandedVersions(current: string | undefined): readonly string[] {
    const stranded = new Set<string>();
    for (const { version, size } of this.#lanes)
      if (size > 0 && version !== current && !this.#links.some((link) => link.version === version)) stranded.add(version);
    return [...stranded];
  }

  /** What waits for a version is failed, but for what goes on with a state that a replica holds: that stays for it. */
  refuseAll(version: string, message: string): void {
    for (const lane of this.#lanes) {
      if (lane.version !== version || typeof lane.sequences === 'object') continue;
      this.#giveUpAll(lane, () => new ServeError('UNAVAILABLE', message, { retryAfterS: 1 }));
    }
  }

  /** Those too that come to wait there because one of the others does no longer. */
  #giveUpAll(lane: Lane, error: () => ServeError): void {
    while (lane.size > 0) this.#giveUp([...lane], error);
  }

  /**
   * Whose error ends a request with several of these in work takes the others along: they wait no longer when their turn comes.
   * @returns how many it failed
   */
  #giveUp(calls: readonly PendingCall[], error: () => ServeError): number {
    let failed = 0;
    for (const call of calls) {
      if (call.state !== 'queued') continue;
      this.remove(call);
      call.fail(error());
      failed += 1;
    }
    return failed;
  }

  /** How many more requests of this kind the replicas could take at this moment. */
  #roomFor(call: PendingCall, asked: SequenceAsk | undefined): number {
    if (asked === undefined) return this.#room(call.version, call.modelId);
    const hasRoom = (link: Link) => link.roomForHeld(this.#routing) > 0;
    const mayStart = (holder: Link | undefined) =>
      this.#links.some(
        (link) =>
          link.serves(call.version) &&
          (link === holder || this.#sequences?.hasPlace(link)) &&
          link.room(this.#routing, false) > 0,
      );
    return this.#sequences?.isFree(asked, mayStart, hasRoom) ? 1 : 0;
  }

  /** How many more requests of a version, and for a model, the replicas could take at this moment. */
  #room(version: string, modelId?: string): number {
    let room = 0;
    const { batching, multiplexing } = this.#routing;
    const size = this.batchSize ?? 1;
    for (const link of this.#links) {
      if (!link.serves(version)) continue;
      if (modelId !== undefined && multiplexing !== null && !link.hasPlaceFor(modelId, multiplexing.maxNumModelsPerReplica))
        continue;
      const each = link.room(this.#routing, batching !== null);
      // A replica with room for many takes as many as its free batches hold.
      room += Math.max(0, batching === null ? each : Math.min(each, size * link.freeBatches(batching)));
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

  #left(call: PendingCall): void {
    this.#queued -= 1;
    this.#onBuffered(-call.bytes);
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

const NO_SEQUENCES: SequenceMetrics = { open: 0, started: 0, ended: {} };

function* filtered(lane: Lane, fits: (call: PendingCall) => boolean): Generator<PendingCall> {
  for (const call of lane) if (fits(call)) yield call;
}

const always = (): boolean => true;
const isAtWork = ({ ongoing }: Link): boolean => ongoing > 0;
