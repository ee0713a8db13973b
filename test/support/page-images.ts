/**
 * Draws pages of printed English with words at random, and says what stands on them. Letters are drawn as outlines of fonts
 * that come as npm packages, so that the pages look the same on a machine without fonts.
 */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import opentype, { type Font, type Glyph } from 'opentype.js';
import sharp from 'sharp';

export interface PageSpec {
  readonly name: string;
  readonly seed: number;
  readonly font: FontName;
  /** Pixels of the font's em. */
  readonly size: number;
  readonly width: number;
  readonly height: number;
  readonly columns?: number;
  /** A line over all columns, half as large again. */
  readonly heading?: boolean;
  /** At most, per column. */
  readonly lines?: number;
  /** Ems from line to line. */
  readonly leading?: number;
  /** Degrees clockwise; 180 is upside down. */
  readonly tilt?: number;
  /** How much narrower the far edge of the page is than the near one, 0 to 0.3. */
  readonly perspective?: number;
  readonly ink?: string;
  readonly paper?: string;
  /** A second colour of paper, at the far corner. */
  readonly shade?: string;
  /** Standard deviation of the noise, of 255. */
  readonly noise?: number;
  /** Gaussian blur, pixels. */
  readonly blur?: number;
  /** Quality of JPEG; PNG when left out. */
  readonly jpeg?: number;
}

export interface PageImage {
  readonly spec: PageSpec;
  /** PNG or JPEG. */
  readonly bytes: Buffer;
  /** In the order of reading. */
  readonly lines: readonly string[];
}

const FONTS = {
  sans: 'dejavu-fonts-ttf/ttf/DejaVuSans.ttf',
  sansBold: 'dejavu-fonts-ttf/ttf/DejaVuSans-Bold.ttf',
  condensed: 'dejavu-fonts-ttf/ttf/DejaVuSansCondensed.ttf',
  serif: 'dejavu-fonts-ttf/ttf/DejaVuSerif.ttf',
  serifBold: 'dejavu-fonts-ttf/ttf/DejaVuSerif-Bold.ttf',
  mono: 'dejavu-fonts-ttf/ttf/DejaVuSansMono.ttf',
  arimo: '@expo-google-fonts/arimo/400Regular/Arimo_400Regular.ttf',
  arimoBold: '@expo-google-fonts/arimo/700Bold/Arimo_700Bold.ttf',
  tinos: '@expo-google-fonts/tinos/400Regular/Tinos_400Regular.ttf',
  tinosBold: '@expo-google-fonts/tinos/700Bold/Tinos_700Bold.ttf',
  tinosItalic: '@expo-google-fonts/tinos/400Regular_Italic/Tinos_400Regular_Italic.ttf',
} as const;

export type FontName = keyof typeof FONTS;

/** Even in [0, 1). */
export type Random = () => number;

/** Mulberry32. */
export const seededRandom = (seed: number): Random => {
  let counter = seed >>> 0;
  return () => {
    counter = (counter + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(counter ^ (counter >>> 15), counter | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
};

const WORDS =
  `a able about above across act after again against age ago air all almost along also always am among an and animal another answer any
anyone appear apple are area arm around as ask at away baby back bad ball bank be bear beauty became because bed been before began behind below
best better between big bird black blue boat body book both bottom box boy bread break bridge bright bring brother brought build busy but buy by
call came can car care carry case catch caught cause center certain change chart check child city class clean clear close cloud coast cold color
come common complete contain corner correct could country course cover cross cry cut dark day decide deep develop did differ dinner direct distance
do doctor does dog done door doubt down draw dream dress drive dry during each early earth east easy eat edge egg eight either end energy engine
enough equal even evening ever every exact example eye face fact fall family far farm fast father feel feet few field fifty figure fill final find
fine fire first fish five flow flower fly follow food foot for force forest form found four free fresh friend from front fruit full game garden gave
general get girl give glass go gold good govern great green ground group grow guess had half hand happen happy hard has have he head hear heart heat
heavy held help her here high hill him his history hold hole home horse hot hour house how huge hundred hunt hurry I ice idea if imagine in inch
include industry inside instant instrument interest iron is island it job join joy jump just keep kept key kind king knew know lady lake land
language large last late laugh law lay lead learn least leave left leg less letter level lie life lift light like line liquid list listen little
live locate log long look lost lot loud love low machine made main major make man many map mark market matter may me mean measure meet melody men
metal method middle might mile milk million mind minute miss modern moment money month moon more morning most mother motion mountain mouth move much
multiply music must my name nation natural near necessary neck need neighbor never new next night nine no noise noon nor north nose note nothing
notice noun now number object observe ocean of off offer office often oil old on once one only open opposite or order organ other our out over own
oxygen page paint pair paper paragraph part particular party pass past path pattern pay people perhaps period person phrase picture piece place
plain plan plane plant play please plural point poor populate position possible post pound power practice prepare present press pretty print
probable problem process produce product proper property protect prove provide pull push put quart question quick quiet quite race radio rain raise
ran range rather reach read ready real reason receive record red region remember repeat reply represent require rest result rich ride right ring
rise river road rock roll room root rope rose round row rub rule run safe said sail salt same sand sat save saw say scale school science score sea
season second section see seed seem segment select self sell send sense sent separate serve set settle seven several shall shape share sharp she
sheet shell shine ship shoe shop shore short should shoulder shout show side sight sign silent silver similar simple since sing single sister sit
six size skill skin sky sleep slip slow small smell smile snow so soft soil soldier solution solve some son song soon sound south space speak
special speech speed spell spend spoke spot spread spring square stand star start state station stay stead steam steel step stick still stone stood
stop store story straight strange stream street stretch string strong student study subject substance subtract success such sudden suffix sugar
suggest suit summer sun supply support sure surface surprise swim symbol system table tail take talk tall teach team teeth tell temperature ten term
test than thank that the their them then there these they thick thin thing think third this those though thought thousand three through throw thus
tie time tiny tire to together told tone too took tool top total touch toward town track trade train travel tree triangle trip trouble truck true try
tube turn twenty two type under unit until up us use usual valley value vary verb very view village visit voice vowel wait walk wall want war warm
was wash watch water wave way we wear weather week weight well went were west what wheel when where whether which while white who whole whose why
wide wife wild will win wind window wing winter wire wish with woman wonder wood word work world would write written wrong yard year yellow yes yet
you young your`.split(/\s+/);

const pick = <T>(items: readonly T[], random: Random): T => items[Math.floor(random() * items.length)] as T;

/** Words without end, with capitals, commas, full stops and numbers among them. */
export function* sentence(random: Random): Generator<string, never> {
  let begins = random() < 0.5;
  for (;;) {
    const number = random() < 0.05 ? String(Math.floor(random() * 10 ** (1 + Math.floor(random() * 4)))) : undefined;
    const word = number ?? pick(WORDS, random);
    const ends = random();
    const mark = ends < 0.06 ? '.' : ends < 0.12 ? ',' : ends < 0.13 ? '?' : ends < 0.14 ? ';' : '';
    yield `${begins ? word.charAt(0).toUpperCase() + word.slice(1) : word}${mark}`;
    begins = mark === '.' || mark === '?' || random() < 0.03;
  }
}

const { resolve } = createRequire(import.meta.url);
const loaded = new Map<FontName, Font>();
const fontOf = (name: FontName): Font => {
  let font = loaded.get(name);
  if (!font) {
    const file = readFileSync(resolve(FONTS[name]));
    font = opentype.parse(file.buffer.slice(file.byteOffset, file.byteOffset + file.length));
    loaded.set(name, font);
  }
  return font;
};

export const drawPage = async (spec: PageSpec): Promise<PageImage> => {
  const random = seededRandom(spec.seed);
  const { svg, lines } = layOut(spec, random);
  let image = sharp(Buffer.from(svg)).flatten({ background: spec.paper ?? '#fff' });
  if (spec.blur) image = image.blur(spec.blur);
  if (spec.noise) {
    const { data, info } = await image.raw().toBuffer({ resolveWithObject: true });
    addNoise(data, info.channels, spec.noise, random);
    image = sharp(data, { raw: { width: info.width, height: info.height, channels: info.channels } });
  }
  const bytes = await (spec.jpeg ? image.jpeg({ quality: spec.jpeg }) : image.png()).toBuffer();
  return { spec, bytes, lines };
};

const layOut = (spec: PageSpec, random: Random): { svg: string; lines: string[] } => {
  const { width, height, size, columns = 1, leading = 1.5, tilt = 0 } = spec;
  const font = fontOf(spec.font);
  // A tilted page needs a margin that its corners can turn into.
  const margin = 1.2 * size + Math.abs(Math.sin((tilt * Math.PI) / 180)) * Math.max(width, height) * 0.5;
  const gutter = 2.2 * size;
  const columnWidth = (width - 2 * margin - (columns - 1) * gutter) / columns;
  const lines: string[] = [];
  const paths: string[] = [];
  const write = (text: string, x: number, y: number, em: number): void => {
    lines.push(text);
    paths.push(outline(font, text, x, y, em, spec));
  };
  let top = margin + size;
  if (spec.heading) {
    write(fill(font, 1.5 * size, width - 2 * margin, random), margin, top + 0.4 * size, 1.5 * size);
    top += 2.4 * size;
  }
  for (let column = 0; column < columns; column++) {
    for (let row = 0; row < (spec.lines ?? Infinity); row++) {
      const y = top + row * leading * size;
      if (y > height - margin) break;
      write(fill(font, size, columnWidth, random), margin + column * (columnWidth + gutter), y, size);
    }
  }
  const shade = `<linearGradient id="p" x2="1" y2="1"><stop stop-color="${spec.paper ?? '#fff'}"/><stop offset="1" stop-color="${spec.shade ?? spec.paper ?? '#fff'}"/></linearGradient>`;
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}"><defs>${shade}</defs><rect width="100%" height="100%" fill="url(#p)"/><path fill="${spec.ink ?? '#000'}" d="${paths.join('')}"/></svg>`;
  return { svg, lines };
};

/** As many words as fit, now and then one less. */
const fill = (font: Font, em: number, width: number, random: Random): string => {
  const words = sentence(random);
  let text = words.next().value;
  for (;;) {
    const longer = `${text} ${words.next().value}`;
    if (widthOf(font, longer, em) > width * (random() < 0.1 ? 0.7 : 1)) return text;
    text = longer;
  }
};

/** Path data of a line of text, put through the page's tilt and perspective. */
const outline = (font: Font, text: string, x: number, y: number, em: number, spec: PageSpec): string => {
  const angle = ((spec.tilt ?? 0) * Math.PI) / 180;
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
  const at = (px: number, py: number): string => {
    let [u, v] = [px - spec.width / 2, py - spec.height / 2];
    const nearness = 1 / (1 + (spec.perspective ?? 0) * (0.5 - py / spec.height));
    [u, v] = [u * nearness, v * nearness];
    return `${(u * cos - v * sin + spec.width / 2).toFixed(2)} ${(u * sin + v * cos + spec.height / 2).toFixed(2)}`;
  };
  const parts: string[] = [];
  for (const { glyph, offset } of place(font, text)) {
    for (const command of glyph.getPath(x + offset * em, y, em).commands) {
      if (command.type === 'Z') parts.push('Z');
      else if (command.type === 'Q') parts.push(`Q${at(command.x1, command.y1)} ${at(command.x, command.y)}`);
      else if (command.type === 'C')
        parts.push(`C${at(command.x1, command.y1)} ${at(command.x2, command.y2)} ${at(command.x, command.y)}`);
      else parts.push(`${command.type}${at(command.x, command.y)}`);
    }
  }
  return parts.join('');
};

/** Glyph by glyph, with kerning; offsets in ems. The library's own layout stops at features of fonts that it does not know. */
const place = (font: Font, text: string): { glyph: Glyph; offset: number }[] => {
  let offset = 0;
  let last: Glyph | undefined;
  return [...text].map((character) => {
    const glyph = font.charToGlyph(character);
    if (last) offset += font.getKerningValue(last, glyph) / font.unitsPerEm;
    const placed = { glyph, offset };
    offset += (glyph.advanceWidth ?? 0) / font.unitsPerEm;
    last = glyph;
    return placed;
  });
};

const widthOf = (font: Font, text: string, em: number): number => em * (place(font, `${text}|`).at(-1)?.offset ?? 0);

/** The same value on all channels of a pixel, near enough to normal: the sum of four even ones. */
const addNoise = (data: Buffer, channels: number, deviation: number, random: Random): void => {
  const spread = deviation * Math.sqrt(3);
  for (let at = 0; at < data.length; at += channels) {
    const noise = (random() + random() + random() + random() - 2) * spread;
    for (let channel = 0; channel < channels; channel++)
      data[at + channel] = Math.min(255, Math.max(0, (data[at + channel] ?? 0) + noise));
  }
};
