/**
 * The end of an import: what was read and checked is stored, and becomes visible with its sidecars in one transaction,
 * or not at all.
 */
import { AirlockError } from '../../errors.ts';
import type { BlobStat, Digest } from '../blobs/blob-store.ts';
import type { Artifact } from '../catalog/artifact.ts';
import type { CatalogTransaction, Entry, Put } from '../catalog/catalog.ts';
import { untilSettled } from '../catalog/until-settled.ts';
import { quoteUnsafe } from '../formats/quote.ts';
import { abandon, endLeases, Leases, spareRoom, storeBytes } from '../staging.ts';
import { type Contents, type Destination, type IngestContext, isProven } from './destination.ts';
import { planSidecars, type SidecarPlan } from './published-sidecars.ts';
import type { Sidecar } from './sidecars.ts';
import { type Demands, requireStrength, stronger } from './vouching.ts';

/** A file that was read and checked. */
export interface Arrival {
  readonly file: string;
  readonly destination: Destination;
  readonly artifact: Artifact;
  /** Those that were proven. */
  readonly sidecars: readonly Sidecar[];
  readonly contents: Contents | undefined;
  readonly demands: Demands;
}

/** What to do about an arrival, given what is published. */
export interface Plan {
  /** The published revision that this was made for. */
  readonly base: number;
  /** As it is to be published: what the same bytes were vouched for before is not lost. */
  readonly artifact: Artifact;
  /** True if these bytes are published already, proven and vouched for no worse. */
  readonly isPresent: boolean;
  readonly sidecars: SidecarPlan;
}

/** The bytes of an arrival, which get their name under `blobs/` last of all, for they are the most. */
export interface Content {
  /** Called once. @returns the blob, leased */
  store(leases: Leases): Promise<BlobStat>;
  /** Lets go of what is staged and not stored. */
  cancel?(error: unknown): Promise<void>;
}

/** @throws path.conflict, checksum.missing, signature.missing, signature.unknown-key */
export async function plan(context: IngestContext, arrival: Arrival): Promise<Plan> {
  const { destination, artifact, demands } = arrival;
  const base = (await context.catalog.repository(destination.repository))?.published ?? 0;
  const known = await context.catalog.lookup(destination.repository, destination.path);
  const isSame = known?.artifact.digest === artifact.digest;
  if (known !== undefined && !isSame && destination.replace !== true) throw conflict(arrival.file, destination, known);
  const before = isSame ? known?.artifact.verification : undefined;
  const verification = before === undefined ? artifact.verification : stronger(before, artifact.verification);
  requireStrength(artifact.name, verification, demands);
  const owner = { name: artifact.name, replaced: isSame ? undefined : known?.artifact.digest };
  return {
    base,
    artifact: { ...artifact, verification },
    isPresent: known !== undefined && isSame && verification === before && (await isProven(context, known)),
    sidecars: await planSidecars(context, destination, owner, arrival.sidecars),
  };
}

/**
 * @returns what was published in the end, which others may have had a say in
 * @throws path.conflict, revision.moved, space.insufficient; nothing is left then
 */
export async function publish(context: IngestContext, arrival: Arrival, content: Content): Promise<Plan> {
  const { blobs, catalog } = context;
  const leases = new Leases();
  const stored = new Map<Digest, BlobStat>();
  const room = await spareRoom(blobs);
  try {
    return await untilSettled(async () => {
      const now = await plan(context, arrival);
      for (const { bytes, artifact } of now.sidecars.puts) {
        if (!stored.has(artifact.digest)) stored.set(artifact.digest, await storeBytes(context, bytes, leases));
      }
      const { digest } = arrival.artifact;
      const publishContents = await arrival.contents?.prepare(leases);
      const file = stored.get(digest) ?? (await content.store(leases));
      stored.set(digest, file);
      const more = async (tx: CatalogTransaction) => await publishContents?.(tx, file);
      await commitPlan(context, arrival.destination, now, { stored: [...stored.values()], more, leases });
      return now;
    });
  } catch (error) {
    // First: on a full disk these make the room that the catalog needs.
    await content.cancel?.(error);
    await room.cancel();
    await abandon({ blobs, catalog }, leases);
    throw error;
  } finally {
    await room.cancel();
  }
}

/** What is stored for a plan. */
interface Ready {
  readonly stored: readonly BlobStat[];
  /** Publishes what lies in the file. */
  readonly more: (tx: CatalogTransaction) => Promise<void>;
  readonly leases: Leases;
}

async function commitPlan(
  { catalog }: IngestContext,
  destination: Destination,
  { base, artifact, sidecars }: Plan,
  { stored, more, leases }: Ready,
): Promise<void> {
  await catalog.transaction(async (tx) => {
    await tx.ensureRepository(destination.repository, destination.repositoryKind);
    for (const stat of stored) await tx.recordBlob(stat);
    const own: Put = { path: destination.path, artifact, replace: destination.replace ?? false };
    // What is in the way of a sidecar was looked at, and `base` says that it still is what it was.
    const aids = sidecars.puts.map((put): Put => ({ path: put.path, artifact: put.artifact, replace: true }));
    await tx.publish(destination.repository, {
      reason: `import ${quoteUnsafe(artifact.name)}`,
      base,
      remove: sidecars.remove,
      put: [own, ...aids],
    });
    await more(tx);
    await endLeases(tx, leases);
  });
}

/** @returns what to throw where a path holds other bytes than the file */
export function conflict(file: string, destination: Destination, known: Entry): AirlockError {
  const { repository, path, wayOut } = destination;
  return new AirlockError(
    'path.conflict',
    `${quoteUnsafe(`${repository}/${path}`)} already holds other bytes (${known.artifact.digest}) than ${quoteUnsafe(file)}, and one path has one content. ${wayOut}`,
    { details: { repository, paths: [path], present: known.artifact.digest } },
  );
}
