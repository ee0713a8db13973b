/** The package as its users have it: what `npm pack` packs, unpacked into `node_modules` of a folder of theirs. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** Its dependencies are those of this repository, through links, so that nothing is fetched. @returns the program */
export const installInto = (folder: string): string => {
  const temporary = mkdtempSync(join(tmpdir(), 'sd-pack-'));
  try {
    // Without `prepack`: the build of this run is what is tested, and others use it meanwhile.
    const [packed] = JSON.parse(
      execFileSync('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', temporary], {
        cwd: ROOT,
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'ignore'],
      }),
    ) as [{ filename: string }];
    const modules = join(folder, 'node_modules');
    const home = join(modules, 'serve-daemon');
    mkdirSync(home, { recursive: true });
    execFileSync('tar', ['-xzf', join(temporary, packed.filename), '-C', home, '--strip-components=1']);
    for (const name of readdirSync(join(ROOT, 'node_modules')))
      if (!name.startsWith('.')) symlinkSync(join(ROOT, 'node_modules', name), join(modules, name));
    return join(home, 'bin', 'serve-daemon');
  } finally {
    rmSync(temporary, { recursive: true });
  }
};
