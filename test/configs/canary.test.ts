/** The example of a canary: a good one is promoted step by step, a bad one is aborted, and what was decided is told and kept. */
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import t from 'tap';
import { Rules } from '../../configs/canary/rules.ts';
import { Segmenter } from '../../configs/canary/segmenter.ts';
import { compile } from '../../src/config/compile.ts';
import { type DaemonRig, runProgram, startDaemon } from '../support/daemon-rig.ts';

t.setTimeout(180_000);

const folder = resolve('configs/canary');
const read = (name: string) => readFileSync(join(folder, name), 'utf8');

t.test('the config has no mistakes', async (t) => {
  const file = join(folder, 'config.yaml');
  const { diagnostics } = compile(readFileSync(file), { file, env: {}, exists: existsSync });
  t.same(diagnostics, []);
});

const TEXTS: readonly (readonly [text: string, sentences: readonly string[]])[] = [
  ['It rains. We stay in! Do you?', ['It rains.', 'We stay in!', 'Do you?']],
  ['The price rose by 3.5 percent. Nobody noticed', ['The price rose by 3.5 percent.', 'Nobody noticed']],
  [
    '“Come in!” She opened. (It was late.) Guests sat there…',
    ['“Come in!”', 'She opened.', '(It was late.)', 'Guests sat there…'],
  ],
  ['', []],
];

t.test('both find the sentences of texts that they have not seen', async (t) => {
  for (const splitter of [new Rules(), new Segmenter()])
    for (const [text, sentences] of TEXTS)
      t.same((await splitter.call(text)).sentences, sentences, `${splitter.constructor.name}: ${text}`);
  t.same((await new Rules().call('By J. Smith. All of it.')).sentences, ['By J. Smith.', 'All of it.']);
  await t.rejects(new Segmenter().call(5), { message: 'expected a text, got number' });
  for (const splitter of [new Rules(), new Segmenter()])
    await t.rejects(splitter.call('x'.repeat(100_001)), {
      message: 'expected a text of at most 100000 characters, got 100001',
      details: { status: 413 },
    });
});

t.test('a long text is split as it would be as a whole, and never given to the segmenter as a whole', async (t) => {
  const sentences = Array.from({ length: 2000 }, (_, index) => `This is ${'very '.repeat(index % 9)}much of it.`);
  sentences.splice(1000, 0, `One of ${'many '.repeat(1000)}words.`);
  const { prototype } = Intl.Segmenter;
  const { segment } = prototype;
  const lengths: number[] = [];
  prototype.segment = function (text) {
    lengths.push(text.length);
    return segment.call(this, text);
  };
  t.teardown(() => {
    prototype.segment = segment;
  });
  t.same((await new Segmenter().call(sentences.join(' '))).sentences, sentences);
  t.ok(lengths.length > 50 && Math.max(...lengths) <= 8000, `windows of at most ${Math.max(...lengths)} characters`);
});

/** In seconds what takes minutes; p99 is left to those who have a machine for themselves. */
const quick = (more: (text: string) => string = (text) => text): string =>
  more(read('config.yaml'))
    .replace('port: 8000', 'port: 0')
    .replace('port: 8265', 'port: 0')
    .replace('window_s: 60', 'window_s: 1')
    .replace('min_requests: 200', 'min_requests: 20')
    .replace(' p99_ratio_below: 3,', '')
    .replace(' p99_above_s: 1,', '');

/** A mistake that is easily made: a text without a mark at its end has no match. */
const BAD = `import { textOf } from './rules.ts';
export class Segmenter {
  async call(text) { return { sentences: textOf(text).match(/[^.!?]+[.!?]+/g).map((each) => each.trim()) }; }
}
`;

/** Asks from many users at once until it is told to stop. @returns the statuses so far, and an end */
const traffic = (daemon: DaemonRig) => {
  const statuses: number[] = [];
  let isOver = false;
  const loop = async (first: number) => {
    for (let user = first; !isOver; user += 4) {
      const [text] = TEXTS[user % TEXTS.length] as (typeof TEXTS)[number];
      statuses.push((await daemon.post('/', text, { 'x-user': `user-${user % 500}` })).status);
    }
  };
  const loops = [0, 1, 2, 3].map(loop);
  return {
    statuses,
    [Symbol.asyncDispose]: async () => {
      isOver = true;
      await Promise.all(loops);
    },
  };
};

const verdictIn = (status: Awaited<ReturnType<DaemonRig['status']>>) => {
  const split = status.applications['sentences']?.splits['sentences'];
  return { ...split?.verdict, percents: split?.targets.map(({ percent }) => percent) };
};

t.test(
  'served: the good one is promoted, the bad one aborted; that stays over reloads and restarts until it is edited',
  async (t) => {
    const root = await mkdtemp(join(tmpdir(), 'sd-canary-'));
    t.teardown(() => rm(root, { recursive: true, force: true }));
    const files = { 'rules.ts': read('rules.ts'), 'segmenter.ts': read('segmenter.ts') };
    {
      await using daemon = await startDaemon(quick(), { files, folder: root });
      const settled = (what: string, state: string) => daemon.when(what, (status) => verdictIn(status).state === state, 60_000);
      const begun = await daemon.status();
      t.match(verdictIn(begun), {
        state: 'progressing',
        percents: [90, 10],
        next_percent: 25,
        message: /0 of 20 requests of the canary/,
      });
      {
        await using asked = traffic(daemon);
        const promoted = await settled('the good canary is promoted', 'promoted');
        t.match(verdictIn(promoted), { percents: [0, 100], message: /error rate 0 % of \d+ requests is below 1 %/ });
        t.ok(asked.statuses.every((status) => status === 200));
      }
      const moves = JSON.parse((await daemon.ask('/api/serve/history', {}, daemon.adminUrl)).text).verdicts;
      t.match(moves, [
        { from: 10, to: 25, state: 'progressing' },
        { from: 25, to: 50, state: 'progressing' },
        {
          from: 50,
          to: 100,
          state: 'promoted',
          canary: 'Segmenter',
          why: /of \d+ answers of the shadow differing is below 20 %/,
        },
      ]);
      t.match(
        (await runProgram(['history', '--address', daemon.adminUrl])).out,
        /verdict +sentences\/sentences: Segmenter 50 % → 100 %, promoted: error/,
      );
      t.match(
        (await runProgram(['status', '--address', daemon.adminUrl])).out,
        /split of sentences: Rules 0 % \(90 % in the file\), Segmenter 100 % \(10 % in the file\); promoted: /,
      );
      const { text: metrics } = await daemon.ask('/metrics', {}, daemon.adminUrl);
      t.match(metrics, /serve_split_weight_ratio\{application="sentences",step="sentences",target="Segmenter"\} 1\n/);
      t.match(metrics, /serve_split_verdict\{application="sentences",step="sentences",state="promoted"\} 1\n/);
      t.match(
        metrics,
        /serve_split_requests_total\{application="sentences",step="sentences",target="Segmenter",result="ok"\} [1-9]/,
      );
      t.match(metrics, /serve_shadow_answers_total\{application="sentences",step="sentences",result="same"\} [1-9]/);

      // Other code is another canary.
      await daemon.write('segmenter.ts', BAD);
      await daemon.when('it begins anew', (status) => verdictIn(status).percents?.[1] === 10);
      {
        await using _ = traffic(daemon);
        t.match(verdictIn(await settled('the bad canary is aborted', 'aborted')), {
          percents: [100, 0],
          message: /is above (5|40) %/,
        });
      }
      const later = await Promise.all(
        Array.from({ length: 60 }, (_, user) => daemon.post('/', 'no mark at its end', { 'x-user': `u${user}` })),
      );
      t.same(new Set(later.map(({ status }) => status)), new Set([200]), 'it gets nothing any more');
      t.match(await daemon.post('/', 5, {}), { status: 422 }, 'what is no text is the client’s mistake');

      await daemon.apply(quick((text) => `shutdown_timeout_s: 29\n${text}`));
      t.match(
        verdictIn(await daemon.status()),
        { state: 'aborted', percents: [100, 0] },
        'an edit elsewhere changes nothing of it',
      );
      await daemon.stop();
    }
    {
      await using daemon = await startDaemon(undefined, { folder: root });
      t.match(verdictIn(await daemon.status()), { state: 'aborted', percents: [100, 0], message: /is above/ });
      t.match((await daemon.post('/', 'no mark at its end', { 'x-user': 'u1' })).status, 200);
      const edited = quick((text) => text.replace('weight: 10}', 'weight: 5}'));
      const plan = await daemon.ask('/api/serve/plan', { method: 'POST', body: edited }, daemon.adminUrl);
      t.match(JSON.parse(plan.text), { applications: { sentences: { change: 'live', fields: ['graph'] } }, restarts: 0 });
      await daemon.apply(edited);
      t.match(
        verdictIn(await daemon.status()),
        { state: 'progressing', percents: [100 - 100 / 19, 100 / 19] },
        'other weights begin anew',
      );
      await daemon.stop();
    }
  },
);
