/** First step: bytes of an image file in, pixels out, for the detector and for cutting lines. */
import { HttpError, Tensor } from 'serve-daemon';
import sharp, { type Metadata } from 'sharp';
import { guessTextHeight } from './text-height.ts';

sharp.concurrency(1);
sharp.cache(false);

export interface DecodedPage {
  /** The image, upright by its EXIF orientation, made smaller only beyond `WORK_PIXELS`: uint8 [1, height, width, 3], RGB. */
  readonly pixels: Tensor;
  /** The same for the detector: uint8 [1, h, w, 3], h and w multiples of 32, scaled and framed by its own edge. */
  readonly detect: Tensor;
  readonly view: DetectView;
  readonly sent: SentImage;
}

/** Where the detector's picture shows the page. */
export interface DetectView {
  /** Pixels of `detect` for one of `pixels`. */
  readonly scale: readonly [x: number, y: number];
  /** Where in `detect` the first pixel of the page lies. */
  readonly offset: readonly [x: number, y: number];
}

/** The image as sent, after EXIF orientation. */
export interface SentImage {
  readonly width: number;
  readonly height: number;
  /** Its pixels for one of `pixels`. */
  readonly scale: readonly [x: number, y: number];
}

/** Larger images are refused before they are decoded. */
const MAX_PIXELS = 64e6;
/** Larger pages are made smaller: A4 at 250 dots per inch. */
const WORK_PIXELS = 6e6;
/** What the detector looks at, at most; its time is linear in it. */
const DETECT_PIXELS = 2.1e6;
/** The detector is shown letters of about this height (the small ones; pixels): less, and it overlooks some; more takes longer. */
const LETTER_HEIGHT = 11;
const ENLARGE = 2.5;
const REDUCE = 0.4;
/** The detector overlooks lines that touch the edge of its picture; pixels. */
const FRAME = 12;
const FORMATS = ['png', 'jpeg', 'webp', 'gif', 'tiff', 'heif'];

export class Page {
  async decode(body: Uint8Array): Promise<DecodedPage> {
    const metadata = await readMetadata(body);
    const { width, height } = metadata.autoOrient;
    const work = Math.min(1, Math.sqrt(WORK_PIXELS / (width * height)));
    const { data, info } = await sharp(body, { limitInputPixels: MAX_PIXELS, failOn: 'truncated' })
      .autoOrient()
      .resize(Math.max(1, Math.round(width * work)), Math.max(1, Math.round(height * work)), {
        fit: 'fill',
        fastShrinkOnLoad: true,
      })
      .flatten({ background: '#fff' })
      .toColourspace('srgb')
      .raw()
      .toBuffer({ resolveWithObject: true })
      .catch((cause: Error) => {
        throw new HttpError(
          400,
          `expected a whole PNG or JPEG image, got one that cannot be decoded: ${cause.message}`,
          {},
          { cause },
        );
      });
    const detect = await forDetector(data, info.width, info.height);
    const sent = { width, height, scale: [width / info.width, height / info.height] as const };
    return { pixels: new Tensor('uint8', [1, info.height, info.width, 3], data), ...detect, sent };
  }
}

/** @throws HttpError 400 when the bytes are no image that can be read here, 413 when it has too many pixels */
const readMetadata = async (body: Uint8Array): Promise<Metadata> => {
  const metadata =
    body.length === 0
      ? undefined
      : await sharp(body, { limitInputPixels: false })
          .metadata()
          .catch(() => undefined);
  if (!metadata || !FORMATS.includes(metadata.format))
    throw new HttpError(400, `expected a PNG or JPEG image, got ${metadata ? metadata.format : describe(body)}`);
  const { width, height } = metadata;
  if (width * height > MAX_PIXELS)
    throw new HttpError(413, `expected an image of at most ${MAX_PIXELS / 1e6} megapixels, got ${width} × ${height}`);
  return metadata;
};

const describe = (body: Uint8Array): string => {
  if (body.length === 0) return 'an empty body';
  const start = body.subarray(0, 64);
  const isText = start.every((byte) => byte === 9 || byte === 10 || byte === 13 || byte >= 32);
  return isText
    ? `text (${body.length} bytes)`
    : `${body.length} bytes that begin with ${Buffer.from(start.subarray(0, 4)).toString('hex')}`;
};

const forDetector = async (data: Buffer, width: number, height: number): Promise<Pick<DecodedPage, 'detect' | 'view'>> => {
  const letters = guessTextHeight({ data, width, height }) ?? LETTER_HEIGHT;
  const wanted = Math.min(ENLARGE, Math.max(REDUCE, LETTER_HEIGHT / letters));
  const ratio = Math.min(wanted, Math.sqrt(DETECT_PIXELS / (width * height)));
  const [w, h] = [Math.max(1, Math.round(width * ratio)), Math.max(1, Math.round(height * ratio))];
  const [fullW, fullH] = [w, h].map((extent) => Math.ceil((extent + 2 * FRAME) / 32) * 32) as [number, number];
  const [left, top] = [(fullW - w) >> 1, (fullH - h) >> 1];
  const resized = await sharp(data, { raw: { width, height, channels: 3 } })
    .resize(w, h, { fit: 'fill', kernel: 'linear' })
    .extend({ left, top, right: fullW - w - left, bottom: fullH - h - top, extendWith: 'copy' })
    .raw()
    .toBuffer();
  return {
    detect: new Tensor('uint8', [1, fullH, fullW, 3], resized),
    view: { scale: [w / width, h / height], offset: [left, top] },
  };
};
