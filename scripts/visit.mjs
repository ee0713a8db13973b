/**
 * `npm run visit`: the ten-minute visit of a newcomer, done by a script: npm start and its two curls; then a folder of one's own with the
 * packed tarball, code with types, edits, mistakes, a killed replica, batches, a refused call, Ctrl-C. Each step prints what was seen; the
 * first that is not as it should be ends it with 1.
 */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ROOT } from './prepare.mjs';

const started = [];
const step = (text) => console.log(`visit: ${text}`);

/** Alive and no zombie. */
const isAlive = (pid) => {
  try {
    return !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
};

const until = async (what, check, withinMs = 60_000) => {
  const deadline = Date.now() + withinMs;
  for (;;) {
    const value = await check();
    if (value) return value;
    if (Date.now() > deadline) throw new Error(`not within ${withinMs / 1000} s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
};

const freePort = () =>
  new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });

/** A program whose output is kept; in a group of its own, so that Ctrl-C can be sent as a terminal sends it. */
const start = (command, args, options) => {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], detached: true, ...options });
  const program = {
    child,
    text: '',
    exit: new Promise((resolve) => child.once('exit', (code, signal) => resolve(code ?? signal))),
  };
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk) => {
      program.text += chunk;
    });
  }
  started.push(child.pid);
  return program;
};

const sh = (command, cwd) => {
  const { status, stdout, stderr } = spawnSync('bash', ['-c', command], { cwd, encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command}\n${stdout}${stderr}`);
  return stdout;
};

const json = async (url) => (await fetch(url)).json();
const replicasOf = async (admin, application, deployment) => {
  const status = await json(`${admin}/api/serve/applications/`);
  return status.applications[application]?.deployments[deployment]?.replicas.filter(({ state }) => state === 'RUNNING') ?? [];
};
const pidsOf = async (admin) => {
  const status = await json(`${admin}/api/serve/applications/`);
  return Object.values(status.applications).flatMap(({ deployments }) =>
    Object.values(deployments).flatMap(({ replicas }) => replicas.map(({ pid }) => pid)),
  );
};

const clean = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(npm_|NODE_OPTIONS|TAP)/.test(name)));
const folder = mkdtempSync(join(tmpdir(), 'serve-visit-'));
const env = { ...clean, XDG_STATE_HOME: join(folder, 'state') };

const quickstart = async () => {
  step('npm start');
  const program = start('npm', ['start'], { cwd: ROOT, env });
  await until('npm start prints its curls', () => program.text.includes('Then edit'), 300_000);
  const [text, image] = program.text.split('\n').filter((line) => line.trim().startsWith('curl'));
  const summary = sh(text);
  assert.ok(summary.length > 20 && !summary.startsWith('"'), `plain text, got ${summary}`);
  step(`the text answers: ${summary.trim()}`);
  const { lines } = JSON.parse(sh(image));
  assert.ok(lines.length > 3 && lines.every((line) => typeof line.text === 'string' && line.box.length === 4));
  step(`the image answers: ${lines.length} lines, the first «${lines[0].text}»`);
  const pids = await pidsOf('http://127.0.0.1:8265');
  assert.ok(pids.length >= 9);
  process.kill(-program.child.pid, 'SIGINT');
  const code = await program.exit;
  assert.equal(code, 0, `npm start ends with 0 after Ctrl-C, got ${code}\n${program.text.slice(-2000)}`);
  await until('nothing is left running', () => !pids.some(isAlive), 5000);
  step('Ctrl-C: exit code 0, nothing left running');
};

const GREETER = `import type { CallContext, Handle } from 'serve-daemon';

export class Upper {
  /** Written for arrays: callers pass one text each. */
  async shout(texts: string[], _contexts: CallContext[]): Promise<string[]> {
    await new Promise((resolve) => setTimeout(resolve, 20));
    return texts.map((text) => text.toUpperCase());
  }
}

export class Greeter {
  readonly #args: { upper: Handle<Upper>; greeting: string };
  constructor(args: { upper: Handle<Upper>; greeting: string }) {
    this.#args = args;
  }
  async call(input: { name: string }, context: CallContext): Promise<string> {
    const name: string = await this.#args.upper.shout(input.name);
    return \`\${this.#args.greeting}, \${name} (\${context.requestId.length > 0})\`;
  }
}
`;

const own = async () => {
  step("npm pack, and an empty folder with a config of one's own");
  const home = join(folder, 'home');
  sh(`mkdir -p ${home}`);
  const tarball = sh(`npm pack --silent --pack-destination ${folder}`, ROOT).trim().split('\n').at(-1);
  writeFileSync(join(home, '.npmrc'), 'ignore-scripts=true\naudit=false\nfund=false\n');
  writeFileSync(join(home, 'package.json'), '{"name": "visitor", "private": true, "type": "module"}\n');
  sh(`npm install --silent ${join(folder, tarball)} typescript@6.0.3 @types/node@20`, home);
  const [port, adminPort] = [await freePort(), await freePort()];
  const config = (replicas, calls) => `http_options: {port: ${port}}
admin_options: {port: ${adminPort}}
applications:
- name: hello
  route_prefix: /hello
  deployments:
  - {name: Greeter, import_path: ./greeter.ts:Greeter, num_replicas: ${replicas}, init_args: {greeting: Hello}, max_ongoing_requests: 64}
  - {name: Upper, import_path: ./greeter.ts:Upper, batching: {max_batch_size: 16, method: shout}}
  graph:
    ingress: Greeter
    calls: {Greeter: ${calls}}
`;
  const path = join(home, 'config.yaml');
  const save = (text) => {
    writeFileSync(`${path}.new`, text);
    renameSync(`${path}.new`, path);
  };
  writeFileSync(join(home, 'greeter.ts'), GREETER);
  sh('npx tsc --noEmit --strict --target es2022 --module nodenext --types node greeter.ts', home);
  step('the types of the package hold in user code');
  save(config(1, '{upper: Upper}'));
  const daemon = start(join(home, 'node_modules', '.bin', 'serve-daemon'), ['--config', 'config.yaml'], { cwd: home, env });
  const [url, admin] = [`http://127.0.0.1:${port}`, `http://127.0.0.1:${adminPort}`];
  await until('the application serves', async () => (await fetch(`${url}/-/healthz`).catch(() => undefined))?.status === 200);
  const greet = async (name) => {
    const answer = await fetch(`${url}/hello`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ name }),
    });
    return { status: answer.status, text: await answer.text() };
  };
  assert.deepEqual(await greet('you'), { status: 200, text: 'Hello, YOU (true)' });
  step('it answers: Hello, YOU');

  save(config(3, '{upper: Upper}'));
  const three = await until('three replicas', async () => {
    const replicas = await replicasOf(admin, 'hello', 'Greeter');
    return replicas.length === 3 ? replicas : undefined;
  });
  step(`num_replicas 1 → 3 saved: pids ${three.map(({ pid }) => pid).join(', ')}`);
  console.log(sh(`node_modules/.bin/serve-daemon status --address ${admin}`, home));

  save(config(3, '{upper: Upper').replace('Greeter: {', 'Greeter: {{'));
  await until('the mistake is told', () => daemon.text.includes('the config was rejected'));
  const status = await json(`${admin}/api/serve/applications/`);
  const [mistake] = status.config.errors;
  assert.ok(mistake.line > 0 && mistake.column > 0);
  assert.equal((await greet('still')).text, 'Hello, STILL (true)');
  step(`YAML broken: ${mistake.line}:${mistake.column} ${mistake.message.split('\n')[0]}; still serving`);
  save(config(3, '{upper: Upper}'));
  await until(
    'the mended file is taken',
    async () => (await json(`${admin}/api/serve/applications/`)).config.errors.length === 0,
  );
  step('mended');

  const [victim] = three;
  process.kill(victim.pid, 'SIGKILL');
  await until('a new replica in its place', async () => {
    const replicas = await replicasOf(admin, 'hello', 'Greeter');
    return replicas.length === 3 && !replicas.some(({ pid }) => pid === victim.pid);
  });
  step(`kill -9 ${victim.pid}: replaced, and ${(await greet('again')).text}`);

  const answers = await Promise.all(Array.from({ length: 32 }, (_, index) => greet(`n${index}`)));
  for (const [index, { status: code, text }] of answers.entries()) assert.equal(`${code} ${text}`, `200 Hello, N${index} (true)`);
  const batches = await until('batches in the log', () => {
    const sizes = [...daemon.text.matchAll(/hello\/Upper[^}|]*?"?batch"?[:=](\d+)/g)].map(([, size]) => Number(size));
    return Math.max(...sizes, 0) > 1 ? sizes : undefined;
  });
  step(`32 parallel posts: the largest batch in the log has ${Math.max(...batches)}`);

  save(config(3, '{}'));
  const refused = await until('the call is refused', async () => {
    const answer = await greet('nobody');
    return answer.status === 500 ? answer : undefined;
  });
  await until('the refusal names the call', () => /hello\/Greeter calls `upper`/.test(daemon.text));
  step(`an edge under calls deleted: ${refused.status} ${refused.text}, and the log names the call`);

  const pids = [daemon.child.pid, ...(await pidsOf(admin))];
  process.kill(-daemon.child.pid, 'SIGINT');
  assert.equal(await daemon.exit, 0, daemon.text.slice(-2000));
  await until('nothing is left running', () => !pids.some(isAlive), 5000);
  step('Ctrl-C: exit code 0, nothing left running');

  const packed = join(home, 'node_modules', 'serve-daemon', 'configs', 'quickstart', 'config.yaml');
  assert.ok(existsSync(packed));
  const quick = start(join(home, 'node_modules', '.bin', 'serve-daemon'), ['--config', packed], { cwd: folder, env });
  await until(
    'the packed quickstart is ready',
    () => quick.text.includes('"application":"ocr"') && quick.text.includes('"route":"/ocr"'),
  );
  const { lines } = JSON.parse(
    sh(`curl -s http://127.0.0.1:8000/ocr --data-binary @${join(ROOT, 'configs', 'ocr', 'samples', 'page.jpg')}`),
  );
  assert.ok(lines.length > 3);
  process.kill(-quick.child.pid, 'SIGINT');
  assert.equal(await quick.exit, 0, quick.text.slice(-2000));
  step('the quickstart runs from the packed tarball too');
};

try {
  await quickstart();
  await own();
  step('all as it should be');
} catch (error) {
  console.error(error);
  process.exitCode = 1;
} finally {
  for (const pid of started) {
    try {
      process.kill(-pid, 'SIGKILL');
    } catch {
      // It has ended by itself, as it should.
    }
  }
  rmSync(folder, { recursive: true, force: true });
}
