/** Speech to text over HTTP and WebSockets: the ingress. */
import type { CallContext, WebSocketConnection } from 'serve-daemon';
import { ahead } from './ahead.ts';
import { answer, type Heard } from './answer.ts';
import { segmentsOf, type Vad } from './ear.ts';
import { listen, liveFormat } from './live.ts';
import { Recognizer, type RecognizerArgs } from './recognizer.ts';
import { openWav, type Wav } from './wav.ts';

/** Segments that are looked for while one is written down: both go on at once, and no more than these are held. */
const SEGMENTS_AHEAD = 2;

export class Transcriber {
  readonly #vad: Vad;
  readonly #recognizer: Recognizer;

  constructor({ vad, ...recognizer }: RecognizerArgs & { readonly vad: Vad }) {
    this.#vad = vad;
    this.#recognizer = new Recognizer(recognizer);
  }

  /** A WAV file in; `accept` says how the text comes out. */
  async fetch(request: Request, context: CallContext): Promise<Response> {
    if (request.method !== 'POST')
      return new Response('Send a WAV file with POST, or open a WebSocket.', { status: 405, headers: { allow: 'POST' } });
    const wav = await openWav((request.body ?? new Blob([]).stream()) as AsyncIterable<Uint8Array>);
    return answer(this.#transcribe(wav), request.headers.get('accept') ?? '', context);
  }

  async *#transcribe({ samples, format }: Wav): AsyncGenerator<Heard> {
    for await (const segment of ahead(segmentsOf(samples, format.rate, this.#vad), SEGMENTS_AHEAD)) {
      const words: string[] = [];
      for await (const word of this.#recognizer.words(segment)) {
        words.push(word);
        yield { type: 'word', word, isFirst: words.length === 1 };
      }
      if (words.length > 0) yield { type: 'segment', text: words.join(' '), start: segment.start, end: segment.end };
    }
  }

  upgrade({ request }: CallContext): undefined {
    liveFormat(request?.query ?? new URLSearchParams());
  }

  /** Sound in, as it is recorded; JSON out. */
  async websocket(socket: WebSocketConnection, context: CallContext): Promise<void> {
    const format = liveFormat(context.request?.query ?? new URLSearchParams());
    await listen(socket, format, { vad: this.#vad, recognizer: this.#recognizer, context });
  }
}
