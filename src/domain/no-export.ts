/** What is said of code that has no such export, whether its text or its module was looked at. */
import { nearest } from './nearest.ts';

/**
 * @param file  as messages name it
 * @param names that it has; `*`: others too, which are known when it runs
 */
export const noExport = (file: string, name: string, names: readonly string[]): string => {
  const known = names.filter((each) => each !== '*');
  const had = known.join(', ') || 'none';
  if (name === 'default' && known.length > 0) return `${file} has no default export; it has ${had}: name one behind a colon`;
  const near = nearest(name, known);
  return `${file} has no export \`${name}\`; it has ${had}${near === undefined ? '' : `; did you mean \`${near}\`?`}`;
};
