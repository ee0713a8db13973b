/** Extractive summaries by TextRank: picks the sentences that say what the others say too. Needs no model and no word lists. */

/** In words. */
export interface Lengths {
  minLength: number;
  maxLength: number;
}

/**
 * Takes the best sentences until `minLength` is reached, passing over those that would go beyond `maxLength`; where none is short
 * enough, the best one alone. A text of no more than `maxLength` words comes back whole.
 * @param language BCP-47, for the rules by which sentences and words end
 */
export const summarize = (text: string, language: string, { minLength, maxLength }: Lengths): string => {
  const sentences = sentencesOf(text, language);
  if (sentences.reduce((sum, { words }) => sum + words.length, 0) <= maxLength) return text.trim();
  const ranks = textRank(sentences.map(({ words }) => words));
  const best = [...sentences.entries()].sort(([a], [b]) => (ranks[b] ?? 0) - (ranks[a] ?? 0));
  const chosen = new Set<number>();
  let length = 0;
  for (const [index, { words }] of best) {
    if (length + words.length > maxLength) continue;
    chosen.add(index);
    length += words.length;
    if (length >= minLength) break;
  }
  if (chosen.size === 0) chosen.add(best[0]?.[0] ?? 0);
  const kept = sentences.filter((_, index) => chosen.has(index));
  return kept
    .map(({ sentence }) => sentence)
    .join('')
    .trim(); // each with the space that followed it, which Japanese has not
};

/** The sentences with a word in them, each with its words in lower case. A single line break is a space, as in wrapped text. */
const sentencesOf = (text: string, language: string) => {
  const unwrapped = text.replace(/(?<=\S)[^\S\n]*\n[^\S\n]*(?=\S)/g, ' ');
  const toSentences = new Intl.Segmenter(language, { granularity: 'sentence' });
  const toWords = new Intl.Segmenter(language, { granularity: 'word' });
  const sentences = Array.from(split(unwrapped, toSentences), ({ segment: sentence }) => {
    const words = [...split(sentence.toLocaleLowerCase(language), toWords)].filter(({ isWordLike }) => isWordLike);
    return { sentence, words: words.map(({ segment }) => segment) };
  });
  return sentences.filter(({ words }) => words.length > 0);
};

/** Characters. */
const WINDOW = 1000;

/** Splits through a window, as V8 copies the whole input for every segment that it finds; a window grows until two are in it. */
function* split(text: string, segmenter: Intl.Segmenter): Generator<Intl.SegmentData> {
  let size = WINDOW;
  for (let from = 0; from < text.length; ) {
    const found = [...segmenter.segment(text.slice(from, from + size))];
    const isLast = from + size >= text.length;
    if (!isLast) found.pop(); // the window may have cut it off
    size = found.length === 0 ? size * 2 : WINDOW;
    for (const piece of found) from += piece.segment.length;
    yield* found;
  }
}

const ROUNDS = 30;
/** The share of its rank that a sentence gets from the others; the rest is the same for all. */
const DAMPING = 0.85;

/**
 * PageRank on the graph that joins two sentences the more closely, the more of the text's rarer words they share: the cosine of
 * their tf-idf vectors. The graph is never built: a round goes through the words, so time grows with the text, not its square.
 */
const textRank = (sentences: readonly (readonly string[])[]): readonly number[] => {
  const vectors = tfIdf(sentences);
  /** What each sentence gets when each gives `shares` to all others, in proportion to how alike they are. */
  const give = (shares: readonly number[]): number[] => {
    const pool = new Map<string, number>();
    for (const [index, vector] of vectors.entries()) {
      for (const [word, weight] of vector) pool.set(word, (pool.get(word) ?? 0) + weight * (shares[index] ?? 0));
    }
    return vectors.map((vector, index) => {
      let sum = -(shares[index] ?? 0); // what it would give to itself
      for (const [word, weight] of vector) sum += weight * (pool.get(word) ?? 0);
      return Math.max(0, sum);
    });
  };
  const likeness = give(sentences.map(() => 1));
  let ranks = sentences.map(() => 1 / sentences.length);
  for (let round = 0; round < ROUNDS; round++) {
    const received = give(ranks.map((rank, index) => rank / (likeness[index] || 1)));
    ranks = received.map((rank) => (1 - DAMPING) / sentences.length + DAMPING * rank);
  }
  return ranks;
};

/** A vector of length 1 for each sentence. A word counts the less, the more sentences have it: one that all have, nothing. */
const tfIdf = (sentences: readonly (readonly string[])[]): readonly ReadonlyMap<string, number>[] => {
  const spread = new Map<string, number>();
  for (const word of sentences.flatMap((words) => [...new Set(words)])) spread.set(word, (spread.get(word) ?? 0) + 1);
  return sentences.map((words) => {
    const vector = new Map<string, number>();
    for (const word of words) {
      vector.set(word, (vector.get(word) ?? 0) + Math.log(sentences.length / (spread.get(word) ?? 1)));
    }
    const length = Math.sqrt([...vector.values()].reduce((sum, weight) => sum + weight * weight, 0)) || 1;
    return new Map([...vector].map(([word, weight]) => [word, weight / length]));
  });
};
