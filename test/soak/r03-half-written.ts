/** R3: a config file that is written in pieces, renamed over, linked, removed and made anew, or saved 200 times a second. */
import {
  closeSync,
  ftruncateSync,
  openSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { type DaemonRig, startDaemon, until } from '../support/daemon-rig.ts';
import { OpenLoop } from './open-loop.ts';
import { Findings, type Promised, pause, percentile, type World } from './soak.ts';

const CODE = `export class A { constructor({ b }) { this.b = b; } reconfigure(v) { this.v = v; } async call(n) { return { n, a: this.v, b: await this.b.call(n) }; } }
export class B { reconfigure(v) { this.v = v; } async call() { return this.v; } }
`;

/** One flow mapping, so that no part of it is a config of its own. */
const config = (v: number): string => {
  const app = {
    name: 'app',
    route_prefix: '/app',
    graph: { ingress: 'A', calls: { A: { b: 'B' } } },
    deployments: [
      { name: 'A', import_path: './code.ts:A', user_config: v, max_ongoing_requests: 20 },
      { name: 'B', import_path: './code.ts:B', user_config: v, max_ongoing_requests: 20 },
    ],
  };
  const head = {
    http_options: { host: '127.0.0.1', port: 0 },
    admin_options: { port: 0 },
    logging_config: { enable_access_log: false },
  };
  return `${JSON.stringify({ ...head, applications: [app] })}\n`;
};

type Writer = (daemon: DaemonRig, contents: readonly string[]) => Promise<void>;

const inPieces: Writer = async (daemon, contents) => {
  for (const text of contents) {
    const file = openSync(daemon.config, 'r+');
    ftruncateSync(file, 0);
    for (let at = 0; at < text.length; at += 64) {
      writeSync(file, text.slice(at, at + 64));
      if (at % 256 === 0) await pause(1);
    }
    closeSync(file);
  }
};

const WRITERS: Readonly<Record<string, Writer>> = {
  'truncated and written in pieces of 64 bytes': inPieces,
  'renamed over': async (daemon, contents) => {
    for (const text of contents) await daemon.save(text);
  },
  'a link that is swapped': async (daemon, contents) => {
    for (const [index, text] of contents.entries()) {
      writeFileSync(`${daemon.config}.${index}`, text);
      rmSync(`${daemon.config}.link`, { force: true });
      symlinkSync(`${daemon.config}.${index}`, `${daemon.config}.link`);
      renameSync(`${daemon.config}.link`, daemon.config);
    }
  },
  'removed and made anew': async (daemon, contents) => {
    for (const text of contents) {
      rmSync(daemon.config);
      await pause(2);
      writeFileSync(daemon.config, text);
    }
  },
  'with the time and the size of the one before': async (daemon, contents) => {
    utimesSync(daemon.config, 1000, 1000);
    // Long enough that the daemon has seen the file with this time.
    await pause(500);
    for (const text of contents) {
      writeFileSync(daemon.config, text);
      utimesSync(daemon.config, 1000, 1000);
    }
  },
  '200 times in a second': async (daemon, contents) => {
    for (let n = 0; n < 200; n++) {
      writeFileSync(daemon.config, contents[n % contents.length] as string);
      await pause(5);
    }
    writeFileSync(daemon.config, contents.at(-1) as string);
  },
};

const run = async ({ size, strict, program }: World) => {
  const found = new Findings();
  let v = 100;
  await using daemon = await startDaemon(config(v), { files: { 'code.ts': CODE }, program });
  const known = new Set([v]);
  await using load = new OpenLoop(
    () => daemon.url,
    [
      {
        name: 'values',
        perSecond: 50,
        connection: 'kept',
        request: (n) => ({ path: '/app', body: n }),
        wrong: (n, { status, text }) => {
          if (status !== 200) return `${status} ${text.slice(0, 100)}`;
          const answer = JSON.parse(text) as { n: number; a: number; b: number };
          return answer.n === n && known.has(answer.a) && known.has(answer.b) ? undefined : `to ${n}: ${text}`;
        },
      },
    ],
  );
  const takenMs: number[] = [];
  let applies = 0;
  let complete = 0;
  for (let round = 0; round < size(20, 1); round++) {
    for (const [name, write] of Object.entries(WRITERS)) {
      if (found.broken.length > 0) break;
      const from = daemon.log.length;
      const values = Array.from({ length: 5 }, () => ++v);
      for (const each of values) known.add(each);
      await write(daemon, values.map(config));
      const written = performance.now();
      await until(
        `the last content is in force: ${name}`,
        async () => {
          const { text } = await daemon.post('/app', 0);
          const answer = JSON.parse(text) as { a: number; b: number };
          return answer.a === v && answer.b === v;
        },
        strict ? 4000 : undefined,
      ).catch((error: Error) => found.broken.push(error.message));
      takenMs.push(performance.now() - written);
      // What it logged may come later than its answers.
      await daemon.waitForLog('config applied', from, 2000).catch(() => {});
      const since = daemon.log.slice(from).filter(({ msg }) => msg === 'config applied').length;
      // Contents that come back (the 200) are complete each time.
      const most = name.startsWith('200') ? 200 : values.length;
      found.expect(since >= 1 && since <= most, `${name}: ${since} applies of ${most} complete contents`);
      applies += since;
      complete += most;
    }
  }
  await load.stop();
  found.expect(load.failures.length === 0, `requests failed: ${load.failures}`);
  const rejected = daemon.log.filter(({ msg }) => msg.startsWith('the config was rejected')).length;
  // On a busy machine a writer may rest in the middle for longer than the daemon waits; what it reads then is refused, and told.
  found.expect(!strict || rejected === 0, `${rejected} half-written contents were read`);
  const p95Ms = Math.round(percentile(takenMs, 0.95));
  found.expect(!strict || p95Ms <= 2000, `the last content was in force ${p95Ms} ms after it was written (p95), expected ≤ 2000`);
  return {
    figures: {
      writes: takenMs.length,
      contents: complete,
      applies,
      rejected,
      in_force_ms_p95: p95Ms,
      sent: load.sent,
      failed: load.failures.length,
    },
    broken: found.broken,
  };
};

export const halfWritten: Promised = {
  id: 'R3',
  title: 'half-written files are harmless, and the last content comes into force',
  run,
  sabotages: [
    {
      what: 'only the time of the file is looked at',
      patches: [
        {
          file: 'config/watch.js',
          from: 'const { dev, ino, size, mtimeMs, ctimeMs } = statSync(file);',
          to: 'const { mtimeMs } = statSync(file);\nconst [dev, ino, size, ctimeMs] = [0, 0, 0, 0];',
        },
      ],
      shows: /the last content is in force: with the time/,
    },
    {
      what: 'a link that is swapped is not seen',
      patches: [
        { file: 'config/watch.js', from: "this.#watcher.on('all', (_, path) => this.#lookSoon(path));", to: '' },
        { file: 'config/watch.js', from: "this.#watcher.on('raw', (_, __, from) => this.#lookSoon(from.watchedPath));", to: '' },
      ],
      shows: /the last content is in force/,
    },
  ],
};
