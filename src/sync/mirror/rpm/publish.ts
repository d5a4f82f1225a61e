/**
 * The end of a sync: one revision with all that the rule means, or none. The vendor's metadata byte for byte where all of it
 * is mirrored; metadata of our own, signed with our key, where packages were left out.
 */
import type { BlobStat } from '../../../repo/blobs/blob-store.ts';
import type { Artifact, Json, Verification } from '../../../repo/catalog/artifact.ts';
import type { CatalogTransaction, Entry, Put } from '../../../repo/catalog/catalog.ts';
import { untilSettled } from '../../../repo/catalog/until-settled.ts';
import { armoredKey } from '../../../repo/formats/openpgp/vendor-keys.ts';
import type { ForeignPackage } from '../../../repo/formats/repodata/read-primary.ts';
import { REPOSITORY_KEY_PATH } from '../../../repo/formats/repodata/repo-file.ts';
import { CARRIED_KINDS, carriedFacts, carriedPath } from '../../../repo/packages/carried.ts';
import {
  prepareChange,
  REPOMD,
  REPOMD_SIGNATURE,
  type RepomdFacts,
  VENDOR_KEY_PREFIX,
} from '../../../repo/packages/prepare-change.ts';
import { abandon, endLeases, Leases, storeBytes } from '../../../repo/staging.ts';
import { isFiltering } from './choose-packages.ts';
import type { Front } from './front.ts';
import type { MetadataFile } from './metadata.ts';
import { settledCopies } from './on-demand.ts';
import { sourceOf } from './package-facts.ts';
import type { Published } from './published.ts';
import type { Run } from './run.ts';
import { keysId, type MirrorState, ruleId, writeState } from './state.ts';
import type { ReadyPackage } from './verify-package.ts';

/** All that a revision is made of. Its blobs are stored. */
export interface Content {
  readonly front: Front;
  readonly files: readonly MetadataFile[];
  readonly packages: readonly ReadyPackage[];
  /** Those that are listed, and not here. */
  readonly waiting: readonly ForeignPackage[];
}

/** A revision that can be published in a transaction. */
type Publish = (tx: CatalogTransaction) => Promise<number>;

/**
 * Publishes a revision, and writes down what it came from. If somebody else publishes meanwhile, it is prepared anew.
 * @param again reads what is published then
 * @throws what store and catalog throw; nothing of it is left then
 */
export async function publish(
  run: Run,
  content: Content,
  first: Published,
  again: () => Promise<Published>,
): Promise<void> {
  const { site, rule } = run;
  const { catalog } = site.ingest;
  const leases = new Leases();
  let known: Published | undefined = first;
  try {
    await untilSettled(async () => {
      const published: Published = known ?? (await again());
      known = undefined;
      const change = isFiltering(rule)
        ? await prepareFiltered(run, content, leases)
        : await prepareVerbatim(run, content, published, leases);
      const settled = await settledCopies(catalog, rule.repository, content.waiting);
      await catalog.transaction(async (tx) => {
        const revision = await change(tx);
        for (const path of settled) await tx.dropPulled(path);
        await writeState(tx, rule.repository, stateOf(run, content.front, revision));
        await endLeases(tx, leases);
      });
    });
  } catch (error) {
    await abandon(site.ingest, leases);
    throw error;
  }
}

function stateOf({ site, rule }: Run, { digest, newest, verification }: Front, revision: number): MirrorState {
  return {
    site: site.name,
    path: rule.path,
    rule: ruleId(rule),
    keys: keysId(site.ingest.keys),
    repomd: digest,
    newest,
    isSigned: verification.status === 'signature',
    revision,
  };
}

/** What a vendor's metadata says of files that it names. */
const NAMED: Verification = {
  status: 'checksum',
  checks: [{ check: 'checksum', result: 'passed', file: 'repomd.xml' }],
};

/** The vendor's metadata as it is, and beside it the keys that clients need. */
async function prepareVerbatim(run: Run, content: Content, published: Published, leases: Leases): Promise<Publish> {
  const { rule, site } = run;
  const files = new VerbatimFiles(run, leases);
  for (const { place, stat } of content.files) files.add(place.path, stat, vouchedFor(content.front));
  await addFront(run, files, content, published);
  const puts = new Map(files.puts.map((put) => [put.path, put]));
  for (const { listed, artifact } of content.packages)
    puts.set(listed.place.path, { path: listed.place.path, artifact, replace: true });
  const put = [...puts.values()].filter(({ path, artifact }) => published.entries.get(path)?.artifact !== artifact);
  const remove = [...published.entries.keys()].filter((path) => !puts.has(path));
  return async (tx) => {
    await tx.ensureRepository(rule.repository, 'rpm');
    for (const stat of files.stored) await tx.recordBlob(stat);
    return await tx.publish(rule.repository, { reason: reasonOf(site.name), base: published.base, put, remove });
  };
}

/** Metadata of our own for the packages that were chosen, with the vendor's groups, update notices and modules. */
async function prepareFiltered(run: Run, content: Content, leases: Leases): Promise<Publish> {
  const { site, rule } = run;
  const source = sourceOf(site.name);
  const carried = content.files.filter(({ record }) => CARRIED_KINDS.includes(record.type));
  const add = [
    ...content.packages.map(({ ownPath, artifact }) => ({ path: ownPath, artifact })),
    ...carried.map((file) => carriedEntry(file, source, vouchedFor(content.front))),
  ];
  const wanted = new Set(add.map(({ path }) => path));
  const isOurs = ({ artifact }: Entry) => artifact.source === source;
  const change = await prepareChange(
    site.ingest,
    {
      repository: rule.repository,
      reason: reasonOf(site.name),
      add,
      keep: (entry) => (isOurs(entry) && !wanted.has(entry.path) ? 'gone' : entry.artifact),
      mayReplace: isOurs,
      endsVerbatim: true,
    },
    leases,
  );
  return change.publish;
}

function reasonOf(site: string): string {
  return `sync ${site}`;
}

function vouchedFor({ verification }: Front): Verification {
  return verification.status === 'signature'
    ? { ...verification, checks: [...NAMED.checks, ...verification.checks] }
    : NAMED;
}

/** What stands beside the packages in a verbatim repository. */
class VerbatimFiles {
  readonly puts: Put[] = [];
  readonly stored: BlobStat[] = [];
  readonly #run: Run;
  readonly #leases: Leases;

  constructor(run: Run, leases: Leases) {
    this.#run = run;
    this.#leases = leases;
  }

  add(path: string, stat: BlobStat, verification: Verification, facts: Record<string, Json> = {}): void {
    this.stored.push(stat);
    const source = sourceOf(this.#run.site.name);
    const artifact = metadataArtifact(path, stat, { source, facts: { verbatim: true, ...facts }, verification });
    this.puts.push({ path, artifact, replace: true });
  }

  async store(
    path: string,
    bytes: Uint8Array,
    verification: Verification,
    facts?: Record<string, Json>,
  ): Promise<void> {
    this.add(path, await storeBytes(this.#run.site.ingest, bytes, this.#leases), verification, facts);
  }
}

const MADE_HERE: Verification = {
  status: 'signature',
  checks: [{ check: 'signature', result: 'passed', note: 'made here' }],
};

/** Where the vendor has not signed, we do: routers ask for a signature, and it says that this is what was mirrored here. */
async function addFront(
  { site }: Run,
  files: VerbatimFiles,
  { front, waiting }: Content,
  published: Published,
): Promise<void> {
  const { ingest } = site;
  const facts: RepomdFacts = { files: [], verbatim: true, ...(waiting.length === 0 ? {} : { lacks: waiting.length }) };
  await files.store(REPOMD, front.bytes, front.verification, { ...facts });
  const key = await ingest.repositoryKey();
  await files.store(REPOSITORY_KEY_PATH, Buffer.from(key.publicKey), MADE_HERE);
  for (const each of ingest.keys) {
    await files.store(`${VENDOR_KEY_PREFIX}${each.fingerprint}`, await armoredKey(each), MADE_HERE);
  }
  if (front.signature !== undefined) {
    await files.store(REPOMD_SIGNATURE, front.signature, front.verification);
    return;
  }
  const before = published.entries.get(REPOMD_SIGNATURE)?.artifact;
  const signed = { signed: front.digest, key: key.fingerprint };
  // There is a date in a signature: one that still holds stays.
  if (before?.facts.signed === signed.signed && before.facts.key === signed.key)
    files.puts.push({ path: REPOMD_SIGNATURE, artifact: before });
  else await files.store(REPOMD_SIGNATURE, Buffer.from(await key.signDetached(front.bytes)), MADE_HERE, signed);
}

function carriedEntry({ record, stat }: MetadataFile, source: string, verification: Verification) {
  const facts = carriedFacts(record);
  const path = carriedPath(facts, stat.digest, stat.size);
  const artifact = metadataArtifact(path, stat, { source, facts: { ...facts }, verification });
  return { path, artifact: { ...artifact, origins: [{ within: null, release: null }] } };
}

function metadataArtifact(
  path: string,
  { digest, size }: BlobStat,
  from: Pick<Artifact, 'source' | 'facts' | 'verification'>,
): Artifact {
  const name = path.slice(path.lastIndexOf('/') + 1);
  return { digest, size, kind: 'file', name, release: null, channel: 'metadata', ...from };
}
