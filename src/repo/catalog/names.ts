import { AirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';

const REPOSITORY_NAME = /^[a-z0-9][a-z0-9._-]{0,62}$/;

/**
 * @returns the name, if it can name a repository: it stands in URLs and as a folder name under `DATA/revisions/`
 * @throws path.invalid
 */
export function repositoryName(name: string): string {
  if (isRepositoryName(name)) return name;
  throw new AirlockError(
    'path.invalid',
    `${JSON.stringify(name)} cannot name a repository. Use 1 to 63 lower-case letters, digits, dots, dashes and underscores, starting with a letter or digit.`,
  );
}

/** True for what `repositoryName` lets pass. */
export function isRepositoryName(name: string): boolean {
  return REPOSITORY_NAME.test(name) && !name.includes('..');
}

/**
 * @returns the path, if it can be one in a repository: segments joined by `/`, at most limits.path long and deep,
 *   without empty segments, `.`, `..`, backslashes and control characters, well-formed Unicode
 * @throws path.invalid
 */
export function repositoryPath(path: string): string {
  const segments = path.split('/');
  const isGood =
    path.isWellFormed() &&
    Buffer.byteLength(path) <= limits.path.bytes &&
    segments.length <= limits.path.depth &&
    segments.every(isSegment);
  if (isGood) return path;
  throw new AirlockError(
    'path.invalid',
    `${JSON.stringify(path.slice(0, 200))} cannot be a path in a repository. Use names joined by "/", without empty parts, ".", "..", backslashes or control characters, at most ${limits.path.bytes} bytes.`,
  );
}

function isSegment(segment: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
  return segment !== '' && segment !== '.' && segment !== '..' && !/[\\\u0000-\u001f\u007f]/.test(segment);
}

/** `a/b/c` → `{ folder: 'a/b/', name: 'c' }`, as the catalog stores it. */
export function splitPath(path: string): { folder: string; name: string } {
  const cut = path.lastIndexOf('/') + 1;
  return { folder: path.slice(0, cut), name: path.slice(cut) };
}
