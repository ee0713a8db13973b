/** Ids for requests that come without one: UUIDs of version 4, made many at a time. One by one they cost as much as a request's queueing. */
import { randomFillSync } from 'node:crypto';

const AT_ONCE = 64;
const ID_CHARS = 36;
const HEX = Buffer.from('0123456789abcdef');
const DASH = 0x2d;
/** Of the sixteen bytes, those before which a dash stands. */
const DASHES: ReadonlySet<number> = new Set([4, 6, 8, 10]);

const random = Buffer.alloc(AT_ONCE * 16);
const text = Buffer.alloc(AT_ONCE * ID_CHARS);
let ids = '';
let next = AT_ONCE;

const makeMore = (): void => {
  randomFillSync(random);
  let to = 0;
  for (let from = 0; from < random.length; from++) {
    const at = from % 16;
    let byte = random[from] as number;
    if (at === 6) byte = (byte & 0x0f) | 0x40;
    else if (at === 8) byte = (byte & 0x3f) | 0x80;
    if (DASHES.has(at)) text[to++] = DASH;
    text[to++] = HEX[byte >> 4] as number;
    text[to++] = HEX[byte & 15] as number;
  }
  ids = text.toString('latin1');
  next = 0;
};

/** Visible ASCII, and fit for a header as it is. */
export const newRequestId = (): string => {
  if (next === AT_ONCE) makeMore();
  const from = next++ * ID_CHARS;
  return ids.slice(from, from + ID_CHARS);
};
