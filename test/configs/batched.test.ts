/** The example of a call that awaits its own batched function: ten posts at once are one run, and ten answers. */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import t from 'tap';
import type { Answer } from '../../configs/batched/words.ts';
import { LettersToSounds } from '../../configs/chain/letters-to-sounds.ts';
import { startDaemon } from '../support/daemon-rig.ts';

t.setTimeout(120_000);

const example = readFileSync('configs/batched/config.yaml', 'utf8')
  .replace('port: 8000', 'port: 0')
  .replace('port: 8265', 'port: 0')
  .replace('./words.ts', resolve('configs/batched/words.ts'));
/** None runs before so many are there. */
const waitingFor = (items: number) =>
  example.replace('{max_batch_size: 10, batch_wait_timeout_s: 0.1}', `{max_batch_size: ${items}, batch_wait_timeout_s: 60}`);

const TEN = ['Knife', 'thunder', 'castle', 'vision', 'sugar', 'writer', 'jungle', 'façade', 'doctor', "o'clock"];

t.test('ten posts at once are one run of ten, and ten answers', async (t) => {
  const network = new LettersToSounds();
  const alone = await Promise.all(
    TEN.map(async (word) => (await network.say([word.replace('ç', 'c').replace("'", '').toLowerCase()]))[0]),
  );
  await network.close();
  t.equal(new Set(alone).size, 10, 'they sound different');

  await using daemon = await startDaemon(waitingFor(10));
  const answers = await Promise.all(TEN.map((word) => daemon.post('/say', word)));
  t.same(
    answers.map(({ text }) => JSON.parse(text)),
    TEN.map((word, index) => ({ word, sounds: alone[index], together: 10 }) satisfies Partial<Answer>),
  );

  await daemon.apply(waitingFor(9));
  const wrong = await Promise.all([
    daemon.post('/say', 'двор'),
    daemon.post('/say', { word: 'x' }),
    daemon.post('/say', 'o'.repeat(65)),
  ]);
  const bytes = Buffer.alloc(1_000_000, '"');
  wrong.push(
    await daemon.post('/say', { words: new Array(100_000).fill('x') }),
    await daemon.post('/say', ['x', 'y']),
    await daemon.post('/say', null),
    await daemon.ask('/say', { method: 'POST', headers: { 'content-type': 'application/octet-stream' }, body: bytes }),
  );
  const got = ['"двор"', 'an object', `"${'o'.repeat(65)}"`, 'an object', 'a list of 2', 'null'];
  got.push('1000000 bytes that are not said to be JSON');
  t.same(
    wrong.map(({ status, text }) => [status, text]),
    got.map((each) => [400, `expected an English word of at most 64 letters as a JSON string, got ${each}`]),
  );
  const [nine, spoilt] = await Promise.all([
    Promise.all(TEN.slice(1).map((word) => daemon.post('/say', word))),
    daemon.post('/say', 'two words'),
  ]);
  t.match(spoilt, { status: 400, text: /got "two words"$/ });
  for (const { text } of nine) t.match(JSON.parse(text), { together: 9 }, 'the one that is no word was in no batch');
});

t.test('the example as it stands answers who is alone', async (t) => {
  await using daemon = await startDaemon(example);
  t.match(JSON.parse((await daemon.post('/say', 'window')).text), { word: 'window', sounds: /^W IH1 N D OW/, together: 1 });
});
