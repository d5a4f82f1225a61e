/**
 * Checksum files as vendors publish them: `<file>.sha256sum` beside an image, or one `sha256sum.txt` for many.
 *
 * A vendor's sidecar may be exactly 64 bytes, a digest with no name and no line end (vendor.md A1), which
 * `sha256sum -c` refuses; so this reads every form that is in use and no other.
 */

import { AirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import type { Digest } from '../blobs/blob-store.ts';
import { quote } from './quote.ts';
import { unexpectedContent } from './unexpected-content.ts';

interface ChecksumLine {
  readonly digest: Digest;
  /** What the line calls the file, unescaped; data, never a path. null for a digest that stands alone. */
  readonly name: string | null;
}

/** At least one line. A line without a name is the only line. */
export interface ChecksumFile {
  readonly lines: readonly ChecksumLine[];
}

const HEX_DIGITS = 64;

/** Other digests that stand in files of this shape, by their number of hexadecimal digits. */
const OTHER_DIGESTS: Readonly<Record<number, string>> = {
  32: 'MD5',
  40: 'SHA-1',
  56: 'SHA-224',
  96: 'SHA-384',
  128: 'SHA-512',
};

const EXPECTED =
  'expected a bare SHA-256 digest (64 hexadecimal digits), "<digest>  <name>" or "SHA256 (<name>) = <digest>"';

/** `<digest>`, `<digest>  <name>`, `<digest> *<name>` (coreutils) or `<digest> <name>` (BSD `-r`). */
const COREUTILS_LINE = /^[ \t]*(\\?)([0-9a-f]{32,})(?:(?: [ *]|[ \t])(.+)|[ \t]*)$/is;

/** `SHA256 (<name>) = <digest>` (BSD, `sha256sum --tag`), `SHA2-256(<name>)= <digest>` (openssl). */
const TAGGED_LINE = /^(\\?)([a-z][a-z0-9-]*) ?\((.+)\) ?= ([0-9a-f]{32,})[ \t]*$/is;

/**
 * Reads a checksum file: a bare digest, coreutils lines with their escapes, BSD lines; with or without byte
 * order mark, CRLF and upper case; comments (`#`) and blank lines are skipped.
 * @throws checksum.invalid saying which line is wrong and what is expected
 */
export function parseChecksumFile(bytes: Uint8Array): ChecksumFile {
  const lines: ChecksumLine[] = [];
  const numbers: number[] = [];
  for (const [index, text] of textLines(bytes).entries()) {
    if (text.trim() === '' || text.startsWith('#')) continue;
    if (lines.length === limits.checksumLines) {
      throw invalid(`has more than ${limits.checksumLines} lines with digests; ${EXPECTED}`);
    }
    lines.push(parseLine(text, index + 1));
    numbers.push(index + 1);
  }
  if (lines.length === 0) throw invalid(`has no digest in it; ${EXPECTED}. Download it again`);
  const bare = lines.length > 1 ? lines.findIndex((line) => line.name === null) : -1;
  if (bare !== -1) {
    throw invalid(`has several digests, and the one in line ${numbers[bare]} names no file; give each its name`);
  }
  return { lines };
}

/**
 * The digest that `file` states for `fileName`: a bare digest is for whatever file it was published with; a named
 * line counts only if the last segment of its name equals `fileName` exactly. So a sidecar that names another
 * file says nothing about this one.
 * @returns undefined if the file does not speak of `fileName`
 * @throws checksum.invalid if two lines name it with different digests
 */
export function digestFor(file: ChecksumFile, fileName: string): Digest | undefined {
  let found: Digest | undefined;
  for (const { digest, name } of file.lines) {
    if (name !== null && lastSegment(name) !== fileName) continue;
    if (found !== undefined && found !== digest) {
      throw invalid(`states two different digests for ${quote(fileName)}; ask the vendor which one is right`);
    }
    found = digest;
  }
  return found;
}

function textLines(bytes: Uint8Array): string[] {
  if (bytes.length > limits.checksumFile) {
    throw invalid(`is ${bytes.length} bytes long, more than the ${limits.checksumFile} that such a file may have`);
  }
  const unexpected = unexpectedContent(bytes);
  if (unexpected !== undefined) throw invalid(unexpected);
  if (bytes.includes(0)) throw invalid(`is binary, not text; ${EXPECTED}`);
  const text = new TextDecoder('utf-8').decode(bytes);
  if (text.startsWith('-----BEGIN PGP')) {
    throw invalid(`is OpenPGP armour (a signature, a key or a signed text), not a plain checksum file; ${EXPECTED}`);
  }
  return text.split('\n').map((line) => line.replace(/\r$/, ''));
}

function parseLine(text: string, number: number): ChecksumLine {
  const tagged = TAGGED_LINE.exec(text);
  const plain = tagged === null ? COREUTILS_LINE.exec(text) : null;
  const [escaped, hex, name] =
    tagged !== null ? [tagged[1], tagged[4], tagged[3]] : [plain?.[1], plain?.[2], plain?.[3]];
  if (hex === undefined) throw invalid(`line ${number} is ${quote(text)}; ${EXPECTED}`);
  const other = OTHER_DIGESTS[hex.length];
  if (hex.length !== HEX_DIGITS) {
    const what = other === undefined ? `a digest of ${hex.length} hexadecimal digits` : `of the length of ${other}`;
    throw invalid(`line ${number} holds ${other === undefined ? what : `a digest ${what}`}; ${EXPECTED}`);
  }
  if (tagged !== null && !/^sha(?:2?-)?256$/i.test(tagged[2] ?? '')) {
    throw invalid(`line ${number} holds a digest of kind ${quote(tagged[2] ?? '')}; ${EXPECTED}`);
  }
  const digest: Digest = `sha256:${hex.toLowerCase()}`;
  if (name === undefined) return { digest, name: null };
  return { digest, name: escaped === '' ? name : unescapeName(name, number) };
}

/** GNU coreutils, "md5sum invocation": a line that begins with a backslash has `\\`, `\n` and `\r` in its name. */
function unescapeName(name: string, number: number): string {
  return name.replace(/\\(.?)/gs, (_, letter: string) => {
    if (letter === '\\') return '\\';
    if (letter === 'n') return '\n';
    if (letter === 'r') return '\r';
    throw invalid(
      `line ${number} has the unknown escape ${quote(`\\${letter}`)} in its name; expected \\\\, \\n or \\r`,
    );
  });
}

function lastSegment(name: string): string {
  return name.slice(name.lastIndexOf('/') + 1);
}

function invalid(problem: string): AirlockError {
  return new AirlockError('checksum.invalid', `The checksum file ${problem}.`);
}
