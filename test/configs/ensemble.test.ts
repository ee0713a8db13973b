/** The example of three models that vote, over the wire: on images that none of them has seen, and with one of them gone. */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { Tensor } from 'serve-daemon';
import t from 'tap';
import { type Answer, Ballot } from '../../configs/ensemble/ballot.ts';
import { type DaemonRig, startDaemon } from '../support/daemon-rig.ts';

t.setTimeout(180_000);

const text = readFileSync('configs/ensemble/config.yaml', 'utf8')
  .replace('port: 8000', 'port: 0')
  .replace('port: 8265', 'port: 0')
  .replaceAll('timeout_s: 1,', 'timeout_s: 60,') // on a busy machine
  .replaceAll('../../models', resolve('models'))
  .replace('./ballot.ts', resolve('configs/ensemble/ballot.ts'));

interface Sample {
  readonly digit: number;
  readonly pixels: readonly number[];
}

const samples: readonly Sample[] = readFileSync('models/digits/held-out.csv', 'utf8')
  .trim()
  .split('\n')
  .map((line) => {
    const [digit, ...pixels] = line.split(',').map(Number) as [number, ...number[]];
    return { digit, pixels };
  });

const MODELS = ['linear', 'network', 'forest'] as const;
/** The deployment of a step. */
const deploymentOf = (model: string) => model[0]?.toUpperCase() + model.slice(1);

const read = async (daemon: DaemonRig, { pixels }: Sample): Promise<Answer> => {
  const answer = await daemon.post('/digits', { pixels });
  if (answer.status !== 200) throw new Error(`expected 200, got ${answer.status} ${answer.text}`);
  return JSON.parse(answer.text) as Answer;
};
const readAll = (daemon: DaemonRig, some = samples) => Promise.all(some.map((sample) => read(daemon, sample)));
const share = (right: readonly boolean[]) => right.filter(Boolean).length / right.length;

t.test('together they read what none has seen, and are not worse than any alone', async (t) => {
  await using daemon = await startDaemon(text);
  const answers = await readAll(daemon);
  const together = share(answers.map(({ digit }, index) => digit === samples[index]?.digit));
  t.ok(together >= 0.96, `${together} of ${samples.length} images`);
  for (const model of MODELS) {
    const alone = share(answers.map(({ votes }, index) => votes[model] === samples[index]?.digit));
    t.ok(alone > 0.9 && together >= alone - 0.01, `${model} alone: ${alone}`);
  }
  const corrected = answers.filter(
    ({ digit, votes }, index) => digit === samples[index]?.digit && new Set(Object.values(votes)).size > 1,
  );
  t.ok(corrected.length >= 5, `${corrected.length} images on which they were not of one mind were read well`);
  t.ok(
    answers.every(({ probability }) => probability > 0.1 && probability <= 1 + 1e-6),
    'probabilities',
  );

  const wrong = async (body: unknown) => (({ status, text }) => [status, text])(await daemon.post('/digits', body));
  const { pixels } = samples[0] as Sample;
  t.same(await wrong({}), [400, 'expected `pixels` to be a list of 64 numbers, got nothing']);
  t.same(await wrong(null), [400, 'expected `pixels` to be a list of 64 numbers, got nothing']);
  t.same(await wrong({ pixels: pixels.slice(1) }), [400, 'expected `pixels` to have 64 numbers, got 63']);
  t.same(await wrong({ pixels: pixels.with(9, 17) }), [400, 'expected `pixels[9]` to be a number from 0 to 16, got 17']);
  t.same(await wrong({ pixels: [...pixels.slice(1), '5'] }), [400, 'expected `pixels[63]` to be a number from 0 to 16, got "5"']);
});

const BROKEN = `
export function throws() { throw new Error('this model is broken'); }
export function never(_image, { signal }) { return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))); }
`;

for (const [how, missing, others] of [
  ['throws', 'forest', ['linear', 'network']],
  ['never', 'network', ['linear', 'forest']],
] as const)
  t.test(`where one ${how === 'never' ? 'never answers' : how}, the other two vote`, async (t) => {
    const model = `model: ${resolve(`models/digits/${missing}.onnx`)}, batching: {}`;
    const config = text
      .replace(model, `import_path: ./broken.ts:${how}, max_ongoing_requests: 100`)
      .replace('Network, input: $image, timeout_s: 60', 'Network, input: $image, timeout_s: 1');
    await using daemon = await startDaemon(config, { files: { 'broken.ts': BROKEN } });
    const some = samples.slice(0, 100);
    const answers = await readAll(daemon, some);
    t.ok(
      answers.every(({ votes }) => votes[missing] === null && others.every((name) => typeof votes[name] === 'number')),
      'who voted',
    );
    const right = share(answers.map(({ digit }, index) => digit === some[index]?.digit));
    t.ok(right >= 0.95, `${right} of ${some.length} images`);
  });

t.test('without any model the answer is 503', async (t) => {
  let config = text;
  for (const model of MODELS)
    config = config.replace(
      `{name: ${deploymentOf(model)}, model: ${resolve(`models/digits/${model}.onnx`)}, batching: {}}`,
      `{name: ${deploymentOf(model)}, import_path: ./broken.ts:throws}`,
    );
  await using daemon = await startDaemon(config, { files: { 'broken.ts': BROKEN } });
  const answer = await daemon.post('/digits', { pixels: samples[0]?.pixels });
  t.match(answer, { status: 503, text: 'none of the models has answered', headers: { 'retry-after': '1' } });
});

t.test('the sure outweigh the doubtful', (t) => {
  const says = (...likely: readonly (readonly [digit: number, probability: number])[]) => {
    const data = new Float32Array(10);
    for (const [digit, probability] of likely) data[digit] = probability;
    return { probability: new Tensor('float32', [1, 10], data) };
  };
  const { count } = Ballot.prototype;
  t.match(count({ a: says([3, 0.5], [5, 0.45]), b: says([3, 0.5], [5, 0.45]), c: says([5, 0.99]) }), {
    digit: 5,
    votes: { a: 3, b: 3, c: 5 },
  });
  t.match(count({ a: says([3, 0.9], [5, 0.1]), b: says([3, 0.8], [5, 0.2]), c: says([5, 0.99]) }), { digit: 3 });
  t.match(count({ a: null, b: says([4, 0.5], [6, 0.25]) }), { digit: 4, probability: 0.5, votes: { a: null, b: 4 } });
  t.throws(() => count({ a: null }), { name: 'HttpError', details: { status: 503 } });
  t.end();
});
