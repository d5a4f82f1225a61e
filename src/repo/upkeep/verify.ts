/**
 * `verify`: hashes every stored blob anew and takes out of sight what is not what it was.
 * Silent rot, which no stamp shows, is found here only.
 */

import { limits } from '../../limits.ts';
import type { BlobStore, Digest } from '../blobs/blob-store.ts';
import { digestOf } from '../blobs/digest-of.ts';
import type { BlobRecord, Catalog } from '../catalog/catalog.ts';
import { heard, type StagingOptions } from '../ingest/staging.ts';

/** A blob that is wrong or gone, and what it takes down with it. */
export interface Damage {
  readonly digest: Digest;
  readonly what: 'damaged' | 'missing';
  /** Published paths that hold it: `images/6.3/SSR-….iso`. */
  readonly artifacts: readonly string[];
  /** Where its bytes are kept for a person to look at. */
  readonly quarantined: string | null;
}

export interface VerifyReport {
  readonly checked: number;
  readonly bytes: number;
  /** Blobs that an earlier, unfinished run had checked. */
  readonly resumed: number;
  readonly damage: readonly Damage[];
  /** Paths taken out of what is published (`repair`). */
  readonly withdrawn: number;
}

export interface VerifyOptions extends StagingOptions {
  /** Begin anew, although an earlier run was not finished. */
  readonly restart?: boolean;
  /** Publish revisions without what is damaged, so that clients are told 404, not 5xx. */
  readonly repair?: boolean;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

const STARTED = 'verify.started';

/**
 * Checks all blobs. Interrupted, it goes on at the next call where it stopped.
 * @throws interrupted
 */
export async function verify(blobs: BlobStore, catalog: Catalog, options: VerifyOptions): Promise<VerifyReport> {
  const before = options.restart === true ? undefined : await catalog.meta(STARTED);
  const started = before === undefined ? options.now() : Number(before);
  if (before === undefined) await catalog.setMeta(STARTED, String(started));
  const { bytes: total } = await catalog.totals();
  const damage: Damage[] = [];
  let checked = 0;
  let bytes = 0;
  let resumed = 0;
  options.progress.start('verify', total);
  try {
    for await (const record of records(catalog)) {
      const isDone = before !== undefined && (record.verifiedAt?.getTime() ?? 0) > started;
      if (isDone) {
        resumed += 1;
        options.progress.advance(record.size);
        continue;
      }
      const found = await verifyBlob(blobs, catalog, record, options);
      if (found !== undefined) damage.push(found);
      checked += 1;
      bytes += record.size;
    }
  } finally {
    options.progress.stop();
  }
  await catalog.setMeta(STARTED, undefined);
  const withdrawn = options.repair === true ? await withdraw(catalog) : 0;
  return { checked, bytes, resumed, damage, withdrawn };
}

async function* records(catalog: Catalog): AsyncIterable<BlobRecord> {
  let after: Digest | undefined;
  for (;;) {
    const page = await catalog.blobs({ limit: limits.catalog.page, ...(after === undefined ? {} : { after }) });
    yield* page;
    after = page.at(-1)?.digest;
    if (after === undefined) return;
  }
}

async function verifyBlob(
  blobs: BlobStore,
  catalog: Catalog,
  record: BlobRecord,
  options: StagingOptions,
): Promise<Damage | undefined> {
  const stat = await blobs.stat(record.digest);
  if (stat === undefined) return await report(blobs, catalog, record.digest, 'missing');
  const reader = await blobs.open(record.digest);
  try {
    const isRight = reader.size === record.size && (await digestOf(reader, heard(options))) === record.digest;
    if (!isRight) return await report(blobs, catalog, record.digest, 'damaged');
    const { digest, size, stamp } = reader;
    await catalog.transaction((tx) => tx.recordBlob({ digest, size, stamp }));
    return undefined;
  } finally {
    await reader.close();
  }
}

async function report(blobs: BlobStore, catalog: Catalog, digest: Digest, what: Damage['what']): Promise<Damage> {
  const quarantined = (await blobs.quarantine(digest)) ?? null;
  await catalog.transaction((tx) => tx.forgetBlob(digest));
  const artifacts = (await catalog.entriesOf(digest)).map((entry) => `${entry.repository}/${entry.path}`);
  return { digest, what, artifacts, quarantined };
}

/** Publishes, of every repository concerned, a revision without the paths whose blobs are gone. */
async function withdraw(catalog: Catalog): Promise<number> {
  let count = 0;
  for (const { name, published } of await catalog.repositories()) {
    const lost: string[] = [];
    for await (const { path, artifact } of catalog.entries(name, published)) {
      if ((await catalog.blob(artifact.digest)) === undefined) lost.push(path);
    }
    if (lost.length === 0) continue;
    await catalog.transaction((tx) => tx.publish(name, { reason: 'verify --repair', remove: lost }));
    count += lost.length;
  }
  return count;
}
