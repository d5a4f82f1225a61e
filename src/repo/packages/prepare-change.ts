/**
 * A change of an RPM repository: which packages come and go, and the metadata that says so. Prepared outside of the
 * catalog's transaction, because writing metadata takes time; published in it, unless somebody else was quicker.
 */
import { AirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import type { BlobStat, Digest } from '../blobs/blob-store.ts';
import type { Artifact, Verification } from '../catalog/artifact.ts';
import type { Catalog, CatalogTransaction, Entry, Put } from '../catalog/catalog.ts';
import { listKey } from '../catalog/list-key.ts';
import type { VendorKey } from '../formats/openpgp/key-files.ts';
import type { RepositoryKey } from '../formats/openpgp/repository-key.ts';
import { armoredKey } from '../formats/openpgp/vendor-keys.ts';
import { REPOSITORY_KEY_PATH } from '../formats/repodata/repo-file.ts';
import { metadataPath, type RepomdRecord, repomd } from '../formats/repodata/repomd.ts';
import type { RevokedContent } from '../revoked.ts';
import { type Leases, type Stores, storeBytes } from '../staging.ts';
import type { CarriedFacts } from './carried.ts';
import { packageList } from './package-list.ts';
import { recordAgain } from './record-again.ts';
import { isNewer, joined } from './same-content.ts';
import { storeMetadata } from './store-metadata.ts';

export interface PackagesContext extends Stores {
  /** Signs metadata. Made at the first use. */
  repositoryKey(): Promise<RepositoryKey>;
  /** The vendor keys pinned here: clients get them from the repository, to check packages with. */
  readonly keys: readonly VendorKey[];
  /** Others that upstreams sign with: clients get them, too, for what was mirrored. */
  readonly upstreamKeys?: readonly VendorKey[];
  /** What must not be brought in. Reads the lists anew. @throws trust.invalid for one that cannot be read */
  revoked(): Promise<RevokedContent>;
}

/** What happens to the packages of a repository. */
export interface PackageEdit {
  readonly repository: string;
  /** For the revision: `import SSR-….iso`. */
  readonly reason: string;
  /**
   * Packages and files of metadata that come, with what brought them. Those that are there gain it. An `artifact` is read
   * more than once, and may be made each time.
   */
  readonly add?: readonly { readonly path: string; readonly artifact: Artifact }[];
  /**
   * What becomes of what is published: the same artifact, another one of the same bytes, `gone` (older revisions still
   * have it), or `withdrawn`. Default: all stay.
   */
  readonly keep?: (entry: Entry) => Artifact | 'gone' | 'withdrawn';
  /** Whether other bytes may come under the path of what is published. Default: they are refused. */
  readonly mayReplace?: (entry: Entry) => boolean;
  /** Metadata of our own takes the place of a vendor's. Default: that is refused. */
  readonly endsVerbatim?: boolean;
  /**
   * A signature that the key made over this repomd.xml elsewhere, stored and proven: it is published instead of a new one,
   * so that two who share a key serve the same bytes. Default: undefined, always.
   */
  readonly signature?: (text: Buffer, key: RepositoryKey) => Promise<Artifact | undefined>;
}

/** Ready to be published. Its blobs are stored. */
export interface PreparedChange {
  readonly repository: string;
  readonly publish: (tx: CatalogTransaction) => Promise<number>;
}

export const REPOMD = 'repodata/repomd.xml';
/** The channel of what no medium brought, because it was written here. */
export const METADATA = 'metadata';
export const REPOMD_SIGNATURE = `${REPOMD}.asc`;
/** Files of vendor keys in a repository; their fingerprint follows. */
export const VENDOR_KEY_PREFIX = 'RPM-GPG-KEY-vendor-';
/** How the source of an artifact begins that a bundle brought; its sequence follows. */
export const BUNDLE_SOURCE = 'bundle ';
/** The source of a vendor's key that only the HA twin trusts. */
export const PEER_SOURCE = 'peer';

/** What the artifact of a repomd.xml keeps. */
export interface RepomdFacts {
  /** Paths of what it names, where we wrote it. */
  readonly files: readonly string[];
  /** The metadata is a vendor's, byte for byte, with the vendor's signature (`isVerbatim`). */
  readonly verbatim?: true;
  /** So many of the packages that it lists are not here: they are fetched when somebody asks for them (lacking.ts). */
  readonly lacks?: number;
}

/** Whether the published metadata of a repository is a vendor's: a change would make the vendor's signature worthless. */
export async function isVerbatim(catalog: Pick<Catalog, 'lookup'>, repository: string): Promise<boolean> {
  return (await catalog.lookup(repository, REPOMD))?.artifact.facts.verbatim === true;
}

/**
 * @param leases gains what is stored on the way; whoever made it ends them, after publishing or giving up
 * @throws repository.mirrored; what the store and the catalog throw; rpm.* if a package that is published cannot be read
 *   again
 */
export async function prepareChange(
  context: PackagesContext,
  edit: PackageEdit,
  leases: Leases,
): Promise<PreparedChange> {
  const { catalog } = context;
  if (edit.endsVerbatim !== true && (await isVerbatim(catalog, edit.repository))) throw mirrored(edit.repository);
  const base = (await catalog.repository(edit.repository))?.published ?? 0;
  const state = await nextState(context, edit, base);
  const metadata = await writeAll(context, edit, state, new Files(context, leases));
  const put = [...state.put, ...metadata.put];
  const remove = [...state.gone, ...metadata.outdated];
  return {
    repository: edit.repository,
    async publish(tx) {
      await tx.ensureRepository(edit.repository, 'rpm');
      for (const stat of metadata.stored) await tx.recordBlob(stat);
      const number = await tx.publish(edit.repository, {
        reason: edit.reason,
        base,
        put,
        remove,
        withdraw: state.withdrawn,
      });
      return number;
    },
  };
}

/** What the repository will hold, its own metadata apart. */
interface NextState {
  /** Their keys (catalog/list-key.ts), in no particular order: many thousands are held at once. */
  packages: Set<string>;
  /** Groups, update notices and modules that were found with packages, by type. */
  readonly carried: Map<string, Artifact>;
  readonly put: Put[];
  readonly gone: string[];
  readonly withdrawn: string[];
  /** Paths of the metadata of the published revision. */
  readonly metadata: string[];
}

function mirrored(repository: string): AirlockError {
  return new AirlockError(
    'repository.mirrored',
    `${repository} mirrors a vendor's repository with the vendor's own signed metadata, in which nothing else can stand. Choose another repository.`,
    { details: { repository } },
  );
}

/** What repomd.xml names, whoever wrote it. Whoever has read that still gets these files when they are not published any more. */
function isNamed(path: string): boolean {
  return path.startsWith('repodata/') && path !== REPOMD && path !== REPOMD_SIGNATURE;
}

async function nextState(
  { catalog, ...context }: PackagesContext,
  edit: PackageEdit,
  base: number,
): Promise<NextState> {
  const { repository, add = [], keep, mayReplace } = edit;
  const state: NextState = { packages: new Set(), carried: new Map(), put: [], gone: [], withdrawn: [], metadata: [] };
  const keys = clientKeys(context);
  const coming = new Map(add.map((each) => [each.path, each]));
  const isSmall = keep === undefined && coming.size <= limits.packages.lookedUp;
  // Should somebody publish meanwhile, these are of another revision than `base`, and the change is refused.
  if (isSmall) state.packages = new Set(await catalog.listedPackages(repository));
  const entries = isSmall ? concerned(catalog, repository, base, coming.keys()) : catalog.entries(repository, base);
  for await (const entry of entries) {
    if (isOldKey(entry, keys)) state.gone.push(entry.path);
    if (!isContent(entry.artifact)) {
      if (isNamed(entry.path)) state.metadata.push(entry.path);
      continue;
    }
    const kept = keep?.(entry) ?? entry.artifact;
    const arriving = coming.get(entry.path)?.artifact;
    if (kept === 'gone' || kept === 'withdrawn') {
      if (arriving === undefined) state[kept].push(entry.path);
      continue;
    }
    coming.delete(entry.path);
    const artifact = arriving === undefined ? kept : joined(kept, arriving);
    const replace = artifact.digest !== entry.artifact.digest && mayReplace?.(entry) === true;
    if (artifact !== entry.artifact) state.put.push({ path: entry.path, artifact, replace });
    if (isSmall && artifact.digest !== entry.artifact.digest) state.packages.delete(listKey(entry.artifact) ?? '');
    settle(state, artifact);
  }
  for (const each of coming.values()) {
    state.put.push(each);
    settle(state, each.artifact);
  }
  return state;
}

/**
 * What a few packages that come can have to do with, where all others stay as they are: what lies at their paths, and all
 * that is no package.
 */
async function* concerned(
  catalog: Catalog,
  repository: string,
  base: number,
  paths: Iterable<string>,
): AsyncGenerator<Entry, void, undefined> {
  yield* catalog.entries(repository, base, 'unlisted');
  for (const path of paths) {
    const entry = await catalog.lookup(repository, path);
    if (entry !== undefined && listKey(entry.artifact) !== null) yield entry;
  }
}

/** Each once. */
function clientKeys({ keys, upstreamKeys = [] }: Pick<PackagesContext, 'keys' | 'upstreamKeys'>): VendorKey[] {
  return [...new Map([...upstreamKeys, ...keys].map((key) => [key.fingerprint, key])).values()];
}

/** Of a key that is no longer trusted here. A bundle's signature vouches for those that it brought, the HA twin for its own. */
function isOldKey({ path, artifact: { source } }: Entry, keys: readonly VendorKey[]): boolean {
  if (!path.startsWith(VENDOR_KEY_PREFIX) || source.startsWith(BUNDLE_SOURCE) || source === PEER_SOURCE) return false;
  return !keys.some(({ fingerprint }) => path.endsWith(fingerprint));
}

/** True for what comes and goes, and not for metadata of ours, which is made from it. */
export function isContent({ kind, facts }: Artifact): boolean {
  return kind === 'rpm' || typeof facts.carried === 'string';
}

function settle(state: NextState, artifact: Artifact): void {
  const key = listKey(artifact);
  if (key !== null) {
    state.packages.add(key);
    return;
  }
  const type = String(artifact.facts.carried);
  const known = state.carried.get(type);
  if (known === undefined || isNewer(artifact, known)) state.carried.set(type, artifact);
}

interface WrittenFiles extends Pick<Files, 'put' | 'stored'> {
  /** Paths of metadata that the new repomd.xml does not name. */
  readonly outdated: readonly string[];
}

async function writeAll(
  context: PackagesContext,
  edit: PackageEdit,
  state: NextState,
  files: Files,
): Promise<WrittenFiles> {
  const { catalog } = context;
  const { repository } = edit;
  const facts = (await catalog.lookup(repository, REPOMD))?.artifact.facts as RepomdFacts | undefined;
  const list = packageList(catalog, state.packages, (missing) => recordAgain(context, missing));
  const records: RepomdRecord[] = [];
  const options = { repository, former: facts?.files ?? [], leases: files.leases };
  for (const { record, stat } of await storeMetadata(context, list, options)) {
    files.add(metadataPath(record), stat);
    records.push(record);
  }
  for (const artifact of state.carried.values()) records.push(carriedRecord(artifact));
  const named = records.map(metadataPath);
  const text = Buffer.from(repomd(records));
  const { digest } = await files.store(REPOMD, text, { files: named });
  await sign(context, edit, { text, digest }, files);
  const outdated = state.metadata.filter((path) => !named.includes(path));
  return { put: files.put, stored: files.stored, outdated };
}

/** What is stored on the way to a revision. */
class Files {
  readonly put: Put[] = [];
  readonly stored: BlobStat[] = [];
  readonly #store: Stores;
  readonly leases: Leases;

  constructor(store: Stores, leases: Leases) {
    this.#store = store;
    this.leases = leases;
  }

  add(path: string, stat: BlobStat, facts: Artifact['facts'] = {}): void {
    this.stored.push(stat);
    this.put.push({ path, replace: true, artifact: metadataFile(path, stat, facts) });
  }

  async store(path: string, bytes: Uint8Array, facts?: Artifact['facts']): Promise<BlobStat> {
    const stat = await storeBytes(this.#store, bytes, this.leases);
    this.add(path, stat, facts);
    return stat;
  }
}

/** Nobody else vouches for what we write ourselves. */
const MADE_HERE: Verification = {
  status: 'signature',
  checks: [{ check: 'signature', result: 'passed', note: 'made here' }],
};

function metadataFile(path: string, { digest, size }: BlobStat, facts: Artifact['facts']): Artifact {
  return {
    digest,
    size,
    kind: 'file',
    name: path.slice(path.lastIndexOf('/') + 1),
    release: null,
    channel: METADATA,
    source: 'metadata',
    facts,
    verification: MADE_HERE,
  };
}

/** What a carried file's artifact keeps of it is what repomd.xml says of it. */
function carriedRecord({ digest, size, facts }: Artifact): RepomdRecord {
  const { carried, extension, openSize, openDigest } = facts as unknown as CarriedFacts;
  const open = openSize === null || openDigest === null ? {} : { openSize, openDigest };
  return { type: carried, extension, digest, size, ...open };
}

/** The key, and the signature over repomd.xml. */
async function sign(
  { catalog, repositoryKey, ...context }: PackagesContext,
  { repository, signature: elsewhere }: PackageEdit,
  { text, digest }: { text: Buffer; digest: Digest },
  files: Files,
): Promise<void> {
  const key = await repositoryKey();
  await files.store(REPOSITORY_KEY_PATH, Buffer.from(key.publicKey));
  for (const each of clientKeys(context)) {
    await files.store(`${VENDOR_KEY_PREFIX}${each.fingerprint}`, await armoredKey(each));
  }
  // There is a date in a signature: one that still holds stays, so that nothing changes where nothing changed.
  const known = (await catalog.lookup(repository, REPOMD_SIGNATURE))?.artifact;
  const isStill = known?.facts.signed === digest && known.facts.key === key.fingerprint;
  if (isStill && (await catalog.blob(known.digest)) !== undefined) return;
  const ready = await elsewhere?.(text, key);
  if (ready !== undefined) {
    files.put.push({ path: REPOMD_SIGNATURE, artifact: ready, replace: true });
    return;
  }
  const signature = Buffer.from(await key.signDetached(text));
  await files.store(REPOMD_SIGNATURE, signature, { signed: digest, key: key.fingerprint });
}
