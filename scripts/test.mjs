/** `npm test [files…]`: installs and builds what is missing, and runs every test. */
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { bin, build, ensureInstalled, ROOT, run } from './prepare.mjs';

ensureInstalled();
build();
// Makes the runner without the plugin that `.taprc` leaves out.
run(bin('tap'), ['build'], { stdio: 'ignore' });
const given = process.argv.slice(2);
const files =
  given.length > 0
    ? given
    : readdirSync(join(ROOT, 'test'), { recursive: true })
        .filter((name) => name.endsWith('.test.ts'))
        .map((name) => join('test', name))
        .sort();
const reporter = process.stdout.isTTY ? [] : ['--reporter=terse'];
const { status } = spawnSync(bin('tap'), ['run', ...reporter, ...files], { cwd: ROOT, stdio: 'inherit' });
process.exit(status ?? 1);
