/** The example of a chain of two, in code, with handles wired in the file, and as steps: the same questions, the same answers. */
import { existsSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import t, { type Test } from 'tap';
import { Pronouncer } from '../../configs/chain/pronouncer.ts';
import type { Spoken } from '../../configs/chain/summarizer.ts';
import { compile } from '../../src/config/compile.ts';
import { type DaemonRig, startDaemon } from '../support/daemon-rig.ts';

t.setTimeout(240_000);

const WAYS = ['code', 'calls', 'steps'] as const;
const folder = resolve('configs/chain');

const configOf = (way: (typeof WAYS)[number]): string =>
  `admin_options: {port: 0}\nhttp_options: {host: 127.0.0.1, port: 0}\n${readFileSync(`${folder}/${way}.yaml`, 'utf8').replaceAll(
    'import_path: ./',
    `import_path: ${folder}/`,
  )}`;

const BRIDGE = [
  'The old bridge over the river was closed on Monday.',
  'Engineers had found cracks in its stone arches.',
  'My aunt prefers tea.',
  'The bridge will stay closed until the cracks in the arches are repaired.',
  'Drivers who used the bridge must cross the river in the next town.',
].join(' ');
const HARVEST = [
  'Farmers in the valley expect a poor harvest of apples.',
  'Frost in April killed many of the blossoms.',
  'A band played in the square.',
  'Without blossoms the trees bear no apples, so prices will rise after the harvest.',
].join(' ');

const speak = async (daemon: DaemonRig, text: string): Promise<Spoken> => {
  const answer = await daemon.post('/', text);
  if (answer.status !== 200) throw new Error(`expected 200, got ${answer.status} ${answer.text}`);
  return JSON.parse(answer.text) as Spoken;
};

const sameQuestions = async (t: Test, daemon: DaemonRig): Promise<void> => {
  for (const [text, aside] of [
    [BRIDGE, 'My aunt prefers tea.'],
    [HARVEST, 'A band played in the square.'],
  ] as const) {
    const { summary, sounds } = await speak(daemon, text);
    const words = summary.match(/\p{L}+/gu) ?? [];
    t.ok(words.length >= 12 && words.length <= 30, `${words.length} words: ${summary}`);
    for (const sentence of summary.split(/(?<=\.) /)) t.ok(text.includes(sentence), 'it is made of sentences of the text');
    t.notOk(summary.includes(aside), 'what has nothing to do with the rest is left out');
    t.equal(sounds.split(' | ').length, words.length, 'each word has its sounds');
    t.match(sounds, /^([A-Z]{1,2}[012]?( \| | |$))+$/);
  }
  t.match(await speak(daemon, 'Hello, Zürich: γειά!'), { summary: 'Hello, Zürich: γειά!', sounds: /^HH .* \| Z .* \| γειά$/ });

  t.match(await daemon.post('/', { text: 'x' }), { status: 400, text: 'expected a text in English as a JSON string' });
  t.match(await daemon.post('/', ' '), { status: 400, text: 'expected a text in English as a JSON string' });
  t.match(await daemon.post('/', 'Привет, мир'), {
    status: 422,
    text: 'expected a text in English, got one without a word in its letters',
  });
  t.match(await daemon.post('/', 'o'.repeat(65)), { status: 422, text: 'expected words of at most 64 letters, got one of 65' });
};

const answers: Spoken[][] = [];
for (const way of WAYS)
  t.test(way, async (t) => {
    const file = `${folder}/${way}.yaml`;
    t.same(compile(readFileSync(file), { file, env: {}, exists: existsSync }).diagnostics, [], 'the file has no mistakes');
    await using daemon = await startDaemon(configOf(way));
    await sameQuestions(t, daemon);
    answers.push(await Promise.all([BRIDGE, HARVEST].map((text) => speak(daemon, text))));
  });

t.test('all three have said the same, word for word', (t) => {
  t.equal(answers.length, 3);
  for (const each of answers) t.same(each, answers[0]);
  t.end();
});

/** As the CMU Pronouncing Dictionary has them, without stress. */
const SAID: Readonly<Record<string, string>> = {
  water: 'W AO T ER',
  window: 'W IH N D OW',
  doctor: 'D AA K T ER',
  seven: 'S EH V AH N',
  holiday: 'HH AA L AH D EY',
  elephant: 'EH L AH F AH N T',
  question: 'K W EH S CH AH N',
  nation: 'N EY SH AH N',
  bright: 'B R AY T',
  knife: 'N AY F',
  phone: 'F OW N',
  cheese: 'CH IY Z',
  thunder: 'TH AH N D ER',
  school: 'S K UW L',
  machine: 'M AH SH IY N',
  library: 'L AY B R EH R IY',
  picture: 'P IH K CH ER',
  sugar: 'SH UH G ER',
  island: 'AY L AH N D',
  writer: 'R AY T ER',
  vision: 'V IH ZH AH N',
  jungle: 'JH AH NG G AH L',
  castle: 'K AE S AH L',
  wrong: 'R AO NG',
  fashion: 'F AE SH AH N',
  musician: 'M Y UW Z IH SH AH N',
  neighbor: 'N EY B ER',
  electricity: 'IH L EH K T R IH S AH T IY',
};

t.test('words sound as the dictionary says', async (t) => {
  const pronouncer = new Pronouncer();
  const words = Object.keys(SAID);
  const sounds = (await pronouncer.call(words.join(' '))).split(' | ').map((each) => each.replace(/\d/g, '').split(' '));
  const wrong = words.map((word, index) => distance(sounds[index] ?? [], (SAID[word] ?? '').split(' ')));
  const total = words.reduce((sum, word) => sum + (SAID[word] ?? '').split(' ').length, 0);
  const errors = wrong.reduce((sum, each) => sum + each, 0);
  t.ok(errors / total < 0.1, `${errors} of ${total} sounds are wrong: ${words.filter((_, index) => (wrong[index] ?? 0) > 0)}`);
  t.equal(await pronouncer.call("Words, WORDS'"), [1, 2].map(() => 'W ER1 D Z').join(' | '));
  await pronouncer.close();
});

t.test('a word sounds the same alone and among hundreds', async (t) => {
  const pronouncer = new Pronouncer();
  const many = Array.from(
    { length: 200 },
    (_, index) => `wo${'abcdefghij'[index % 10]}r${'klmnopqrstuvwxyzabcd'[index % 20]}e${'d'.repeat(index % 7)}`,
  );
  const together = (await pronouncer.call(many.join(' '))).split(' | ');
  for (const index of [0, 63, 64, 130, 199]) t.equal(await pronouncer.call(many[index] as string), together[index]);
  await pronouncer.close();
});

/** Sounds to put in, take out or exchange. */
const distance = (a: readonly string[], b: readonly string[]): number => {
  let row = b.map((_, index) => index + 1);
  let before = 0;
  for (const [index, sound] of a.entries()) {
    before = index;
    const next: number[] = [];
    for (const [at, other] of b.entries())
      next.push(
        Math.min(
          (next[at - 1] ?? index + 1) + 1,
          (row[at] as number) + 1,
          (at === 0 ? before : (row[at - 1] as number)) + (sound === other ? 0 : 1),
        ),
      );
    row = next;
  }
  return row.at(-1) ?? a.length;
};
