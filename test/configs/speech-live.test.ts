/** Live sound in the example of `configs/speech`, with models whose every answer the test gives: what is said when, and what is never said. */
import type { WebSocketConnection } from 'serve-daemon';
import { Tensor } from 'serve-daemon';
import t from 'tap';
import type { Vad } from '../../configs/speech/ear.ts';
import { listen } from '../../configs/speech/live.ts';
import type { Segment } from '../../configs/speech/segmenter.ts';

const FORMAT = { encoding: 'f32', rate: 16_000, channels: 1 } as const;
const WINDOW = 512;

/** Windows of sound in which somebody speaks, or nobody, in one message. */
const sound = (isSpeech: boolean, windows: number): Uint8Array =>
  new Uint8Array(new Float32Array(windows * WINDOW).fill(isSpeech ? 0.5 : 0).buffer);
/** A segment that is over: 20 windows of speech, and the pause behind it. */
const said = (): Uint8Array => Buffer.concat([sound(true, 20), sound(false, 60)]);

/** Hears speech in what is not zero, and knows when it was not given what it said last. */
const vad = {
  async call({ audio, context, state }: Record<'audio' | 'context' | 'state', Tensor>) {
    const heard = state.data[0] as number;
    if (context.data[0] !== heard) throw new Error(`the state is of window ${heard}, the context of ${context.data[0]}`);
    const next = (shape: number[], length: number) => new Tensor('float32', shape, new Float32Array(length).fill(heard + 1));
    const output = new Tensor('float32', [1, 1], Float32Array.of((audio.data[0] as number) > 0 ? 0.9 : 0.1));
    return { output, contextN: next([1, 64], 64), stateN: next([2, 1, 128], 256) };
  },
} as unknown as Vad;

interface Asked {
  readonly segment: Segment;
  readonly signal: AbortSignal;
  /** With its words, or with an error. */
  finish(text: string | Error): void;
}

/** A recognizer whose words come when the test says. */
class Recognizer {
  /** What it was asked, in order: of segments that are over, and of those that are not, which go behind. */
  readonly finals: Asked[] = [];
  readonly attempts: Asked[] = [];
  #waiting: (() => void)[] = [];

  async *words(segment: Segment, options: { priority?: number; signal?: AbortSignal } = {}): AsyncGenerator<string> {
    const text = await new Promise<string>((resolve, reject) => {
      const signal = options.signal as AbortSignal;
      const finish = (result: string | Error) => (typeof result === 'string' ? resolve(result) : reject(result));
      // As a handle: whoever gives its signal up gets an error.
      signal.onabort = () => reject(new Error('cancelled'));
      const list = (options.priority ?? 3) > 3 ? this.attempts : this.finals;
      list.push({ segment, signal, finish });
      for (const wake of this.#waiting.splice(0)) wake();
    });
    yield* text.split(' ');
  }

  /** The one of that number, when it has come. */
  async at(list: 'finals' | 'attempts', index: number): Promise<Asked> {
    while (this[list].length <= index) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    return this[list][index] as Asked;
  }
}

class Client implements Partial<WebSocketConnection> {
  readonly sent: { type: string; text: string }[] = [];
  /** Messages that the code has taken. */
  taken = 0;
  closeCode: number | undefined;
  readonly #messages: (string | Uint8Array | undefined)[] = [];
  #wake = () => {};
  #told = () => {};

  say(...messages: (string | Uint8Array)[]): void {
    this.#messages.push(...messages);
    this.#wake();
  }

  leave(): void {
    this.#messages.push(undefined);
    this.#wake();
  }

  async send(data: string | Uint8Array): Promise<void> {
    this.sent.push(JSON.parse(String(data)));
    this.#told();
  }

  /** Resolves when so many messages have come back. */
  async has(count: number): Promise<void> {
    while (this.sent.length < count)
      await new Promise<void>((resolve) => {
        this.#told = resolve;
      });
  }

  close(code: number): void {
    this.closeCode = code;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<string | Uint8Array> {
    while (true) {
      while (this.#messages.length === 0)
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      const message = this.#messages.shift();
      if (message === undefined) return;
      this.taken += 1;
      yield message;
    }
  }

  get texts(): string[] {
    return this.sent.map(({ type, text }) => `${type}: ${text}`);
  }
}

const start = () => {
  const [client, recognizer, left] = [new Client(), new Recognizer(), new AbortController()];
  const warnings: string[] = [];
  const log = { warn: (_: unknown, message: string) => warnings.push(message) };
  const ended = listen(client as unknown as WebSocketConnection, FORMAT, {
    vad,
    recognizer,
    context: { log, signal: left.signal } as never,
  });
  return { client, recognizer, left, ended, warnings };
};

t.test('each segment is written down, in order, and then it is over', async (t) => {
  const { client, recognizer, ended } = start();
  client.say(said(), said(), 'end', said());
  const first = await recognizer.at('finals', 0);
  t.equal(recognizer.finals.length, 1, 'one at a time');
  first.finish('Hello there.');
  (await recognizer.at('finals', 1)).finish('And you.');
  await ended;
  t.same(client.texts, ['final: Hello there.', 'final: And you.']);
  t.ok(recognizer.finals.length === 2 && client.taken === 3, 'what comes behind the end is not read');
  t.match(client.sent[0], { start: 0, end: (27 * WINDOW) / 16_000 });
});

t.test('what has been understood so far is told each second, behind what others have said to the end', async (t) => {
  const { client, recognizer, ended } = start();
  client.say(sound(true, 32));
  const first = await recognizer.at('attempts', 0);
  t.equal(first.segment.samples.length, 32 * WINDOW);
  first.finish('So far');
  await client.has(1);
  client.say(sound(true, 31), sound(true, 1));
  const second = await recognizer.at('attempts', 1);
  t.equal(second.segment.samples.length, 64 * WINDOW, 'from its beginning, a second longer');
  second.finish('So far so');
  await client.has(2);
  client.say('end');
  (await recognizer.at('finals', 0)).finish('So far so good.');
  await ended;
  t.same(client.texts, ['partial: So far', 'partial: So far so', 'final: So far so good.']);
});

t.test('what was tried of a segment that is over is given up, and never told', async (t) => {
  const { client, recognizer, ended } = start();
  client.say(sound(true, 40));
  const attempt = await recognizer.at('attempts', 0);
  client.say(sound(false, 60), 'end');
  const final = await recognizer.at('finals', 0);
  t.ok(attempt.signal.aborted);
  attempt.finish('Too late');
  final.finish('In time.');
  await ended;
  t.same(client.texts, ['final: In time.']);
});

t.test('an attempt that fails costs its client nothing', async (t) => {
  const { client, recognizer, ended, warnings } = start();
  client.say(sound(true, 40));
  (await recognizer.at('attempts', 0)).finish(new Error('the queue is full'));
  client.say(sound(false, 60), 'end');
  (await recognizer.at('finals', 0)).finish('All of it.');
  await ended;
  t.same(client.texts, ['final: All of it.']);
  t.equal(warnings.length, 1);
});

t.test('a segment that fails ends it with that error, though the client says nothing more', async (t) => {
  const { client, recognizer, ended } = start();
  client.say(said());
  (await recognizer.at('finals', 0)).finish(new Error('the decoder has died'));
  await t.rejects(ended, { message: 'the decoder has died' });
});

t.test('what nobody has time for is not read', async (t) => {
  const { client, recognizer, ended } = start();
  client.say(...Array.from({ length: 20 }, said), 'end');
  (await recognizer.at('finals', 0)).finish('1');
  await recognizer.at('finals', 1);
  // Everything that could run has run: the models answer at once.
  for (let turn = 0; turn < 100; turn++) await new Promise(setImmediate);
  t.ok(client.taken < 8, `${client.taken} of 20 segments were read while the second is written down`);
  for (let index = 1; index < 20; index++) (await recognizer.at('finals', index)).finish(String(index + 1));
  await ended;
  t.same(
    client.texts,
    Array.from({ length: 20 }, (_, index) => `final: ${index + 1}`),
  );
});

t.test('of a client that has left nothing more is written down', async (t) => {
  const { client, recognizer, left, ended } = start();
  client.say(said(), said(), sound(true, 10));
  const first = await recognizer.at('finals', 0);
  left.abort();
  client.leave();
  await ended;
  t.ok(first.signal.aborted);
  t.equal(client.sent.length, 0);
  t.equal(recognizer.finals.length, 1, 'what waited has not begun');
});

t.test('a text that is not the end closes with 1003', async (t) => {
  const { client, ended } = start();
  client.say('stop');
  await ended;
  t.equal(client.closeCode, 1003);
});
