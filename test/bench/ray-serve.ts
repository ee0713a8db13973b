/** Ray Serve in a folder of its own: installed by pip into a virtual environment, run as its documentation says, and gone without a trace. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** The first that can be had. 2.58 does not start without jinja2, and does not ask for it. */
const VERSIONS = ['ray[serve]==2.58.*', 'ray[serve]'] as const;
const NEEDS = ['jinja2'] as const;
const INSTALL_MS = 900_000;
const START_MS = 180_000;
const STOP_MS = 30_000;

/** All at its defaults but the port: one proxy, one replica, five requests at once in it. It ends with its standard input. */
const PROGRAM = `import sys, ray
from ray import serve
port, folder = int(sys.argv[1]), sys.argv[2]
ray.init(address='local', include_dashboard=False, _temp_dir=folder)
serve.start(http_options={'host': '127.0.0.1', 'port': port})
@serve.deployment
class Echo:
    async def __call__(self, request):
        return await request.json()
serve.run(Echo.bind())
print('serving', ray.__version__, flush=True)
sys.stdin.read()
serve.shutdown()
ray.shutdown()
`;

export interface RayServe extends AsyncDisposable {
  readonly version: string;
  readonly port: number;
  /** All its processes. */
  pids(): readonly number[];
}

const lastLine = (text: string): string => text.trim().split('\n').at(-1) ?? '';

/** @returns why it cannot be had here; undefined: it is there */
const install = (folder: string): string | undefined => {
  const made = spawnSync('python3', ['-m', 'venv', folder], { encoding: 'utf8', timeout: INSTALL_MS });
  if (made.error !== undefined) return `python3 cannot be run (${made.error.message})`;
  if (made.status !== 0) return `python3 -m venv failed: ${lastLine(made.stdout + made.stderr)}`;
  let why = '';
  for (const version of VERSIONS) {
    const args = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--no-cache-dir', version, ...NEEDS];
    const done = spawnSync(join(folder, 'bin', 'python'), args, { encoding: 'utf8', timeout: INSTALL_MS });
    if (done.status === 0) return undefined;
    why = `pip install ${version} failed: ${done.error?.message ?? lastLine(done.stdout + done.stderr)}`;
  }
  return why;
};

const freePort = (): Promise<number> =>
  new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });

/** Processes that carry a mark in the environment with which they were started: those of this run and of no other. */
const marked = (mark: string): readonly number[] =>
  readdirSync('/proc').flatMap((name) => {
    try {
      const isOurs = /^\d+$/.test(name) && readFileSync(`/proc/${name}/environ`, 'latin1').split('\0').includes(mark);
      return isOurs ? [Number(name)] : [];
    } catch {
      // It has gone, or belongs to somebody else.
      return [];
    }
  });

const within = async (ms: number, holds: () => boolean): Promise<boolean> => {
  const until = performance.now() + ms;
  while (!holds()) {
    if (performance.now() > until) return false;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return true;
};

/** @returns why it cannot be had here, where it cannot */
export const startRayServe = async (): Promise<RayServe | string> => {
  // Short: Ray puts sockets below it, whose paths may have 107 bytes.
  const folder = mkdtempSync(join(tmpdir(), 'sd-ray-'));
  const name = 'SERVE_BENCH_RAY';
  const mark = `${name}=${folder}`;
  let child: ChildProcess | undefined;
  const end = async (): Promise<void> => {
    child?.stdin?.end();
    await within(STOP_MS, () => marked(mark).length === 0);
    for (const pid of marked(mark)) process.kill(pid, 'SIGKILL');
    await within(STOP_MS, () => marked(mark).length === 0);
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    const venv = join(folder, 'venv');
    const why = install(venv);
    if (why !== undefined) {
      await end();
      return why;
    }
    const program = join(folder, 'echo.py');
    writeFileSync(program, PROGRAM);
    const port = await freePort();
    const env = {
      PATH: `${join(venv, 'bin')}:${process.env['PATH']}`,
      HOME: folder,
      [name]: folder,
      RAY_USAGE_STATS_ENABLED: '0',
    };
    child = spawn(join(venv, 'bin', 'python'), [program, String(port), join(folder, 'ray')], { env, stdio: 'pipe' });
    let [out, said] = ['', ''];
    child.stdout?.on('data', (chunk: Buffer) => {
      out += chunk.toString();
    });
    child.stderr?.on('data', (chunk: Buffer) => {
      said = (said + chunk.toString()).slice(-10_000);
    });
    const serving = () => /^serving (\S+)$/m.exec(out)?.[1];
    await within(START_MS, () => serving() !== undefined || child?.exitCode !== null);
    const version = serving();
    if (version === undefined) {
      await end();
      return `it did not start: ${lastLine(said)}`;
    }
    return { version, port, pids: () => marked(mark), [Symbol.asyncDispose]: end };
  } catch (error) {
    await end();
    throw error;
  }
};
