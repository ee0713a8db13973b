/** The lanes of one deployment: which one a request belongs to, and how many may be kept. */
import type { DeploymentRouting } from '../domain/snapshot.ts';
import { Lane, type LaneForm } from './lane.ts';
import type { Link } from './link.ts';
import type { PendingCall } from './pending.ts';
import { stackableOf } from './stack.ts';

/** Lanes that are kept although nothing waits in them. */
const MAX_EMPTY = 32;

export class Lanes {
  readonly #lanes = new Map<string, Lane>();
  /** The lane of single requests that was found last: the usual one, without making its key each time. */
  #plain: Lane | undefined;

  get count(): number {
    return this.#lanes.size;
  }

  [Symbol.iterator](): IterableIterator<Lane> {
    return this.#lanes.values();
  }

  /** When the request that has waited longest arrived; Infinity where none waits. */
  get oldest(): number {
    let oldest = Number.POSITIVE_INFINITY;
    for (const lane of this.#lanes.values()) oldest = Math.min(oldest, lane.oldest);
    return oldest;
  }

  /** Something waits for a replica of its own. */
  get someWaitAlone(): boolean {
    for (const lane of this.#lanes.values()) if (lane.alone && lane.size > 0) return true;
    return false;
  }

  /** Those in which something waits, in the order in which they are served: suspects first, then by the rank of their next request. */
  inOrder(): readonly Lane[] {
    return [...this.#lanes.values()]
      .filter((lane) => lane.size > 0)
      .sort((a, b) => Number(b.alone) - Number(a.alone) || a.rank - b.rank);
  }

  /** The lane that a call belongs to. */
  of(call: PendingCall, routing: DeploymentRouting): Lane {
    if (call.step !== undefined) return this.#ofStep(call.step, call.version);
    if (call.pinned !== undefined) return this.#ofPinned(call, call.pinned, routing);
    const modelId = routing.multiplexing === null ? undefined : call.modelId;
    const { form, shape } = formOf(call, routing);
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

  /** Of the next request of a sequence. */
  #ofStep({ isStart, sequence: { holder } }: NonNullable<PendingCall['step']>, version: string): Lane {
    const at = isStart || holder === undefined ? undefined : holder;
    const key = at === undefined ? `start\n${version}` : `held\n${at.replica}`;
    let lane = this.#lanes.get(key);
    if (lane === undefined) {
      lane = new Lane(key, at?.version ?? version, 'one', false, undefined, false, at ?? 'new');
      this.#lanes.set(key, lane);
    }
    return lane;
  }

  #ofPinned(call: PendingCall, pinned: Link, routing: DeploymentRouting): Lane {
    const { form, shape } = formOf(call, routing);
    const key = `pinned\n${pinned.replica}\n${call.version}\n${form}\n${shape}`;
    let lane = this.#lanes.get(key);
    if (lane?.pinned !== pinned) {
      lane = new Lane(key, call.version, form, false, undefined, false, undefined, pinned);
      this.#lanes.set(key, lane);
    }
    return lane;
  }

  /** Keeps one that was swept out before anything came to it. */
  keep(lane: Lane): void {
    this.#lanes.set(lane.key, lane);
  }

  /** One lane for each shape that ever came would be a leak; the few that go on coming are kept. */
  sweepWhereMany(): void {
    if (this.#lanes.size > MAX_EMPTY) this.sweep();
  }

  sweep(): void {
    for (const lane of this.#lanes.values()) {
      if (lane.size > 0) continue;
      clearTimeout(lane.timer);
      this.#lanes.delete(lane.key);
      if (lane === this.#plain) this.#plain = undefined;
    }
  }

  clear(): void {
    this.#lanes.clear();
    this.#plain = undefined;
  }
}

const ONE = { form: 'one', shape: '' } as const;
const ITEMS = { form: 'items', shape: '' } as const;

/** How it is sent, and what it must have in common with its company. Counts the rows of what is stacked. */
const formOf = (
  call: PendingCall,
  { batching, kind }: DeploymentRouting,
): { readonly form: LaneForm; readonly shape: string } => {
  if (batching === null) return ONE;
  if (kind === 'model' && call.http === undefined) {
    const stackable = call.spread || batching.maxBatchSize === 1 ? undefined : stackableOf(call.value);
    if (stackable === undefined) return ONE;
    call.rows = stackable.rows;
    // Ragged ones are stacked where the model's own names of its axes are known.
    if (batching.pad !== undefined) return { form: 'items', shape: `tensors ${stackable.kind}` };
    return { form: 'rows', shape: stackable.key };
  }
  // A frame has one method, and bodies for a model come in two forms.
  if (kind === 'model') return call.http?.method === 'POST' ? { form: 'items', shape: call.method } : ONE;
  // Code that is written for arrays gets one even where it is of one.
  return call.method === batching.method && !call.spread ? ITEMS : ONE;
};
