/**
 * Where a package stands in the metadata of its repository. An entry carries it, so that those of a repository are read in
 * order without their artifacts.
 */
import type { Digest } from '../blobs/blob-store.ts';
import { packageSortKey } from '../formats/repodata/package-order.ts';
import type { Artifact } from './artifact.ts';

/** @returns the `packageSortKey` of a package; null for what is none */
export function listKey({ kind, facts, digest }: Artifact): string | null {
  if (kind !== 'rpm') return null;
  const fact = (name: string) => String(facts[name] ?? '');
  const [name, version, release, arch] = [fact('name'), fact('version'), fact('release'), fact('arch')];
  return packageSortKey({ name, epoch: Number(facts.epoch ?? 0), version, release, arch }, digest);
}

/** The package of a `listKey`, which ends with its digest. */
export function listedDigest(key: string): Digest {
  return key.slice(key.lastIndexOf(' ') + 1) as Digest;
}
