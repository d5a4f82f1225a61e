import { AirlockError, type ErrorCode } from '../../errors.ts';
import { quoteUnsafe } from '../../repo/formats/quote.ts';
import type { MirrorSite } from './rule.ts';

/**
 * Reads a small file of a site whole.
 * @param otherwise the code to throw if it is larger than `most` bytes
 * @returns undefined if there is none
 * @throws upstream.*
 */
export async function readSmall(
  { upstream, signal }: Pick<MirrorSite, 'upstream' | 'signal'>,
  path: string,
  { most, otherwise }: { readonly most: number; readonly otherwise: ErrorCode },
): Promise<Buffer | undefined> {
  const answer = await upstream.fetch(path, { signal });
  if (answer.type !== 'content') return undefined;
  const { body, facts } = answer;
  try {
    const pieces: Uint8Array[] = [];
    let bytes = 0;
    for await (const piece of body) {
      bytes += piece.byteLength;
      if (bytes > most) {
        throw new AirlockError(
          otherwise,
          `${quoteUnsafe(path)} has more than ${most} bytes, which no file of its kind has. It is not what its name says.`,
        );
      }
      pieces.push(piece);
    }
    if (facts.size === null || facts.size === bytes) return Buffer.concat(pieces);
    throw new AirlockError('upstream.failed', `The answer for ${quoteUnsafe(path)} ended early. Ask again.`);
  } finally {
    body.destroy();
  }
}
