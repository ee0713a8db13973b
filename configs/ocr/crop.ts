/** Cuts a turned rectangle out of the page, upright and at the size that a model wants. */
import type { Rect } from './geometry.ts';

/** Pixels of three bytes (RGB), row-major. */
export interface Raster {
  readonly data: Uint8Array;
  readonly width: number;
  readonly height: number;
}

/** Where the models were trained with zeros in normalized values. */
const GREY = 128;

/**
 * Samples `rect` into `height` rows of `width` pixels, bilinear; where the page is larger than that, each pixel is the mean of a
 * grid of samples. Beyond the page its edge goes on. Columns from `width` to `paddedWidth` are grey.
 * @returns `height * paddedWidth * 3` bytes
 */
export const cutOut = (page: Raster, rect: Rect, width: number, height: number, paddedWidth: number): Raster => {
  const out = new Uint8Array(height * paddedWidth * 3);
  if (paddedWidth > width) out.fill(GREY);
  const taps = Math.min(4, Math.max(1, Math.round(rect.across / height)));
  const [cos, sin] = [Math.cos(rect.angle), Math.sin(rect.angle)];
  const [stepU, stepV] = [rect.along / width / taps, rect.across / height / taps];
  const [ux, uy, vx, vy] = [cos * stepU, sin * stepU, -sin * stepV, cos * stepV];
  // The centre of the first sample; pixel centres lie at whole numbers from here on.
  const originX = rect.x - (cos * rect.along - sin * rect.across) / 2 + (ux + vx) / 2 - 0.5;
  const originY = rect.y - (sin * rect.along + cos * rect.across) / 2 + (uy + vy) / 2 - 0.5;
  const { data, width: pageWidth } = page;
  const [lastX, lastY] = [page.width - 1, page.height - 1];
  const weight = 1 / (taps * taps);
  for (let row = 0; row < height; row++) {
    let at = row * paddedWidth * 3;
    for (let column = 0; column < width; column++, at += 3) {
      let red = 0.5;
      let green = 0.5;
      let blue = 0.5;
      for (let tap = 0; tap < taps * taps; tap++) {
        const u = taps === 1 ? column : column * taps + (tap % taps);
        const v = taps === 1 ? row : row * taps + Math.floor(tap / taps);
        let x = originX + u * ux + v * vx;
        let y = originY + u * uy + v * vy;
        x = x < 0 ? 0 : x > lastX ? lastX : x;
        y = y < 0 ? 0 : y > lastY ? lastY : y;
        const left = x | 0;
        const top = y | 0;
        const right = x - left;
        const bottom = y - top;
        const a = (top * pageWidth + left) * 3;
        const b = left < lastX ? a + 3 : a;
        const down = top < lastY ? pageWidth * 3 : 0;
        const c = a + down;
        const d = b + down;
        const wa = (1 - right) * (1 - bottom) * weight;
        const wb = right * (1 - bottom) * weight;
        const wc = (1 - right) * bottom * weight;
        const wd = right * bottom * weight;
        red += wa * (data[a] as number) + wb * (data[b] as number) + wc * (data[c] as number) + wd * (data[d] as number);
        green +=
          wa * (data[a + 1] as number) +
          wb * (data[b + 1] as number) +
          wc * (data[c + 1] as number) +
          wd * (data[d + 1] as number);
        blue +=
          wa * (data[a + 2] as number) +
          wb * (data[b + 2] as number) +
          wc * (data[c + 2] as number) +
          wd * (data[d + 2] as number);
      }
      out[at] = red;
      out[at + 1] = green;
      out[at + 2] = blue;
    }
  }
  return { data: out, width: paddedWidth, height };
};

/** Turns the first `width` columns by half a turn in place; the padding stays where it is. */
export const turnUpsideDown = ({ data, width: paddedWidth, height }: Raster, width: number): void => {
  for (let top = 0, bottom = height - 1; top <= bottom; top++, bottom--) {
    for (let column = 0; column < (top === bottom ? width >> 1 : width); column++) {
      const a = (top * paddedWidth + column) * 3;
      const b = (bottom * paddedWidth + width - 1 - column) * 3;
      for (let channel = 0; channel < 3; channel++) {
        const kept = data[a + channel] as number;
        data[a + channel] = data[b + channel] as number;
        data[b + channel] = kept;
      }
    }
  }
};
