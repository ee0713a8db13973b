/** Search by meaning: a Hono application with checked input, which keeps documents and finds those that say what a query says. */
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { setImmediate as aTurn } from 'node:timers/promises';
import { type Context, Hono } from 'hono';
import { HTTPException } from 'hono/http-exception';
import { type CallContext, type DeploymentContext, type Handle, Tensor } from 'serve-daemon';
import { z } from 'zod';
import { type Mistake, mistakesOf } from './invalid.ts';
import { holdAlone } from './one-writer.ts';
import { DocumentStore } from './store.ts';
import { WordPiece } from './wordpiece.ts';

/** Of the embedding. */
const WIDTH = 256;
/** Of one request, in all its texts: what is worth a second or two of the replica's CPU. */
const MOST_CHARACTERS = 1_000_000;
/** Of one request that are with the model at once: a full batch of it. A replica may have 10,000 calls open, for all of its requests. */
const TEXTS_AT_ONCE = 64;

const Text = z.string().min(1).max(10_000);
const Posted = z.strictObject({
  documents: z
    .array(
      z.strictObject({
        id: z
          .string()
          .regex(/^[A-Za-z0-9][\w.-]{0,63}$/, 'letters, digits, `_`, `.` and `-`, at most 64')
          .optional(),
        text: Text,
      }),
    )
    .min(1)
    .max(1000)
    .superRefine((documents, issues) => {
      const characters = documents.reduce((sum, { text }) => sum + text.length, 0);
      if (characters > MOST_CHARACTERS)
        issues.addIssue({ code: 'custom', message: `at most ${MOST_CHARACTERS} characters in all texts`, input: characters });
    }),
});
const Query = z.strictObject({ query: Text, top: z.int().min(1).max(100).default(5) });

/** The model as a handle has it: a row of tokens in, a row of numbers out. */
interface Embedding {
  call(inputs: { tokens: Tensor }): Promise<{ embedding: Tensor }>;
}

export interface SearchArgs {
  embedding: Handle<Embedding>;
  /** The tokens that the model knows, a line each. */
  vocabulary: string;
  /** Where documents are kept. */
  file: string;
  maxDocuments?: number;
}

export class Search {
  readonly #embedding: Handle<Embedding>;
  readonly #words: WordPiece;
  readonly #opened: Promise<{ readonly store: DocumentStore; readonly held: AsyncDisposable }>;
  readonly #app = new Hono<{ Bindings: CallContext }>();

  constructor({ embedding, vocabulary, file, maxDocuments = 100_000 }: SearchArgs, { log }: DeploymentContext) {
    this.#embedding = embedding;
    this.#words = new WordPiece(readFileSync(vocabulary, 'utf8'));
    this.#opened = (async () => {
      const held = await holdAlone(file);
      const store = await DocumentStore.open(file, { width: WIDTH, maxDocuments }, (error) =>
        log.warn({ error: String(error), file }, 'the file could not be written anew'),
      );
      log.info({ documents: store.size, file }, 'documents read');
      return { store, held };
    })();
    this.#opened.catch(() => {}); // `checkHealth` tells it
    this.#addRoutes();
  }

  /** Called once before the first request, which therefore finds all documents. */
  async checkHealth(): Promise<void> {
    await this.#opened;
  }

  fetch(request: Request, context: CallContext): Response | Promise<Response> {
    return this.#app.fetch(request, context);
  }

  async close(): Promise<void> {
    const { store, held } = await this.#opened;
    await store.close();
    await held[Symbol.asyncDispose]();
  }

  #addRoutes(): void {
    const app = this.#app;

    app.get('/', async (c) => c.json({ documents: (await this.#opened).store.size }));

    app.post('/documents', async (c) => {
      const { documents } = await bodyOf(c, Posted);
      const ids = documents.map(({ id }) => id ?? randomUUID());
      const twice = ids.findIndex((id, index) => ids.indexOf(id) !== index);
      if (twice >= 0)
        throw invalid([{ where: `documents[${twice}].id`, expected: 'another id than those before', got: `"${ids[twice]}"` }]);
      const vectors = await this.#embed(documents.map(({ text }, index) => ({ text, where: `documents[${index}].text` })));
      const { store } = await this.#opened;
      await store.put(
        documents.map(({ text }, index) => ({ id: ids[index] as string, text, vector: vectors[index] as Float32Array })),
      );
      return c.json({ ids }, 201);
    });

    app.get('/documents/:id', async (c) => {
      const document = (await this.#opened).store.get(c.req.param('id'));
      if (document === undefined) throw missing(c);
      return c.json(document);
    });

    app.delete('/documents/:id', async (c) => {
      if (!(await (await this.#opened).store.delete(c.req.param('id')))) throw missing(c);
      return c.body(null, 204);
    });

    app.post('/search', async (c) => {
      const { query, top } = await bodyOf(c, Query);
      const [vector] = await this.#embed([{ text: query, where: 'query' }]);
      return c.json({ hits: (await this.#opened).store.search(vector as Float32Array, top) });
    });

    app.notFound((c) => c.json({ error: `there is no ${c.req.method} ${c.req.path}` }, 404));
    app.onError((error) => {
      if (error instanceof HTTPException) return error.getResponse();
      throw error; // the daemon's to tell: an error of the model keeps its status, anything else is a 500 in the log
    });
  }

  /**
   * Each text is a call of its own: those of all clients meet in the model's queue and run together. Other requests have their turn after
   * each text, however many one client sends.
   */
  async #embed(texts: readonly { readonly text: string; readonly where: string }[]): Promise<readonly Float32Array[]> {
    const tokens: Int32Array[] = [];
    for (const { text } of texts) {
      if (tokens.length > 0) await aTurn();
      tokens.push(this.#words.tokensOf(text));
    }
    const empty = texts.filter((_, index) => tokens[index]?.length === 0);
    if (empty.length > 0)
      throw invalid(empty.map(({ where }) => ({ where, expected: 'a text with a word that the model knows', got: 'none' })));
    const vectors: Float32Array[] = [];
    for (let from = 0; from < tokens.length; from += TEXTS_AT_ONCE) {
      const rows = tokens.slice(from, from + TEXTS_AT_ONCE);
      const answers = await Promise.all(
        rows.map((row) => this.#embedding.call({ tokens: new Tensor('int32', [1, row.length], row) })),
      );
      vectors.push(...answers.map(({ embedding }) => embedding.data as Float32Array));
    }
    return vectors;
  }
}

/** The body as the schema has it. @throws HTTPException 400 with every mistake */
const bodyOf = async <T>(c: Context, schema: z.ZodType<T>): Promise<T> => {
  let body: unknown;
  try {
    body = await c.req.json();
  } catch (error) {
    throw invalid([{ where: 'body', expected: 'JSON', got: (error as Error).message }]);
  }
  const read = schema.safeParse(body, { reportInput: true });
  if (!read.success) throw invalid(mistakesOf(read.error.issues));
  return read.data;
};

/** At most so many mistakes are told. */
const MOST_TOLD = 20;

const invalid = (mistakes: readonly Mistake[]): HTTPException => {
  const errors = mistakes.slice(0, MOST_TOLD);
  const more = mistakes.length - errors.length;
  return new HTTPException(400, { res: Response.json({ errors, ...(more > 0 && { more }) }, { status: 400 }) });
};

const missing = (c: Context): HTTPException =>
  new HTTPException(404, { res: Response.json({ error: `there is no document ${c.req.param('id')}` }, { status: 404 }) });
