import { AirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';

/** What a request's target names. Nothing of it ever becomes a file's path. */
export interface RequestPath {
  /** Decoded, without empty ones, `.` and `..`. */
  readonly segments: readonly string[];
  /** It ends with a slash. */
  readonly isFolder: boolean;
}

/** Splits `/repos/a?b` into `/repos/a` and `b`; the absolute form loses scheme and authority (RFC 9112, 3.2.2). */
export function splitTarget(target: string): { path: string; query: string } {
  const origin = /^https?:\/\/[^/?#]*/i.exec(target)?.[0] ?? '';
  const rest = target.slice(origin.length);
  const cut = rest.indexOf('?');
  const path = cut < 0 ? rest : rest.slice(0, cut);
  return { path: path === '' ? '/' : path, query: cut < 0 ? '' : rest.slice(cut + 1) };
}

/**
 * Takes a path apart: split at slashes first, then each segment percent-decoded once.
 * @param path begins with a slash
 * @returns undefined for what can name nothing: empty segments
 * @throws http.bad-request for what nobody writes who means well: bad escapes, NUL and other control characters,
 *   encoded slashes and backslashes, `.` and `..`, paths longer or deeper than limits.path
 */
export function parsePath(path: string): RequestPath | undefined {
  const raw = path.slice(1).split('/');
  const isFolder = raw.at(-1) === '';
  if (isFolder) raw.pop();
  if (raw.length > limits.path.depth + 2) throw badPath('It has too many folders.');
  const segments = raw.map(decodeSegment);
  if (Buffer.byteLength(segments.join('/')) > limits.path.bytes + 64) throw badPath('It is too long.');
  return segments.includes('') ? undefined : { segments, isFolder };
}

function decodeSegment(raw: string): string {
  if (/[^\x21-\x7e]|[\\#]/.test(raw))
    throw badPath('Encode everything but plain letters, digits and punctuation as %XX.');
  let segment: string;
  try {
    segment = decodeURIComponent(raw);
  } catch (cause) {
    throw badPath('It has a % that begins no UTF-8 character.', cause);
  }
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
  if (/[/\\\u0000-\u001f\u007f]/.test(segment)) throw badPath('A name cannot have slashes or control characters.');
  if (segment === '.' || segment === '..') throw badPath('Write the path out, without "." and "..".');
  return segment;
}

function badPath(why: string, cause?: unknown): AirlockError {
  return new AirlockError('http.bad-request', `The path of this request cannot be read. ${why}`, { cause });
}

/** A name as a path segment of a URL. What a URL may hold as it is stays readable, so that people can grep for it. */
export function encodeSegment(name: string): string {
  return encodeURIComponent(name.toWellFormed())
    .replace(/%(?:24|2B|2C|3B|3D|40)/g, decodeURIComponent)
    .replaceAll("'", '%27');
}
