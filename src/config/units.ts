/** Converts what a config says in seconds and sizes. */

const POWERS = ['K', 'M', 'G', 'T'];
const SIZE = /^(\d+(?:\.\d+)?) *([KMGT])(I?)B$/;

/** `64MiB`, `1 gb` or a number of bytes; undefined when it is neither. */
export const bytesOf = (size: unknown): number | undefined => {
  if (typeof size === 'number') return Math.round(size);
  if (typeof size !== 'string') return undefined;
  const [, amount, unit = '', binary] = SIZE.exec(size.toUpperCase()) ?? [];
  if (amount === undefined) return undefined;
  return Math.round(Number(amount) * (binary === 'I' ? 1024 : 1000) ** (POWERS.indexOf(unit) + 1));
};

/** To the microsecond, so that no rounding of the fraction shows (1.1 s is 1100 ms) and nothing above 0 becomes 0. */
export const millisOf = (seconds: number): number => (seconds === 0 ? 0 : Math.max(Math.round(seconds * 1e6), 1) / 1e3);
