/** The parts of the retrieval example: tokens, nearest neighbours, and what is kept of documents. */

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { appendFile, mkdtemp, open, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import fc from 'fast-check';
import { type CallContext, type DeploymentContext, Tensor } from 'serve-daemon';
import t, { type Test } from 'tap';
import { Nearest } from '../../configs/retrieval/nearest.ts';
import { holdAlone } from '../../configs/retrieval/one-writer.ts';
import { Search, type SearchArgs } from '../../configs/retrieval/search.ts';
import { DocumentStore, type Embedded } from '../../configs/retrieval/store.ts';
import { WordPiece } from '../../configs/retrieval/wordpiece.ts';

const fail = (error: unknown) => t.fail(String(error));

t.test('words and pieces of words become their numbers', (t) => {
  const vocabulary = ['[PAD]', '[UNK]', 'un', '##aff', '##able', 'cafe', '!', '中', '$', "'", 's', '##s'];
  const words = new WordPiece(`${vocabulary.join('\n')}\n`);
  const tokens = (text: string) => [...words.tokensOf(text)].map((id) => vocabulary[id]);
  t.same(tokens('Unaffable CAFÉ!'), ['un', '##aff', '##able', 'cafe', '!']);
  t.same(tokens("cafe's cafes"), ['cafe', "'", 's', 'cafe', '##s']);
  t.same(tokens('中中 $'), ['中', '中', '$']);
  t.same(tokens('ca\u0000fe\u200b'), ['cafe'], 'without control characters');
  t.same(tokens(`unknown ${'un'.repeat(51)} \t\n`), [], 'what cannot be put together');
  t.throws(() => new WordPiece('a\nb\n'), { message: 'expected a vocabulary with [UNK], got 2 lines without it' });
  t.end();
});

/** What `WordPiece` does, without a thought for its time. */
const piecesOf = (word: string, known: ReadonlySet<string>): readonly string[] => {
  const pieces: string[] = [];
  for (let rest = word; rest !== ''; ) {
    const before = pieces.length === 0 ? '' : '##';
    const fits = [...known].filter((token) => token.startsWith(before) && rest.startsWith(token.slice(before.length)));
    const longest = fits.reduce((best, token) => (token.length > best.length ? token : best), before);
    if (longest === before) return [];
    pieces.push(longest);
    rest = rest.slice(longest.length - before.length);
  }
  return pieces;
};

t.test('of all vocabularies and words, it is the longest piece each time', (t) => {
  const letters = fc.string({ unit: fc.constantFrom('a', 'b', '\u{10400}'), minLength: 1, maxLength: 4 });
  const tokens = fc.array(fc.tuple(fc.constantFrom('', '##'), letters), { minLength: 1, maxLength: 12 });
  const word = fc.string({ unit: fc.constantFrom('a', 'b', '\u{10428}'), minLength: 1, maxLength: 10 });
  fc.assert(
    fc.property(tokens, word, (some, word) => {
      const vocabulary = ['[UNK]', ...new Set(some.map(([before, letters]) => before + letters.toLowerCase()))];
      const found = [...new WordPiece(vocabulary.join('\n')).tokensOf(word)].map((id) => vocabulary[id]);
      t.same(found, piecesOf(word, new Set(vocabulary.slice(1))));
    }),
  );
  t.end();
});

t.test('nothing is looked up that is longer than any token', (t) => {
  const words = new WordPiece('[UNK]\nq\n##q\n##x\n##longest\n');
  const { get } = Map.prototype;
  let lookups = 0;
  Map.prototype.get = function (key) {
    lookups += 1;
    return get.call(this, key);
  };
  let pieces: number;
  try {
    pieces = words.tokensOf('qx'.repeat(50)).length;
  } finally {
    Map.prototype.get = get;
  }
  t.equal(pieces, 100);
  t.ok(lookups >= 100 && lookups <= 100 * '##longest'.length, `${lookups} lookups`);
  t.end();
});

/** As the package `tokenizers` has them. */
const TOKENS: readonly (readonly [text: string, tokens: readonly number[]])[] = [
  [
    "It's 20°C in Zürich — naïve façades, isn't it?",
    [1015, 11, 61, 1328, 6743, 1284, 1005, 9210, 523, 14749, 27714, 16, 2481, 11, 62, 1015, 35],
  ],
  [
    'unbelievably photosynthesising e-mail@example.com $5.00 (50%)',
    [3901, 7677, 1672, 2573, 5327, 6766, 5044, 24084, 1081, 47, 17, 4659, 36, 1748, 18, 3018, 8, 25, 18, 3008, 12, 1759, 9, 13],
  ],
  [
    '日本語 and Ελληνικά, русский й',
    [870, 882, 956, 1004, 165, 28733, 28733, 23830, 15183, 17205, 28732, 13614, 16, 201, 28754, 28753, 28753, 22931, 14420, 194],
  ],
  ['tab\tand\nline; hyper-text_markup', [20634, 1004, 1246, 31, 22766, 17, 2799, 41, 1934, 5285]],
  ['İstanbul ﬁne Åse ½ ™ a\u200db', [8966, 990, 1644, 1010, 1069, 98, 586, 10119]],
  [
    'antidisestablishmentarianism 1234567890 #hash',
    [2430, 9527, 3361, 6881, 12608, 2678, 11205, 1970, 12144, 18967, 1581, 1587, 1626, 20063, 7, 22331],
  ],
];

t.test('the committed vocabulary gives the tokens that its own tokenizer gives', (t) => {
  const words = new WordPiece(readFileSync('models/embedding/vocabulary.txt', 'utf8'));
  for (const [text, tokens] of TOKENS) t.same([...words.tokensOf(text)], tokens, text);
  t.end();
});

/** The application with a model that does as it is told. */
const searchWith = (t: Test, call: (inputs: { tokens: Tensor }) => Promise<{ embedding: Tensor }>) => {
  const folder = mkdtempSync(join(tmpdir(), 'sd-search-'));
  const log = { info: () => {}, warn: fail };
  const search = new Search(
    {
      embedding: { call } as unknown as SearchArgs['embedding'],
      vocabulary: 'models/embedding/vocabulary.txt',
      file: join(folder, 'f'),
    },
    { log } as unknown as DeploymentContext,
  );
  t.teardown(async () => {
    await search.close();
    rmSync(folder, { recursive: true });
  });
  return async (texts: readonly string[]): Promise<Response> =>
    search.fetch(
      new Request('http://localhost/documents', {
        method: 'POST',
        body: JSON.stringify({ documents: texts.map((text) => ({ text })) }),
      }),
      {} as CallContext,
    );
};
const embedded = () => ({ embedding: new Tensor('float32', [1, 256], new Float32Array(256)) });

t.test('of the texts of one request, a batch at most is with the model at once', async (t) => {
  let [open, most, calls] = [0, 0, 0];
  const post = searchWith(t, async () => {
    calls += 1;
    most = Math.max(most, ++open);
    await setImmediate();
    open -= 1;
    return embedded();
  });
  const answer = await post(new Array(1000).fill('word'));
  t.equal(answer.status, 201);
  t.same([calls, most], [1000, 64]);
});

t.test('others have their turn between the texts of one request', async (t) => {
  let turns = 0;
  let before: number | undefined;
  const post = searchWith(t, async () => {
    before ??= turns;
    return embedded();
  });
  await post(['the file is open']);
  before = undefined;
  let isOver = false;
  const others = (async () => {
    for (; !isOver; turns++) await setImmediate();
  })();
  const answer = await post(new Array(200).fill('word'));
  isOver = true;
  await others;
  t.equal(answer.status, 201);
  t.ok((before ?? 0) >= 199, `${before} turns before the first call`);
});

/** Numbers that are exact in float32, so that sums do not depend on their order. */
const vector = fc.array(fc.integer({ min: -8, max: 8 }), { minLength: 3, maxLength: 3 });
const name = fc.constantFrom(...'abcdefghij');

t.test('the nearest are those of a sort of all, after any changes', (t) => {
  const change = fc.oneof(
    fc.record({ set: name, to: vector }),
    fc.record({ drop: name }),
    fc.record({ set: fc.uuid(), to: vector }), // more than the first room
  );
  fc.assert(
    fc.property(fc.array(change, { maxLength: 150 }), vector, fc.integer({ min: 0, max: 12 }), (changes, query, top) => {
      const nearest = new Nearest(3);
      const all = new Map<string, readonly number[]>();
      for (const each of changes) {
        if ('drop' in each) t.equal(nearest.delete(each.drop), all.delete(each.drop));
        else {
          nearest.set(each.set, Float32Array.from(each.to));
          all.set(each.set, each.to);
        }
      }
      const scoreOf = (values: readonly number[] = []) => values.reduce((sum, value, at) => sum + value * (query[at] ?? 0), 0);
      const found = nearest.search(Float32Array.from(query), top);
      const wanted = [...all.values()].map(scoreOf).sort((a, b) => b - a);
      t.same(
        found.map(({ score }) => score),
        wanted.slice(0, top),
      );
      t.equal(new Set(found.map(({ id }) => id)).size, found.length);
      for (const { id, score } of found) t.equal(score, scoreOf(all.get(id)));
    }),
  );
  t.throws(() => new Nearest(3).set('a', new Float32Array(2)), { message: 'expected a vector of 3 numbers, got 2' });
  t.end();
});

const LIMITS = { width: 2, maxDocuments: 3000 };
const of = (id: string, x = 1): Embedded => ({ id, text: `text of ${id}`, vector: Float32Array.of(x, 1 - x) });
const linesOf = async (file: string) => (await readFile(file, 'utf8')).split('\n').length - 1;

t.test('what is kept is there when the file is opened again, whatever comes behind it', async (t) => {
  const file = join(t.testdir(), 'documents.jsonl');
  const store = await DocumentStore.open(file, LIMITS, fail);
  await Promise.all([store.put([of('a'), of('b', 0)]), store.delete('a'), store.put([of('a', 0.5)]), store.put([of('ü\n')])]);
  t.equal(await store.delete('nobody'), false);
  await store.close();

  await appendFile(file, `{"id":"c","text":"${'cut off '.repeat(99)}`);
  const again = await DocumentStore.open(file, LIMITS, fail);
  t.equal(again.size, 3);
  t.same(again.get('ü\n'), { id: 'ü\n', text: 'text of ü\n' });
  t.same(again.search(Float32Array.of(0, 1), 2), [
    { id: 'b', score: 1, text: 'text of b' },
    { id: 'a', score: 0.5, text: 'text of a' },
  ]);
  await again.put([of('d')]);
  await again.close();
  t.match(await readFile(file, 'utf8'), /"text of d"[^\n]+\n$/, 'nothing is left of it');
  t.equal((await DocumentStore.open(file, LIMITS, fail)).size, 4);
});

t.test('the file does not grow where documents come and go', async (t) => {
  const file = join(t.testdir(), 'documents.jsonl');
  const store = await DocumentStore.open(file, LIMITS, fail);
  await store.put(Array.from({ length: 600 }, (_, index) => of(`kept ${index}`)));
  let most = 0;
  for (let round = 0; round < 8; round++) {
    await store.put(Array.from({ length: 600 }, (_, index) => of(`kept ${index}`, round / 8)));
    most = Math.max(most, await linesOf(file));
  }
  t.ok(most <= 2 * 600 + 1000 && most > 600, `${most} lines`);
  await store.put([of('last')]);
  await store.close();
  const again = await DocumentStore.open(file, LIMITS, fail);
  t.equal(again.size, 601);
  t.match(again.search(Float32Array.of(1, 0), 2), [{ id: 'last', score: 1 }, { score: 7 / 8 }]);
});

t.test('where it cannot be written anew, what was put is kept all the same', async (t) => {
  const folder = t.testdir({ 'documents.jsonl.new': {} }); // a folder is in the way
  const file = join(folder, 'documents.jsonl');
  const told: unknown[] = [];
  const store = await DocumentStore.open(file, LIMITS, (error) => told.push(error));
  for (let round = 0; round < 5; round++) await store.put(Array.from({ length: 400 }, (_, index) => of(`${index}`, round / 4)));
  t.match(told, [{ code: 'EISDIR' }]);
  await store.put([of('last')]);
  t.equal(told.length, 2, 'and is tried again');
  await store.close();
  t.equal((await DocumentStore.open(file, LIMITS, fail)).size, 401);
});

t.test(
  'where only its folder cannot be written, what is put goes to the file that has the name, once the folder can',
  async (t) => {
    const folder = t.testdir();
    const file = join(folder, 'documents.jsonl');
    const told: unknown[] = [];
    const store = await DocumentStore.open(file, LIMITS, (error) => told.push(error));
    const handle = await open(folder);
    const prototype = Object.getPrototypeOf(handle) as { sync: () => Promise<void> };
    await handle.close();
    const { sync } = prototype;
    t.teardown(() => {
      prototype.sync = sync;
    });
    prototype.sync = async () => {
      throw new Error('no room');
    };
    for (let round = 0; round < 5; round++) await store.put(Array.from({ length: 400 }, (_, index) => of(`${index}`, round / 4)));
    t.match(told, [{ message: 'no room' }]);
    await t.rejects(store.put([of('refused')]), { message: 'no room' });
    t.same(store.get('refused'), undefined);
    prototype.sync = sync;
    await store.put([of('last')]);
    await store.close();
    const again = await DocumentStore.open(file, LIMITS, fail);
    t.same(again.get('last'), { id: 'last', text: 'text of last' });
    t.same(again.get('refused'), undefined);
    t.equal(again.size, 401);
  },
);

t.test('too many documents are refused as a whole', async (t) => {
  const store = await DocumentStore.open(join(t.testdir(), 'documents.jsonl'), { width: 2, maxDocuments: 2 }, fail);
  await store.put([of('a'), of('b')]);
  await store.put([of('a', 0)]);
  await t.rejects(store.put([of('b', 0.5), of('c')]), {
    name: 'HttpError',
    details: { status: 507 },
    message: /at most 2 documents, got 3/,
  });
  t.same(store.get('c'), undefined);
  t.match(store.search(Float32Array.of(1, 0), 1), [{ id: 'b', score: 1 }], 'b is as it was');
});

t.test('a file that is none of ours is told, with its line', async (t) => {
  const file = join(t.testdir(), 'documents.jsonl');
  for (const [line, message] of [
    ['{"id":"a"}', /documents.jsonl:2: expected a document with its vector in JSON, got \{"id":"a"\}: mend or remove that line/],
    ['null', /jsonl:2: expected a document .*got null/],
    ['no JSON', /jsonl:2: expected a document .*got no JSON/],
    ['{"id":"a","text":"","vector":"AAAA"}', /jsonl:2: expected a vector of 2 numbers, got one of 0.75, from another model/],
  ] as const) {
    await writeFile(file, `{"id":"a","gone":true}\n${line}\n`);
    await t.rejects(DocumentStore.open(file, LIMITS, fail), { message });
  }
});

t.test('a file is held by one, and by the next when that lets go', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'sd-held-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const file = join(folder, 'f');
  const held = await holdAlone(file);
  await t.rejects(holdAlone(file), {
    message: /f is held by another replica, and can have one only: expected `num_replicas: 1`/,
  });
  await held[Symbol.asyncDispose]();
  for (const name of ['00000000', 'ffffffff']) await writeFile(`${file}.lock.${name}`, 'left behind');
  await (await holdAlone(file))[Symbol.asyncDispose]();
  t.same(await readdir(folder), [], 'nothing of it is left');
  await t.rejects(holdAlone(`${file}${'f'.repeat(99)}`), { message: /expected `file` to have at most 85 bytes/ });
});

t.test('of those that begin together one holds the file, whatever was left behind', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'sd-held-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const file = join(folder, 'f');
  for (let round = 0; round < 20; round++) {
    await writeFile(`${file}.lock.${round % 2 === 0 ? '00000000' : 'ffffffff'}`, 'left behind');
    const tries = await Promise.allSettled(
      Array.from({ length: 2 + (round % 5) }, async (_, index) => {
        for (let turn = 0; turn < index * (round % 4); turn++) await setImmediate();
        return holdAlone(file);
      }),
    );
    const held = tries.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []));
    t.equal(held.length, 1);
    for (const each of tries) if (each.status === 'rejected') t.match(each.reason, { message: /is held by another replica/ });
    for (const each of held) await each[Symbol.asyncDispose]();
  }
  t.same(await readdir(folder), []);
});
