import type { BlobStat, Digest } from '../../src/repo/blobs/blob-store.ts';
import type { Artifact, ReleaseFacts } from '../../src/repo/catalog/artifact.ts';

/** A digest that is easy to tell from others: its digits are those of `n`. */
export function testDigest(n: number): Digest {
  return `sha256:${n.toString(16).padStart(64, '0')}`;
}

/** What a store would tell of the blob `testDigest(n)`. */
export function testStat(n: number, stamp = `stamp ${n}`): BlobStat {
  return { digest: testDigest(n), size: n, stamp };
}

/** An artifact whose blob is `testDigest(n)`. */
export function testArtifact(n: number, facts: Partial<Artifact> = {}): Artifact {
  return {
    digest: testDigest(n),
    size: n,
    kind: 'file',
    name: `file-${n}`,
    release: null,
    channel: 'downloads',
    source: 'downloads',
    facts: {},
    verification: { status: 'unverified', checks: [] },
    ...facts,
  };
}

/** Facts of release 6.3.`patch`, such as they are needed to find it. */
export function testRelease(patch: number, facts: Partial<ReleaseFacts> = {}): ReleaseFacts {
  return {
    vendor: 'juniper',
    product: 'SSR',
    release: '6.3',
    version: `6.3.${patch}`,
    orderKey: `6.3.${String(patch).padStart(6, '0')}`,
    kind: 'image',
    arch: 'x86_64',
    dist: null,
    ...facts,
  };
}
