/** What must never be published here again, whatever an older revision holds. */
import path from 'node:path';
import { AirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import type { Digest } from '../../repo/blobs/blob-store.ts';
import { digestOfBytes } from '../../repo/blobs/digest-of.ts';
import type { Catalog } from '../../repo/catalog/catalog.ts';
import { quoteUnsafe } from '../../repo/formats/quote.ts';
import { readSmallFile } from '../../repo/ingest/medium.ts';
import { withoutImages } from '../../repo/packages/without-images.ts';
import type { Revocation, RevokedContent } from '../../repo/revoked.ts';
import { trustDir } from '../trust/high-water-mark.ts';
import { publishedRevocations } from '../trust/published-revocations.ts';
import { parseRevocations, REVOCATIONS } from '../trust/revocations.ts';

/**
 * What was revoked: here, if this is an export station, or by the newest list that bundles brought; and by whom.
 * @throws trust.invalid for a list that cannot be read
 */
export async function revocationsHere(dataDir: string): Promise<RevokedContent> {
  const all = new Map<Digest, Revocation>();
  const file = path.join(trustDir(dataDir), REVOCATIONS);
  const brought = await readSmallFile(file, limits.trust.revocationsBytes, { otherwise: 'trust.invalid' });
  const theirs = brought === undefined ? [] : parseRevocations(brought).revoked;
  if (theirs.length > 0) {
    const by = await exportStation(dataDir);
    for (const { digest, reason } of theirs) all.set(digest, { by, reason });
  }
  for (const { digest, reason } of parseRevocations(await publishedRevocations(dataDir)).revoked)
    all.set(digest, { by: 'this export station ("airlock keys revoke")', reason });
  return all;
}

/** Whom `trust show` tells of. */
async function exportStation(dataDir: string): Promise<string> {
  const root = await readSmallFile(path.join(trustDir(dataDir), 'root.json'), limits.trust.rootBytes, {
    otherwise: 'trust.invalid',
  });
  const fingerprint = root === undefined ? '' : `, root fingerprint ${digestOfBytes(root).slice('sha256:'.length)}`;
  return `the export station that this site trusts ("airlock trust show"${fingerprint})`;
}

/** The digests of `revocationsHere`. @throws trust.invalid */
export async function revokedHere(dataDir: string): Promise<ReadonlySet<Digest>> {
  return new Set((await revocationsHere(dataDir)).keys());
}

/**
 * Before an older revision is published again: the bytes of what was revoked stay on the disk for a while.
 * @throws trust.revoked naming what the revision holds of it, packages out of revoked images too; trust.invalid
 */
export async function requireNotRevoked(
  { dataDir, catalog }: { readonly dataDir: string; readonly catalog: Catalog },
  repository: string,
  revision: number,
): Promise<void> {
  const revoked = await revokedHere(dataDir);
  if (revoked.size === 0) return;
  const inImages = withoutImages(revoked);
  const paths: string[] = [];
  for await (const entry of catalog.entries(repository, revision)) {
    if (revoked.has(entry.artifact.digest) || inImages(entry) === 'withdrawn') paths.push(entry.path);
    if (paths.length > limits.bundle.named) break;
  }
  if (paths.length === 0) return;
  const named = paths.slice(0, limits.bundle.named).map((each) => quoteUnsafe(each));
  throw new AirlockError(
    'trust.revoked',
    `Revision ${revision} of ${repository} holds content that was revoked (${named.join(', ')}${paths.length > named.length ? ', …' : ''}), so it is not published again. Choose a later revision.`,
    { details: { paths: paths.slice(0, limits.bundle.named) } },
  );
}
