/** Another rate of samples, by a sinc that is cut off by a Kaiser window: what lies beyond the half of either rate is taken out, not folded back. */

/** Of the sinc, on each side: more is a steeper edge, and more work. */
const ZEROS = 24;
/** Of the Kaiser window: what is taken out is 80 dB lower. */
const BETA = 8;
/** How much of the band passes; the rest is the edge. */
const PASSED = 0.92;
/** Steps of the table between two zeros; between them it is drawn straight, which is off by less than -90 dB. */
const STEPS = 512;

/** Takes samples in pieces of any length; what comes out does not depend on where they were cut. */
export class Resampler {
  readonly #from: number;
  readonly #to: number;
  /** Zeros of the kernel for one sample of the input. */
  readonly #cutoff: number;
  /** How far the kernel reaches, in samples of the input. */
  readonly #reach: number;
  /** Samples that are still looked at; the first of them is number `#first` of the input. */
  #held = new Float32Array(0);
  #first = 0;
  /** How many have come. */
  #seen = 0;
  /** Where in the input the next sample of the output lies: `#at` + `#part` / `#to`, in whole numbers so that hours do not add up to a drift. */
  #at = 0;
  #part = 0;

  /** @param from @param to in Hz */
  constructor(from: number, to: number) {
    this.#from = from;
    this.#to = to;
    this.#cutoff = PASSED * Math.min(1, to / from);
    this.#reach = Math.ceil(ZEROS / this.#cutoff);
  }

  push(samples: Float32Array): Float32Array {
    if (this.#from === this.#to) return samples;
    const kept = Math.max(0, this.#at - this.#reach - this.#first);
    const held = new Float32Array(this.#held.length - kept + samples.length);
    held.set(this.#held.subarray(kept));
    held.set(samples, this.#held.length - kept);
    this.#held = held;
    this.#first += kept;
    this.#seen += samples.length;
    return this.#make(this.#seen - this.#reach);
  }

  /** What is left when the input has ended. */
  end(): Float32Array {
    if (this.#from === this.#to) return new Float32Array(0);
    const end = this.#seen;
    this.push(new Float32Array(0));
    return this.#make(end);
  }

  /** Every sample of the output that lies before a place in the input. */
  #make(before: number): Float32Array {
    const count = Math.max(0, Math.ceil(((before - this.#at) * this.#to - this.#part) / this.#from));
    const made = new Float32Array(count);
    for (let index = 0; index < count; index++) {
      made[index] = this.#sample();
      this.#part += this.#from;
      this.#at += Math.floor(this.#part / this.#to);
      this.#part %= this.#to;
    }
    return made;
  }

  #sample(): number {
    const place = this.#at + this.#part / this.#to;
    const from = Math.max(this.#at - this.#reach + 1, this.#first);
    const to = Math.min(this.#at + this.#reach, this.#first + this.#held.length - 1);
    let sum = 0;
    for (let at = from; at <= to; at++) {
      const step = Math.abs(place - at) * this.#cutoff * STEPS;
      const whole = Math.floor(step);
      if (whole >= ZEROS * STEPS) continue;
      const [here, next] = [KERNEL[whole] as number, KERNEL[whole + 1] as number];
      sum += (this.#held[at - this.#first] as number) * (here + (next - here) * (step - whole));
    }
    return sum * this.#cutoff;
  }
}

/** The modified Bessel function of order 0, as its series. */
const bessel = (x: number): number => {
  let [sum, term] = [1, 1];
  for (let k = 1; term > sum * 1e-12; k++) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
};

/** One half of the kernel, `STEPS` values from zero to zero. */
const KERNEL = Float64Array.from({ length: ZEROS * STEPS + 1 }, (_, index) => {
  const x = index / STEPS;
  const window = bessel(BETA * Math.sqrt(1 - (x / ZEROS) ** 2)) / bessel(BETA);
  return x === 0 ? 1 : (Math.sin(Math.PI * x) / (Math.PI * x)) * window;
});

export async function* resampled(samples: AsyncIterable<Float32Array>, from: number, to: number): AsyncGenerator<Float32Array> {
  const resampler = new Resampler(from, to);
  for await (const piece of samples) yield resampler.push(piece);
  yield resampler.end();
}
