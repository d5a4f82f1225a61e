/**
 * JSON from outside, read within bounds: `JSON.parse` alone would take any depth, and the last of several equal keys.
 */
import { limits } from '../../limits.ts';

export type JsonReading =
  | { readonly ok: true; readonly value: unknown; readonly duplicates: readonly DuplicateKey[] }
  /** `line` counts from 1. */
  | { readonly ok: false; readonly why: string; readonly line: number; readonly isTooDeep: boolean };

/** A key that stands twice in one object. Most readers take the last, AWS refuses. */
export interface DuplicateKey {
  readonly key: string;
  readonly line: number;
}

/** Bytes as UTF-8, without a byte order mark. @returns undefined if they are none */
export function utf8Text(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

/** What bytes are as characters; `none`: they are none, and each byte stands for itself. */
export type Encoding = 'utf-8' | 'utf-16le' | 'utf-16be' | 'none';

/** Bytes as a person, or a tool that is not strict, would read them. UTF-16 is known by its byte order mark. */
export function readableText(bytes: Uint8Array): { text: string; encoding: Encoding } {
  const utf8 = utf8Text(bytes);
  if (utf8 !== undefined) return { text: utf8, encoding: 'utf-8' };
  const [first, second] = bytes;
  const encoding =
    first === 0xff && second === 0xfe ? 'utf-16le' : first === 0xfe && second === 0xff ? 'utf-16be' : 'none';
  const text = encoding === 'none' ? undefined : new TextDecoder(encoding).decode(bytes);
  return { text: text ?? Buffer.from(bytes).toString('latin1'), encoding };
}

/** Reads JSON of at most limits.policy.depth levels. Texts longer than limits.policy.bytes do not get here. */
export function readJson(text: string): JsonReading {
  const { deepAt, duplicates } = scan(text);
  if (deepAt !== null) {
    const why = `it is nested more than ${limits.policy.depth} levels deep`;
    return { ok: false, why, line: deepAt, isTooDeep: true };
  }
  try {
    return { ok: true, value: JSON.parse(text), duplicates };
  } catch (cause) {
    const why = said(cause)
      .replace(/ in JSON at position .*$/s, '')
      .replace(/, (\.\.\.)?".*is not valid JSON$/s, '');
    return { ok: false, why, line: lineOf(text, faultIn(text)), isTooDeep: false };
  }
}

function said(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Where the first character stands that no valid JSON has there. V8 does not always say: it is asked about beginnings. */
function faultIn(text: string): number {
  let [good, bad] = [0, text.length];
  while (bad - good > 1) {
    const middle = Math.floor((good + bad) / 2);
    if (mayGoOn(text.slice(0, middle))) good = middle;
    else bad = middle;
  }
  return good;
}

/** False if the text cannot be the beginning of valid JSON. */
function mayGoOn(beginning: string): boolean {
  try {
    JSON.parse(beginning);
    return true;
  } catch (error) {
    const at = /at position (\d+)/.exec(said(error))?.[1];
    return /end of JSON input|Unterminated string/.test(said(error)) || Number(at) === beginning.length;
  }
}

/** Depth and equal keys, of whatever it is: that it is JSON is found out later. */
function scan(text: string): { deepAt: number | null; duplicates: DuplicateKey[] } {
  const duplicates: DuplicateKey[] = [];
  const open: (Set<string> | null)[] = [];
  let line = 1;
  let last = ''; // the string before, as it is written
  for (let at = 0; at < text.length; at += 1) {
    const character = text[at];
    if (character === '\n') line += 1;
    else if (character === '"') {
      const end = endOfString(text, at + 1);
      last = text.slice(at, end + 1);
      at = end;
    } else if (character === '{' || character === '[') {
      open.push(character === '{' ? new Set() : null);
      if (open.length > limits.policy.depth) return { deepAt: line, duplicates };
    } else if (character === '}' || character === ']') open.pop();
    else if (character === ':') {
      const keys = open.at(-1);
      if (keys == null || last === '') continue; // no key stands before it
      const key = unquoted(last);
      last = '';
      if (keys.has(key) && duplicates.length < limits.policy.findings) duplicates.push({ key, line });
      keys.add(key);
    }
  }
  return { deepAt: null, duplicates };
}

/** Where the closing quote stands, or the line ends, which no string outlives. */
function endOfString(text: string, start: number): number {
  let at = start;
  while (at < text.length && text[at] !== '"' && text[at] !== '\n') at += text[at] === '\\' ? 2 : 1;
  return text[at] === '\n' ? at - 1 : at;
}

function unquoted(token: string): string {
  try {
    return String(JSON.parse(token));
  } catch {
    return token;
  }
}

function lineOf(text: string, position: number): number {
  let line = 1;
  for (let at = text.indexOf('\n'); at >= 0 && at < position; at = text.indexOf('\n', at + 1)) line += 1;
  return line;
}
