/**
 * One file from a medium into a repository: vouched for, read once, checked, stored, published. Nothing of it is
 * visible before all checks ran, and nothing is left of it when one fails.
 */
import path from 'node:path';
import { AirlockError } from '../../errors.ts';
import type { BlobStat, BlobStore, ByteSource } from '../blobs/blob-store.ts';
import { digestOf } from '../blobs/digest-of.ts';
import type { Artifact, ArtifactKind, Json, ReleaseFacts, RepositoryKind, Verification } from '../catalog/artifact.ts';
import type { Catalog, Entry, Put } from '../catalog/catalog.ts';
import type { VendorKey } from '../formats/openpgp/key-files.ts';
import { type MediumFile, openMediumFile } from './medium.ts';
import { findSidecars, type Sidecar, type SidecarFile } from './sidecars.ts';
import {
  abandon,
  commit,
  heard,
  leased,
  requireSpace,
  type StagingOptions,
  stage,
  storeBytes,
  throwIfAborted,
} from './staging.ts';
import { advice, checkSidecars, type Demands, requireStrength, STRENGTH, summarize } from './vouching.ts';

/** What every import works on. */
export interface IngestContext {
  readonly blobs: BlobStore;
  readonly catalog: Catalog;
  /** The vendor keys pinned here. */
  readonly keys: readonly VendorKey[];
}

export interface IngestOptions extends StagingOptions, Demands {}

/** Where a file goes, and what it is. */
export interface Destination {
  readonly repository: string;
  readonly repositoryKind: RepositoryKind;
  readonly path: string;
  readonly kind: ArtifactKind;
  readonly release: ReleaseFacts | null;
  /** Other bytes under this path are replaced, not refused. */
  readonly replace?: boolean;
  /**
   * Looks into the staged bytes.
   * @throws what says that the file is not what its name promises
   */
  readonly inspect: (staged: ByteSource) => Promise<{ facts: { readonly [key: string]: Json }; warnings: string[] }>;
  /** Finds the file that a sidecar for something inside the staged bytes speaks of. */
  readonly inside?: (staged: ByteSource, name: string) => Promise<ByteSource | undefined>;
}

export interface IngestOutcome {
  /** `present`: nothing to do; `upgraded`: the bytes were there, and are better vouched for now. */
  readonly outcome: 'imported' | 'upgraded' | 'present';
  readonly file: string;
  readonly repository: string;
  readonly path: string;
  readonly artifact: Artifact;
  readonly warnings: readonly string[];
}

/**
 * @param file on a medium
 * @throws file.not-found, checksum.*, signature.*, path.conflict, space.insufficient, source.lost, interrupted, and what
 *   `destination.inspect` throws
 */
export async function ingestFile(
  context: IngestContext,
  file: string,
  destination: Destination,
  options: IngestOptions,
): Promise<IngestOutcome> {
  const medium = await openMediumFile(file);
  try {
    const sidecars = await findSidecars(file, context.keys);
    const known = await context.catalog.lookup(destination.repository, destination.path);
    if (known !== undefined && (await isProven(context, known))) {
      const isSame = await hasSameBytes(known, medium, sidecars, options);
      if (isSame) return await vouchAgain(context, medium, file, destination, known, sidecars, options);
      if (destination.replace !== true) throw conflict(file, destination, known);
    }
    return await ingestNew(context, medium, file, destination, sidecars, options);
  } finally {
    await medium.close();
  }
}

async function ingestNew(
  context: IngestContext,
  medium: MediumFile,
  file: string,
  destination: Destination,
  sidecars: readonly Sidecar[],
  options: IngestOptions,
): Promise<IngestOutcome> {
  await requireSpace(context.blobs, medium.size);
  options.progress.start(medium.name, medium.size);
  const writer = await stage(context.blobs, medium, options);
  try {
    const { digest, size } = await writer.seal();
    const staged: ByteSource = { size, readAt: (into, position) => writer.readAt(into, position) };
    const checks = await checkSidecars(sidecars, medium.name, digest, {
      folder: path.dirname(file),
      inside: async (name) => await destination.inside?.(staged, name),
    });
    const { facts, warnings } = await destination.inspect(staged);
    const verification = summarize(checks);
    requireStrength(medium.name, verification, options);
    throwIfAborted(options.signal);
    const artifact = describe(destination, medium, { digest, size }, facts, verification);
    await publish(context, destination, artifact, sidecars, {
      store: () => commit(context.blobs, context.catalog, writer),
      cancel: () => writer.cancel(),
    });
    const { repository, path: to } = destination;
    return {
      outcome: 'imported',
      file,
      repository,
      path: to,
      artifact,
      warnings: [...advice(verification), ...warnings],
    };
  } finally {
    await writer.cancel();
    options.progress.stop();
  }
}

/** The bytes are there. Sidecars may have come since, or a key: then what is recorded becomes better. */
async function vouchAgain(
  context: IngestContext,
  medium: MediumFile,
  file: string,
  destination: Destination,
  known: Entry,
  sidecars: readonly Sidecar[],
  options: IngestOptions,
): Promise<IngestOutcome> {
  const { artifact } = known;
  const at = { file, repository: known.repository, path: known.path };
  const applying = sidecars.filter((sidecar) => sidecar.target === medium.name);
  const verification = summarize(await checkSidecars(applying, medium.name, artifact.digest));
  if (STRENGTH[verification.status] <= STRENGTH[artifact.verification.status]) {
    requireStrength(medium.name, artifact.verification, options);
    return { ...at, outcome: 'present', artifact, warnings: [] };
  }
  requireStrength(medium.name, verification, options);
  const stat = await leased(context.blobs, context.catalog, artifact.digest);
  if (stat === undefined) return await ingestNew(context, medium, file, destination, sidecars, options);
  const upgraded = { ...artifact, verification };
  await publish(context, destination, upgraded, applying, { store: () => Promise.resolve(stat) });
  return { ...at, outcome: 'upgraded', artifact: upgraded, warnings: advice(verification) };
}

async function isProven({ blobs, catalog }: IngestContext, { artifact }: Entry): Promise<boolean> {
  const record = await catalog.blob(artifact.digest);
  const stored = await blobs.stat(artifact.digest);
  return record?.stamp != null && record.stamp === stored?.stamp;
}

/** Quick where a sidecar names the digest, or size and time are those of the last import; else the medium is read. */
async function hasSameBytes(
  known: Entry,
  medium: MediumFile,
  sidecars: readonly Sidecar[],
  options: IngestOptions,
): Promise<boolean> {
  const { digest, size, facts } = known.artifact;
  if (size !== medium.size) return false;
  const named = sidecars.find((sidecar) => sidecar.target === medium.name);
  if (named !== undefined) return named.digest === digest;
  if (facts.modified === medium.mtime) return true;
  options.progress.start(medium.name, medium.size);
  try {
    return (await digestOf(medium, heard(options))) === digest;
  } finally {
    options.progress.stop();
  }
}

function describe(
  destination: Destination,
  medium: MediumFile,
  stat: Pick<BlobStat, 'digest' | 'size'>,
  facts: { readonly [key: string]: Json },
  verification: Verification,
): Artifact {
  return {
    digest: stat.digest,
    size: stat.size,
    kind: destination.kind,
    name: medium.name,
    release: destination.release,
    channel: 'downloads',
    source: 'downloads',
    facts: { ...facts, modified: medium.mtime },
    verification,
  };
}

/** The bytes of an artifact, which get their name under `blobs/` last of all, for they are the most. */
interface Content {
  store(): Promise<BlobStat>;
  /** Gives up what is staged and not stored. */
  cancel?(): Promise<void>;
}

async function publish(
  { blobs, catalog }: IngestContext,
  destination: Destination,
  artifact: Artifact,
  sidecars: readonly Sidecar[],
  content: Content,
): Promise<void> {
  const files = sidecars
    .filter(({ checksum, target }) => checksum.name === `${target}.sha256sum`)
    .flatMap((sidecar) => [sidecar.checksum, sidecar.signature].flatMap((file) => (file ? [{ file, sidecar }] : [])));
  const stored: BlobStat[] = [];
  try {
    const aids: Put[] = [];
    for (const { file, sidecar } of files) {
      const { put, stat } = await storeSidecar(blobs, catalog, destination, artifact, file, sidecar);
      aids.push(put);
      stored.push(stat);
    }
    stored.push(await content.store());
    await catalog.transaction(async (tx) => {
      await tx.ensureRepository(destination.repository, destination.repositoryKind);
      for (const stat of stored) await tx.recordBlob(stat);
      const put: Put = {
        path: destination.path,
        artifact,
        ...(destination.replace === undefined ? {} : { replace: destination.replace }),
      };
      await tx.publish(destination.repository, { reason: `import ${artifact.name}`, put: [put, ...aids] });
      for (const { digest } of stored) await tx.release(digest);
    });
  } catch (error) {
    await content.cancel?.(); // first: on a full disk it makes the room that the catalog needs
    await abandon(blobs, catalog, stored);
    throw error;
  }
}

/** Sidecars are served under their own names beside the file, byte for byte. */
async function storeSidecar(
  blobs: BlobStore,
  catalog: Catalog,
  destination: Destination,
  artifact: Artifact,
  file: SidecarFile,
  sidecar: Sidecar,
): Promise<{ put: Put; stat: BlobStat }> {
  const stat = await storeBytes(blobs, catalog, file.bytes);
  const isSigned = sidecar.signed.result === 'passed';
  const suffix = file.name.slice(sidecar.target.length);
  const to =
    sidecar.target === artifact.name
      ? `${destination.path}${suffix}`
      : path.posix.join(path.posix.dirname(destination.path), file.name);
  return {
    stat,
    put: {
      path: to,
      replace: true,
      artifact: {
        digest: stat.digest,
        size: stat.size,
        kind: 'file',
        name: file.name,
        release: destination.release && { ...destination.release, kind: null },
        channel: 'downloads',
        source: 'downloads',
        facts: {},
        verification: { status: isSigned ? 'signature' : 'unverified', checks: isSigned ? [sidecar.signed] : [] },
      },
    },
  };
}

function conflict(file: string, destination: Destination, known: Entry): AirlockError {
  return new AirlockError(
    'path.conflict',
    `${destination.repository}/${destination.path} already holds other bytes (${known.artifact.digest}) than ${file}, and one path has one content. Delete what is there first, or find out which of the two is right.`,
    { details: { repository: destination.repository, paths: [destination.path], present: known.artifact.digest } },
  );
}
