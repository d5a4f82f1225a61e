import { AirlockError } from '../errors.ts';
import { SIGNATURE_POLICIES } from '../repo/formats/rpm/signature-policy.ts';
import type { PackagePolicy } from '../repo/packages/iso-packages.ts';

/** What `check-rpm-signature` and `--accept-weak-digests` say. @throws usage.invalid */
export function packagePolicy(said: string | undefined, acceptWeakDigests = false): PackagePolicy {
  const signatures = SIGNATURE_POLICIES.find((policy) => policy === (said ?? 'required'));
  if (signatures !== undefined) return { signatures, acceptWeakDigests, isExplicit: said !== undefined };
  throw new AirlockError(
    'usage.invalid',
    `check-rpm-signature takes ${SIGNATURE_POLICIES.join(', ')}, not ${JSON.stringify(said)}.`,
  );
}
