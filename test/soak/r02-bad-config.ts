/** R2: mutated configs are written over the live file; each is refused with an error that says where and what, or is a good one. */
import { existsSync } from 'node:fs';
import { compile } from '../../src/config/compile.ts';
import type { Diagnostic } from '../../src/domain/diagnostic.ts';
import { configOf, single } from '../e2e/configs.ts';
import { type DaemonRig, startDaemon } from '../support/daemon-rig.ts';
import { OpenLoop } from './open-loop.ts';
import { code, echoes, QUIET } from './parts.ts';
import { Findings, type Promised, percentile, seeded, type World } from './soak.ts';

const CONFIG = configOf(
  [
    single('echo', '/echo', {
      import_path: './code.ts:Echo',
      num_replicas: 2,
      user_config: { a: [1, 2] },
      max_ongoing_requests: 9,
    }),
    single('many', '/many', {
      import_path: './code.ts:Many',
      max_ongoing_requests: 8,
      batching: { max_batch_size: 4, method: 'call' },
    }),
  ],
  QUIET,
);

type Rand = () => number;
const pick = <T>(list: readonly T[], rand: Rand): T => list[Math.floor(rand() * list.length)] as T;

const VALUES = [
  '-1',
  '0',
  '1e999',
  '"text"',
  '[]',
  '{}',
  'null',
  '.nan',
  '99999999999999999999',
  `"$${'{NOT_SET}'}"`,
  '*nobody',
  '&a [*a]',
  '!!js/x 1',
  "'",
  '"\\x',
  '\u0000',
  '\ud83d',
  '__proto__',
];

/** Mutations that know what a config is, and mutations of bytes. */
const MUTATIONS: readonly ((text: string, rand: Rand) => string)[] = [
  // Another value for a key.
  (text, rand) => {
    const places = [...text.matchAll(/("?[a-z_]+"?: ?)([^,{}[\]\n]+)/g)];
    const place = pick(places, rand);
    if (place === undefined) return text;
    const at = place.index + (place[1] as string).length;
    return text.slice(0, at) + pick(VALUES, rand) + text.slice(at + (place[2] as string).length);
  },
  // A key with a typing mistake.
  (text, rand) => {
    const place = pick([...text.matchAll(/[a-z_]{4,}(?="?:)/g)], rand);
    if (place === undefined) return text;
    const at = place.index + Math.floor(rand() * place[0].length);
    return text.slice(0, at) + pick(['x', '', '_', '-'], rand) + text.slice(at + 1);
  },
  // A line twice, gone, or indented.
  (text, rand) => {
    const lines = text.split('\n');
    const at = Math.floor(rand() * lines.length);
    const line = lines[at] as string;
    lines.splice(at, 1, ...pick([[line, line], [], [`  ${line}`], [`\t${line}`], [`${line}:`]], rand));
    return lines.join('\n');
  },
  // Two names or routes that are one.
  (text) => text.replaceAll('"many"', '"echo"'),
  (text) => text.replaceAll('"/many"', '"/echo"'),
  // Bytes: cut off, changed, put in, taken out.
  (text, rand) => text.slice(0, Math.floor(rand() * text.length)),
  (text, rand) => {
    const at = Math.floor(rand() * text.length);
    return text.slice(0, at) + String.fromCharCode(Math.floor(rand() * 256)) + text.slice(at + 1);
  },
  (text, rand) => {
    const at = Math.floor(rand() * text.length);
    return text.slice(0, at) + pick(['{', '}', '[', ']', ':', '"', '\n', '- ', '# ', '\ufeff', '\u2028'], rand) + text.slice(at);
  },
  (text, rand) => {
    const at = Math.floor(rand() * text.length);
    return text.slice(0, at) + text.slice(at + 1 + Math.floor(rand() * 40));
  },
];

const mutantOf = (rand: Rand): string => {
  let text = CONFIG;
  for (let times = 1 + Math.floor(rand() * 2); times > 0; times--) text = pick(MUTATIONS, rand)(text, rand);
  return text;
};

/** What is wrong with an error message; undefined: it says what and where. */
const unclear = ({ message, line, column, path, code: kind }: Diagnostic): string | undefined => {
  if (message.trim() === '' || kind === '') return 'empty';
  if (/\n\s+at |undefined|\[object Object\]|TypeError|RangeError/.test(message))
    return `not for people: ${message.slice(0, 120)}`;
  return line > 0 && column > 0 ? undefined : `no place: ${path} ${message.slice(0, 80)}`;
};

/** How late the data plane's loop was since the last look, at most; of the last seconds where that was a moment ago. */
const stallMs = async (daemon: DaemonRig): Promise<number> => {
  const { text } = await daemon.ask('/metrics', {}, daemon.adminUrl);
  return 1000 * Number(/^serve_event_loop_delay_seconds\{thread="data-plane",stat="max"\} (\S+)$/m.exec(text)?.[1]);
};
/** A look at less than every so many edits would miss nothing: what is told covers all since the one before. */
const LOOK_EVERY = 10;

const run = async ({ size, strict, program, harm }: World) => {
  const found = new Findings();
  const rand = seeded(2);
  // All are compiled here, those that are refused are also saved over a live file.
  const mutants = Array.from({ length: size(10_000, 1500) }, () => mutantOf(rand));
  let slowestMs = 0;
  const refused: string[] = [];
  for (const text of mutants) {
    const began = performance.now();
    try {
      const { desired, diagnostics } = compile(Buffer.from(text), { file: 'config.yaml', env: {}, exists: existsSync });
      if (desired === undefined) {
        refused.push(text);
        found.expect(diagnostics.length > 0, `refused without a reason: ${JSON.stringify(text)}`);
        for (const each of diagnostics) {
          const why = unclear(each);
          if (why !== undefined) found.broken.push(`${why} in ${JSON.stringify(text.slice(0, 2000))}`);
        }
      }
    } catch (error) {
      found.broken.push(`threw ${(error as Error).message} at ${JSON.stringify(text)}`);
    }
    slowestMs = Math.max(slowestMs, performance.now() - began);
  }
  found.expect(slowestMs < 1000, `one took ${Math.round(slowestMs)} ms`);
  await using daemon = await startDaemon(CONFIG, { files: { 'code.ts': code() }, program });
  await daemon.running();
  const { hash } = (await daemon.status()).config;
  const pids = await daemon.pids('echo', 'Only');
  await using load = new OpenLoop(() => daemon.url, [echoes('echo', '/echo', 30), echoes('many', '/many', 20)]);
  const live = refused.slice(0, size(2000, 12));
  const takenMs: number[] = [];
  const stallsMs: number[] = [];
  // From here on: what the start took is not the edits' doing.
  await stallMs(daemon);
  for (const [number, text] of live.entries()) {
    if (number % LOOK_EVERY === LOOK_EVERY - 1) stallsMs.push(await stallMs(daemon));
    const from = daemon.log.length;
    const began = performance.now();
    await daemon.save(
      harm === 'good configs in place of bad ones'
        ? CONFIG.replace('"max_ongoing_requests":9', `"max_ongoing_requests":${10 + from}`)
        : text,
    );
    try {
      await daemon.waitForLog((line) => line.msg.startsWith('the config was rejected') || line.msg === 'config applied', from);
      takenMs.push(performance.now() - began);
      const { config, applications } = await daemon.status();
      found.expect(config.hash === hash, 'another config than the last good one is reported');
      found.expect(config.errors.length > 0, `no error is reported for ${JSON.stringify(text)}`);
      found.expect(Object.values(applications).length === 2, 'an application is missing');
    } catch (error) {
      found.broken.push(`${(error as Error).message.slice(0, 300)} for ${JSON.stringify(text)}`);
      break;
    }
    const mended = daemon.log.length;
    await daemon.save(CONFIG);
    await daemon.waitForLog((line) => line.msg.startsWith('the config is good again') || line.msg === 'config applied', mended);
  }
  await load.stop();
  found.expect(load.failures.length === 0, `requests failed: ${load.failures}`);
  found.expect(String(await daemon.pids('echo', 'Only')) === String(pids), 'replicas were exchanged');
  const mostMs = Math.round(Math.max(...stallsMs));
  found.expect(!strict || mostMs <= 100, `the loop of the data plane stood still for ${mostMs} ms`);
  const worstMs = Math.round((load.tallies[0]?.latencyUs.max ?? 0) / 1000);
  found.expect(!strict || worstMs <= 150, `a request took ${worstMs} ms`);
  return {
    figures: {
      mutants: mutants.length,
      refused: refused.length,
      saved_live: live.length,
      slowest_compile_ms: Math.round(slowestMs),
      told_ms_p95: Math.round(percentile(takenMs, 0.95)),
      sent: load.sent,
      failed: load.failures.length,
      worst_request_ms: worstMs,
      worst_stall_ms: mostMs,
    },
    broken: found.broken.slice(0, 8),
  };
};

export const badConfig: Promised = {
  id: 'R2',
  title: 'a bad config is refused with a reason, and changes nothing',
  run,
  sabotages: [{ what: 'good configs are saved', harm: 'good configs in place of bad ones', shows: /last good one/ }],
};
