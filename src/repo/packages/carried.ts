/**
 * Groups, update notices and modules: metadata that an image's own repositories have beside their packages, and that is
 * passed on as it is.
 */
import { createHash } from 'node:crypto';
import path from 'node:path';
import { AirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import type { Digest } from '../blobs/blob-store.ts';
import type { IsoEntry, IsoImage } from '../formats/iso9660/iso-image.ts';
import { quote } from '../formats/quote.ts';
import { hashFor } from '../formats/repodata/checksum-types.ts';
import { type ForeignRecord, readRepomd } from '../formats/repodata/read-repomd.ts';
import { type CarriedKind, metadataPath, type RepomdRecord } from '../formats/repodata/repomd.ts';

/** What the artifact of a carried file keeps of it. */
export interface CarriedFacts {
  readonly carried: CarriedKind;
  readonly extension: RepomdRecord['extension'];
  readonly openSize: number | null;
  readonly openDigest: Digest | null;
}

/** A carried file in an image. */
export interface FoundCarried {
  /** In its repository. */
  readonly path: string;
  readonly digest: Digest;
  /** Bytes. */
  readonly size: number;
  /** Where it begins in the image. */
  readonly start: number;
  readonly facts: CarriedFacts;
}

/** Types that are carried along where packages are published in metadata of our own. */
export const CARRIED_KINDS: readonly string[] = ['group', 'group_gz', 'updateinfo', 'modules'] satisfies CarriedKind[];
const EXTENSIONS: readonly string[] = ['gz', 'zst', 'xz', 'bz2'];

/**
 * What the repomd.xml at a place in an image names, of the kinds that are carried.
 * @throws repodata.invalid if it cannot be read, or names what is not there or not what it says; iso.*
 */
export async function findCarried(iso: IsoImage, repomd: IsoEntry): Promise<FoundCarried[]> {
  const records = readRepomd(await iso.readFile(repomd, limits.repodata.repomd));
  const root = path.posix.dirname(path.posix.dirname(repomd.path));
  const found: FoundCarried[] = [];
  for (const record of records) if (CARRIED_KINDS.includes(record.type)) found.push(await findOne(iso, root, record));
  return found;
}

async function findOne(iso: IsoImage, root: string, record: ForeignRecord): Promise<FoundCarried> {
  const entry = await iso.stat(path.posix.join('/', root, record.href));
  if (entry?.type !== 'file') throw wrong(record, 'is not there');
  const bytes = await iso.readFile(entry, limits.repodata.carried);
  if (!matches(bytes, record)) throw wrong(record, 'is not what it says');
  const [extent, ...others] = iso.extents(entry);
  if (extent === undefined || others.length > 0) throw wrong(record, 'is empty, or in several pieces');
  const digest: Digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
  const facts = carriedFacts(record);
  return { path: carriedPath(facts, digest, bytes.length), digest, size: bytes.length, start: extent.start, facts };
}

/** Where a carried file lies in its repository. @param size bytes */
export function carriedPath({ carried, extension, openSize, openDigest }: CarriedFacts, digest: Digest, size: number) {
  const open = openSize === null || openDigest === null ? {} : { openSize, openDigest };
  return metadataPath({ type: carried, extension, digest, size, ...open });
}

/** @param record of one of CARRIED_KINDS */
export function carriedFacts({ type, href, openSize, openChecksum }: ForeignRecord): CarriedFacts {
  const suffix = href.slice(href.lastIndexOf('.') + 1);
  const extension = EXTENSIONS.includes(suffix) ? (suffix as CarriedFacts['extension']) : null;
  const isOpenKnown = extension !== null && openChecksum?.type === 'sha256' && openSize !== undefined;
  return {
    carried: type as CarriedKind,
    extension,
    openSize: isOpenKnown ? openSize : null,
    openDigest: isOpenKnown ? `sha256:${openChecksum.value}` : null,
  };
}

function matches(bytes: Uint8Array, { checksum, size }: ForeignRecord): boolean {
  if (size !== undefined && size !== bytes.length) return false;
  return hashFor(checksum)?.update(bytes).digest('hex') === checksum.value;
}

function wrong({ href, type }: ForeignRecord, what: string): AirlockError {
  return new AirlockError(
    'repodata.invalid',
    `${quote(href, 255)}, which the repomd.xml of the image names for ${quote(type)}, ${what}. Copy or download the image again.`,
  );
}
