/** What `npm run soak` is asked to do. Pure. */
import { parseArgs } from 'node:util';

export interface SoakOptions {
  /** Of the promises; empty: all of them. */
  readonly ids: readonly string[];
  /** Of the full size. */
  readonly scale: number;
  readonly sabotage: 'too' | 'no' | 'only';
}

/** @param titles of the promises, by id; an id may be of several words, each of which names it */
export const helpText = (titles: Readonly<Record<string, string>>): string => {
  const width = Math.max(...Object.keys(titles).map((id) => id.length));
  return `usage: npm run soak -- [R1 …] [--scale 0.1] [--no-sabotage | --sabotage-only]

Runs the promises that are named, or all, at their full size (hours in all), and then each of their sabotages at a small one, under which the
promise must be seen broken. One line of JSON for each run; the exit code is 1 when anything is not as it should be. Figures of time are
part of the verdict: nothing else should run on the machine.

  --scale <share>   of the full size: 0.1 sends a tenth of the requests
  --no-sabotage     without the sabotages
  --sabotage-only   without the promises themselves

${Object.entries(titles)
  .map(([id, title]) => `  ${id.padEnd(width)}  ${title}`)
  .join('\n')}`;
};

/** @returns undefined: help was asked for @throws Error with what is wrong, in a line */
export const optionsOf = (args: readonly string[], known: readonly string[]): SoakOptions | undefined => {
  const { values, positionals } = parseArgs({
    args: [...args],
    options: {
      help: { type: 'boolean', short: 'h' },
      scale: { type: 'string', default: '1' },
      'no-sabotage': { type: 'boolean' },
      'sabotage-only': { type: 'boolean' },
    },
    allowPositionals: true,
  });
  if (values.help === true) return undefined;
  const scale = Number(values.scale);
  if (!(scale > 0)) throw new Error(`expected --scale above 0, got ${values.scale}`);
  if (values['no-sabotage'] === true && values['sabotage-only'] === true)
    throw new Error('--no-sabotage and --sabotage-only together leave nothing to run');
  const words = known.flatMap((id) => id.split(' '));
  const unknown = positionals.filter((each) => !words.includes(each));
  if (unknown.length > 0) throw new Error(`there is no promise ${unknown.join(', ')}; there are ${words.join(', ')}`);
  return {
    ids: known.filter((id) => id.split(' ').some((word) => positionals.includes(word))),
    scale,
    sabotage: values['no-sabotage'] === true ? 'no' : values['sabotage-only'] === true ? 'only' : 'too',
  };
};
