/**
 * The packages themselves: those that are here already are left where they are, the others are fetched, several at a time,
 * verified where they lie staged, and stored. Those that came stay, also where others did not: the next run has less to do.
 */

import { isAirlockError } from '../../../errors.ts';
import { limits } from '../../../limits.ts';
import type { BlobStat, BlobWriter, ByteSource, Digest } from '../../../repo/blobs/blob-store.ts';
import type { Artifact } from '../../../repo/catalog/artifact.ts';
import type { PackageRecord } from '../../../repo/catalog/packages.ts';
import { digestFor } from '../../../repo/formats/repodata/checksum-types.ts';
import type { ForeignPackage } from '../../../repo/formats/repodata/read-primary.ts';
import { commit, storeBytes, throwIfAborted } from '../../../repo/staging.ts';
import { failureOf } from '../rule.ts';
import { inStages } from './in-stages.ts';
import type { Published } from './published.ts';
import { type Root, type Run, sitePath } from './run.ts';
import {
  packageVerifier,
  type ReadyPackage,
  type VerifiedPackage,
  type VerifyOptions,
  type VerifyPackage,
} from './verify-package.ts';

export interface PackagesTask extends VerifyOptions {
  readonly roots: readonly Root[];
  readonly packages: readonly ForeignPackage[];
  readonly published: Published;
  /** Of a package that is not here: it need not come now. */
  readonly mayWait: (listed: ForeignPackage) => boolean;
}

interface BroughtPackages {
  readonly ready: readonly ReadyPackage[];
  readonly waiting: readonly ForeignPackage[];
}

/**
 * @returns those that are here now, and those that wait; what failed stands in `run.failures`
 * @throws space.insufficient, interrupted, storage.*
 */
export async function bringPackages(run: Run, task: PackagesTask): Promise<BroughtPackages> {
  const ready: ReadyPackage[] = [];
  const unknown: ForeignPackage[] = [];
  for (const listed of task.packages) {
    const known = task.published.packageOf(listed);
    if (known === undefined) unknown.push(listed);
    else ready.push({ listed, ...known });
  }
  const present = await leaseAll(run, unknown);
  const isStored = ({ checksum }: ForeignPackage) => present.has(digestFor(checksum) ?? checksum.value);
  const waiting = unknown.filter((listed) => !isStored(listed) && task.mayWait(listed));
  const waits = new Set(waiting);
  const missing = unknown.filter((listed) => !waits.has(listed));
  return { ready: [...ready, ...(await bringMissing(run, task, { missing, present }))], waiting };
}

async function bringMissing(
  run: Run,
  task: PackagesTask,
  { missing, present }: { missing: readonly ForeignPackage[]; present: ReadonlyMap<string, BlobStat> },
): Promise<ReadyPackage[]> {
  const { site } = run;
  const ready: ReadyPackage[] = [];
  const toFetch = missing.filter(({ checksum }) => !present.has(digestFor(checksum) ?? checksum.value));
  const bytes = toFetch.reduce((sum, { size }) => sum + size, 0);
  await site.announce?.({ files: toFetch.length, bytes });
  if (site.dryRun) return missing.map((listed) => forecast(listed));
  if (missing.length > 0) site.progress.start(run.rule.repository, bytes);
  try {
    const batch = new Batch(run);
    const verify = packageVerifier(run.site, task);
    const orFailure = async <T>(listed: ForeignPackage, work: () => Promise<T>): Promise<T | undefined> => {
      try {
        return await work();
      } catch (error) {
        throwIfAborted(site.signal);
        if (!isOfOnePackage(error)) throw error;
        run.failures.push(failureOf(sitePath(run.rule, listed.place.path), error));
        return undefined;
      }
    };
    const fetchOne = (listed: ForeignPackage) =>
      orFailure(listed, async () => {
        const stat = present.get(digestFor(listed.checksum) ?? listed.checksum.value);
        return stat === undefined
          ? await fetched(run, task, listed, verify)
          : await lookAgain(run, listed, stat, verify);
      });
    const storeOne = async (one: Fetched | undefined) => {
      if (one === undefined) return;
      await orFailure(one.verified.ready.listed, async () => {
        const stat = await one.store();
        ready.push(one.verified.ready);
        await batch.add({ ...one.verified, stat });
      });
    };
    try {
      const stages = { working: limits.mirror.packages, finishing: limits.storeTogether };
      await inStages(missing, stages, fetchOne, storeOne);
    } catch (error) {
      await batch.flush().catch(() => undefined); // the failure that led here is the one to tell
      throw error;
    }
    await batch.flush();
  } finally {
    site.progress.stop();
  }
  return ready;
}

/** What goes wrong with one package does not stop the others. */
function isOfOnePackage(error: unknown): boolean {
  return isAirlockError(error) && /^(?:upstream|checksum|path|rpm|signature|repodata|blob)\./.test(error.code);
}

/** @returns the blobs that are stored already, by digest */
async function leaseAll({ site, leases }: Run, packages: readonly ForeignPackage[]): Promise<Map<string, BlobStat>> {
  const { catalog, blobs } = site.ingest;
  const present = new Map<string, BlobStat>();
  const digests = packages.map(({ checksum }) => digestFor(checksum)).filter((digest) => digest !== undefined);
  for (let at = 0; at < digests.length; at += limits.catalog.page) {
    const page = digests.slice(at, at + limits.catalog.page);
    for (const digest of page) leases.add(digest);
    for (const [digest, { stamp }] of await catalog.leaseAll(page, leases.job)) {
      const stat = stamp === null ? undefined : await blobs.stat(digest);
      if (stat !== undefined && stat.stamp === stamp) present.set(digest, stat);
    }
  }
  return present;
}

interface Arrived extends VerifiedPackage {
  readonly stat: BlobStat;
}

/** A package that is good, and is to be stored. */
interface Fetched {
  readonly verified: VerifiedPackage;
  /** Called once. */
  readonly store: () => Promise<BlobStat>;
}

/** Small ones are held in memory, verified there, and stored together with others, while the next ones come. */
async function fetched(
  run: Run,
  { roots }: PackagesTask,
  listed: ForeignPackage,
  verify: VerifyPackage,
): Promise<Fetched> {
  const { blobs } = run.site.ingest;
  const { checksum, size, place } = listed;
  const wanted = { url: place.url, checksum, size, most: size };
  if (size > limits.mirror.smallPackage) {
    const writer = await run.fetcher.fetch(roots, wanted, () => blobs.create());
    return await staged(run, listed, writer, verify);
  }
  const file = await run.fetcher.fetch(roots, wanted, async () => new MemoryFile(size));
  const verified = await verify(listed, file);
  return { verified, store: () => storeSmall(run, listed, file.bytes) };
}

/** A digest that could be known was leased before. */
async function storeSmall({ site, leases }: Run, { checksum, size }: ForeignPackage, bytes: Buffer): Promise<BlobStat> {
  const digest = digestFor(checksum);
  if (digest === undefined) return await storeBytes(site.ingest, bytes, leases);
  return await site.ingest.blobs.put(bytes, { digest, size });
}

/** Stored at once: what lies staged is not to pile up. */
async function staged(
  { site, leases }: Run,
  listed: ForeignPackage,
  writer: BlobWriter,
  verify: VerifyPackage,
): Promise<Fetched> {
  const { checksum, size } = listed;
  try {
    const verified = await verify(listed, { size, readAt: writer.readAt.bind(writer) });
    const digest = digestFor(checksum);
    const stat =
      digest === undefined ? await commit(site.ingest, writer, leases) : await writer.commit({ digest, size });
    return { verified, store: async () => stat };
  } finally {
    await writer.cancel();
  }
}

/** Of bytes that came in on another way, or with a run that did not get to its end. */
async function lookAgain(
  { site }: Run,
  listed: ForeignPackage,
  stat: BlobStat,
  verify: VerifyPackage,
): Promise<Fetched> {
  const source = await site.ingest.blobs.open(stat.digest);
  try {
    return { verified: await verify(listed, source), store: async () => stat };
  } finally {
    await source.close();
  }
}

/** A file that is fetched into memory. */
class MemoryFile implements ByteSource {
  readonly bytes: Buffer;

  constructor(size: number) {
    this.bytes = Buffer.alloc(size);
  }

  get size(): number {
    return this.bytes.length;
  }

  async writeAt(position: number, piece: Uint8Array): Promise<void> {
    this.bytes.set(piece, position);
  }

  async readAt(into: Uint8Array, position: number): Promise<number> {
    const piece = this.bytes.subarray(position, position + into.byteLength);
    into.set(piece);
    return piece.byteLength;
  }

  async cancel(): Promise<void> {}
}

/** What a dry run can tell of a package that was not fetched. */
function forecast(listed: ForeignPackage): ReadyPackage {
  const digest: Digest = `sha256:${listed.checksum.value}`;
  const artifact = { digest, size: listed.size } as Artifact;
  return { listed, artifact, ownPath: listed.place.path };
}

/** Stored packages are written down together. */
class Batch {
  readonly #run: Run;
  #stats: BlobStat[] = [];
  #records: PackageRecord[] = [];

  constructor(run: Run) {
    this.#run = run;
  }

  async add({ stat, record }: Arrived): Promise<void> {
    this.#stats.push(stat);
    if (record !== undefined) this.#records.push(record);
    if (this.#stats.length >= limits.packages.recordBatch) await this.flush();
  }

  async flush(): Promise<void> {
    const [stats, records] = [this.#stats, this.#records];
    [this.#stats, this.#records] = [[], []];
    const { catalog } = this.#run.site.ingest;
    if (records.length > 0) await catalog.recordPackages(records);
    if (stats.length === 0) return;
    await catalog.transaction((tx) => tx.recordBlobs(stats));
  }
}
