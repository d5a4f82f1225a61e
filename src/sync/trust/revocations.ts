/**
 * The list of content that must no longer be used: a target of every bundle, with a version of its own and no expiry.
 */
import { z } from 'zod';
import { AirlockError } from '../../errors.ts';
import type { Digest } from '../../repo/blobs/blob-store.ts';

export const digestSchema = z.custom<Digest>(
  (value) => typeof value === 'string' && /^sha256:[0-9a-f]{64}$/.test(value),
  { error: 'not a digest (sha256:<64 hexadecimal digits>)' },
);

const schema = z.object({
  format: z.literal('airlock-revocations'),
  /** Grows with each change. */
  version: z.number().int().nonnegative(),
  revoked: z.array(z.object({ digest: digestSchema, name: z.string().max(1024), reason: z.string().max(1024) })),
});

export type Revocations = z.infer<typeof schema>;

/** Where it lies in a bundle. */
export const REVOCATIONS = 'revocations.json';

export const NO_REVOCATIONS: Revocations = { format: 'airlock-revocations', version: 0, revoked: [] };

/** @throws trust.invalid */
export function parseRevocations(bytes: Buffer): Revocations {
  try {
    return schema.parse(JSON.parse(bytes.toString('utf8')));
  } catch (cause) {
    throw new AirlockError('trust.invalid', `${REVOCATIONS} cannot be read. Copy the bundle again.`, { cause });
  }
}

/** @throws trust.rollback if the list is older than the one known, or of its version with other content */
export function requireNewer(known: Revocations, fresh: Revocations): void {
  if (fresh.version > known.version) return;
  if (fresh.version === known.version && JSON.stringify(fresh.revoked) === JSON.stringify(known.revoked)) return;
  throw new AirlockError(
    'trust.rollback',
    `The list of revoked content has version ${fresh.version}, and ${known.version} is known here. This bundle is older than what is here, or forged: use the newest one.`,
    { details: { expected: known.version, found: fresh.version } },
  );
}
