/**
 * The metadata files that a repomd.xml names: fetched, verified, stored, and read.
 */
import { createHash } from 'node:crypto';
import { AirlockError } from '../../../errors.ts';
import { limits } from '../../../limits.ts';
import type { BlobStat, ByteSource } from '../../../repo/blobs/blob-store.ts';
import { hashFor } from '../../../repo/formats/repodata/checksum-types.ts';
import { decompressed } from '../../../repo/formats/repodata/decompress.ts';
import { type ForeignPath, foreignPath } from '../../../repo/formats/repodata/foreign-path.ts';
import { readPackageIds } from '../../../repo/formats/repodata/package-ids.ts';
import { type ForeignPackage, readPrimary } from '../../../repo/formats/repodata/read-primary.ts';
import type { ForeignRecord } from '../../../repo/formats/repodata/read-repomd.ts';
import { REPOSITORY_KEY_PATH } from '../../../repo/formats/repodata/repo-file.ts';
import { REPOMD, REPOMD_SIGNATURE, VENDOR_KEY_PREFIX } from '../../../repo/packages/prepare-change.ts';
import { bringFile } from './bring-file.ts';
import type { Root, Run } from './run.ts';

/** A metadata file, stored. */
export interface MetadataFile {
  readonly record: ForeignRecord;
  readonly place: ForeignPath;
  readonly stat: BlobStat;
}

/**
 * Brings the files of some records. What is stored already is not fetched.
 * @throws repodata.invalid for files outside of the repository; as Fetcher.fetch
 */
export async function bringMetadata(
  run: Run,
  roots: readonly Root[],
  records: readonly ForeignRecord[],
): Promise<MetadataFile[]> {
  const places = records.map((record) => ({ record, place: foreignPath(record.href, record.base) }));
  const paths = new Set<string>();
  for (const { place } of places) {
    if (paths.has(place.path) || isOfFront(place.path)) {
      throw unusable(`its repomd.xml names ${place.path} twice, or a file that is none of its own`);
    }
    paths.add(place.path);
  }
  const files: MetadataFile[] = [];
  for (const { record, place } of places) {
    const { checksum, size } = record;
    const wanted = { url: place.url, checksum, size, most: limits.repodata.foreign };
    files.push({ record, place, stat: await bringFile(run, roots, wanted) });
  }
  // Should packages fail to come, the next run finds these here.
  if (!run.site.dryRun) {
    await run.site.ingest.catalog.transaction(async (tx) => {
      for (const { stat } of files) await tx.recordBlob(stat);
    });
  }
  return files;
}

/** What clients read before anything else: repomd.xml, its signature, and keys. */
function isOfFront(path: string): boolean {
  return (
    path === REPOMD || path === REPOMD_SIGNATURE || path === REPOSITORY_KEY_PATH || path.startsWith(VENDOR_KEY_PREFIX)
  );
}

/**
 * Where packages lie as the vendor has them, none lies where metadata does.
 * @throws repodata.invalid
 */
export function assertApart(files: readonly MetadataFile[], packages: readonly ForeignPackage[]): void {
  const taken = new Set(files.map(({ place }) => place.path));
  for (const { place } of packages) {
    if (!taken.has(place.path) && !isOfFront(place.path)) continue;
    throw unusable(`it lists a package as ${place.path}, which is the place of its metadata or of a key`);
  }
}

/** @throws repodata.invalid, also where what is in the file is not what repomd.xml says */
export async function readPackages(run: Run, file: MetadataFile, withDependencies: boolean): Promise<ForeignPackage[]> {
  const packages: ForeignPackage[] = [];
  await withContent(run, file, (pieces) => readPrimary(pieces, (each) => packages.push(each), { withDependencies }));
  return packages;
}

/**
 * Sees that a file of file lists or changelogs speaks of the packages of the primary file, each once, and of no others.
 * @throws repodata.invalid
 */
export async function requireSamePackages(
  run: Run,
  file: MetadataFile,
  packages: readonly ForeignPackage[],
): Promise<void> {
  const known = new Set(packages.map(({ checksum }) => checksum.value));
  const seen = new Set<string>();
  await withContent(run, file, async (pieces) => {
    for await (const id of readPackageIds(pieces, file.record.type)) {
      if (!known.has(id))
        throw unusable(`its ${file.record.type} file lists a package (${id}) that its primary file does not`);
      seen.add(id);
    }
  });
  if (seen.size === known.size) return;
  throw unusable(
    `its ${file.record.type} file lists ${seen.size} of ${known.size} packages of its primary file: they are of different states`,
  );
}

async function withContent(
  { site }: Run,
  { record, stat }: MetadataFile,
  read: (pieces: AsyncIterable<Uint8Array>) => Promise<void>,
): Promise<void> {
  const { type: what, openSize, openChecksum } = record;
  const most = Math.min(openSize ?? limits.repodata.foreignOpen, limits.repodata.foreignOpen);
  const hash = openChecksum === undefined ? createHash('sha256') : hashFor(openChecksum);
  let length = 0;
  const source = await site.ingest.blobs.open(stat.digest);
  async function* content() {
    for await (const piece of decompressed(piecesOf(source), { what, most })) {
      length += piece.byteLength;
      hash?.update(piece);
      yield piece;
    }
  }
  try {
    await read(content());
  } finally {
    await source.close();
  }
  const isWhole = openSize === undefined || length === openSize;
  const isSame = openChecksum === undefined || hash?.digest('hex') === openChecksum.value;
  if (!isWhole || !isSame) throw unusable(`its ${what} file, decompressed, is not what its repomd.xml says`);
}

const PIECE = 64 * 1024;

/** Each piece is the reader's for good: decompressors keep some for a while. */
async function* piecesOf(source: ByteSource): AsyncGenerator<Uint8Array, void, undefined> {
  for (let at = 0; at < source.size; ) {
    const buffer = Buffer.allocUnsafe(Math.min(PIECE, source.size - at));
    const length = await source.readAt(buffer, at);
    if (length === 0) return;
    yield buffer.subarray(0, length);
    at += length;
  }
}

/** @param why a clause */
export function unusable(why: string): AirlockError {
  return new AirlockError(
    'repodata.invalid',
    `The repository cannot be mirrored: ${why}. What is here of it stays. Try again later; if it stays so, tell whoever made it.`,
  );
}
