/** The forms in which a client may have the text: plain as it is heard, as server-sent events, or as JSON at the end. */
import { type CallContext, HttpError } from 'serve-daemon';

export type Heard =
  | { readonly type: 'word'; readonly word: string; readonly isFirst: boolean }
  /** All words of a segment; `start` and `end` in seconds. */
  | { readonly type: 'segment'; readonly text: string; readonly start: number; readonly end: number };

/** @throws what goes wrong before the first word; behind it the answer has begun, and is cut off */
export const answer = async (
  heard: AsyncGenerator<Heard>,
  accept: string,
  context: Pick<CallContext, 'log' | 'signal'>,
): Promise<Response> => {
  if (accept.includes('application/json')) return Response.json(await asJson(heard));
  const first = await heard.next();
  const all = resumed(first, heard);
  const [texts, type] = accept.includes('text/event-stream')
    ? [asEvents(all, context), 'text/event-stream']
    : [asText(all), 'text/plain; charset=utf-8'];
  // Those between have not begun where nothing was read, and end nothing then.
  return streamed(texts, type, async () => {
    await texts.return(undefined);
    await heard.return(undefined);
  });
};

async function* resumed<T>(first: IteratorResult<T>, rest: AsyncGenerator<T>): AsyncGenerator<T> {
  if (first.done === true) return;
  yield first.value;
  yield* rest;
}

/** A line for each segment. */
async function* asText(heard: AsyncIterable<Heard>): AsyncGenerator<string> {
  for await (const each of heard) yield each.type === 'segment' ? '\n' : `${each.isFirst ? '' : ' '}${each.word}`;
}

/** `word` and `segment` as they are heard; then `done`, or `error` where the rest could not be. */
async function* asEvents(
  heard: AsyncIterable<Heard>,
  { log, signal }: Pick<CallContext, 'log' | 'signal'>,
): AsyncGenerator<string> {
  const event = (name: string, data: unknown) => `event: ${name}\ndata: ${JSON.stringify(data)}\n\n`;
  try {
    for await (const each of heard) {
      if (each.type === 'word') yield event('word', { word: each.word });
      else yield event('segment', { text: each.text, start: each.start, end: each.end });
    }
    yield event('done', {});
  } catch (error) {
    // A client that has left ends it so, too.
    if (signal.aborted) return;
    const { message, stack } = error as Error;
    log.error({ error: { message, stack } }, 'transcription failed');
    yield event('error', { message: error instanceof HttpError ? message : 'transcription failed' });
  }
}

const asJson = async (heard: AsyncIterable<Heard>): Promise<object> => {
  const segments: object[] = [];
  const texts: string[] = [];
  for await (const each of heard) {
    if (each.type !== 'segment') continue;
    segments.push({ start: each.start, end: each.end, text: each.text });
    texts.push(each.text);
  }
  return { text: texts.join(' '), segments };
};

const streamed = (texts: AsyncGenerator<string>, type: string, cancel: () => Promise<void>): Response => {
  const encoder = new TextEncoder();
  const body = new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const { done, value } = await texts.next();
        if (done === true) controller.close();
        else controller.enqueue(encoder.encode(value));
      },
      cancel,
    },
    { highWaterMark: 0 },
  );
  return new Response(body, { headers: { 'content-type': type } });
};
