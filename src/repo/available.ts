import type { VerificationStatus } from './catalog/artifact.ts';
import type { Entry } from './catalog/catalog.ts';

/** A release that can be installed from here: one line of `show system software available --json`. */
export interface AvailableRelease {
  /** `6.3` */
  readonly release: string;
  /** `6.3.0-107.r1.el7` */
  readonly version: string;
  readonly product: string;
  readonly kind: 'image' | 'package';
  readonly arch: string | null;
  readonly dist: string | null;
  readonly file: string;
  readonly repository: string;
  readonly path: string;
  /** Bytes. */
  readonly size: number;
  readonly digest: string;
  readonly channel: string;
  readonly source: string;
  readonly verification: VerificationStatus;
}

/**
 * What `show system software available` and `/api/v1/releases` tell.
 * @param entries as `Catalog.releases` gives them; their order is kept, and what carries no release of its own
 *   (checksum files, single packages) is left out
 */
export function describeReleases(entries: Iterable<Entry>): AvailableRelease[] {
  const releases: AvailableRelease[] = [];
  for (const { artifact, repository, path } of entries) {
    const facts = artifact.release;
    if (facts === null || facts.kind === null) continue;
    releases.push({
      release: facts.release,
      version: facts.version,
      product: facts.product,
      kind: facts.kind,
      arch: facts.arch,
      dist: facts.dist,
      file: artifact.name,
      repository,
      path,
      size: artifact.size,
      digest: artifact.digest,
      channel: artifact.channel,
      source: artifact.source,
      verification: artifact.verification.status,
    });
  }
  return releases;
}
