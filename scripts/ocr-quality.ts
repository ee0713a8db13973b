/**
 * Prints how well the OCR example reads pages drawn at random: `node --import tsx scripts/ocr-quality.ts [--package] [--more N] [--show] [--samples FOLDER]`.
 * `--package` lets the npm package @gutenye/ocr-node read them, too; `--more` draws N pages of random make besides the test set;
 * `--show` prints the lines that differ; `--samples` only writes the two pages of configs/ocr/samples.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { createDirectOcr } from '../configs/ocr/direct.ts';
import { drawPage, type FontName, type PageImage, type PageSpec, seededRandom } from '../test/support/page-images.ts';

const page = (name: string, seed: number, font: FontName, size: number, rest: Partial<PageSpec> = {}): PageSpec => ({
  name,
  seed,
  font,
  size,
  width: 800,
  height: 300,
  ...rest,
});

/** Pages that the tests read. */
export const TEST_PAGES: readonly PageSpec[] = [
  page('plain sans 18', 1, 'sans', 18, { width: 640, height: 320 }),
  page('plain serif 18', 2, 'tinos', 18, { width: 640, height: 320 }),
  page('plain sans 24', 3, 'arimo', 24),
  page('plain serif 24', 4, 'serif', 24),
  page('bold 30', 5, 'sansBold', 30),
  page('italic 28', 6, 'tinosItalic', 28),
  page('large 44', 7, 'tinos', 44, { height: 520 }),
  page('mono 22', 8, 'mono', 22),
  page('tilted +6', 9, 'sans', 26, { tilt: 6, height: 440 }),
  page('tilted -6', 10, 'tinos', 28, { tilt: -6, height: 440 }),
  page('tilted +3 noisy', 11, 'serif', 22, { tilt: 3, noise: 14, height: 420 }),
  page('light on dark', 12, 'arimo', 24, { ink: '#f2f2f2', paper: '#1b2230' }),
  page('yellow on blue', 13, 'sansBold', 26, { ink: '#ffe680', paper: '#1d3f8f' }),
  page('grey on grey', 14, 'serif', 24, { ink: '#777', paper: '#ddd' }),
  page('noisy', 15, 'tinosBold', 26, { noise: 28, paper: '#e8e4da' }),
  page('poor jpeg', 16, 'sans', 22, { jpeg: 25 }),
  page('poor jpeg serif', 17, 'tinos', 26, { jpeg: 20, noise: 8 }),
  page('blurred', 18, 'arimo', 26, { blur: 1.3 }),
  page('upside down', 19, 'serif', 24, { tilt: 180 }),
  page('upside down and tilted', 20, 'arimo', 26, { tilt: 184, height: 420 }),
  page('two columns', 21, 'tinos', 20, { columns: 2, heading: true, width: 900, height: 420 }),
  page('two columns upside down', 22, 'condensed', 20, { columns: 2, width: 900, height: 320, tilt: 180, jpeg: 50 }),
  page('three columns', 23, 'arimo', 18, { columns: 3, width: 960, height: 280 }),
  page('photographed', 24, 'tinos', 32, {
    width: 1000,
    height: 700,
    tilt: -2,
    perspective: 0.15,
    paper: '#efe9dc',
    shade: '#b8b0a0',
    noise: 7,
    jpeg: 70,
  }),
];

const SAMPLES: readonly PageSpec[] = [
  page('page', 101, 'tinos', 30, {
    width: 1000,
    height: 720,
    tilt: -2.5,
    perspective: 0.15,
    heading: true,
    paper: '#f1ebdf',
    shade: '#b9b1a2',
    noise: 5,
    jpeg: 75,
  }),
  page('upside-down', 102, 'serif', 22, { width: 760, height: 400, tilt: 180, ink: '#223' }),
];

const INKS = [
  ['#000', '#fff'],
  ['#222', '#f4f0e6'],
  ['#fff', '#000'],
  ['#eee', '#24406b'],
  ['#666', '#d0d0d0'],
  ['#7a1020', '#ffe9c9'],
  ['#105030', '#c8e6d0'],
  ['#ffd54a', '#3a2a55'],
] as const;
const FONTS: readonly FontName[] = [
  'sans',
  'sansBold',
  'condensed',
  'serif',
  'serifBold',
  'mono',
  'arimo',
  'arimoBold',
  'tinos',
  'tinosBold',
  'tinosItalic',
];

/** A page of random make. */
export const randomPage = (seed: number): PageSpec => {
  const random = seededRandom(seed * 7919);
  const choose = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)] as T;
  const [ink, paper] = choose(INKS);
  const size = 18 + Math.floor(random() * 27);
  const columns = size < 26 && random() < 0.3 ? 2 : 1;
  const upside = random() < 0.15 ? 180 : 0;
  return {
    name: `random ${seed}`,
    seed,
    font: choose(FONTS),
    size,
    width: 700 + Math.floor(random() * 500),
    height: 350 + Math.floor(random() * 500),
    columns,
    heading: random() < 0.3,
    leading: 1.3 + random() * 0.6,
    tilt: upside + (random() < 0.5 ? 0 : random() * 12 - 6),
    ink,
    paper,
    ...(random() < 0.3 ? { noise: 5 + random() * 20 } : {}),
    ...(random() < 0.3 ? { jpeg: 20 + Math.floor(random() * 60) } : {}),
    ...(random() < 0.2 ? { blur: 0.5 + random() } : {}),
  };
};

export interface Score {
  /** Characters of the truth, without spaces, and how many edits away the answer is from it. */
  readonly characters: number;
  readonly errors: number;
  /** Words of the truth, and how many of them the answer has, in whatever order. */
  readonly words: number;
  readonly wordsRight: number;
}

export const scoreOf = (truth: readonly string[], answer: readonly string[]): Score => {
  const letters = (lines: readonly string[]): string => lines.join('').replace(/\s+/g, '');
  const words = (lines: readonly string[]): string[] => lines.join(' ').split(/\s+/).filter(Boolean);
  const left = new Map<string, number>();
  for (const word of words(answer)) left.set(word, (left.get(word) ?? 0) + 1);
  let wordsRight = 0;
  for (const word of words(truth)) {
    const count = left.get(word) ?? 0;
    if (count > 0) wordsRight++;
    left.set(word, count - 1);
  }
  return {
    characters: letters(truth).length,
    errors: Math.min(letters(truth).length, editDistance(letters(truth), letters(answer))),
    words: words(truth).length,
    wordsRight,
  };
};

/** Levenshtein. */
export const editDistance = (a: string, b: string): number => {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++)
      next.push(
        Math.min((row[j] as number) + 1, (next[j - 1] as number) + 1, (row[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1)),
      );
    row = next;
  }
  return row[b.length] as number;
};

export const total = (scores: readonly Score[]): Score =>
  scores.reduce((sum, score) => ({
    characters: sum.characters + score.characters,
    errors: sum.errors + score.errors,
    words: sum.words + score.words,
    wordsRight: sum.wordsRight + score.wordsRight,
  }));

export type ReadPage = (image: PageImage) => Promise<string[]>;

/** The npm package with its own models and settings. It reads files. */
export const openPackage = async (): Promise<{ read: ReadPage; close(): Promise<void> }> => {
  const { default: Ocr } = await import('@gutenye/ocr-node');
  const ocr = await Ocr.create();
  const folder = await mkdtemp(join(tmpdir(), 'ocr-quality-'));
  return {
    read: async ({ bytes, spec }) => {
      const file = join(folder, spec.jpeg ? 'page.jpg' : 'page.png');
      await writeFile(file, bytes);
      const lines: readonly { readonly text: string }[] = await ocr.detect(file);
      return lines.map(({ text }) => text);
    },
    close: () => rm(folder, { recursive: true }),
  };
};

const percent = (part: number, whole: number): string => `${((100 * part) / whole).toFixed(2).padStart(6)} %`;
const describe = (score: Score, ms: number): string =>
  `${percent(score.characters - score.errors, score.characters)} of characters  ${percent(score.wordsRight, score.words)} of words  ${ms.toFixed(0).padStart(5)} ms`;

const main = async (): Promise<void> => {
  const { values } = parseArgs({
    options: {
      package: { type: 'boolean' },
      more: { type: 'string', default: '0' },
      show: { type: 'boolean' },
      samples: { type: 'string' },
    },
  });
  if (values.samples) return await writeSamples(values.samples);
  const specs = [...TEST_PAGES, ...Array.from({ length: Number(values.more) }, (_, i) => randomPage(i + 1))];
  const ours = await createDirectOcr();
  const readers: [string, ReadPage][] = [
    ['direct', async ({ bytes }) => (await ours.recognize(bytes)).lines.map(({ text }) => text)],
  ];
  const peer = values.package ? await openPackage() : undefined;
  if (peer) readers.push(['package', peer.read]);
  const scores = readers.map((): Score[] => []);
  const times = readers.map(() => 0);
  for (const spec of specs) {
    const image = await drawPage(spec);
    for (const [i, [name, read]] of readers.entries()) {
      const start = performance.now();
      const answer = await read(image);
      const ms = performance.now() - start;
      const score = scoreOf(image.lines, answer);
      scores[i]?.push(score);
      times[i] = (times[i] ?? 0) + ms;
      console.log(`${spec.name.padEnd(26)} ${name.padEnd(8)} ${describe(score, ms)}`);
      if (values.show && i === 0 && (score.errors > 0 || score.wordsRight < score.words)) showDifferences(image.lines, answer);
    }
  }
  for (const [i, [name]] of readers.entries())
    console.log(`${`all ${specs.length}`.padEnd(26)} ${name.padEnd(8)} ${describe(total(scores[i] ?? []), times[i] ?? 0)}`);
  await peer?.close();
  await ours.close();
};

const writeSamples = async (folder: string): Promise<void> => {
  for (const spec of SAMPLES)
    await writeFile(join(folder, `${spec.name}.${spec.jpeg ? 'jpg' : 'png'}`), (await drawPage(spec)).bytes);
};

const showDifferences = (truth: readonly string[], answer: readonly string[]): void => {
  for (const line of truth) if (!answer.includes(line)) console.log(`    - ${line}`);
  for (const line of answer) if (!truth.includes(line)) console.log(`    + ${line}`);
};

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await main();
