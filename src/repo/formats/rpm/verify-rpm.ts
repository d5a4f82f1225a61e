/** What `rpmkeys --checksig` verifies of a package, weighed by a policy. */

import { createHash } from 'node:crypto';

import { type AirlockError, isAirlockError } from '../../../errors.ts';
import type { ByteSource, Digest } from '../../blobs/blob-store.ts';
import type { Verification } from '../../catalog/artifact.ts';
import type { VendorKey } from '../openpgp/key-files.ts';
import { loadOpenPgp } from '../openpgp/library.ts';
import { rememberedStandings } from '../openpgp/standing.ts';
import { type DigestReport, type RunningDigests, startDigests } from './digests.ts';
import { type RunningSignatures, startSignatures } from './judge-signatures.ts';
import { type PassOptions, readOnce } from './one-pass.ts';
import type { RpmFile } from './rpm-file.ts';
import { type Evidence, objections, type RpmPolicy } from './signature-policy.ts';
import { verificationOf } from './verification-facts.ts';

export interface RpmVerifierOptions extends RpmPolicy {
  /** The pinned keys (`loadVendorKeys`). */
  readonly keys: readonly VendorKey[];
  /** Default: the clock of this machine. */
  readonly now?: Date;
}

export interface RpmVerdict {
  /** Why the package may not come in, the weightiest reason first; none if it may. */
  readonly problems: readonly AirlockError[];
  /** Which checks ran, and what came of them; for `Artifact.verification`. */
  readonly verification: Verification;
  /** Of the whole file. */
  readonly digest: Digest;
}

/**
 * Verifies an open package: every digest that it carries, and its signatures as the policy says.
 * Reads the whole file once, in pieces, for everything at the same time; memory does not depend on its size.
 * @param source what `rpm` was opened from
 * @returns a verdict, whatever is wrong with digests, signatures or keys: rpm.digest-mismatch (under any policy) and
 *   what `objections` names
 * @throws rpm.invalid, rpm.limit, rpm.truncated for a package that cannot be read; the signal's reason; what the source
 *   and `onBytes` throw
 */
export type VerifyRpm = (source: ByteSource, rpm: RpmFile, options?: PassOptions) => Promise<RpmVerdict>;

/** Makes a verifier for any number of packages, which works through each key once. */
export function rpmVerifier({ keys, now = new Date(), ...policy }: RpmVerifierOptions): VerifyRpm {
  let standing: ReturnType<typeof rememberedStandings> | undefined;
  return async (source, rpm, options) => {
    const digests = startDigests(rpm);
    const signatures = policy.signatures === 'disabled' ? await unjudged(rpm) : await startSignatures(rpm);
    const whole = createHash('sha256');
    const range = { start: 0, end: rpm.payload.end };
    const listeners = [
      { range, update: (piece: Uint8Array) => void whole.update(piece) },
      ...digests.listeners,
      ...(policy.signatures === 'disabled' ? [] : signatures.listeners),
    ];
    await readOnce(source, rpm, range, listeners, options);

    const openpgp = await loadOpenPgp();
    standing ??= rememberedStandings(openpgp, now);
    const { report, mismatch } = finish(digests);
    const judged = policy.signatures === 'disabled' ? [] : await signatures.judge({ openpgp, keys, now, standing });
    const evidence: Evidence = { digests: report, carried: signatures.signatures, judged };
    return {
      problems: [...mismatch, ...objections(evidence, policy)],
      verification: verificationOf(evidence, policy),
      digest: `sha256:${whole.digest('hex')}`,
    };
  };
}

function finish(digests: RunningDigests): { report: DigestReport | null; mismatch: AirlockError[] } {
  try {
    return { report: digests.finish(), mismatch: [] };
  } catch (error) {
    if (isAirlockError(error, 'rpm.digest-mismatch')) return { report: null, mismatch: [error] };
    throw error;
  }
}

/** Signatures that nobody judges: only their hashes are of interest, and what cannot be read counts for nothing. */
async function unjudged(rpm: RpmFile): Promise<RunningSignatures> {
  try {
    return await startSignatures(rpm);
  } catch (error) {
    if (!isAirlockError(error, 'rpm.invalid', 'rpm.limit')) throw error;
    return { signatures: [], listeners: [], judge: async () => [] };
  }
}
