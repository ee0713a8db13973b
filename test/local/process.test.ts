/** What `run` does to the process of a test, and to a process that never calls it. */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import t from 'tap';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const child = (code: string) => {
  const { status, stdout, stderr, signal } = spawnSync(process.execPath, ['--import=tsx', '--input-type=module', '-e', code], {
    cwd: ROOT,
    encoding: 'utf8',
    timeout: 60_000,
  });
  return { status, stdout, stderr, signal };
};

t.test('a client that was not closed does not keep the process alive', async (t) => {
  const { status, stdout, signal, stderr } = child(`
    import { run } from './src/sdk/index.ts';
    const client = await run(async (text) => 'echo ' + text);
    console.log(await client.call('a'), await (await client.fetch('/')).text());`);
  t.same({ status, signal, stderr }, { status: 0, signal: null, stderr: '' });
  t.equal(stdout, 'echo a echo null\n');
});

t.test('an error behind a 500 is told on standard error, where the test has not silenced it', async (t) => {
  const code = (options: string) => `
    import { run } from './src/sdk/index.ts';
    const client = await run(async (text, context) => { context.log.info('not told'); throw new RangeError('here') }, ${options});
    console.log((await client.fetch('/')).status);`;
  const loud = child(code('{}'));
  t.equal(loud.stdout, '500\n');
  t.match(JSON.parse(loud.stderr), { msg: 'request failed', err: { message: 'here' } });
  t.same(child(code("{ logLevel: 'silent' }")).stderr, '');
});

t.test('who imports the SDK loads nothing that runs applications', async (t) => {
  const { stdout } = child(`
    import { register } from 'node:module';
    import { pathToFileURL } from 'node:url';
    import { MessageChannel, receiveMessageOnPort } from 'node:worker_threads';
    const { port1, port2 } = new MessageChannel();
    const loader = 'export let port; export const initialize = (data) => { port = data.port }; export const load = (url, context, next) => { port.postMessage(url); return next(url, context) }';
    register('data:text/javascript,' + encodeURIComponent(loader), { data: { port: port2 }, transferList: [port2] });
    await import('./src/sdk/index.ts');
    // Each was told before it was loaded.
    const ours = pathToFileURL('src/').href;
    const loaded = [];
    for (let told = receiveMessageOnPort(port1); told !== undefined; told = receiveMessageOnPort(port1))
      if (told.message.startsWith(ours)) loaded.push(told.message.slice(ours.length).replace(/\\?.*/, ''));
    console.log(JSON.stringify(loaded));
    process.exit();`);
  const loaded = JSON.parse(stdout) as string[];
  t.ok(loaded.includes('sdk/run.ts'));
  t.same(
    loaded.filter((path) => !/^(sdk|protocol|domain|batching)\//.test(path)),
    [],
  );
});
