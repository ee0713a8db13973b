/** Where this package is to be found from a folder of the user's. */
import { existsSync, realpathSync } from 'node:fs';
import { dirname, join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';

export const PACKAGE = fileURLToPath(new URL('../..', import.meta.url));

/** Where an editor finds the package from a folder. */
export interface Installed {
  /** Relative, with slashes, beginning with a dot; absolute where the two have no folder in common. */
  readonly path: string;
  /** `import 'serve-daemon'` leads there by itself. */
  readonly resolves: boolean;
}

/**
 * The `node_modules/serve-daemon` that Node finds from the folder, where it is this very package (also through a link); else the package
 * itself, as with a global installation.
 */
export const installedFrom = (folder: string, packageFolder: string): Installed => {
  const self = realpath(packageFolder);
  for (let at = folder; ; at = dirname(at)) {
    const candidate = join(at, 'node_modules', 'serve-daemon');
    if (existsSync(candidate) && realpath(candidate) === self)
      return { path: dotted(relative(folder, candidate)), resolves: true };
    if (dirname(at) === at) break;
  }
  return { path: dotted(relative(folder, self)), resolves: false };
};

/** A path as editors and import paths have it. */
export const dotted = (path: string): string => {
  const slashed = path.split(sep).join('/') || '.';
  return slashed.startsWith('.') || /^([A-Za-z]:)?\//.test(slashed) ? slashed : `./${slashed}`;
};

/** A folder that is about to be made stands where its parent really is. */
export const realpath = (path: string): string => {
  if (existsSync(path)) return realpathSync(path);
  return dirname(path) === path ? path : join(realpath(dirname(path)), path.slice(dirname(path).length));
};
