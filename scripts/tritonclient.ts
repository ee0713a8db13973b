/**
 * `npm run build && npx tsx scripts/tritonclient.ts`: runs tritonclient, as PyPI has it, against a daemon on each HTTP driver. Needs python3 with pip and PyPI; where one
 * of them is absent it says so and ends with 0. `TRITONCLIENT_PYTHON` names a python that has `tritonclient[http]` already.
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ECHO } from '../test/e2e/configs.ts';
import { FILES, modelsConfig } from '../test/e2e/inference-models.ts';
import { startDaemon } from '../test/support/daemon-rig.ts';

const CLIENT = fileURLToPath(new URL('./use-tritonclient.py', import.meta.url));

/** @returns why there is none */
const makePython = (folder: string): { readonly python: string } | { readonly absent: string } => {
  const python = join(folder, 'bin', 'python');
  const steps: readonly (readonly [string, string, readonly string[]])[] = [
    ['python3 with venv', 'python3', ['-m', 'venv', folder]],
    ['pip', python, ['-m', 'pip', '--version']],
    [
      'tritonclient[http] from PyPI',
      python,
      ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', 'tritonclient[http]'],
    ],
  ];
  for (const [what, command, args] of steps)
    if (spawnSync(command, args, { stdio: 'ignore' }).status !== 0) return { absent: what };
  return { python };
};

const folder = mkdtempSync(join(tmpdir(), 'tritonclient-'));
try {
  const given = process.env['TRITONCLIENT_PYTHON'];
  const made = given === undefined ? makePython(folder) : { python: given };
  if ('absent' in made) console.log(`skipped: tritonclient (${made.absent} is absent)`);
  else {
    for (const server of ['uws', 'node'] as const) {
      await using daemon = await startDaemon(modelsConfig(server), { files: { ...FILES, 'echo.ts': ECHO } });
      console.log(`tritonclient on ${server}`);
      // Not synchronously: what the daemon logs is read meanwhile.
      const client = spawn(made.python, [CLIENT, new URL(daemon.url).host], { stdio: 'inherit', timeout: 120_000 });
      const [status] = (await once(client, 'close')) as [number | null];
      if (status !== 0) process.exitCode = 1;
    }
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
