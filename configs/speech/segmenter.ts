/** Decides where somebody begins and ends to speak, from how likely each window of sound is speech. Holds no more than one segment. */

/** In Hz: what both models take. */
export const RATE = 16_000;
/** Samples that are looked at together: 32 ms. */
export const WINDOW = 512;

const windows = (seconds: number): number => Math.ceil((seconds * RATE) / WINDOW);

/** A window is speech from here on … */
const SPEECH = 0.5;
/** … and silence below this; what lies between changes nothing, so that a voice that wavers is not cut into pieces. */
const SILENCE = 0.35;
/** A pause that ends a segment. Words are understood better with those around them, so a short segment waits for a long pause … */
const LONG_PAUSE = windows(1.2);
/** … and one that has this length takes the next that is no mere breath. */
const ENOUGH = windows(6);
const SHORT_PAUSE = windows(0.5);
/** Sound before and behind the speech: first and last letters are quiet. */
const MARGIN = windows(0.2);
/** What is shorter is a click or a cough. */
const LEAST = windows(0.1);
/** The recognizer has learned from pieces of a few seconds; this also bounds what is held. */
export const MOST = windows(15);
/** A segment that has become too long is cut where it is quietest, in its last part of this length. */
const LOOK_BACK = windows(5);

export interface Segment {
  readonly samples: Float32Array;
  /** Where it lies in the sound, in seconds. */
  readonly start: number;
  readonly end: number;
}

interface Heard {
  readonly sound: Float32Array;
  readonly probability: number;
}

export class Segmenter {
  /** Windows that have come. */
  #count = 0;
  /** The last ones before speech begins, at most `MARGIN`; then all of the segment. */
  #held: Heard[] = [];
  #isOpen = false;
  /** Windows of speech in the open segment, and how many it must have: what follows a cut is the end of something. */
  #speech = 0;
  #least = LEAST;
  /** Windows since the last that was speech, once one of them was silence. */
  #silence = 0;

  /**
   * @param sound of `WINDOW` samples; it is kept
   * @param probability that it is speech
   * @returns the segment that ends here, if one does
   */
  push(sound: Float32Array, probability: number): Segment | undefined {
    this.#count += 1;
    this.#held.push({ sound, probability });
    if (probability >= SPEECH) {
      this.#isOpen = true;
      this.#speech += 1;
      this.#silence = 0;
    } else if (this.#silence > 0 || probability < SILENCE) this.#silence += 1;
    if (!this.#isOpen) {
      if (this.#held.length > MARGIN) this.#held.shift();
      return undefined;
    }
    const pause = this.#held.length - this.#silence < ENOUGH ? LONG_PAUSE : SHORT_PAUSE;
    if (this.#silence >= pause) return this.#close(this.#held.length - this.#silence + MARGIN);
    return this.#held.length >= MOST ? this.#cut() : undefined;
  }

  /** What is open when the sound ends. */
  end(): Segment | undefined {
    return this.#isOpen ? this.#close(this.#held.length) : undefined;
  }

  /** How many samples the open segment has; 0: none is open. */
  get openSamples(): number {
    return this.#isOpen && this.#speech >= this.#least ? this.#held.length * WINDOW : 0;
  }

  /** What has come of the segment that is open: a copy. */
  get open(): Segment | undefined {
    return this.openSamples > 0 ? this.#segment(this.#held.length) : undefined;
  }

  #close(length: number): Segment | undefined {
    const segment = this.#speech >= this.#least ? this.#segment(length) : undefined;
    this.#held = this.#held.slice(Math.max(length, this.#held.length - MARGIN));
    this.#isOpen = false;
    this.#speech = 0;
    this.#least = LEAST;
    this.#silence = 0;
    return segment;
  }

  /** Somebody goes on speaking: what is behind the cut is the beginning of the next segment. */
  #cut(): Segment {
    let at = this.#held.length - 1;
    for (let index = at; index >= this.#held.length - LOOK_BACK; index--)
      if ((this.#held[index] as Heard).probability < (this.#held[at] as Heard).probability) at = index;
    const segment = this.#segment(at + 1);
    this.#held = this.#held.slice(at + 1);
    this.#speech = this.#held.filter(({ probability }) => probability >= SPEECH).length;
    this.#least = 1;
    return segment;
  }

  #segment(length: number): Segment {
    const samples = new Float32Array(length * WINDOW);
    for (let index = 0; index < length; index++) samples.set((this.#held[index] as Heard).sound, index * WINDOW);
    const first = this.#count - this.#held.length;
    return { samples, start: (first * WINDOW) / RATE, end: ((first + length) * WINDOW) / RATE };
  }
}
