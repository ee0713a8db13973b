/** Who holds how much of what the machine offers. The sum never exceeds the offer; what does not fit is told why. Pure. */
import { type Amounts, amountsText, bareText, PARTS } from './amounts.ts';
import type { Offer } from './offer.ts';

/** What one replica holds, from before its start until it is gone. */
export interface Reservation {
  readonly amounts: Amounts;
  /** Devices, as `CUDA_VISIBLE_DEVICES` names them; fractions share one. */
  readonly devices: readonly string[];
}

export const NOTHING_RESERVED: Reservation = { amounts: new Map(), devices: [] };

export class Ledger {
  readonly #offer: Offer | undefined;
  readonly #free: Map<string, number>;
  readonly #devices: Map<string, number>;

  /** @param offer undefined: without bounds */
  constructor(offer: Offer | undefined) {
    this.#offer = offer;
    this.#free = new Map(offer?.amounts);
    this.#devices = new Map(offer?.devices);
  }

  copy(): Ledger {
    const copy = new Ledger(this.#offer);
    for (const [name, free] of this.#free) copy.#free.set(name, free);
    for (const [id, free] of this.#devices) copy.#devices.set(id, free);
    return copy;
  }

  free(name: string): number {
    return this.#free.get(name) ?? 0;
  }

  /** What is held is held, also where less is offered than there was. */
  hold(held: Reservation): void {
    this.#change(held, -1);
  }

  give(held: Reservation): void {
    this.#change(held, 1);
  }

  /** Reserves for one replica. @returns undefined: there is no room, and nothing has changed */
  take(ask: Amounts): Reservation | undefined {
    if (this.#offer === undefined) return { amounts: ask, devices: [] };
    for (const [name, amount] of ask) if (amount > this.free(name)) return undefined;
    const devices = this.#chooseDevices(ask.get('gpu') ?? 0);
    if (devices === undefined) return undefined;
    const taken = { amounts: ask, devices };
    this.hold(taken);
    return taken;
  }

  /** Of what is asked for nothing more is given away. */
  close(ask: Amounts): void {
    for (const name of ask.keys()) this.#free.set(name, Math.min(0, this.free(name)));
  }

  /** Takes so many, or as many as fit. @returns how many did */
  takeUpTo(ask: Amounts, count: number): number {
    let taken = 0;
    while (taken < count && this.take(ask) !== undefined) taken += 1;
    return taken;
  }

  /** Whole devices must be free as a whole; a fraction goes where the least is left behind. */
  #chooseDevices(parts: number): readonly string[] | undefined {
    if (parts === 0) return [];
    if (parts >= PARTS) {
      const whole = [...this.#devices].filter(([, free]) => free >= PARTS).map(([id]) => id);
      const wanted = Math.ceil(parts / PARTS);
      return whole.length < wanted ? undefined : whole.slice(0, wanted);
    }
    const [best] = [...this.#devices].filter(([, free]) => free >= parts).sort(([, a], [, b]) => a - b);
    return best === undefined ? undefined : [best[0]];
  }

  #change({ amounts, devices }: Reservation, sign: 1 | -1): void {
    for (const [name, amount] of amounts) this.#free.set(name, this.free(name) + sign * amount);
    let left = amounts.get('gpu') ?? 0;
    for (const id of devices) {
      const parts = Math.min(PARTS, left);
      left -= parts;
      this.#devices.set(id, (this.#devices.get(id) ?? 0) + sign * parts);
    }
  }
}

/**
 * Why a replica waits: `asks 8 CPUs, 1 GPU; this machine offers 2, 0`, and where the machine has as much, but not now:
 * `asks 2 CPUs; of the 4 that this machine offers 1 is free`.
 * @param ledger as it is when there is no room
 */
export const reasonOf = (ask: Amounts, ledger: Ledger, offer: Offer): string => {
  const names = [...ask.keys()];
  const list = (amountOf: (name: string) => number) => names.map((name) => bareText(name, amountOf(name))).join(', ');
  const offered = list((name) => offer.amounts.get(name) ?? 0);
  if (!fitsAlone(ask, offer)) return `asks ${amountsText(ask)}; this machine offers ${offered}`;
  const free = list((name) => Math.max(0, ledger.free(name)));
  return `asks ${amountsText(ask)}; of the ${offered} that this machine offers ${free} ${names.length > 1 || free !== '1' ? 'are' : 'is'} free`;
};

/** Whether it could ever run on this machine. */
export const fitsAlone = (ask: Amounts, offer: Offer): boolean => new Ledger(offer).take(ask) !== undefined;
