/** What the benches share: a daemon on free ports, a load, medians, and what machine it was. */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir, totalmem } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const ROOT = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

export const machineText = (): string => {
  const commit = spawnSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: ROOT, encoding: 'utf8' }).stdout?.trim() || 'unknown';
  return `${cpus().length} × ${cpus()[0]?.model ?? 'unknown'}, ${Math.round(totalmem() / 2 ** 30)} GB, node ${process.versions.node}, commit ${commit}`;
};

export const median = (values: readonly number[]): number => {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? (sorted[middle] as number) : ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2;
};

export interface BenchDaemon extends AsyncDisposable {
  readonly pid: number;
  readonly port: number;
  readonly admin: string;
  readonly startedMs: number;
  /** Resolves with the milliseconds from the command to the line. */
  line(part: string): Promise<number>;
  pids(): Promise<number[]>;
}

/** Starts `bin/serve-daemon` on a config; ports in it should be 0. */
export const startDaemon = async (
  config: string,
  files: Readonly<Record<string, string | Uint8Array>> = {},
  configPath?: string,
): Promise<BenchDaemon> => {
  const folder = mkdtempSync(join(tmpdir(), 'serve-bench-'));
  const path = configPath ?? join(folder, 'config.yaml');
  if (configPath === undefined) writeFileSync(path, config);
  for (const [name, content] of Object.entries(files)) writeFileSync(join(folder, name), content);
  const began = performance.now();
  const env = { ...process.env, XDG_STATE_HOME: process.env['BENCH_STATE'] ?? folder };
  delete (env as Record<string, string | undefined>)['NODE_OPTIONS'];
  const child: ChildProcess = spawn(process.execPath, [join(ROOT, 'bin', 'serve-daemon'), '--config', path], {
    env,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const lines: { text: string; at: number }[] = [];
  const waiting = new Set<() => void>();
  child.once('exit', () => {
    for (const wake of waiting) wake();
  });
  let rest = '';
  child.stdout?.on('data', (chunk: Buffer) => {
    const parts = (rest + chunk.toString()).split('\n');
    rest = parts.pop() ?? '';
    for (const text of parts) if (lines.length < 10_000) lines.push({ text, at: performance.now() - began });
    for (const wake of waiting) wake();
  });
  const find = async (part: string): Promise<{ text: string; at: number }> => {
    for (;;) {
      const found = lines.find(({ text }) => text.includes(part));
      if (found !== undefined) return found;
      if (child.exitCode !== null) throw new Error(`the daemon ended: ${lines.map(({ text }) => text).join('\n')}`);
      await new Promise<void>((resolve) => {
        const wake = () => {
          waiting.delete(wake);
          resolve();
        };
        waiting.add(wake);
      });
    }
  };
  const listening = JSON.parse((await find('listening for HTTP')).text) as { url: string };
  const admin = (JSON.parse((await find('admin API is up')).text) as { url: string }).url;
  return {
    pid: child.pid as number,
    port: Number(new URL(listening.url).port),
    admin,
    startedMs: began,
    line: async (part) => (await find(part)).at,
    pids: async () => {
      const status = (await (await fetch(`${admin}/api/serve/applications/`)).json()) as {
        applications: Record<string, { deployments: Record<string, { replicas: { pid: number }[] }> }>;
      };
      return Object.values(status.applications).flatMap((application) =>
        Object.values(application.deployments).flatMap((each) => each.replicas.map(({ pid }) => pid)),
      );
    },
    [Symbol.asyncDispose]: async () => {
      const gone = new Promise((resolve) => child.once('exit', resolve));
      child.kill('SIGTERM');
      await gone;
      rmSync(folder, { recursive: true, force: true });
    },
  };
};

/** CPU time of processes so far, in milliseconds. */
export const cpuMs = (pids: readonly number[]): number =>
  pids.reduce((sum, pid) => {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
    return sum + (Number(fields[11]) + Number(fields[12])) * 10;
  }, 0);

/** Resident memory in MB. */
export const residentMb = (pid: number): number =>
  Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) / 1024;

export interface LoadResult {
  readonly rps: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly requests: number;
  readonly errors: number;
}

const has = (program: string): boolean => spawnSync('sh', ['-c', `command -v ${program}`]).status === 0;

/** `wrk` costs the machine the least; where it is not installed a small generator of our own does it. */
export const LOAD_TOOL = has('wrk') ? 'wrk' : 'built-in generator';

type Headers = Readonly<Record<string, string>>;

/** Posts one body over keep-alive connections for some seconds. */
export const load = async (
  port: number,
  connections: number,
  seconds: number,
  body: Uint8Array | string,
  contentType: string,
  path = '/',
  more: Headers = {},
): Promise<LoadResult> => {
  const headers = { 'content-type': contentType, ...more };
  const folder = mkdtempSync(join(tmpdir(), 'serve-load-'));
  try {
    return LOAD_TOOL === 'wrk'
      ? await wrk(folder, port, connections, seconds, body, headers, path)
      : await own(folder, port, connections, seconds, body, headers, path);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
};

const output = async (command: string, args: readonly string[]): Promise<string> => {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  let text = '';
  for await (const chunk of child.stdout) text += String(chunk);
  return text;
};

const wrk = async (
  folder: string,
  port: number,
  connections: number,
  seconds: number,
  body: Uint8Array | string,
  headers: Headers,
  path: string,
): Promise<LoadResult> => {
  writeFileSync(join(folder, 'body'), body);
  const lines = Object.entries(headers).map(([name, value]) => `wrk.headers["${name}"] = "${value}"`);
  writeFileSync(
    join(folder, 'post.lua'),
    `local f = io.open("${join(folder, 'body')}", "rb"); wrk.body = f:read("*all"); f:close()
wrk.method = "POST"
${lines.join('\n')}
done = function(s, l) local e = s.errors; print(string.format("RESULT %d %d %f %f", s.requests, e.connect + e.read + e.write + e.status + e.timeout, l:percentile(50) / 1000, l:percentile(99) / 1000)) end`,
  );
  const text = await output('wrk', [
    '-t1',
    `-c${connections}`,
    `-d${seconds}s`,
    '-s',
    join(folder, 'post.lua'),
    `http://127.0.0.1:${port}${path}`,
  ]);
  const [, requests = '0', errors = '0', p50 = '0', p99 = '0'] = /RESULT (\d+) (\d+) ([\d.]+) ([\d.]+)/.exec(text) ?? [];
  const rps = Number(/Requests\/sec:\s+([\d.]+)/.exec(text)?.[1] ?? 0);
  return { rps, requests: Number(requests), errors: Number(errors), p50Ms: Number(p50), p99Ms: Number(p99) };
};

const own = async (
  folder: string,
  port: number,
  connections: number,
  seconds: number,
  body: Uint8Array | string,
  headers: Headers,
  path: string,
  perSecond?: number,
): Promise<LoadResult> => {
  const bytes = typeof body === 'string' ? Buffer.from(body) : body;
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  const head = `POST ${path} HTTP/1.1\r\nhost: 127.0.0.1:${port}\r\n${lines.join('')}content-length: ${bytes.byteLength}\r\n\r\n`;
  writeFileSync(join(folder, 'request'), Buffer.concat([Buffer.from(head), bytes]));
  const text = await output(process.execPath, [
    join(ROOT, 'test', 'bench', 'loadgen.mjs'),
    String(port),
    String(connections),
    String(seconds),
    join(folder, 'request'),
    ...(perSecond === undefined ? [] : [String(perSecond)]),
  ]);
  const result = JSON.parse(text) as { requests: number; seconds: number; errors: number; p50Ms: number; p99Ms: number };
  return { ...result, rps: result.requests / result.seconds };
};

/** So many requests a second at chance times, whatever has been answered: latencies count from when each was due. */
export const loadAt = async (
  port: number,
  perSecond: number,
  seconds: number,
  body: Uint8Array,
  contentType: string,
  path: string,
): Promise<LoadResult> => {
  const folder = mkdtempSync(join(tmpdir(), 'serve-load-'));
  try {
    return await own(folder, port, 256, seconds, body, { 'content-type': contentType }, path, perSecond);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
};

export const versionsText = (names: readonly string[]): string =>
  names
    .map(
      (name) =>
        `${name} ${(JSON.parse(readFileSync(join(ROOT, 'node_modules', name, 'package.json'), 'utf8')) as { version: string }).version}`,
    )
    .join(', ');

/** Free memory and load, so that a noisy machine is seen in the output. */
export const loadAverage = (): string =>
  execFileSync('cat', ['/proc/loadavg'], { encoding: 'utf8' }).split(' ').slice(0, 3).join(' ');
