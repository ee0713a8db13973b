/** A WebSocket: sound as it is recorded in, what has been understood so far and each segment's text out. */
import { type CallContext, HttpError, type WebSocketConnection } from 'serve-daemon';
import { Ear, type Vad, windowsOf } from './ear.ts';
import { PcmReader, type SoundFormat } from './pcm.ts';
import type { Recognizer } from './recognizer.ts';
import type { Segment, Segmenter } from './segmenter.ts';
import { checkedFormat } from './wav.ts';

/** A segment that is not over is tried again when it has so many more samples: a second. */
const TRY_EVERY = 16_000;
/** Segments that wait for the decoder. Beyond it no more sound is read, and a client that goes on sending is closed with 1013. */
const MOST_WAITING = 3;
/** Of what is tried, so that what has been said goes first. */
const LATER = 5;
/** What a client sends when it has said all. */
const END = 'end';

/** @throws HttpError 400 for what `?rate=…&channels=…&encoding=…` must not be */
export const liveFormat = (query: URLSearchParams): SoundFormat => {
  const encoding = query.get('encoding') ?? 's16';
  if (encoding !== 's16' && encoding !== 'f32') throw new HttpError(400, `expected \`encoding\` s16 or f32, got ${encoding}`);
  return checkedFormat({ encoding, rate: Number(query.get('rate') ?? 16_000), channels: Number(query.get('channels') ?? 1) });
};

interface Means {
  readonly recognizer: Pick<Recognizer, 'words'>;
  readonly context: Pick<CallContext, 'log' | 'signal'>;
}

/** Returns when the client has sent `end` and all that it said before has been answered, or when it has left. */
export const listen = async (
  socket: WebSocketConnection,
  format: SoundFormat,
  { vad, ...means }: Means & { readonly vad: Vad },
): Promise<void> => {
  const writer = new Writer(socket, means);
  const hear = async (): Promise<void> => {
    const ear = new Ear(vad);
    for await (const window of windowsOf(soundOf(socket, format), format.rate)) {
      const segment = await ear.hear(window);
      if (segment === undefined) writer.attempt(ear.segmenter);
      else await writer.write(segment);
    }
    const last = ear.segmenter.end();
    if (last !== undefined) await writer.write(last);
    await writer.done();
  };
  await Promise.race([hear(), writer.failed]);
};

async function* soundOf(socket: WebSocketConnection, format: SoundFormat): AsyncGenerator<Float32Array> {
  const reader = new PcmReader(format);
  for await (const message of socket) {
    if (typeof message !== 'string') yield reader.push(message);
    else if (message === END) return;
    else {
      socket.close(1003, `expected sound as binary messages, or the text ${END}`);
      return;
    }
  }
}

/** Gives segments to the recognizer, in order, and what it says to the client. */
class Writer {
  /** Rejects when a segment could not be written down. */
  readonly failed: Promise<never>;
  readonly #socket: WebSocketConnection;
  readonly #recognizer: Means['recognizer'];
  readonly #context: Means['context'];
  #fail!: (error: unknown) => void;
  /** Segments under way, the oldest first: at most `MOST_WAITING` + 1. */
  readonly #writing: Promise<void>[] = [];
  #last: Promise<void> = Promise.resolve();
  #unwritten = 0;
  #attempt: AbortController | undefined;
  /** Samples that the open segment had when it was tried last. */
  #tried = 0;

  constructor(socket: WebSocketConnection, { recognizer, context }: Means) {
    this.#socket = socket;
    this.#recognizer = recognizer;
    this.#context = context;
    this.failed = new Promise((_, reject) => {
      this.#fail = reject;
    });
  }

  /** Resolves when there is room for another. */
  async write(segment: Segment): Promise<void> {
    this.#attempt?.abort();
    this.#tried = 0;
    this.#unwritten += 1;
    // A signal of its own: what listens to it goes with it, and not with the socket.
    const signal = AbortSignal.any([this.#context.signal]);
    this.#last = this.#last.then(() => this.#send('final', segment, { signal }));
    this.#last.then(() => (this.#unwritten -= 1), this.#fail);
    this.#writing.push(this.#last);
    if (this.#writing.length > MOST_WAITING) await this.#writing.shift();
  }

  /** Tries the segment that is open, where nothing else is under way and enough of it is new. */
  attempt(segmenter: Segmenter): void {
    if (this.#attempt !== undefined || this.#unwritten > 0 || segmenter.openSamples - this.#tried < TRY_EVERY) return;
    const segment = segmenter.open;
    if (segment === undefined) return;
    this.#tried = segment.samples.length;
    const attempt = new AbortController();
    this.#attempt = attempt;
    const signal = AbortSignal.any([attempt.signal, this.#context.signal]);
    this.#send('partial', segment, { signal, priority: LATER })
      // The client loses nothing: what is wrong for long is told of the segment when it is over.
      .catch((error: Error) => this.#context.log.warn({ error: error.message }, 'a segment that is not over could not be tried'))
      .finally(() => {
        this.#attempt = undefined;
      });
  }

  async done(): Promise<void> {
    this.#attempt?.abort();
    await this.#last;
  }

  async #send(
    type: 'partial' | 'final',
    segment: Segment,
    options: { readonly signal: AbortSignal; readonly priority?: number },
  ): Promise<void> {
    const { signal } = options;
    if (signal.aborted) return;
    const words: string[] = [];
    try {
      for await (const word of this.#recognizer.words(segment, options)) words.push(word);
    } catch (error) {
      if (!signal.aborted) throw error;
    }
    if (signal.aborted || words.length === 0) return;
    await this.#socket.send(JSON.stringify({ type, text: words.join(' '), start: segment.start, end: segment.end }));
  }
}
