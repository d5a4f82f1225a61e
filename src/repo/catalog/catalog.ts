/**
 * The seam between Airlock and its database.
 *
 * The catalog knows repositories, their revisions, what each path held in which revision, and the blobs that
 * are durably stored. It refers to nothing else. Every driver passes test/conformance/catalog.ts.
 */
import type { BlobStat, Digest } from '../blobs/blob-store.ts';
import type { Artifact, Place, RepositoryKind } from './artifact.ts';
import type { PackageRecord, PackageText, Provide } from './packages.ts';
import type { Pulled } from './pulled.ts';
import type { RememberedFile } from './remembered.ts';
import type { RevisionHeader, RevisionLine } from './revision-log.ts';
import type { SyncRecord } from './syncs.ts';

export interface Repository {
  readonly name: string;
  readonly kind: RepositoryKind;
  /** The published revision; 0 while nothing was published. */
  readonly published: number;
  readonly createdAt: Date;
}

export interface Revision {
  readonly number: number;
  readonly createdAt: Date;
  /** For a person: `import iso X`, `publish 3`. */
  readonly reason: string;
  /** Paths that it added or replaced, and paths that it removed. */
  readonly put: number;
  readonly removed: number;
}

/** What a path of a repository holds. */
export interface Entry {
  readonly repository: string;
  /** `6.3/SSR-….iso`: segments joined by `/`, none of them empty, `.` or `..`. */
  readonly path: string;
  readonly artifact: Artifact;
  /** The revision that put it there, and when. */
  readonly since: number;
  readonly modified: Date;
}

export type FolderItem =
  | { readonly type: 'folder'; readonly name: string }
  | { readonly type: 'file'; readonly name: string; readonly entry: Entry };

export interface BlobRecord {
  readonly digest: Digest;
  readonly size: number;
  /** The stamp under which the bytes were last proven; null: never proven here, hash before use. */
  readonly stamp: string | null;
  readonly addedAt: Date;
  readonly verifiedAt: Date | null;
  /** Where the bytes lie, if they are a slice of another blob. */
  readonly within: Place | null;
}

export interface RevisionChange {
  readonly reason: string;
  /** Paths to add or replace. A path that holds this very artifact already is left as it is. */
  readonly put?: Iterable<Put>;
  /** Paths to take out, before others are put; those that are not there are ignored. */
  readonly remove?: Iterable<string>;
  /**
   * Paths to take out, whose bytes are also withdrawn from all older revisions of this repository: these can no longer
   * be published once `prune` has taken the bytes.
   */
  readonly withdraw?: Iterable<string>;
  /**
   * Content to keep without publishing it, as `keepPulled` does, and keys under which to let go of it. Other than what was
   * merely fetched, it is told of in the revision's file, so it outlives the catalog.
   */
  readonly hold?: Iterable<Pulled>;
  readonly unhold?: Iterable<string>;
  /** The published revision that the change was made for: revision.moved if it is another one by now. */
  readonly base?: number;
}

export interface Put {
  readonly path: string;
  readonly artifact: Artifact;
  /** What happens to a path that holds other bytes: refused with path.conflict (default), or replaced. */
  readonly replace?: boolean;
}

export interface ReleaseFilter {
  readonly vendor?: string;
  readonly release?: string;
}

/** A blob that nothing refers to. */
export interface Unreferenced {
  readonly digest: Digest;
  readonly size: number;
  /** When that began, as far as grace periods go. */
  readonly since: Date;
  /** It has no bytes of its own. */
  readonly isSlice: boolean;
}

/** What happens inside `Catalog.transaction`; not to be used after it. */
export interface CatalogTransaction {
  /** @returns the repository, made if it is not there. @throws repository.kind if it is of another kind */
  ensureRepository(name: string, kind: RepositoryKind): Promise<Repository>;
  /**
   * Says that the bytes of a blob are durably stored and were proven under this stamp.
   * @param within where they lie in another blob; null: in a file of their own. Without it, a blob that is known stays
   *   where it is.
   */
  recordBlob(stat: BlobStat, within?: Place | null): Promise<void>;
  /** As `recordBlob`, for many at once: a tenth of the work. */
  recordBlobs(stats: readonly BlobStat[]): Promise<void>;
  /**
   * Says that the bytes of a blob were proven again, under this stamp.
   * @returns false if it is no longer recorded, `prune` having taken it; nothing is changed then
   */
  confirmBlob(stat: BlobStat): Promise<boolean>;
  blob(digest: Digest): Promise<BlobRecord | undefined>;
  /** What the published revision holds at a path. */
  lookup(repository: string, path: string): Promise<Entry | undefined>;
  /** As `recordBlob`, for a slice. One that is proven already, wherever it lies, stays there. */
  recordSlice(stat: BlobStat, within: Place): Promise<void>;
  /**
   * Forgets a blob whose bytes are gone or wrong. What refers to it stays, and cannot be served. The blob of which it
   * was a slice is no longer taken as proven.
   */
  forgetBlob(digest: Digest): Promise<void>;
  /** Keeps, or replaces, what was fetched for a path. Its blob is recorded; from then on it is held. */
  keepPulled(pulled: Pulled): Promise<void>;
  /** Lets go of what was fetched for a path. @returns false if there was nothing */
  dropPulled(path: string): Promise<boolean>;
  /** Remembers what a path of an upstream site held, in place of what it held before. */
  remember(file: RememberedFile): Promise<void>;
  /** Forgets all paths of a site that begin with `prefix`. */
  forgetRemembered(site: string, prefix: string): Promise<void>;
  /** Keeps, or replaces, the record of a sync that began then. Only the newest of an upstream are kept. */
  recordSync(sync: SyncRecord): Promise<void>;
  /**
   * Ends leases of these digests that this catalog took (see Catalog.lease): those of this job, and what was taken without
   * one. Without a job: those of all jobs.
   */
  release(digests: Iterable<Digest>, job?: string): Promise<void>;
  /** As `Catalog.setMeta`, with the transaction. */
  setMeta(key: string, value: string | undefined): Promise<void>;
  /**
   * Makes the next revision and publishes it. A change that changes nothing makes none, but for the first: an empty
   * repository has an empty revision 1, so that it is in the log. Once this has failed, the whole transaction fails.
   * @returns the number of the published revision
   * @throws repository.not-found, path.invalid, path.conflict (naming all paths), blob.missing if an artifact's blob
   *   is not recorded, revision.moved, catalog.corrupt if the log has this revision already
   */
  publish(repository: string, change: RevisionChange): Promise<number>;
  /**
   * Makes and publishes a new revision equal to an older one; none if the published one is equal to it.
   * @throws repository.not-found, revision.not-found, revision.incomplete if files of it are gone
   */
  publishAgain(repository: string, revision: number): Promise<number>;
  /**
   * Withdraws content from all older revisions of every repository, as `RevisionChange.withdraw` does for paths that are
   * published; these stay. Repositories of which that is true get a revision for it, so that it is in the log.
   */
  withdrawFormer(digests: Iterable<Digest>, reason: string): Promise<void>;
}

export interface Catalog {
  /** Grows or changes whenever anybody, in any process, changed the catalog. Synchronous: it guards every cache. */
  version(): number;

  repositories(): Promise<Repository[]>;
  repository(name: string): Promise<Repository | undefined>;
  /** Newest first. */
  revisions(repository: string): Promise<Revision[]>;

  /** What the published revision holds at a path. */
  lookup(repository: string, path: string): Promise<Entry | undefined>;
  /** What a path held last, if a revision of `since` or later took it away, and nobody withdrew it. */
  former(repository: string, path: string, since: Date): Promise<Entry | undefined>;
  /**
   * The next items of a folder of the published revision: folders, then files. Files stand in byte order of their
   * names; so do folders, each taken with its closing slash (`6.3-beta/` before `6.3/`).
   * @param folder `''` for the top, else `6.3/`
   * @param after the last item of the page before
   */
  folder(repository: string, folder: string, page: { after?: FolderItem; limit: number }): Promise<FolderItem[]>;
  /**
   * Entries of a revision, by folder and then by name, read in pages.
   * @param which those that are no packages with `unlisted`. Default: all
   */
  entries(repository: string, revision: number, which?: 'all' | 'unlisted'): AsyncIterable<Entry>;
  /** The published packages of a repository as sorted keys (list-key.ts): one read of an index. */
  listedPackages(repository: string): Promise<string[]>;

  /** Published entries that carry a release (kind image or package), newest first. */
  releases(filter?: ReleaseFilter): Promise<Entry[]>;
  /** The newest published one of a release (`6.3`), the first by file name of several equally new: one index read. */
  newestRelease(vendor: string, release: string): Promise<Entry | undefined>;
  /** Every published entry of a version (`6.3.0-107.r1.el7`), its sidecars included. */
  entriesOfVersion(vendor: string, version: string): Promise<Entry[]>;
  /** Published entries whose artifact has this digest. */
  entriesOf(digest: Digest): Promise<Entry[]>;
  /** Published entries whose blob is not recorded, and which therefore cannot be served. Reads all, in pages. */
  lostEntries(): AsyncIterable<Entry>;

  blob(digest: Digest): Promise<BlobRecord | undefined>;
  /** In digest order, from after `after` on. */
  blobs(page: { after?: Digest; limit: number }): Promise<BlobRecord[]>;
  /** Slices of a blob, in digest order, from after `after` on. */
  slicesOf(container: Digest, page: { after?: Digest; limit: number }): Promise<BlobRecord[]>;
  /** Every artifact that any revision ever gave this digest. */
  artifactsOf(digest: Digest): Promise<Artifact[]>;

  /** Keeps what repodata says of packages; to be made again from their bytes. */
  recordPackages(records: readonly PackageRecord[]): Promise<void>;
  /** @returns the texts of those packages for which they are recorded, in no particular order */
  packageTexts(text: PackageText, digests: readonly Digest[]): Promise<Map<Digest, Buffer>>;
  /** Some published packages of a repository of which nothing is recorded: there are some after a rebuild. */
  unrecordedPackages(repository: string, limit: number): Promise<Digest[]>;
  /** What the published packages of a repository provide under a name. */
  provides(repository: string, name: string): Promise<Provide[]>;

  /** What a path of an upstream site held when it was last asked. */
  remembered(site: string, path: string): Promise<RememberedFile | undefined>;
  /** Syncs of an upstream, newest first. */
  syncs(upstream: string, limit: number): Promise<SyncRecord[]>;

  /** What was fetched for a path and is kept. */
  pulled(path: string): Promise<Pulled | undefined>;
  /** All that was fetched and is kept, in order of paths, from after `after` on. */
  pulledPage(page: { readonly after?: string; readonly limit: number }): Promise<Pulled[]>;
  /** Of what was fetched and is kept, that which nobody used for longest. */
  leastUsed(limit: number): Promise<Pulled[]>;
  /** Of what was fetched and is kept; bytes under several paths count several times. */
  pulledTotals(): Promise<{ files: number; bytes: number }>;
  /**
   * Takes a blob out of the catalog, and then hands it to `remove`, if nothing at all holds it, without grace: for what
   * was fetched and makes room. @returns false if something holds it
   */
  removeUnheld(digest: Digest, remove: (digest: Digest) => Promise<void>): Promise<boolean>;

  /** Bytes and number of all recorded blobs that have bytes of their own: slices have none. */
  totals(): Promise<{ blobs: number; bytes: number }>;

  /**
   * Protects a digest from `prune` and `discard` until it is referred to, for `LEASE_MS` at most: whoever is about
   * to store a blob leases its digest first. Leasing again begins the time anew.
   * @param job whose lease it is: of several jobs in one process that lease a digest each, one that gives up ends its own
   * @returns the blob's record if it is here already; it then stays
   */
  lease(digest: Digest, job?: string): Promise<BlobRecord | undefined>;
  /** As `lease`, for many at once. @returns the records of those that are here already */
  leaseAll(digests: readonly Digest[], job?: string): Promise<Map<Digest, BlobRecord>>;
  /**
   * Takes out of the catalog, and then hands to `remove`, blobs that no revision refers to: recorded, and where
   * anything referred to them withdrawn, at `before` or earlier. Never one under lease. `remove` runs while nobody
   * can lease; it is called again, by the next prune, for blobs of which it failed. A blob stays while others are
   * slices of it.
   * @param dryRun only tells
   */
  prune(options: {
    before: Date;
    dryRun?: boolean;
    remove: (digest: Digest) => Promise<void>;
  }): AsyncIterable<Unreferenced>;

  /** Blobs that would go if no others, which something still refers to, were slices of them. */
  stranded(before: Date): Promise<BlobRecord[]>;

  /**
   * Hands to `remove` a digest that is stored but not in the catalog, as a process that died may leave it.
   * @returns false if the catalog knows it, or somebody holds a lease on it; `remove` was then not called
   */
  discard(digest: Digest, remove: (digest: Digest) => Promise<void>): Promise<boolean>;

  /**
   * Repeats one revision of the log in an empty or younger catalog (`doctor --rebuild-catalog`).
   * @throws revision.damaged if it does not follow on the one before
   */
  restore(header: RevisionHeader, lines: AsyncIterable<RevisionLine>): Promise<void>;
  /** Records blobs that were found in the store, unproven. */
  restoreBlobs(blobs: Iterable<{ digest: Digest; size: number }>): Promise<void>;

  /** Small durable facts of ours, such as how far a scrub has come. */
  meta(key: string): Promise<string | undefined>;
  setMeta(key: string, value: string | undefined): Promise<void>;

  /**
   * All or nothing. Other processes wait for it; keep it short, and inside of it call nothing of the catalog but `tx`.
   * @throws what `work` throws, catalog.busy, space.insufficient
   */
  transaction<T>(work: (tx: CatalogTransaction) => Promise<T>): Promise<T>;
  /**
   * Looks for damage in the database itself. Reads all of it.
   * @returns what is wrong, for a person; empty if nothing is
   */
  check(): Promise<string[]>;
  close(): Promise<void>;
}

/** How long a lease protects a blob that its holder never came to refer to. Milliseconds. */
export const LEASE_MS = 60 * 60_000;
