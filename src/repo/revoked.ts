/** Content that must not be brought in, whoever brings it. The lists themselves are sync's affair (src/sync/bundle/revoked.ts). */
import { AirlockError } from '../errors.ts';
import type { Digest } from './blobs/blob-store.ts';
import { quote, quoteUnsafe } from './formats/quote.ts';

export interface Revocation {
  /** Who said so; a phrase: `the export station that …`. */
  readonly by: string;
  /** As they gave it. */
  readonly reason: string;
}

export type RevokedContent = ReadonlyMap<Digest, Revocation>;

/**
 * @param name of the content, for people
 * @returns trust.revoked, or undefined for content that nobody revoked
 */
export function revocationOf(revoked: RevokedContent, name: string, digest: Digest): AirlockError | undefined {
  const found = revoked.get(digest);
  if (found === undefined) return undefined;
  const { by, reason } = found;
  return new AirlockError(
    'trust.revoked',
    `${quoteUnsafe(name)} (${digest}) was revoked by ${by}; the reason given is ${quote(reason)}. It is not taken in, wherever it comes from. Use another release, or ask those who revoked it.`,
    { details: { digest, by, reason } },
  );
}

/** @throws trust.revoked as revocationOf */
export function requireNotRevoked(revoked: RevokedContent, name: string, digest: Digest): void {
  const error = revocationOf(revoked, name, digest);
  if (error !== undefined) throw error;
}
