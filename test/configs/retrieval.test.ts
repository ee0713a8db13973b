/** The example of search by meaning, over the wire: texts that this test brings, bodies that are wrong, and replicas that go. */
import { readFileSync } from 'node:fs';
import { appendFile, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import t, { type Test } from 'tap';
import { type Answer, type DaemonRig, Load, startDaemon } from '../support/daemon-rig.ts';

t.setTimeout(240_000);

const config = (server: string) =>
  readFileSync('configs/retrieval/config.yaml', 'utf8')
    .replace('port: 8000', `port: 0, server: ${server}`)
    .replace('port: 8265', 'port: 0')
    .replaceAll('../../models', resolve('models'))
    .replace('./search.ts', resolve('configs/retrieval/search.ts'));

/** Texts, each with a question that has no word of it. */
const ASKED: readonly (readonly [text: string, query: string])[] = [
  ['The physician prescribed antibiotics against her infection.', 'a doctor gives medicine to cure illness'],
  ['Heavy rain flooded several streets downtown.', 'storm water covers roads in a city'],
  ['The chef simmers onions, garlic and tomatoes for an hour.', 'cooking vegetables slowly in a kitchen'],
  ['Our spacecraft entered orbit around Mars after seven months.', 'rocket travels to another planet'],
  ['The striker scored twice before half time.', 'football player shoots goals'],
  ['She tuned her violin backstage while the audience waited.', 'musician prepares an instrument at a concert'],
  ['Shares fell sharply when the company announced its losses.', 'stock market drop and bad earnings'],
  ['A password should be long, and never used for two accounts.', 'keeping logins secure online'],
  ['Wolves hunt in packs across the frozen forest.', 'wild animals catching prey during winter'],
  ['The parliament passed a law that lowers taxes for small firms.', 'politicians vote on government legislation'],
  ['Plants turn sunlight and carbon dioxide into sugar.', 'how do leaves make energy: photosynthesis'],
  ['The train to Lyon is delayed by forty minutes.', 'late railway service in France'],
  ['He repaired the engine and changed the oil of my car.', 'mechanic fixes an automobile motor'],
  ['The excavation uncovered pottery from the Bronze Age.', 'archaeologists found ancient ceramics'],
  ['My grandmother knits wool sweaters for the whole family.', 'making warm clothes from yarn by hand'],
];

const json = (answer: Answer) => JSON.parse(answer.text);
const post = (daemon: DaemonRig, texts: readonly { readonly id?: string; readonly text: string }[]) =>
  daemon.post('/documents', { documents: texts });
const wordsOf = (text: string) => new Set(text.toLowerCase().match(/\p{L}+/gu));

interface Hits {
  readonly hits: readonly { readonly id: string; readonly score: number; readonly text: string }[];
}
const search = async (daemon: DaemonRig, query: string, top?: number): Promise<Hits['hits']> => {
  const answer = await daemon.post('/search', { query, top });
  if (answer.status !== 200) throw new Error(`expected 200, got ${answer.status} ${answer.text}`);
  return (JSON.parse(answer.text) as Hits).hits;
};

const findsByMeaning = async (t: Test, daemon: DaemonRig): Promise<void> => {
  for (const [text, query] of ASKED) {
    const [shared] = [...wordsOf(query)].filter((word) => wordsOf(text).has(word));
    t.equal(shared, undefined, `no word of «${query}» is in its text`);
  }
  const found = await Promise.all(ASKED.map(async ([, query]) => search(daemon, query, 3)));
  for (const [index, [text, query]] of ASKED.entries()) t.equal(found[index]?.[0]?.text, text, query);
  for (const hits of found) {
    t.equal(hits.length, 3);
    t.ok(
      hits.every(({ score }, index) => score <= (hits[index - 1]?.score ?? 1) && score >= -1),
      'best first',
    );
  }
};

for (const server of ['uws', 'node'] as const) {
  t.test(`${server}: the example`, async (t) => {
    await using daemon = await startDaemon(config(server));
    const posted = await post(
      daemon,
      ASKED.map(([text], index) => ({ id: `text-${index}`, text })),
    );
    t.match(posted, { status: 201 });
    t.same(json(posted), { ids: ASKED.map((_, index) => `text-${index}`) });
    t.same(json(await daemon.ask('/')), { documents: ASKED.length });

    await t.test('what says the same in other words is found', (t) => findsByMeaning(t, daemon));

    await t.test('texts that are filled up to run together mean what they mean alone', async (t) => {
      const together = await search(daemon, 'a query about nothing', 100);
      for (const [index, [text]] of ASKED.entries()) await post(daemon, [{ id: `text-${index}`, text }]);
      const alone = await search(daemon, 'a query about nothing', 100);
      t.same(
        together.map(({ id }) => id),
        alone.map(({ id }) => id),
      );
      const off = together.map(({ score }, index) => Math.abs(score - (alone[index]?.score ?? 9)));
      t.ok(Math.max(...off) < 1e-5, `at most ${Math.max(...off)} off`);
    });

    await t.test('documents are read, replaced and deleted', async (t) => {
      t.same(json(await daemon.ask('/documents/text-0')), { id: 'text-0', text: ASKED[0]?.[0] });
      const [id] = (json(await post(daemon, [{ text: 'Glaciers melt faster than they grow.' }])) as { ids: string[] }).ids;
      t.equal((await search(daemon, 'ice becomes water', 1))[0]?.id, id);
      await post(daemon, [{ id, text: 'The tailor shortens a pair of trousers.' }]);
      t.not((await search(daemon, 'ice becomes water', 1))[0]?.id, id, 'its old text is not found any more');
      t.equal((await search(daemon, 'clothes are altered to fit', 1))[0]?.id, id);
      t.match(await daemon.ask(`/documents/${id}`, { method: 'DELETE' }), { status: 204, text: '' });
      t.not((await search(daemon, 'clothes are altered to fit', 1))[0]?.id, id);
      for (const method of ['GET', 'DELETE'])
        t.match(await daemon.ask(`/documents/${id}`, { method }), {
          status: 404,
          text: `{"error":"there is no document ${id}"}`,
        });
      t.same(json(await daemon.ask('/')), { documents: ASKED.length });
    });

    await t.test('a body that is wrong is told where, with what was expected and what came', async (t) => {
      const wrong = async (path: string, body: unknown) => {
        const answer = await daemon.post(path, body);
        t.equal(answer.status, 400);
        return json(answer);
      };
      t.same(await wrong('/documents', {}), { errors: [{ where: 'documents', expected: 'an array', got: 'nothing' }] });
      t.same(await wrong('/documents', { documents: [] }), {
        errors: [{ where: 'documents', expected: 'at least 1 item', got: 'a list of 0' }],
      });
      t.same(
        await wrong('/documents', {
          documents: [
            { id: '../x', text: 5 },
            { text: 'x'.repeat(10_001), lang: 'en' },
          ],
        }),
        {
          errors: [
            { where: 'documents[0].id', expected: 'letters, digits, `_`, `.` and `-`, at most 64', got: '"../x"' },
            { where: 'documents[0].text', expected: 'a string', got: '5' },
            { where: 'documents[1].text', expected: 'at most 10000 characters', got: 'a text of 10001 characters' },
            { where: 'documents[1]', expected: 'no other keys', got: '`lang`' },
          ],
        },
      );
      t.same(await wrong('/documents', { documents: ['a', 'b', 'a'].map((id) => ({ id, text: 'x' })) }), {
        errors: [{ where: 'documents[2].id', expected: 'another id than those before', got: '"a"' }],
      });
      t.same(await wrong('/documents', { documents: [{ text: 'word' }, { text: ' \u{1f600} ' }] }), {
        errors: [{ where: 'documents[1].text', expected: 'a text with a word that the model knows', got: 'none' }],
      });
      t.same(await wrong('/documents', { documents: new Array(101).fill({ text: 'x'.repeat(9_999) }) }), {
        errors: [{ where: 'documents', expected: 'at most 1000000 characters in all texts', got: '1009899' }],
      });
      t.same(await wrong('/search', { query: 'x', top: 1.5 }), {
        errors: [{ where: 'top', expected: 'a whole number', got: '1.5' }],
      });
      t.same(await wrong('/search', ['x']), { errors: [{ where: 'body', expected: 'an object', got: 'a list of 1' }] });
      const many = await wrong('/documents', { documents: new Array(50).fill({}) });
      t.match(many, { more: 30 });
      t.equal(many.errors.length, 20);
      const broken = await daemon.ask('/search', {
        method: 'POST',
        body: '{"query": ',
        headers: { 'content-type': 'application/json' },
      });
      t.equal(broken.status, 400);
      t.match(json(broken), { errors: [{ where: 'body', expected: 'JSON', got: /JSON/ }] });
      t.same(json(await daemon.ask('/')), { documents: ASKED.length }, 'nothing of it was kept');
    });
  });
}

t.test('documents outlive their replica, an edit, and a daemon that was killed in the middle of a write', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'sd-retrieval-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  {
    await using daemon = await startDaemon(config('uws'), { folder });
    await post(
      daemon,
      ASKED.map(([text]) => ({ text })),
    );
    const [pid] = await daemon.pids('retrieval', 'Search');
    process.kill(pid as number, 'SIGKILL');
    await daemon.when('another replica', ({ applications }) => {
      const [replica] = applications['retrieval']?.deployments['Search']?.replicas ?? [];
      return replica?.state === 'RUNNING' && replica.pid !== pid;
    });
    await findsByMeaning(t, daemon);

    const before = daemon.log.length;
    await using load = new Load(2, async () => ((await search(daemon, 'wool', 1)).length === 1 ? undefined : 'nothing found'));
    await load.more(5);
    await daemon.apply(config('uws').replace('maxDocuments: 100000', `maxDocuments: ${ASKED.length + 1}`));
    await load.more(5);
    await load.stop();
    t.same(load.failures, [], 'who asked meanwhile has waited');
    t.same(json(await daemon.ask('/')), { documents: ASKED.length }, 'one replica has let go before the next has come');
    t.notOk(daemon.log.slice(before).some((line) => JSON.stringify(line).includes('held by another replica')));
    t.match(await post(daemon, [{ text: 'one' }, { text: 'two' }]), {
      status: 507,
      text: /expected at most 16 documents, got 17/,
    });
    t.match(await post(daemon, [{ id: 'last', text: 'one' }]), { status: 201 });
  }
  await appendFile(join(folder, 'app', 'documents.jsonl'), '{"id":"cut off","text":"the end of th');
  await using daemon = await startDaemon(config('uws'), { folder });
  t.same(json(await daemon.ask('/')), { documents: ASKED.length + 1 });
  await daemon.ask('/documents/last', { method: 'DELETE' });
  await findsByMeaning(t, daemon);
});

t.test('a second replica is refused, with what to do', async () => {
  await using daemon = await startDaemon(config('uws').replace('import_path:', 'num_replicas: 2\n    import_path:'), {
    ready: false,
  });
  await daemon.when('it is told', ({ applications }) =>
    /documents.jsonl is held by another replica, and can have one only: expected `num_replicas: 1`/.test(
      applications['retrieval']?.deployments['Search']?.message ?? '',
    ),
  );
  await daemon.stop();
});
