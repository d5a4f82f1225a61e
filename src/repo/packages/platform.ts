import { AirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import type { ByteSource } from '../blobs/blob-store.ts';
import { quoteUnsafe } from '../formats/quote.ts';

/** The repository that holds lists of what the routers' base systems provide (`rpm -qa --provides`), one file for each. */
export const PLATFORM = 'platform';

/** What is thrown for a file that is no such list. @param line the first one that shows it */
export function notAList(file: string, line: number): AirlockError {
  return new AirlockError(
    'platform.invalid',
    `${quoteUnsafe(file)} is not the output of "rpm -qa --provides": line ${line} is no capability ("name" or "name = version"). Run that command on a router, and import what it prints.`,
  );
}

/**
 * Lines of a list, without what ends them, a piece at a time.
 * @param tooLong makes what is thrown for a line of more than `limits.packages.platformLine` bytes, told by its number
 */
export async function* linesOf(
  source: ByteSource,
  tooLong: (line: number) => Error,
): AsyncGenerator<string, void, undefined> {
  let line = 1;
  let begun: Buffer = NOTHING;
  const add = (bytes: Buffer): Buffer => {
    const all = begun.length === 0 ? bytes : Buffer.concat([begun, bytes]);
    if (all.length > limits.packages.platformLine) throw tooLong(line);
    return all;
  };
  for await (const piece of pieces(source)) {
    let from = 0;
    for (let end = piece.indexOf(LINE_FEED); end !== -1; end = piece.indexOf(LINE_FEED, from)) {
      yield withoutReturn(add(piece.subarray(from, end)).toString());
      begun = NOTHING;
      line += 1;
      from = end + 1;
    }
    begun = add(piece.subarray(from));
  }
  if (begun.length > 0) yield withoutReturn(begun.toString());
}

const LINE_FEED = 0x0a;
const NOTHING = Buffer.alloc(0);

async function* pieces(source: ByteSource): AsyncGenerator<Buffer, void, undefined> {
  for (let position = 0; position < source.size; ) {
    const bytes = Buffer.alloc(Math.min(limits.packages.platformPiece, source.size - position));
    const length = await source.readAt(bytes, position);
    if (length === 0) return;
    position += length;
    yield bytes.subarray(0, length);
  }
}

function withoutReturn(text: string): string {
  return text.endsWith('\r') ? text.slice(0, -1) : text;
}
