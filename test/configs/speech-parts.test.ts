/** The parts of the example in `configs/speech` that need no model. */
import fc from 'fast-check';
import type { CallContext } from 'serve-daemon';
import t from 'tap';
import { ahead } from '../../configs/speech/ahead.ts';
import { answer, type Heard } from '../../configs/speech/answer.ts';
import { windowsOf } from '../../configs/speech/ear.ts';
import { liveFormat } from '../../configs/speech/live.ts';
import { Resampler } from '../../configs/speech/resample.ts';
import { MOST, type Segment, Segmenter, WINDOW } from '../../configs/speech/segmenter.ts';
import { Transcriber } from '../../configs/speech/transcriber.ts';
import { openWav } from '../../configs/speech/wav.ts';
import { WordReader } from '../../configs/speech/words.ts';
import { chunkOf, joined, RATE, type Width, wavOf, wordErrors } from '../support/speech.ts';

const tone = (hz: number, rate: number, seconds = 0.5): Float32Array =>
  Float32Array.from({ length: rate * seconds }, (_, at) => 0.5 * Math.sin((2 * Math.PI * hz * at) / rate));

async function* pieces<T extends { length: number; subarray(from: number, to: number): T }>(whole: T, size: number) {
  for (let at = 0; at < whole.length; at += size) yield whole.subarray(at, at + size);
}

const collected = async <T>(items: AsyncIterable<T>): Promise<T[]> => {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
};

const largestGap = (a: Float32Array, b: Float32Array): number =>
  a.reduce((most, value, index) => Math.max(most, Math.abs(value - (b[index] ?? Number.POSITIVE_INFINITY))), 0);

// WAV.

t.test('a WAV file of any width is read, however it is cut', async (t) => {
  const sound = tone(440, RATE, 0.05);
  const steps = { u8: 1 / 120, s16: 1e-4, s24: 1e-6, s32: 1e-7, f32: 0, f64: 0 };
  for (const [width, step] of Object.entries(steps) as [Width, number][]) {
    for (const size of [1, 7, 100_000]) {
      const { format, samples } = await openWav(pieces(wavOf(sound, { width, channels: 2 }), size));
      t.same(format, { encoding: width, rate: RATE, channels: 2 });
      const read = joined(await collected(samples));
      t.equal(read.length, sound.length, `${width} in pieces of ${size}`);
      t.ok(largestGap(sound, read) <= step, `${width} in pieces of ${size}: off by ${largestGap(sound, read)}`);
    }
  }
});

t.test('channels are brought together, and what is no number is silence', async (t) => {
  const odd = wavOf(Float32Array.of(0.5, 0, Number.NaN, 7, 0.25, -0.25), { width: 'f32' });
  odd.writeUInt16LE(2, 22);
  const { samples } = await openWav(pieces(odd, 1000));
  t.same(await collected(samples), [Float32Array.of(0.25, 0, 0)]);
});

t.test('chunks that are not sound are passed over, and a size that nobody knew is no limit', async (t) => {
  const sound = tone(440, RATE, 0.01);
  const chunks = [chunkOf('LIST', Buffer.from('odd')), chunkOf('bext', Buffer.alloc(5000))];
  for (const size of [0, 0xffff_ffff, undefined]) {
    const { samples } = await openWav(pieces(wavOf(sound, { chunks, size }), 64));
    t.equal(joined(await collected(samples)).length, sound.length, `${size}`);
  }
  const { samples } = await openWav(pieces(Buffer.concat([wavOf(sound), chunkOf('id3 ', Buffer.alloc(999))]), 64));
  t.equal(joined(await collected(samples)).length, sound.length, 'what is behind the samples is none');
});

t.test('the extensible form is read', async (t) => {
  const plain = wavOf(tone(440, RATE, 0.01));
  const fmt = Buffer.alloc(40);
  plain.copy(fmt, 0, 20, 36);
  fmt.writeUInt16LE(0xfffe, 0);
  fmt.writeUInt16LE(1, 24);
  const file = Buffer.concat([plain.subarray(0, 12), chunkOf('fmt ', fmt), plain.subarray(36)]);
  t.same((await openWav(pieces(file, 50))).format, { encoding: 's16', rate: RATE, channels: 1 });
});

t.test('what cannot be read is refused, with what it is', async (t) => {
  const sound = tone(440, RATE, 0.01);
  const cases: readonly (readonly [Buffer, string])[] = [
    [Buffer.alloc(0), 'expected a WAV file, got an empty body'],
    [Buffer.from('ID3\u0004 and so on'), 'expected a WAV file, got bytes that begin with 49443304'],
    [wavOf(sound).subarray(0, 40), 'expected a WAV file with samples, got one that ends before'],
    [wavOf(sound).subarray(0, 12), 'expected a WAV file with a format, got one that ends before'],
    [wavOf(sound, { tag: 7 }), 'expected PCM of 8, 16, 24 or 32 bits or floating point of 32 or 64, got µ-law'],
    [wavOf(sound, { width: 'f64', tag: 1 }), 'expected PCM of 8, 16, 24 or 32 bits or floating point of 32 or 64, got 64 bits'],
    [wavOf(sound, { rate: 4000 }), 'expected a rate from 8000 to 192000 Hz, got 4000'],
    [wavOf(sound, { channels: 9 }), 'expected 1 to 8 channels, got 9'],
    [
      wavOf(sound, { chunks: [chunkOf('JUNK', Buffer.alloc(0), 0xffff_ffff)] }),
      'expected samples within 1048576 bytes, got none',
    ],
  ];
  for (const [file, message] of cases)
    await t.rejects(openWav(pieces(file, 64)), { name: 'HttpError', message, details: { status: 400 } });
});

// Rates.

t.test('a tone is the same tone at another rate', async (t) => {
  for (const rate of [8000, 11_025, 22_050, 24_000, 44_100, 48_000, 96_000]) {
    const resampler = new Resampler(rate, RATE);
    const made = joined([resampler.push(tone(1000, rate)), resampler.end()]);
    t.equal(made.length, RATE / 2, `${rate}: as long as it was`);
    // At its ends the kernel reaches beyond the sound.
    const gap = largestGap(tone(1000, RATE).subarray(200, -200), made.subarray(200, -200));
    t.ok(gap < 2e-4, `${rate}: off by ${gap}`);
  }
});

t.test('what the new rate cannot carry is taken out, not folded back', async (t) => {
  for (const [rate, hz] of [
    [48_000, 9000],
    [44_100, 12_000],
    [96_000, 20_000],
  ] as const) {
    const resampler = new Resampler(rate, RATE);
    const made = resampler.push(tone(hz, rate)).subarray(200);
    const loudest = made.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    t.ok(loudest < 0.5 * 10 ** (-60 / 20), `${hz} Hz at ${rate}: ${loudest}`);
  }
});

t.test('what comes out does not depend on where the input was cut', async () => {
  const rates = fc.constantFrom(8000, 16_000, 44_100, 48_000, 8001, 191_999);
  fc.assert(
    fc.property(rates, fc.array(fc.integer({ min: 0, max: 700 }), { maxLength: 12 }), (rate, cuts) => {
      const sound = tone(300, rate, cuts.reduce((sum, cut) => sum + cut, 0) / rate);
      const [whole, cut] = [new Resampler(rate, RATE), new Resampler(rate, RATE)];
      let at = 0;
      const parts = cuts.map((length) => {
        at += length;
        return cut.push(sound.subarray(at - length, at));
      });
      const expected = joined([whole.push(sound), whole.end()]);
      const got = joined([...parts, cut.end()]);
      return got.length === expected.length && got.every((value, index) => value === expected[index]);
    }),
  );
});

// Segments.

/** One letter a window: `#` speech, `.` silence, `-` in doubt. */
const segmentsIn = (picture: string): { segments: Segment[]; most: number } => {
  const segmenter = new Segmenter();
  const segments: Segment[] = [];
  let most = 0;
  [...picture].forEach((letter, index) => {
    // Each window has its own number, so that what is in a segment can be told.
    const sound = new Float32Array(WINDOW).fill(index);
    const ended = segmenter.push(sound, letter === '#' ? 0.9 : letter === '-' ? 0.4 : 0.1);
    most = Math.max(most, segmenter.openSamples / WINDOW);
    if (ended) segments.push(ended);
  });
  const last = segmenter.end();
  if (last) segments.push(last);
  return { segments, most };
};
/** First and last window of each. */
const spans = (picture: string): (readonly [number, number])[] =>
  segmentsIn(picture).segments.map(({ samples }) => [samples[0] as number, samples.at(-1) as number]);

t.test('a segment has the speech and a margin around it', async (t) => {
  t.same(spans(`${'.'.repeat(20)}${'#'.repeat(30)}${'.'.repeat(60)}`), [[13, 56]]);
  t.same(spans(`##########${'.'.repeat(60)}`), [[0, 16]], 'from the first window on');
  t.same(spans(`${'.'.repeat(20)}##########`), [[13, 29]], 'up to the last');
  const [segment] = segmentsIn(`${'.'.repeat(20)}${'#'.repeat(30)}${'.'.repeat(60)}`).segments;
  t.equal(segment?.start, (13 * 512) / 16_000);
  t.equal(segment?.end, (57 * 512) / 16_000);
});

t.test('a short segment goes on over a pause that ends a long one', async (t) => {
  const pause = '.'.repeat(25);
  t.same(spans(`${'#'.repeat(50)}${pause}${'#'.repeat(50)}${'.'.repeat(50)}`), [[0, 131]]);
  t.same(spans(`${'#'.repeat(200)}${pause}${'#'.repeat(50)}${'.'.repeat(50)}`), [
    [0, 206],
    [218, 281],
  ]);
});

t.test('silence, a click and sound in doubt are no speech', async (t) => {
  t.same(spans('.'.repeat(100)), []);
  t.same(spans(`${'.'.repeat(20)}##${'.'.repeat(60)}`), []);
  t.same(spans('-'.repeat(100)), []);
  t.same(spans(`####${'-'.repeat(60)}`), [[0, 63]], 'but doubt ends no speech');
});

t.test('who never stops is cut where it is quietest, and nothing is lost or heard twice', async (t) => {
  const picture = `${'#'.repeat(MOST - 40)}.${'#'.repeat(200)}`;
  const found = spans(picture);
  t.same(found, [
    [0, MOST - 40],
    [MOST - 39, picture.length - 1],
  ]);
});

t.test('of any sound segments are in order, apart, bounded, and have all speech but clicks', async () => {
  const run = fc.tuple(fc.constantFrom('#', '.', '-'), fc.integer({ min: 1, max: 300 }));
  fc.assert(
    fc.property(fc.array(run, { maxLength: 20 }), (runs) => {
      const picture = runs.map(([letter, count]) => letter.repeat(count)).join('');
      const { segments, most } = segmentsIn(picture);
      let last = -1;
      const inside = new Set<number>();
      for (const { samples } of segments) {
        const numbers = [...samples].filter((_, index) => index % WINDOW === 0);
        if ((numbers[0] as number) <= last || numbers.length > MOST) return false;
        if (numbers.some((number, index) => number !== (numbers[0] as number) + index)) return false;
        for (const number of numbers) inside.add(number);
        last = numbers.at(-1) as number;
      }
      const lost = [...picture.matchAll(/####+/g)].some(({ 0: speech, index: at }) =>
        [...speech].some((_, index) => !inside.has(at + index)),
      );
      return most <= MOST && !lost;
    }),
  );
});

t.test('sound comes in windows, the last filled up', async (t) => {
  const windows = await collected(windowsOf(pieces(new Float32Array(1300).fill(1), 77), RATE));
  t.same(
    windows.map((window) => window.reduce((sum, value) => sum + value, 0)),
    [512, 512, 276],
  );
});

// Words.

t.test('a word is told when the next begins, also where its letters come as bytes', async (t) => {
  const vocabulary = ['<unk>', '<s>', '</s>', '\u2581he', 'llo', '.', '\u2581', '<0xC3>', '<0xA9>', 'caf'];
  const reader = new WordReader(vocabulary);
  t.same(
    [1, 3, 4, 5, 6, 9, 7, 8, 99, 3].map((token) => reader.push(token)),
    [undefined, undefined, undefined, undefined, 'hello.', undefined, undefined, undefined, undefined, 'café'],
  );
  t.equal(reader.end(), 'he');
  t.equal(reader.end(), undefined);
});

// Streams.

t.test('a producer runs ahead by as much as it may, in order', async (t) => {
  let made = 0;
  const source = (async function* () {
    while (made < 10) yield made++;
  })();
  const items = ahead(source, 2);
  t.equal((await items.next()).value, 0);
  await new Promise(setImmediate);
  t.equal(made, 3, 'two wait');
  t.same(await collected(items), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
});

t.test('what a producer throws is told in its turn, and one that is left is ended', async (t) => {
  const failing = (async function* () {
    yield 1;
    throw new Error('no more');
  })();
  const items = ahead(failing, 3);
  t.equal((await items.next()).value, 1);
  await t.rejects(items.next(), { message: 'no more' });
  const ended = new Promise<string>((resolve) => {
    const endless = (async function* () {
      try {
        while (true) yield 1;
      } finally {
        resolve('ended');
      }
    })();
    const few = ahead(endless, 1);
    few.next().then(() => few.return(undefined));
  });
  t.equal(await ended, 'ended');
});

const quiet = { log: { error: () => {} }, signal: new AbortController().signal } as never;
const WORDS: readonly Heard[] = [
  { type: 'word', word: 'Hello', isFirst: true },
  { type: 'word', word: 'there.', isFirst: false },
  { type: 'segment', text: 'Hello there.', start: 0.5, end: 1.5 },
];

t.test('each form of answer tells a word before the next is known', async (t) => {
  for (const [accept, first, rest] of [
    ['*/*', 'Hello', ' there.\n'],
    [
      'text/event-stream',
      'event: word\ndata: {"word":"Hello"}\n\n',
      'event: word\ndata: {"word":"there."}\n\nevent: segment\ndata: {"text":"Hello there.","start":0.5,"end":1.5}\n\nevent: done\ndata: {}\n\n',
    ],
  ] as const) {
    let next = () => {};
    const gate = new Promise<void>((resolve) => {
      next = resolve;
    });
    const heard = (async function* () {
      yield WORDS[0] as Heard;
      await gate;
      yield* WORDS.slice(1);
    })();
    const reader = ((await answer(heard, accept, quiet)).body as ReadableStream<Uint8Array>).getReader();
    t.equal(Buffer.from((await reader.read()).value ?? []).toString(), first);
    next();
    const text = joinedText(await collected(readAll(reader)));
    t.equal(text, rest);
  }
});

async function* readAll(reader: ReadableStreamDefaultReader<Uint8Array>): AsyncGenerator<Uint8Array> {
  while (true) {
    const { done, value } = await reader.read();
    if (done) return;
    yield value;
  }
}
const joinedText = (chunks: readonly Uint8Array[]): string => Buffer.concat(chunks).toString();

t.test('a request without a body is one with an empty file', async (t) => {
  const transcriber = new Transcriber({} as ConstructorParameters<typeof Transcriber>[0]);
  await t.rejects(transcriber.fetch(new Request('http://localhost/speech', { method: 'POST' }), {} as CallContext), {
    name: 'HttpError',
    message: 'expected a WAV file, got an empty body',
    details: { status: 400 },
  });
});

t.test('JSON has all at the end, and nothing said is an empty text', async (t) => {
  const heard = (async function* () {
    yield* WORDS;
  })();
  t.same(await (await answer(heard, 'application/json', quiet)).json(), {
    text: 'Hello there.',
    segments: [{ text: 'Hello there.', start: 0.5, end: 1.5 }],
  });
  for (const [accept, text] of [
    ['text/plain', ''],
    ['text/event-stream', 'event: done\ndata: {}\n\n'],
    ['application/json', '{"text":"","segments":[]}'],
  ] as const) {
    const none = (async function* (): AsyncGenerator<Heard> {})();
    t.equal(await (await answer(none, accept, quiet)).text(), text);
  }
});

t.test('what fails before the first word is an error, behind it the end of the stream', async (t) => {
  const failing = async function* (words: readonly Heard[]): AsyncGenerator<Heard> {
    yield* words;
    throw new Error('the decoder has died');
  };
  await t.rejects(answer(failing([]), '*/*', quiet), { message: 'the decoder has died' });
  await t.rejects((await answer(failing(WORDS), '*/*', quiet)).text(), { message: 'the decoder has died' });
  const events = await (await answer(failing(WORDS.slice(0, 1)), 'text/event-stream', quiet)).text();
  t.equal(events, 'event: word\ndata: {"word":"Hello"}\n\nevent: error\ndata: {"message":"transcription failed"}\n\n');
});

t.test('a client that leaves ends what works for it', async (t) => {
  let isEnded = false;
  const heard = (async function* () {
    try {
      while (true) yield WORDS[0] as Heard;
    } finally {
      isEnded = true;
    }
  })();
  const body = (await answer(heard, '*/*', quiet)).body as ReadableStream;
  await body.cancel();
  t.ok(isEnded);
});

t.test('the form of live sound is in the query', async (t) => {
  t.same(liveFormat(new URLSearchParams()), { encoding: 's16', rate: 16_000, channels: 1 });
  t.same(liveFormat(new URLSearchParams('encoding=f32&rate=48000&channels=2')), { encoding: 'f32', rate: 48_000, channels: 2 });
  for (const query of ['encoding=mp3', 'rate=fast', 'rate=1', 'channels=0'])
    t.throws(() => liveFormat(new URLSearchParams(query)), { name: 'HttpError', details: { status: 400 } }, query);
});

t.test('word errors are counted as they are meant', async (t) => {
  t.same(wordErrors('one two, three', 'One two three.'), { errors: 0, words: 3 });
  t.same(wordErrors('one two three', 'one too three'), { errors: 1, words: 3 });
  t.same(wordErrors('one two three', 'one three'), { errors: 1, words: 3 });
  t.same(wordErrors('one two three', 'and one two three'), { errors: 1, words: 3 });
  t.same(wordErrors('one two', ''), { errors: 2, words: 2 });
});
