/** Says which desk a support ticket belongs to, by a model of the tenant's own: naive Bayes over the tickets that it has sorted before. */
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { type CallContext, type DeploymentContext, HttpError } from 'serve-daemon';

/** The id comes from the client: nothing that could lead out of the folder, or be a file other than a model, is a name. */
const ID = /^[a-z0-9][a-z0-9-]{0,62}$/;

const wordsOf = (text: string): string[] => text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [];

interface Desk {
  readonly tickets: number;
  readonly words: ReadonlyMap<string, number>;
  readonly total: number;
}

export interface Answer {
  readonly tenant: string;
  readonly desk: string;
  /** From 0 to 1. */
  readonly probability: number;
}

export class TicketModel {
  readonly id: string;
  readonly #desks: ReadonlyMap<string, Desk>;
  readonly #vocabulary: number;
  readonly #tickets: number;

  /** @param table lines of a label, a tab and a ticket; `#` begins a comment */
  constructor(id: string, table: string) {
    this.id = id;
    const desks = new Map<string, { tickets: number; words: Map<string, number>; total: number }>();
    const vocabulary = new Set<string>();
    for (const line of table.split('\n')) {
      const [label, ticket] = line.split('\t');
      if (line.startsWith('#') || label === undefined || ticket === undefined) continue;
      const desk = desks.get(label) ?? { tickets: 0, words: new Map<string, number>(), total: 0 };
      desks.set(label, desk);
      desk.tickets += 1;
      for (const word of wordsOf(ticket)) {
        vocabulary.add(word);
        desk.words.set(word, (desk.words.get(word) ?? 0) + 1);
        desk.total += 1;
      }
    }
    if (desks.size < 2) throw new Error(`expected tickets of at least two desks in the model ${id}, got ${desks.size}`);
    this.#desks = desks;
    this.#vocabulary = vocabulary.size;
    this.#tickets = [...desks.values()].reduce((sum, { tickets }) => sum + tickets, 0);
  }

  classify(text: string): Answer {
    const words = wordsOf(text);
    const scores = [...this.#desks].map(([name, desk]) => {
      let score = Math.log(desk.tickets / this.#tickets);
      for (const word of words) score += Math.log(((desk.words.get(word) ?? 0) + 1) / (desk.total + this.#vocabulary));
      return { name, score };
    });
    const best = scores.reduce((a, b) => (b.score > a.score ? b : a));
    const sum = scores.reduce((all, { score }) => all + Math.exp(score - best.score), 0);
    return { tenant: this.id, desk: best.name, probability: 1 / sum };
  }
}

export class Classifier {
  readonly #folder: string;
  readonly #context: DeploymentContext;

  constructor({ folder }: { readonly folder: string }, context: DeploymentContext) {
    this.#folder = resolve(folder);
    this.#context = context;
  }

  /** Called once for each model that this replica does not hold, however many requests ask for it. */
  async loadModel(id: string): Promise<TicketModel> {
    if (!ID.test(id)) throw new HttpError(400, 'expected the id of a tenant: small letters, digits and `-`, at most 63');
    let table: string;
    try {
      table = await readFile(resolve(this.#folder, `${id}.tsv`), 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      throw new HttpError(404, `there is no model of the tenant ${id}`);
    }
    this.#context.log.info({ tenant: id }, 'model loaded');
    return new TicketModel(id, table);
  }

  /** Called when the model goes: the place to close what it holds. */
  unloadModel(model: TicketModel): void {
    this.#context.log.info({ tenant: model.id }, 'model unloaded');
  }

  /** @param ticket a JSON string, or a text */
  async call(ticket: unknown, context: CallContext): Promise<Answer> {
    if (typeof ticket !== 'string' || ticket.trim() === '') throw new HttpError(422, 'expected a ticket as a text');
    const model = await context.model<TicketModel>();
    return model.classify(ticket);
  }
}
