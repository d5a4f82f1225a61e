import { AirlockError } from '../errors.ts';
import { quote } from '../repo/formats/quote.ts';

/** What may follow a word: nothing, one value, or all values up to the next known word. */
export type Grammar = Readonly<Record<string, 'flag' | 'value' | 'values'>>;

/** By word: `true` for a flag, else the values that followed. */
export type Words = Readonly<Record<string, true | readonly string[]>>;

/**
 * Reads arguments as the vendor writes them: `check-rpm-signature allow-unsigned force filepath X` (vendor.md A1).
 * A value that is spelled like a word is written `./force`.
 * @throws usage.invalid for unknown words, missing values and words given twice
 */
export function readWords(words: readonly string[], grammar: Grammar): Words {
  const read: Record<string, true | readonly string[]> = {};
  const known = Object.keys(grammar);
  for (let index = 0; index < words.length; ) {
    const word = words[index] ?? '';
    const form = Object.hasOwn(grammar, word) ? grammar[word] : undefined;
    if (form === undefined) throw wrong(`${quote(word)} is not understood here. Known words: ${known.join(', ')}.`);
    if (Object.hasOwn(read, word)) throw wrong(`"${word}" was given twice.`);
    const end = endOfValues(words, index + 1, form, known);
    if (form === 'value' && end === index + 1) throw wrong(`"${word}" needs a value after it.`);
    read[word] = form === 'flag' ? true : words.slice(index + 1, end);
    index = end;
  }
  return read;
}

function endOfValues(words: readonly string[], start: number, form: Grammar[string], known: readonly string[]): number {
  if (form === 'flag') return start;
  if (form === 'value') return Math.min(start + 1, words.length);
  let end = start;
  while (end < words.length && !known.includes(words[end] ?? '')) end += 1;
  return end;
}

function wrong(message: string): AirlockError {
  return new AirlockError('usage.invalid', `${message} "--help" shows the usage.`);
}
