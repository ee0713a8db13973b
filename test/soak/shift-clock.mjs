/** Loaded into every thread of a daemon with `--import`: its wall clock is off by the milliseconds in the file that SOAK_CLOCK names. */
import { readFileSync, statSync } from 'node:fs';

const file = process.env.SOAK_CLOCK;
const RealDate = Date;
const realNow = RealDate.now;
let offset = 0;
let looked = 0;
let stamp = 0;

const shifted = () => {
  const now = realNow();
  if (Math.abs(now - looked) > 10) {
    looked = now;
    const { mtimeMs } = statSync(file);
    if (mtimeMs !== stamp) {
      stamp = mtimeMs;
      offset = Number(readFileSync(file, 'utf8')) || 0;
    }
  }
  return now + offset;
};

globalThis.Date = class extends RealDate {
  constructor(...args) {
    if (args.length === 0) super(shifted());
    else super(...args);
  }

  static now() {
    return shifted();
  }
};
