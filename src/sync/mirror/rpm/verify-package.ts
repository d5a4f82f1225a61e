/** Whether a package may come in, and what there is to know of it. */
import { AirlockError } from '../../../errors.ts';
import type { ByteSource } from '../../../repo/blobs/blob-store.ts';
import type { Artifact } from '../../../repo/catalog/artifact.ts';
import type { PackageRecord } from '../../../repo/catalog/packages.ts';
import { isStrongChecksum } from '../../../repo/formats/repodata/checksum-types.ts';
import { packagePath } from '../../../repo/formats/repodata/package-path.ts';
import type { ForeignPackage } from '../../../repo/formats/repodata/read-primary.ts';
import { nevra } from '../../../repo/formats/rpm/evr.ts';
import { rpmFacts } from '../../../repo/formats/rpm/facts.ts';
import { openRpm } from '../../../repo/formats/rpm/rpm-file.ts';
import { rpmVerifier } from '../../../repo/formats/rpm/verify-rpm.ts';
import { packageFactsOf } from '../../../repo/packages/package-list.ts';
import { readPackage } from '../../../repo/packages/read-package.ts';
import type { MirrorSite } from '../rule.ts';
import { checksumKey, sourceOf } from './package-facts.ts';

/** A package that may be published. */
export interface ReadyPackage {
  readonly listed: ForeignPackage;
  readonly artifact: Artifact;
  /** In a repository of our own making. */
  readonly ownPath: string;
}

export interface VerifiedPackage {
  readonly ready: ReadyPackage;
  /** For the catalog; undefined where nobody asked for it. */
  readonly record: PackageRecord | undefined;
}

export interface VerifyOptions {
  /** One of the site's keys signed the metadata, or nobody needs to, so it vouches for packages that are not signed. */
  readonly isVouchedFor: boolean;
  /** What metadata of our own is made of has to be recorded. */
  readonly isRecorded: boolean;
}

/**
 * @param source of bytes with the listed checksum
 * @throws rpm.*, signature.*; repodata.invalid if it is another package than the one listed
 */
export type VerifyPackage = (listed: ForeignPackage, source: ByteSource) => Promise<VerifiedPackage>;

/** Works through each key once, for any number of packages. */
export function packageVerifier(site: MirrorSite, { isVouchedFor, isRecorded }: VerifyOptions): VerifyPackage {
  const { keys } = site.ingest;
  const signatures = keys.length === 0 ? 'disabled' : isVouchedFor ? 'allow-unsigned' : 'required';
  const make = (acceptWeakDigests: boolean) => rpmVerifier({ signatures, keys, now: site.now(), acceptWeakDigests });
  // A strong checksum covers the whole file, whatever the package carries in itself: worth as much as the metadata is, where
  // keys say what is to be believed.
  const isBelieved = isVouchedFor || keys.length === 0;
  const [weak, strong] = [make(false), make(true)];
  return async (listed, source) => {
    const rpm = await openRpm(source);
    const verify = isBelieved && isStrongChecksum(listed.checksum) ? strong : weak;
    const { problems, verification, digest } = await verify(source, rpm, { signal: site.signal });
    if (problems.length > 0) throw refused(problems);
    const { size } = source;
    const read = isRecorded ? readPackage(rpm, { digest, size }) : undefined;
    const facts = read?.facts ?? rpmFacts(rpm);
    if (nevra(facts) !== nevra(listed)) throw another(nevra(facts), nevra(listed));
    const artifact: Artifact = {
      digest,
      size,
      kind: 'rpm',
      name: listed.place.path.slice(listed.place.path.lastIndexOf('/') + 1),
      release: null,
      channel: site.name,
      source: sourceOf(site.name),
      facts: { ...packageFactsOf(facts), checksum: checksumKey(listed) },
      verification,
      origins: [{ within: null, release: null }],
    };
    return { ready: { listed, artifact, ownPath: packagePath(facts) }, record: read?.record };
  };
}

function refused(problems: readonly AirlockError[]): AirlockError {
  const [first] = problems;
  const message = problems.map((problem) => problem.message).join(' ');
  return new AirlockError(first?.code ?? 'rpm.invalid', message, { details: first?.details ?? {} });
}

function another(found: string, listed: string): AirlockError {
  return new AirlockError(
    'repodata.invalid',
    `It is ${found}, and the metadata says that it is ${listed}. Tell whoever made the repository.`,
  );
}
