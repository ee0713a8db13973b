/** Last step: characters out of the recognizer's answers, lines in the order in which a person reads them. */
import { readFileSync } from 'node:fs';
import type { UprightLine, Widened } from './cropper.ts';
import { decodeSteps, type Letter, type Steps } from './ctc.ts';
import { cornersOf, foldAngle, type Point, type Rect, weightedMedian } from './geometry.ts';
import { type ReadLine, readingOrder } from './order.ts';
import type { SentImage } from './page.ts';
import { splitWords } from './spaces.ts';
import { narrow, spell } from './text.ts';

export interface Answer {
  /** In the order of reading on the upright page. */
  readonly lines: readonly {
    readonly text: string;
    /** Mean probability of its characters. */
    readonly confidence: number;
    /** Clockwise from the corner where reading begins, in pixels of the image as sent. */
    readonly box: readonly Point[];
  }[];
  /** Direction of reading on the image as sent, in degrees clockwise of left to right; 180 is upside down. */
  readonly angle: number;
}

export interface Reading {
  readonly sent: SentImage;
  readonly lines: readonly UprightLine[];
  /** Of each line. */
  readonly read: readonly Steps[];
  readonly widened: Widened['lines'];
  /** Of each widened line. */
  readonly again: readonly Steps[];
}

/** Lines less certain are more often texture than text. */
const MIN_CONFIDENCE = 0.5;

export class Reader {
  readonly #characters: readonly string[];

  /** @param args `characters`: file of the recognizer's classes, one per line; relative to this file */
  constructor(args: { characters: string }) {
    this.#characters = [
      ...readFileSync(new URL(args.characters, import.meta.url), 'utf8')
        .replace(/\n$/, '')
        .split('\n'),
      ' ',
    ];
  }

  /** Of two readings of a line the surer one counts. */
  assemble({ sent, lines, read, widened, again }: Reading): Answer {
    const second = new Map(widened.map(({ line, ink }, i) => [line, { steps: again[i] as Steps, ink }]));
    const found = lines.flatMap((line, i): ReadLine[] => {
      const readings = [{ steps: read[i] as Steps, ink: line.ink }, second.get(i) ?? []]
        .flat()
        .map((reading) => this.#read(reading));
      const { text, confidence } = readings.reduce((best, other) => (other.confidence > best.confidence ? other : best));
      return text === '' || confidence < MIN_CONFIDENCE ? [] : [{ text, confidence, rect: line.rect, withPage: line.withPage }];
    });
    const angle = pageAngle(found);
    return {
      lines: readingOrder(found, angle).map(({ text, confidence, rect }) => ({
        text,
        confidence: Math.round(confidence * 1e4) / 1e4,
        box: boxOf(rect, sent),
      })),
      angle: Math.round((((angle * 180) / Math.PI + 360) % 360) * 10) / 10,
    };
  }

  #read({ steps, ink }: { steps: Steps; ink: Uint8Array }): { text: string; confidence: number } {
    const letters = narrow(decodeSteps(steps, this.#characters));
    return { text: splitWords(letters, steps, ink).map(spell).join(' '), confidence: confidenceOf(letters) };
  }
}

const confidenceOf = (letters: readonly Letter[]): number =>
  letters.length === 0 ? 0 : letters.reduce((sum, { probability }) => sum + probability, 0) / letters.length;

/** Direction of the lines along the page, long ones counting more. */
const pageAngle = (lines: readonly ReadLine[]): number => {
  const along = lines.filter(({ withPage }) => withPage);
  const base = along[0]?.rect.angle ?? 0;
  const off =
    weightedMedian(along.map(({ rect }) => ({ value: foldAngle(rect.angle - base, 2 * Math.PI), weight: rect.along }))) ?? 0;
  return base + off;
};

const boxOf = (rect: Rect, { width, height, scale }: SentImage): Point[] =>
  cornersOf(rect).map(([x, y]) => [within(x * scale[0], width), within(y * scale[1], height)]);

const within = (value: number, extent: number): number => Math.min(extent, Math.max(0, Math.round(value)));
