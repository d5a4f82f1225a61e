/** `import policy`: a text from a medium becomes a version as a fetched one would. */
import path from 'node:path';
import { AirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import { digestOfBytes } from '../blobs/digest-of.ts';
import { quote } from '../formats/quote.ts';
import type { IngestContext } from '../ingest/destination.ts';
import { readSmallFile, requireFile } from '../ingest/medium.ts';
import { findSidecars } from '../ingest/sidecars.ts';
import { checkSidecars, type Demands, requireStrength, summarize } from '../ingest/vouching.ts';
import { requireNotRevoked } from '../revoked.ts';
import { type BroughtPolicy, bringPolicies } from './bring.ts';
import { isReleaseName, policyName } from './policy-name.ts';
import { rejectedError } from './tell.ts';

export interface ImportPolicyOptions extends Demands {
  readonly releases: readonly string[];
  readonly holdWidening: boolean;
  readonly force: boolean;
  readonly signal: AbortSignal;
}

/**
 * Reads the file whole; a checksum file beside it must be right, and is not kept.
 * @throws file.not-found, policy.limit, policy.empty, path.invalid, usage.invalid for what names no release, checksum.*,
 *   signature.*, trust.revoked, policy.rejected for bytes that a person rejected, and what bringPolicies throws
 */
export async function importPolicy(
  context: IngestContext,
  name: string,
  file: string,
  { releases, holdWidening, force, signal, ...demands }: ImportPolicyOptions,
): Promise<BroughtPolicy> {
  policyName(name);
  for (const release of releases) requireRelease(release);
  const full = path.resolve(file);
  await requireFile(full, { signal });
  const bytes =
    (await readSmallFile(full, limits.policy.bytes, { otherwise: 'policy.limit', signal })) ?? Buffer.alloc(0);
  const fileName = path.basename(full);
  requireNotRevoked(await context.revoked(), fileName, digestOfBytes(bytes));
  const found = await findSidecars(full, context.keys);
  const verification = summarize((await checkSidecars(found, fileName, digestOfBytes(bytes))).checks);
  requireStrength(fileName, verification, demands);
  const text = {
    name,
    bytes,
    fileName,
    origin: { file: fileName },
    at: new Date(),
    verification,
    channel: 'downloads',
    source: 'downloads',
    releases,
    holdWidening,
    force,
  };
  const [brought] = await bringPolicies(context, [text], `import policy ${name}`);
  if (brought === undefined) throw new TypeError('one text has one outcome');
  if (brought.outcome === 'rejected') throw rejectedError(brought.version);
  return brought;
}

function requireRelease(release: string): void {
  if (isReleaseName(release)) return;
  throw new AirlockError(
    'usage.invalid',
    `${quote(release)} names no release. Write it as its vendor does, such as 6.9.161 or 6.3.0-107.r1.el7.`,
  );
}
