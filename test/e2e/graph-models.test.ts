// biome-ignore-all lint/suspicious/noTemplateCurlyInString: this is the config's own syntax
/** Steps that call models: what can never work between them is told with its place, before anything serves; what works, runs. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { runProgram, startDaemon } from '../support/daemon-rig.ts';
import { addModel, identityModel } from '../support/onnx-writer.ts';
import { ECHO, HEAD } from './configs.ts';

t.setTimeout(120_000);

const CODE = `import { Tensor } from 'serve-daemon';
export async function pair([a, b]) { return new Tensor('float32', [1, 2], Float32Array.of(a, b)); }
export async function plain(answer) { return Array.from(answer.y.data); }
`;
const TWO = addModel([10, 20]);
const FILES = {
  'code.ts': CODE,
  'echo.ts': ECHO,
  'two.onnx': TWO,
  'other.onnx': TWO,
  'three.onnx': addModel([1, 2, 3]),
  'longs.onnx': identityModel('int64', ['n', 2]),
};

const config = (second = './two.onnx', input = '$first.y', graph = '') => `${HEAD}applications:
- name: app
  route_prefix: /app
  deployments:
  - {name: Pair, import_path: ./code.ts:pair}
  - {name: First, model: ./two.onnx}
  - {name: Second, model: ${second}}
  - {name: Plain, import_path: ./code.ts:plain}
  graph:
    steps:
      pair: {call: Pair, input: $request.json}
      first: {call: First, input: {x: $pair}}
      second:
        call: Second
        input:
          x: ${input}
      plain: {call: Plain, input: $second${graph}}
- {name: neighbour, route_prefix: /neighbour, deployments: [{name: Only, import_path: './echo.ts:echo'}]}
`;
const LINE = config()
  .split('\n')
  .findIndex((line) => line.startsWith('          x:'));
const MISTAKE = { line: LINE + 1, column: 14, code: 'INPUT_MISMATCH', application: 'app' };

t.test('steps over models', async (t) => {
  await using daemon = await startDaemon(config(), { files: FILES });
  const works = async () => JSON.parse((await daemon.post('/app', [1, 2])).text);
  t.same(await works(), [21, 42]);

  const rejected = async (text: string) => {
    const from = daemon.log.length;
    await daemon.save(text);
    const line = await daemon.waitForLog((each) => each.msg.startsWith('the config was rejected'), from);
    return line['diagnostics'] as object[];
  };
  t.match(await rejected(config('./three.onnx')), [
    { ...MISTAKE, message: 'expected float32 [?, 3] for the input `x` of `Second`, got float32 [?, 2]' },
  ]);
  t.match(await rejected(config('./longs.onnx')), [{ ...MISTAKE, message: /expected int64.*got float32/ }]);
  t.match(await rejected(config('./two.onnx', '$first.z')), [{ ...MISTAKE, code: 'UNKNOWN_FIELD', message: /no `z`.*`y`/ }]);
  t.same(await works(), [21, 42], 'what served goes on serving');

  await daemon.apply(config('./two.onnx', '$first.y', ', when: {ref: $second.y, gt: 5}'));
  t.match((await daemon.status()).config.errors, [
    { severity: 'warning', code: 'STEP_UNREACHABLE', message: /is a tensor float32/ },
  ]);
  t.same((await daemon.post('/app', [1, 2])).text, '');

  // The config stays what it is: it is the model that fits no more, and then does again.
  await daemon.apply(config('./other.onnx'));
  const from = daemon.log.length;
  await daemon.write('other.onnx', FILES['three.onnx']);
  const line = await daemon.waitForLog((each) => each.msg.startsWith('the config was rejected'), from);
  t.match(line['diagnostics'], [MISTAKE]);
  t.same(await works(), [21, 42]);
  await daemon.write('other.onnx', addModel([100, 200]));
  await daemon.waitForLog('config applied', from);
  await daemon.running();
  t.same(await works(), [111, 222]);
  t.same(await daemon.stop(), { code: 0, signal: null });
});

t.test('at a cold start it is the mistake of one application', async (t) => {
  await using daemon = await startDaemon(config('./three.onnx'), { files: FILES, ready: false });
  const status = await daemon.when(
    'it is told',
    ({ applications }) => applications['app']?.status === 'DEPLOY_FAILED' && applications['neighbour']?.status === 'RUNNING',
  );
  t.match(status.applications['app']?.message, /expected float32 \[\?, 3\]/);
  t.equal((await daemon.post('/neighbour', 'well')).text, 'well');
});

t.test('validate tells it, and prints nothing that came from the environment', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'sd-validate-'));
  t.teardown(() => rm(folder, { recursive: true }));
  for (const [name, content] of Object.entries(FILES)) await writeFile(join(folder, name), content);
  const validate = async (text: string) => {
    await writeFile(join(folder, 'config.yaml'), text);
    return runProgram(['validate', 'config.yaml'], { cwd: folder, env: { FIELD: '$first.secret' } });
  };
  t.match(await validate(config()), { code: 0, out: /0 errors, 0 warnings/ });
  const { code, out } = await validate(config('./three.onnx'));
  t.equal(code, 1);
  t.match(out, `config.yaml:${MISTAKE.line}:${MISTAKE.column}: error INPUT_MISMATCH`);
  const hidden = await validate(config('./two.onnx', '${FIELD}'));
  t.equal(hidden.code, 1);
  t.match(hidden.out, 'UNKNOWN_FIELD');
  t.notMatch(hidden.out, 'secret');
});
