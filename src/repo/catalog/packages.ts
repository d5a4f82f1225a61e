/**
 * What repodata says of packages, kept so that adding one to many reads only the one. All of it is made from the bytes
 * of the packages, and made again where it is missing.
 */
import { deflateRawSync, inflateRawSync } from 'node:zlib';
import { type Kysely, type SqlBool, sql } from 'kysely';
import type { Digest } from '../blobs/blob-store.ts';
import { damaged } from './rows.ts';
import type { Database } from './schema.ts';

/** A package's element in each of the three metadata files. */
export interface PackageTexts {
  readonly primary: Buffer;
  readonly filelists: Buffer;
  readonly other: Buffer;
}

export type PackageText = keyof PackageTexts;

/**
 * The same as the catalog keeps it: `packTexts` makes it where the package was read, which may be a thread, so that these
 * threads do the work and have little to hand over.
 */
export interface PackedTexts {
  readonly packed: Readonly<Record<PackageText, Uint8Array>>;
}

/** One capability that a package has. */
export interface Provide {
  /** A name, or the path of a file that other packages may require. */
  readonly name: string;
  /** rpm's comparison bits (formats/rpm/tags.ts, SENSE); 0 where no version is given. */
  readonly flags: number;
  /** `[epoch:]version[-release]` */
  readonly evr: string | null;
}

export interface PackageRecord {
  readonly digest: Digest;
  readonly texts: PackedTexts;
  readonly provides: readonly Provide[];
}

/** Keys of the published packages of a repository, sorted. */
export async function listedPackages(db: Kysely<Database>, repository: string): Promise<string[]> {
  const rows = await db
    .selectFrom('entries')
    .select('list_key')
    .where('repository', '=', repository)
    .where('until_revision', 'is', null)
    .where('list_key', 'is not', null)
    .orderBy('list_key')
    .execute();
  return rows.map(({ list_key }) => String(list_key));
}

const COLUMNS = { primary: 'primary_xml', filelists: 'filelists_xml', other: 'other_xml' } as const;

/** A digest ends every list key. */
const DIGEST_LENGTH = 'sha256:'.length + 64;

/** Rows in one statement: far below what any database takes as parameters. */
const BATCH = 100;

/** In a transaction. What is recorded of a package already is left as it is. */
export async function recordPackages(
  db: Kysely<Database>,
  records: readonly PackageRecord[],
  now: number,
): Promise<void> {
  for (const { digest, texts, provides } of records) {
    const { numInsertedOrUpdatedRows } = await db
      .insertInto('packages')
      .values({
        digest,
        recorded_at: now,
        primary_xml: texts.packed.primary,
        filelists_xml: texts.packed.filelists,
        other_xml: texts.packed.other,
      })
      .onConflict((oc) => oc.column('digest').doNothing())
      .executeTakeFirst();
    if (numInsertedOrUpdatedRows === 0n) continue;
    const rows = provides.map((provide, position) => ({ digest, position, ...provide }));
    for (let at = 0; at < rows.length; at += BATCH) {
      await db
        .insertInto('provides')
        .values(rows.slice(at, at + BATCH))
        .execute();
    }
  }
}

/** In a transaction. Forgets packages of imports that came to nothing. */
export async function forgetStrayPackages(db: Kysely<Database>, before: number): Promise<void> {
  const isStray = sql<SqlBool>`not exists (select 1 from blobs where blobs.digest = packages.digest)`;
  const strays = db.selectFrom('packages').select('digest').where('recorded_at', '<=', before).where(isStray);
  await db.deleteFrom('provides').where('digest', 'in', strays).execute();
  await db.deleteFrom('packages').where('recorded_at', '<=', before).where(isStray).execute();
}

/** @throws catalog.corrupt */
export async function packageTexts(
  db: Kysely<Database>,
  text: PackageText,
  digests: readonly Digest[],
): Promise<Map<Digest, Buffer>> {
  if (digests.length === 0) return new Map();
  const column = COLUMNS[text];
  const rows = await db.selectFrom('packages').select(['digest', column]).where('digest', 'in', digests).execute();
  return new Map(
    rows.map((row) => [row.digest as Digest, inflate((row as Record<typeof column, Uint8Array>)[column])]),
  );
}

/** Published packages of which nothing is recorded. */
export async function unrecordedPackages(db: Kysely<Database>, repository: string, limit: number): Promise<Digest[]> {
  const digest = sql<string>`substr(entries.list_key, length(entries.list_key) - ${sql.lit(DIGEST_LENGTH - 1)})`;
  const rows = await db
    .selectFrom('entries')
    .select(digest.as('digest'))
    .distinct()
    .where('entries.repository', '=', repository)
    .where('entries.until_revision', 'is', null)
    .where('entries.list_key', 'is not', null)
    .where(sql<SqlBool>`not exists (select 1 from packages where packages.digest = ${digest})`)
    .limit(limit)
    .execute();
  return rows.map((row) => row.digest as Digest);
}

export async function providesOf(db: Kysely<Database>, repository: string, name: string): Promise<Provide[]> {
  return await db
    .selectFrom('provides')
    // By the name first: SQLite keeps to the order of cross joins, and would else go through the whole repository.
    .crossJoin('artifacts')
    .crossJoin('entries')
    .whereRef('artifacts.digest', '=', 'provides.digest')
    .whereRef('entries.artifact', '=', 'artifacts.id')
    .select(['provides.name', 'provides.flags', 'provides.evr'])
    .where('provides.name', '=', name)
    .where('entries.repository', '=', repository)
    .where('entries.until_revision', 'is', null)
    .execute()
    .then((rows) => rows.map((row) => ({ ...row, flags: Number(row.flags) })));
}

/** Deflates texts for `recordPackages`. */
export function packTexts({ primary, filelists, other }: PackageTexts): PackedTexts {
  return { packed: { primary: deflate(primary), filelists: deflate(filelists), other: deflate(other) } };
}

/**
 * Texts are short and there are many thousands: with buffers of the size that they need instead of the 16 KiB that zlib
 * takes by default, much less memory waits to be tidied up. They mostly shrink to a quarter.
 */
function deflate(text: Buffer): Uint8Array {
  return new Uint8Array(deflateRawSync(text, { level: 1, chunkSize: chunkFor(text.length / 2) })); // its own buffer is larger
}

function inflate(bytes: Uint8Array): Buffer {
  try {
    return inflateRawSync(bytes, { chunkSize: chunkFor(bytes.length * 5) });
  } catch (cause) {
    throw damaged('what it keeps of a package cannot be read', cause);
  }
}

function chunkFor(length: number): number {
  return Math.min(64 * 1024, Math.max(512, Math.ceil(length)));
}
