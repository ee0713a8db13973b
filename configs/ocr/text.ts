/** Makes plain text of characters: what the recognizer mixes up because it reads Chinese, too. */
import type { Letter } from './ctc.ts';

/** Below it a character that has a double may be that. */
const SURE = 0.9;
/** Han, Hiragana, Katakana, Hangul: in lines with them the wide forms of marks are meant. */
const WIDE_SCRIPT = /[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]/;

/** Replaces wide forms of ASCII (U+FF01 to U+FF5E) in lines that have no wide script. */
export const narrow = (letters: readonly Letter[]): Letter[] => {
  if (letters.some(({ text }) => WIDE_SCRIPT.test(text))) return [...letters];
  return letters.map((letter) => ({
    ...letter,
    text: letter.text.replace(/[\uff01-\uff5e]/g, (wide) => String.fromCharCode(wide.charCodeAt(0) - 0xfee0)),
  }));
};

/**
 * A word's text, where an unsure character that looks alike as digit and letter (0 and O, 1 and l) takes the kind of the
 * others: all digits, or small letters beside it.
 */
export const spell = (word: readonly Letter[]): string => {
  const isNumber =
    word.every(({ text }) => /[\d.,:%$€£+()\-/oOlI]/.test(text)) &&
    word.filter(({ text }) => /\d/.test(text)).length * 2 >= word.length;
  return word
    .map(({ text, probability }, i) => {
      if (probability >= SURE) return text;
      if (isNumber) return text === 'o' || text === 'O' ? '0' : text === 'l' || text === 'I' ? '1' : text;
      const [before, after] = [word[i - 1]?.text ?? '', word[i + 1]?.text ?? ''];
      if (text === '0' && (isSmall(before) || (before === '' && isSmall(after)))) return before === '' ? 'O' : 'o';
      return text;
    })
    .join('');
};

const isSmall = (text: string): boolean => /\p{Ll}/u.test(text);
