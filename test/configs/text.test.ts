import fc from 'fast-check';
import type { CallContext, Handle } from 'serve-daemon';
import t from 'tap';
import { Language, Summarizer } from '../../configs/quickstart/text.ts';

const context = { log: { debug: () => {} } } as unknown as CallContext;

/** A handle that calls the object at once, as the daemon would through its queue. */
const handle = (call: (text: string) => Promise<string>) => ({ call }) as unknown as Handle<Language>;

const detector = new Language();

const summarizer = (minLength: number, maxLength: number, language = handle((text) => detector.call(text))) =>
  new Summarizer({ language, minLength, maxLength });

const post = (deployment: Summarizer, body: string) =>
  deployment.fetch(new Request('http://localhost/', { method: 'POST', body }), context);

const summaryOf = async (deployment: Summarizer, text: string) => (await post(deployment, JSON.stringify(text))).text();

const wordsIn = (text: string, language = 'en') =>
  [...new Intl.Segmenter(language, { granularity: 'word' }).segment(text)].filter(({ isWordLike }) => isWordLike).length;

/** In each, the first sentence says what the last says again in other words; what is between is beside the point. */
const texts = {
  en: [
    'The old lighthouse on the northern cape guided ships safely past the rocks for two hundred years.',
    'My aunt prefers her tea without sugar.',
    'On Tuesday the bakery sold out before noon.',
    'Somebody left a red umbrella in the hallway.',
    'A new bus line opened near the school.',
    'For two centuries ships have passed the rocks of the northern cape safely, thanks to the old lighthouse.',
  ],
  fr: [
    'Le vieux phare du cap a guidé les navires entre les rochers pendant deux siècles.',
    'Ma tante boit son thé sans sucre.',
    'La boulangerie était fermée mardi.',
    'Quelqu’un a oublié un parapluie rouge.',
    'Pendant deux siècles, les navires ont évité les rochers du cap grâce au vieux phare.',
  ],
  de: [
    'Der alte Leuchtturm am Kap hat die Schiffe zweihundert Jahre lang an den Felsen vorbei geführt.',
    'Meine Tante trinkt ihren Tee ohne Zucker.',
    'Am Dienstag blieb die Bäckerei geschlossen.',
    'Jemand hat einen roten Schirm vergessen.',
    'Zweihundert Jahre lang kamen die Schiffe dank dem alten Leuchtturm sicher an den Felsen am Kap vorbei.',
  ],
  es: [
    'El viejo faro del cabo guio a los barcos entre las rocas durante dos siglos.',
    'Mi tía toma el té sin azúcar.',
    'El martes la panadería estaba cerrada.',
    'Alguien olvidó un paraguas rojo.',
    'Durante dos siglos los barcos evitaron las rocas del cabo gracias al viejo faro.',
  ],
  pl: [
    'Stara latarnia na przylądku przez dwieście lat prowadziła statki obok skał.',
    'Moja ciotka pije herbatę bez cukru.',
    'We wtorek piekarnia była zamknięta.',
    'Ktoś zostawił czerwony parasol.',
    'Przez dwieście lat statki mijały bezpiecznie skały, bo prowadziła je stara latarnia na przylądku.',
  ],
  ja: [
    '岬の古い灯台は二百年の間、船を岩から守ってきた。',
    '叔母は砂糖を入れずに紅茶を飲む。',
    '火曜日にパン屋は閉まった。',
    '誰かが赤い傘を忘れた。',
    '二百年の間、船は岬の古い灯台のおかげで岩を避けてきた。',
  ],
};

const joined = (language: string, sentences: readonly string[]) => sentences.join(language === 'ja' ? '' : ' ');

t.test('the language of a sentence is told', async (t) => {
  for (const [language, sentences] of Object.entries(texts)) {
    const [first = ''] = sentences;
    for (const text of [first, joined(language, sentences)]) t.equal(await detector.call(text), language, text);
  }
});

t.test('what is no language is undetermined', async (t) => {
  await detector.checkHealth();
  for (const text of ['', '   ', '12345 67', '!!!', 'xqzt vlkj']) t.equal(await detector.call(text), 'und', text);
});

t.test('a summary is the central sentence, in the language of the text', async (t) => {
  for (const [language, sentences] of Object.entries(texts)) {
    const response = await post(summarizer(1, 25), JSON.stringify(joined(language, sentences)));
    t.equal(response.status, 200);
    t.equal(response.headers.get('content-type'), 'text/plain; charset=utf-8');
    t.equal(response.headers.get('content-language'), language);
    t.ok([sentences[0], sentences.at(-1)].includes(await response.text()), language);
  }
});

t.test('a longer minimum adds sentences, in the order of the text', async (t) => {
  const text = joined('en', texts.en);
  t.equal(await summaryOf(summarizer(30, 40), text), `${texts.en[0]} ${texts.en.at(-1)}`);
  t.equal(await summaryOf(summarizer(30, 40), joined('ja', [...texts.ja, ...texts.ja])).then((all) => / /.test(all)), false);
});

t.test('a text that is short enough comes back whole', async (t) => {
  t.equal(await summaryOf(summarizer(1, 10), ' One sentence.\nAnd another. '), 'One sentence.\nAnd another.');
  t.equal(await summaryOf(summarizer(1, 10), '…!?'), '…!?');
});

t.test('lines that were wrapped are one sentence', async (t) => {
  const text = joined('en', texts.en).replaceAll('the old', 'the\r\nold').replaceAll('northern cape', 'northern\n  cape');
  t.equal(await summaryOf(summarizer(30, 40), text), `${texts.en[0]} ${texts.en.at(-1)}`);
});

t.test('a body that is no JSON string, or an empty one, is answered with 400 and what was expected', async (t) => {
  for (const body of ['', 'no json', '{"text": "x"}', '5', 'null', '["a"]', '""', '"  "']) {
    const response = await post(summarizer(1, 10), body);
    t.equal(response.status, 400, body);
    t.match(await response.text(), /expected a text as a JSON string/);
  }
});

t.test('a failing language detection fails the request', async (t) => {
  const failing = summarizer(
    1,
    10,
    handle(() => Promise.reject(new Error('no replica'))),
  );
  await t.rejects(post(failing, '"text"'), /no replica/);
});

t.test('lengths can be changed while it runs, and wrong ones change nothing', async (t) => {
  const deployment = summarizer(1, 20);
  const text = joined('en', texts.en);
  const before = await summaryOf(deployment, text);
  t.ok(wordsIn(before) <= 20);
  t.throws(() => deployment.reconfigure({ minLength: 21 }), /expected 0 ≤ minLength ≤ maxLength, in words, got 21 and 20/);
  t.throws(() => summarizer(1, Number.NaN), /got 1 and NaN/);
  t.equal(await summaryOf(deployment, text), before);
  deployment.reconfigure({ minLength: 30, maxLength: 40 });
  const after = await summaryOf(deployment, text);
  t.ok(wordsIn(after) >= 30 && wordsIn(after) <= 40);
  deployment.reconfigure({ maxLength: 1000 });
  t.equal(await summaryOf(deployment, text), text);
});

const word = fc.stringMatching(/^[a-z]{2,7}$/);
const sentence = fc.array(word, { minLength: 1, maxLength: 12 }).map((words) => `A${words.join(' ')}.`);

t.test('a summary has sentences of the text only, in their order, and keeps its lengths wherever it can', async (t) => {
  const english = handle(async () => 'en');
  await fc.assert(
    fc.asyncProperty(fc.array(sentence, { minLength: 1, maxLength: 12 }), fc.nat(30), fc.nat(30), async (all, min, more) => {
      const maxLength = Math.max(1, min + more);
      const text = all.join(' ');
      const summary = await summaryOf(summarizer(min, maxLength, english), text);
      if (wordsIn(text) <= maxLength) return summary === text;
      const left = [...all];
      const kept = summary.split(/(?<=\.) /);
      for (const one of kept) {
        const at = left.indexOf(one);
        if (at === -1) return false;
        left.splice(0, at + 1);
      }
      const length = wordsIn(summary);
      const rest = [...all];
      for (const one of kept) rest.splice(rest.indexOf(one), 1);
      if (length > maxLength) return kept.length === 1 && all.every((one) => wordsIn(one) > maxLength);
      return length >= min || rest.every((one) => length + wordsIn(one) > maxLength);
    }),
  );
  t.pass();
});

t.test('a sentence that others say again in other words is kept among any others', async (t) => {
  const english = handle(async () => 'en');
  const planted = 'The harvest of winter barley failed across the valley after the flood.';
  const paraphrases = [
    'After the flood, farmers across the valley lost their barley.',
    'Winter barley was destroyed by the flood, so the harvest was poor.',
    'Across the valley the winter harvest failed.',
  ];
  await fc.assert(
    fc.asyncProperty(fc.uniqueArray(word, { minLength: 18, maxLength: 60 }), fc.nat(), async (words, seed) => {
      const all: string[] = []; // sentences of three words, of which no two share one
      for (let at = 0; at < words.length; at += 3) all.push(`A${words.slice(at, at + 3).join(' ')}.`);
      for (const [index, one] of [planted, ...paraphrases].entries()) all.splice((seed * (index + 3)) % all.length, 0, one);
      return (await summaryOf(summarizer(1, wordsIn(planted), english), all.join(' '))).includes(planted);
    }),
  );
  t.pass();
});

t.test('a long text is no burden, with or without sentences in it', async (t) => {
  const english = handle(async () => 'en');
  const sentences = Array.from({ length: 20_000 }, (_, index) => `Number ${index} stands beside number ${index + 1} here.`);
  const length = wordsIn(await summaryOf(summarizer(10, 20, english), sentences.join(' ')));
  t.ok(length >= 10 && length <= 20);
  const endless = 'word '.repeat(200_000);
  t.equal(await summaryOf(summarizer(10, 20, english), endless), endless.trim());
});
