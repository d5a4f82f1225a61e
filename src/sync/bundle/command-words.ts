/** A command as people write it in one word of a command line: `clamscan --infected`. No shell ever sees it. */
import { accessSync, constants, statSync } from 'node:fs';
import path from 'node:path';
import { AirlockError } from '../../errors.ts';
import { quote } from '../../repo/formats/quote.ts';

/** A program to run, and its arguments. */
export interface CommandWords {
  /** Where it is. */
  readonly program: string;
  readonly args: readonly string[];
}

/** What a word is made of: `'…'`, `"…"` in which `\` stands before `"` and `\`, `\` and a character, anything else. */
const PART = /'([^']*)'|"((?:[^"\\]|\\.)*)"|\\(.)|([^\s'"\\]+)/gsy;

/**
 * Splits at white space, as a shell does; quotes and backslashes keep it. Nothing else has a meaning: no variables, no
 * patterns, no `;`.
 * @throws usage.invalid for a quote that is not closed, or no word at all
 */
export function splitWords(text: string): string[] {
  const words: string[] = [];
  let word: string | undefined;
  for (let at = 0; at < text.length; ) {
    if (/\s/.test(text.charAt(at))) {
      if (word !== undefined) words.push(word);
      word = undefined;
      at += 1;
      continue;
    }
    PART.lastIndex = at;
    const match = PART.exec(text);
    if (match === null) {
      throw new AirlockError(
        'usage.invalid',
        `In ${quote(text)} a quote is not closed, or nothing follows a backslash.`,
      );
    }
    const [all, single, double, escaped, plain] = match;
    word = (word ?? '') + (single ?? double?.replace(/\\(["\\])/g, '$1') ?? escaped ?? plain ?? '');
    at += all.length;
  }
  if (word !== undefined) words.push(word);
  return words;
}

/**
 * The program that a command names, before anything depends on it.
 * @throws usage.invalid; file.not-found if there is no such program, or it may not be run
 */
export function parseCommand(text: string): CommandWords {
  const [name = '', ...args] = splitWords(text);
  if (name === '') throw new AirlockError('usage.invalid', 'A command is needed, such as "clamscan --infected".');
  const places = name.includes('/')
    ? [path.resolve(name)]
    : (process.env.PATH ?? '').split(':').map((dir) => path.resolve(dir, name));
  const program = places.find(isProgram);
  if (program !== undefined) return { program, args };
  throw new AirlockError(
    'file.not-found',
    `There is no program ${quote(name)}${name.includes('/') ? ' that may be run' : ' in PATH'}. Install it, or name it with its folder.`,
    { details: { program: name } },
  );
}

function isProgram(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return statSync(file).isFile();
  } catch {
    return false;
  }
}
