/** Answers of shadows: compared with those that clients got, counted, and dropped. */
import type { Sink } from '../dispatch/pending.ts';
import type { ShadowCounts } from '../domain/snapshot.ts';
import { isAlike } from '../graph/alike.ts';
import { nodeOf, type WireValue } from '../protocol/value.ts';

/** Beyond so many bytes an answer is not compared: that would take time from the requests of others. */
const MAX_COMPARED_BYTES = 4 * 1024 * 1024;

const NONE: ShadowCounts = { same: 0, different: 0, failed: 0, skipped: 0 };

export class Shadows {
  readonly #counts = new Map<string, ShadowCounts>();

  /** By `application/step`. */
  get counts(): Readonly<Record<string, ShadowCounts>> {
    return Object.fromEntries(this.#counts);
  }

  of(name: string): ShadowCounts {
    return this.#counts.get(name) ?? NONE;
  }

  count(name: string, outcome: keyof ShadowCounts): void {
    const counts = this.of(name);
    this.#counts.set(name, { ...counts, [outcome]: counts[outcome] + 1 });
  }

  /** Steps that are no more are forgotten. */
  keep(names: ReadonlySet<string>): void {
    for (const name of this.#counts.keys()) if (!names.has(name)) this.#counts.delete(name);
  }

  /** @returns the sink for the shadow's answer, and whom to tell the answer that the client gets (undefined: none that can be compared) */
  compare(name: string, tolerance: number): { readonly sink: Sink; readonly answered: (value: WireValue | undefined) => void } {
    let theirs: WireValue | 'failed' | undefined;
    let ours: WireValue | undefined;
    let over = false;
    const end = (outcome: keyof ShadowCounts) => {
      if (over) return;
      over = true;
      theirs = undefined;
      ours = undefined;
      this.count(name, outcome);
    };
    const both = () => {
      if (theirs === undefined || ours === undefined) return;
      // Told only now: where the call fails too, what was asked may be to blame.
      if (theirs === 'failed') return end('failed');
      if (bytesOf(theirs) > MAX_COMPARED_BYTES || bytesOf(ours) > MAX_COMPARED_BYTES) return end('skipped');
      end(areAlike(ours, theirs, tolerance) ? 'same' : 'different');
    };
    return {
      sink: {
        result: (value) => {
          theirs = value;
          both();
        },
        error: () => {
          theirs = 'failed';
          both();
        },
        // Streams are not compared, and nobody takes what they bring.
        open: () => end('skipped'),
        chunk: () => {},
        end: () => {},
      },
      answered: (value) => {
        if (value === undefined) return end('skipped');
        ours = value;
        both();
      },
    };
  }
}

const bytesOf = ({ skeleton, segments }: WireValue): number =>
  segments.reduce((sum, { bytes }) => sum + bytes.byteLength, skeleton.length);

/** A shadow may answer anything: what cannot be read is different. */
const areAlike = (a: WireValue, b: WireValue, tolerance: number): boolean => {
  try {
    return isAlike(nodeOf(a), nodeOf(b), tolerance);
  } catch {
    return false;
  }
};
