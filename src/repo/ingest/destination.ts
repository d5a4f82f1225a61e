/** What imports work on, and where they bring things. */
import type { BlobStat, ByteSource } from '../blobs/blob-store.ts';
import type { Artifact, ArtifactKind, Json, ReleaseFacts, RepositoryKind } from '../catalog/artifact.ts';
import type { CatalogTransaction, Entry } from '../catalog/catalog.ts';
import type { PackagesContext } from '../packages/prepare-change.ts';
import type { Leases } from '../staging.ts';

export type IngestContext = PackagesContext;

/** Where a file goes, and what it is. */
export interface Destination {
  readonly repository: string;
  readonly repositoryKind: RepositoryKind;
  readonly path: string;
  readonly kind: ArtifactKind;
  readonly release: ReleaseFacts | null;
  /** Other bytes under this path are replaced, not refused. */
  readonly replace?: boolean;
  /** What a person can do about other bytes under this path: a sentence. */
  readonly wayOut: string;
  /**
   * Looks into the staged bytes.
   * @throws what says that the file is not what its name promises
   */
  readonly inspect: (staged: ByteSource, file: Pick<Artifact, 'digest' | 'size'>) => Promise<Inspected>;
  /** Whether what the published file holds is published, too; if not, importing it again does so. Default: yes. */
  readonly isComplete?: (published: Artifact) => Promise<boolean>;
  /** Finds the file that a sidecar for something inside the staged bytes speaks of. */
  readonly inside?: (staged: ByteSource, name: string) => Promise<ByteSource | undefined>;
}

/** What a look into a file showed. */
export interface Inspected {
  readonly facts: { readonly [key: string]: Json };
  readonly warnings: readonly string[];
  readonly contents?: Contents;
}

/** What lies in a file and is published with it, in another repository. */
export interface Contents {
  /** @returns what publishes it, in the transaction of the file, once the file's bytes are recorded */
  prepare(leases: Leases): Promise<(tx: CatalogTransaction, file: BlobStat) => Promise<void>>;
}

/** True if the stored bytes of an entry are there and nobody touched them since they were proven. */
export async function isProven({ blobs, catalog }: IngestContext, { artifact }: Entry): Promise<boolean> {
  const record = await catalog.blob(artifact.digest);
  const stored = await blobs.stat(artifact.digest);
  return record?.stamp != null && record.stamp === stored?.stamp;
}
