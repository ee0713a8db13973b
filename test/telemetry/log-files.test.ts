/** Files of the log are bounded in size and number, and harm nothing where they cannot be written. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { aboutOf, fileOf } from '../../src/telemetry/about.ts';
import { LogFiles } from '../../src/telemetry/log-files.ts';

const BOUNDS = { maxBytes: 100, kept: 2, replicas: 3 };

const folder = (t: Test): string => {
  const path = mkdtempSync(join(tmpdir(), 'sd-logs-'));
  t.teardown(() => rmSync(path, { recursive: true, force: true }));
  return path;
};
const line = (n: number) => `${String(n).padStart(29, '.')}\n`;

t.test('a file that is full is turned over, so many are kept, and no line is lost or written twice meanwhile', async (t) => {
  const at = join(folder(t), 'made', 'here');
  const files = new LogFiles(() => t.fail('nothing fails'), BOUNDS);
  for (let n = 0; n < 12; n++) {
    files.write(at, 'daemon', line(n));
    await files.written();
  }
  t.same(readdirSync(at).sort(), ['daemon.log', 'daemon.log.1', 'daemon.log.2']);
  const kept = ['daemon.log.2', 'daemon.log.1', 'daemon.log'].map((name) => readFileSync(join(at, name), 'utf8')).join('');
  t.equal(kept, Array.from({ length: 9 }, (_, n) => line(n + 3)).join(''));
  for (const name of readdirSync(at)) t.ok(statSync(join(at, name)).size <= BOUNDS.maxBytes, name);
  t.equal(statSync(join(at, 'daemon.log')).mode & 0o777, 0o600);
  t.equal(statSync(at).mode & 0o777, 0o700);
});

t.test('what an earlier daemon wrote is gone on with, and counts', async (t) => {
  const at = folder(t);
  writeFileSync(join(at, 'daemon.log'), line(1).repeat(3));
  const files = new LogFiles(() => t.fail('nothing fails'), BOUNDS);
  files.write(at, 'daemon', line(2));
  await files.written();
  t.equal(readFileSync(join(at, 'daemon.log.1'), 'utf8'), line(1).repeat(3));
  t.equal(readFileSync(join(at, 'daemon.log'), 'utf8'), line(2));
});

t.test(
  'lines of one turn of the loop go out in their order, and those that the disk does not keep up with are counted',
  async (t) => {
    const at = folder(t);
    const files = new LogFiles(() => t.fail('nothing fails'), { ...BOUNDS, maxBytes: 10_000_000 });
    const long = `${'x'.repeat(99_999)}\n`;
    for (let n = 0; n < 15; n++) files.write(at, 'daemon', long);
    await files.written();
    const lines = readFileSync(join(at, 'daemon.log'), 'utf8').split('\n');
    const found = lines.filter((each) => each.startsWith('xxx')).length;
    const lost = lines.map((each) => Number(/^\((\d+) lines were lost here/.exec(each)?.[1] ?? 0)).reduce((a, b) => a + b, 0);
    t.equal(found + lost, 15);
    t.ok(lost > 0, `${lost} were lost`);
  },
);

t.test('a folder that cannot be had is told once; others are written', async (t) => {
  const at = folder(t);
  writeFileSync(join(at, 'file'), '');
  const failures: string[] = [];
  const files = new LogFiles((path, error) => failures.push(`${path} ${(error as NodeJS.ErrnoException).code}`), BOUNDS);
  for (let n = 0; n < 5; n++) {
    files.write(join(at, 'file'), 'daemon', line(n));
    files.write(at, 'application.a', line(n));
    await files.written();
  }
  t.same(failures, [`${join(at, 'file', 'daemon.log')} EEXIST`]);
  t.match(readFileSync(join(at, 'application.a.log.1'), 'utf8'), line(0));
});

t.test('a link in place of a file is not followed', async (t) => {
  const at = folder(t);
  writeFileSync(join(at, 'precious'), 'mine');
  symlinkSync(join(at, 'precious'), join(at, 'daemon.log'));
  const failures: string[] = [];
  const files = new LogFiles((path) => failures.push(path), BOUNDS);
  files.write(at, 'daemon', line(1));
  await files.written();
  t.equal(readFileSync(join(at, 'precious'), 'utf8'), 'mine');
  t.equal(failures.length, 1);
});

t.test(
  'of replicas that have gone the newest files are kept; those of replicas that live, daemon and deployments, and other people’s, stay',
  async (t) => {
    const at = folder(t);
    const others = ['daemon.log', 'deployment.a.D.log', 'application.a.log.2', 'replica.txt', 'notes'];
    for (const name of others) writeFileSync(join(at, name), 'x');
    for (let n = 0; n < 6; n++) {
      for (const name of [`replica.a.D.${n}.log`, `replica.a.D.${n}.log.1`]) {
        writeFileSync(join(at, name), 'x');
        utimesSync(join(at, name), 1000 + n, 1000 + n);
      }
    }
    const files = new LogFiles(() => t.fail('nothing fails'), BOUNDS);
    files.isAlive = (name) => name === 'replica.a.D.1';
    files.write(at, 'replica.a.D.0', line(1));
    await files.written();
    const left = [0, 1, 3, 4, 5].flatMap((n) => [`replica.a.D.${n}.log`, `replica.a.D.${n}.log.1`]);
    t.same(readdirSync(at).sort(), [...others, ...left].sort());
  },
);

t.test('a line belongs to what it names most closely', async (t) => {
  const about = (fields: object) => aboutOf(JSON.stringify({ level: 30, ...fields })).file;
  t.equal(about({ msg: 'x' }), 'daemon');
  t.equal(about({ application: 'a' }), 'application.a');
  t.equal(about({ deployment: 'a/D', application: 'b' }), 'deployment.a.D');
  t.equal(about({ replica: 'a/D/1f', deployment: 'b/E' }), 'replica.a.D.1f');
  t.equal(fileOf('a'), 'application.a');
});
