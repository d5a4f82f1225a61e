/**
 * What is known of a content's digest beside what its source says, and what that makes of the bytes that came.
 */
import { AirlockError, isAirlockError } from '../errors.ts';
import { limits } from '../limits.ts';
import type { ArtifactSource } from '../repo/artifact-source.ts';
import type { BlobStat, BlobWriter, Digest } from '../repo/blobs/blob-store.ts';
import type { VerificationStatus } from '../repo/catalog/artifact.ts';
import type { Catalog } from '../repo/catalog/catalog.ts';
import type { Logger } from '../repo/http/logger.ts';
import type { TrustedBlobs } from '../repo/trusted-blobs.ts';
import type { UpstreamFacts } from '../repo/upstream/upstream.ts';
import { classOf, digestInName } from './content-class.ts';
import type { Counters } from './counters.ts';
import { notVerified, unusableList } from './failures.ts';
import type { KeptCopies } from './kept-copies.ts';
import { type OnDemandPlaces, placeOf } from './on-demand.ts';
import { type ListedFile, listedFiles, RepoDigests } from './repo-digests.ts';
import { digestFromSidecar, type Stated } from './sidecar.ts';
import type { Signatures } from './signatures.ts';
import { isListingKey } from './sources.ts';

export interface VouchingParts {
  readonly catalog: Pick<Catalog, 'lookup'>;
  /** What comes into these is proven by their metadata, or does not come. */
  readonly onDemand?: OnDemandPlaces;
  /** Of checksum files. */
  readonly source: ArtifactSource;
  readonly signatures: Signatures;
  /** Fetches a path and waits until it is kept; with `no-cache`, what is kept is not taken as current. */
  readonly pull: (path: string, options?: { readonly cacheControl: 'no-cache' }) => Promise<BlobStat | undefined>;
  readonly copies: KeptCopies;
  readonly trusted: TrustedBlobs;
  readonly counters: Counters;
  readonly logger: Logger;
  /** Serves no image and no package whose digest nobody vouches for. */
  readonly requireVerified: boolean;
}

const NO_PLACES: OnDemandPlaces = new Map();

/** Bytes that came, and what is to be thought of them. */
export interface Judged {
  readonly digest: Digest;
  readonly size: number;
  readonly verification: VerificationStatus;
  /** To be fetched once these are kept. */
  readonly companions: readonly ListedFile[];
}

export class Vouching {
  readonly #parts: VouchingParts;
  readonly #digests: RepoDigests;

  constructor(parts: VouchingParts) {
    this.#parts = parts;
    this.#digests = new RepoDigests(async (path, how) => {
      const published = await this.#published(path);
      if (published === undefined && how === 'fetch') await parts.pull(path);
      const known = published ?? (await this.#kept(path));
      if (known === undefined) return undefined;
      const reader = await parts.trusted.open(known.digest);
      const { isSigned } = known;
      const { digest, size } = reader;
      return { digest, size, isSigned, readAt: (into, at) => reader.readAt(into, at), close: () => reader.close() };
    });
  }

  /** What is published here is what clients get, whatever else is kept. */
  async #published(path: string): Promise<Stated | undefined> {
    const [room, repository = '', ...rest] = path.split('/');
    const entry = room === 'repos' ? await this.#parts.catalog.lookup(repository, rest.join('/')) : undefined;
    return entry && { digest: entry.artifact.digest, isSigned: entry.artifact.verification.status === 'signature' };
  }

  async #kept(path: string): Promise<Stated | undefined> {
    const kept = await this.#parts.copies.get(path);
    return kept && { digest: kept.pulled.digest, isSigned: kept.facts.verification === 'signature' };
  }

  /** What a repository's metadata states; null where none does. */
  listed(path: string): Promise<Stated | null> {
    return this.#digests.of(path);
  }

  /**
   * What a repository's metadata, the name or a checksum file states; null where none does. A source that names the digest
   * itself needs no checksum file, but for its signature.
   * @throws upstream.signature, and other upstream.* where keys are named
   */
  async expected(path: string, facts: UpstreamFacts): Promise<Stated | null> {
    const { source, signatures } = this.#parts;
    const named = digestInName(path);
    const listed = (await this.listed(path)) ?? (named && { digest: named, isSigned: false });
    const isKnown = listed !== null || (facts.digest !== null && !signatures.mayBeSigned(path));
    if (isKnown || !classOf(path).hasSidecar) return listed;
    return await digestFromSidecar(source, signatures, path);
  }

  /**
   * It is given out when it is kept, not while it comes: a list of files when what it names can be had, the listing of a
   * folder when it is whole, and what may be signed when it was compared with its signature.
   */
  isGivenWhole(path: string): boolean {
    const { kind, isVoucher } = classOf(path);
    return kind === 'repomd' || isListingKey(path) || (isVoucher && this.#parts.signatures.mayBeSigned(path));
  }

  /**
   * Whether content may be served that is proven so far. Where keys are named, a checksum alone does not suffice, for whoever
   * can change it can take the signature away. What stands in metadata cannot be vouched for by more metadata without end.
   */
  suffices(path: string, verification: VerificationStatus): boolean {
    const { requireVerified, signatures, onDemand = NO_PLACES } = this.#parts;
    const isAsked = requireVerified || placeOf(onDemand, path) !== undefined;
    if (!isAsked || classOf(path).kind !== 'immutable') return true;
    return verification === 'signature' || (verification === 'checksum' && !signatures.mayBeSigned(path));
  }

  /**
   * Compares what came with what is expected.
   * @throws upstream.unusable, upstream.signature, upstream.failed for a repomd.xml whose files cannot be had
   */
  async judge(
    path: string,
    writer: BlobWriter,
    { facts, source, expected }: { facts: UpstreamFacts; source: string; expected: Expected },
  ): Promise<Judged> {
    const { digest, size } = await writer.seal();
    if (expected.digest !== null && digest !== expected.digest) {
      this.#parts.counters.mismatches += 1;
      throw new AirlockError(
        'upstream.unusable',
        `What was fetched from ${source} has the digest ${digest}, not ${expected.digest}. Nothing of it was kept.`,
        { details: { expected: expected.digest, actual: digest } },
      );
    }
    const bytes = classOf(path).isVoucher ? await this.#readVoucher(path, writer, size) : undefined;
    const isSigned = bytes === undefined ? expected.isSigned : await this.#parts.signatures.isSigned(path, bytes);
    const isKnown = expected.digest !== null && !facts.isUnverified;
    const verification = isSigned ? 'signature' : isKnown ? 'checksum' : 'unverified';
    if (!this.suffices(path, verification)) throw notVerified(path);
    const isList = classOf(path).kind === 'repomd' && bytes !== undefined;
    const companions = isList ? await this.#companions(path, bytes, isSigned) : [];
    return { digest, size, verification, companions };
  }

  /** @returns undefined for one that is too large to vouch for anything. @throws upstream.unusable for such a repomd.xml */
  async #readVoucher(path: string, writer: BlobWriter, size: number): Promise<Buffer | undefined> {
    const isList = classOf(path).kind === 'repomd';
    const most = isList ? limits.repodata.repomd : limits.checksumFile;
    if (isList && size > most) throw unusableList(path);
    if (size > most) return undefined;
    const bytes = Buffer.alloc(size);
    for (let at = 0; at < size; ) at += (await writer.readAt(bytes.subarray(at), at)) || size;
    return bytes;
  }

  fetchCompanions(companions: readonly ListedFile[]): void {
    for (const file of companions) {
      this.#fetch(file).catch((error: unknown) => {
        const { path } = file;
        this.#parts.logger.debug({ path, error: String(error) }, 'a file of a repository could not be fetched');
      });
    }
  }

  /**
   * A new repomd.xml takes the place of an old one only when all that it names can be had: until then clients see the
   * old one, with its files. Where there is no old one, the files are fetched after it.
   * @returns the files that are still to be fetched; databases, which nobody asks for any more, are left out
   */
  async #companions(path: string, bytes: Uint8Array, isSigned: boolean): Promise<ListedFile[]> {
    const files = readListed(path, bytes).filter(({ type }) => !type.endsWith('_db'));
    this.#digests.announce({ files, isSigned });
    if ((await this.#parts.copies.get(path)) === undefined) return files;
    for (const file of files) {
      if (await this.#fetch(file)) continue;
      throw new AirlockError(
        'upstream.failed',
        `The new ${path} names ${file.path}, which cannot be had. The old one stays.`,
      );
    }
    return [];
  }

  /**
   * Fetches a file that a repomd.xml names, where the one that is kept is not that. A name without a digest has another
   * content with each repomd.xml: the older one is kept until the new one has come.
   * @returns whether it is here, as the repomd.xml says
   */
  async #fetch({ path, digest }: ListedFile): Promise<boolean> {
    const { pull, copies } = this.#parts;
    const kept = await pull(path);
    if (kept === undefined || digest === null || kept.digest === digest) return kept !== undefined;
    if (classOf(path).kind === 'immutable') await copies.drop(path); // it was never what its name says
    return (await pull(path, { cacheControl: 'no-cache' }))?.digest === digest;
  }
}

/** What is known of a content's digest: what others state, else what its source says. */
export interface Expected {
  readonly digest: Digest | null;
  readonly isSigned: boolean;
}

/** @throws upstream.unusable */
function readListed(path: string, bytes: Uint8Array): ListedFile[] {
  try {
    return listedFiles(path, bytes);
  } catch (cause) {
    throw isAirlockError(cause) ? unusableList(path, cause) : cause;
  }
}
