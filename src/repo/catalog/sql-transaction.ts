/**
 * A change of the catalog: publishing, and what goes with it. All or nothing.
 */
import { createHash, randomBytes } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import type { Kysely, Transaction } from 'kysely';
import { AirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import type { BlobStat, Digest } from '../blobs/blob-store.ts';
import type { Artifact, Place, RepositoryKind } from './artifact.ts';
import type { BlobRecord, CatalogTransaction, Entry, Repository, RevisionChange } from './catalog.ts';
import { repositoryName, repositoryPath, splitPath } from './names.ts';
import { dropPulled, keepPulled, type Pulled, pulledAt } from './pulled.ts';
import { forgetRemembered, type RememberedFile, remember } from './remembered.ts';
import {
  type HeldContent,
  type RevisionFile,
  type RevisionHeader,
  type RevisionLine,
  type RevisionLog,
  WITHOUT,
} from './revision-log.ts';
import {
  afterPath,
  blobRecord,
  entryQuery,
  FIRST_PATH,
  inRevision,
  nextPath,
  type PathKey,
  publishedEntry,
  repositoryRow,
  toEntry,
  toRepository,
} from './rows.ts';
import type { Database } from './schema.ts';
import { recordSync, type SyncRecord } from './syncs.ts';

/** For what is being read from the log itself. */
export const NO_LOG: Pick<RevisionLog, 'begin'> = {
  begin: () => ({ add() {}, close() {}, keep() {}, cancel() {} }),
};

export interface TransactionParts {
  readonly log: Pick<RevisionLog, 'begin'>;
  /** Milliseconds since the epoch. */
  readonly now: number;
  /** Whose leases `release` ends. */
  readonly holder: string;
}

/** @param catalog a UUID, of the leases that are no job's */
export function holderOf(catalog: string, job: string | undefined): string {
  return job === undefined ? catalog : `${catalog}/${job}`;
}

export class SqlTransaction implements CatalogTransaction {
  readonly #db: Transaction<Database>;
  readonly #log: Pick<RevisionLog, 'begin'>;
  readonly #now: number;
  readonly #holder: string;
  #half: { readonly error: unknown } | undefined;

  constructor(db: Transaction<Database>, { log, now, holder }: TransactionParts) {
    this.#db = db;
    this.#log = log;
    this.#now = now;
    this.#holder = holder;
  }

  /** @throws what a publish failed with, though its caller let that pass: half a revision must never be committed */
  assertWhole(): void {
    if (this.#half !== undefined) throw this.#half.error;
  }

  async ensureRepository(name: string, kind: RepositoryKind): Promise<Repository> {
    await this.#db
      .insertInto('repositories')
      .values({ name: repositoryName(name), kind, published: 0, created_at: this.#now })
      .onConflict((oc) => oc.column('name').doNothing())
      .execute();
    const repository = toRepository(await repositoryRow(this.#db, name));
    if (repository.kind === kind) return repository;
    throw new AirlockError(
      'repository.kind',
      `The repository ${name} is of kind ${repository.kind}, not ${kind}. Choose another repository.`,
    );
  }

  async recordBlob(stat: BlobStat, within?: Place | null): Promise<void> {
    const place = within === undefined ? {} : { container: within?.container ?? null, start: within?.start ?? null };
    const proven = { size: stat.size, stamp: stat.stamp, verified_at: this.#now, ...place };
    await this.#db
      .insertInto('blobs')
      .values({ digest: stat.digest, added_at: this.#now, ...proven })
      .onConflict((oc) => oc.column('digest').doUpdateSet(proven))
      .execute();
    await this.#db.deleteFrom('doomed').where('digest', '=', stat.digest).execute();
  }

  async confirmBlob({ digest, size, stamp }: BlobStat): Promise<boolean> {
    const { numUpdatedRows } = await this.#db
      .updateTable('blobs')
      .set({ size, stamp, verified_at: this.#now })
      .where('digest', '=', digest)
      .executeTakeFirst();
    return numUpdatedRows > 0n;
  }

  blob(digest: Digest): Promise<BlobRecord | undefined> {
    return blobRecord(this.#db, digest);
  }

  lookup(repository: string, path: string): Promise<Entry | undefined> {
    return publishedEntry(this.#db, repository, path);
  }

  async recordSlice(stat: BlobStat, within: Place): Promise<void> {
    const proven = { size: stat.size, stamp: stat.stamp, verified_at: this.#now, ...within };
    await this.#db
      .insertInto('blobs')
      .values({ digest: stat.digest, added_at: this.#now, ...proven })
      .onConflict((oc) => oc.column('digest').doUpdateSet(proven).where('blobs.stamp', 'is', null))
      .execute();
    await this.#db.deleteFrom('doomed').where('digest', '=', stat.digest).execute();
  }

  async forgetBlob(digest: Digest): Promise<void> {
    await this.#db
      .updateTable('blobs')
      .set({ stamp: null })
      .where('digest', '=', ({ selectFrom }) => selectFrom('blobs').select('container').where('digest', '=', digest))
      .execute();
    await this.#db.deleteFrom('blobs').where('digest', '=', digest).execute();
  }

  keepPulled(pulled: Pulled): Promise<void> {
    return keepPulled(this.#db, pulled);
  }

  dropPulled(path: string): Promise<boolean> {
    return dropPulled(this.#db, path);
  }

  remember(file: RememberedFile): Promise<void> {
    return remember(this.#db, file);
  }

  forgetRemembered(site: string, prefix: string): Promise<void> {
    return forgetRemembered(this.#db, site, prefix);
  }

  recordSync(sync: SyncRecord): Promise<void> {
    return recordSync(this.#db, sync);
  }

  async release(digest: Digest, job?: string): Promise<void> {
    const leases = this.#db.deleteFrom('leases').where('digest', '=', digest);
    const ours =
      job === undefined
        ? leases.where('holder', 'like', `${this.#holder}%`)
        : leases.where('holder', 'in', [this.#holder, holderOf(this.#holder, job)]);
    await ours.execute();
  }

  setMeta(key: string, value: string | undefined): Promise<void> {
    return setMeta(this.#db, key, value);
  }

  async publish(name: string, change: RevisionChange): Promise<number> {
    return await this.#revise(name, { id: newId(), reason: change.reason }, async (revision) => {
      const conflicts: string[] = [];
      if (change.base !== undefined && change.base !== revision.number - 1) throw moved(name, change.base);
      for (const path of change.remove ?? []) await this.#remove(revision, path);
      for (const path of change.withdraw ?? []) {
        const digest = await this.#remove(revision, path);
        if (digest !== undefined) await this.#withdraw(revision, digest);
      }
      for (const { path, artifact, replace = false } of change.put ?? []) {
        if (!(await this.#put(revision, path, artifact, replace))) conflicts.push(path);
      }
      for (const held of change.hold ?? []) await this.#hold(revision, held);
      for (const path of change.unhold ?? []) await this.#unhold(revision, path);
      if (conflicts.length > 0) throw pathConflict(name, conflicts);
    });
  }

  async publishAgain(name: string, number: number): Promise<number> {
    await this.#requireComplete(name, number);
    return await this.#revise(name, { id: newId(), reason: `publish ${number}` }, async (revision) => {
      for await (const path of this.#pathsMissingIn(name, number)) await this.#remove(revision, path);
      for await (const { path, artifact } of this.#entriesNotLive(name, number)) {
        await this.#put(revision, path, artifact, true);
      }
    });
  }

  async withdrawFormer(digests: Iterable<Digest>, reason: string): Promise<void> {
    const found = new Map<string, Digest[]>();
    for (const digest of digests) {
      const rows = await this.#db
        .selectFrom('entries')
        .innerJoin('artifacts', 'artifacts.id', 'entries.artifact')
        .select('entries.repository')
        .distinct()
        .where('artifacts.digest', '=', digest)
        .where('entries.until_revision', 'is not', null)
        .where('entries.withdrawn_at', 'is', null)
        .execute();
      for (const { repository } of rows) {
        const own = found.get(repository);
        if (own === undefined) found.set(repository, [digest]);
        else own.push(digest);
      }
    }
    for (const [name, own] of found) {
      await this.#revise(name, { id: newId(), reason }, async (revision) => {
        for (const digest of own) await this.#withdraw(revision, digest);
        revision.mayBeEmpty = true; // of paths
      });
    }
  }

  async restore(header: RevisionHeader, lines: AsyncIterable<RevisionLine>): Promise<void> {
    const { published } = await this.ensureRepository(header.repository, header.kind);
    if (header.revision !== published + 1) {
      throw new AirlockError(
        'revision.damaged',
        `Revision ${header.revision} of ${header.repository} does not follow on ${published}. Restore the missing file from a backup of the data directory, or go on without it: ${WITHOUT}`,
      );
    }
    await this.#revise(header.repository, header, async (revision) => {
      for await (const line of lines) {
        if ('put' in line) {
          await this.#restoreSlice(line.artifact);
          await this.#replaceEntry(revision, line.put, line.artifact);
        } else if ('remove' in line) await this.#remove(revision, line.remove);
        else if ('withdraw' in line) await this.#withdraw(revision, line.withdraw);
        else if ('hold' in line) await this.#restoreHeld(revision, line.hold, line.content);
        else await this.#unhold(revision, line.unhold);
      }
      revision.mayBeEmpty = true; // the log has it
    });
  }

  /** What is held already as it is told is left alone. */
  async #hold(revision: OpenRevision, { path, digest, size, usedAt, facts }: Pulled): Promise<void> {
    const known = await pulledAt(this.#db, path);
    if (known?.digest === digest && isDeepStrictEqual(known.facts, facts)) return;
    if ((await blobRecord(this.#db, digest)) === undefined) throw notStored(path, digest);
    await keepPulled(this.#db, { path, digest, size, usedAt, facts });
    revision.file.add({ hold: path, content: { digest, size, usedAt: usedAt.getTime(), facts } });
    revision.mayBeEmpty = true; // of paths
  }

  async #unhold(revision: OpenRevision, path: string): Promise<void> {
    if (!(await dropPulled(this.#db, path))) return;
    revision.file.add({ unhold: path });
    revision.mayBeEmpty = true;
  }

  /** Bytes that are gone were let go of later. */
  async #restoreHeld(revision: OpenRevision, path: string, { usedAt, ...content }: HeldContent): Promise<void> {
    if ((await blobRecord(this.#db, content.digest)) === undefined) return;
    await this.#hold(revision, { path, usedAt: new Date(usedAt), ...content });
  }

  /** A package inside an image that is here is here too, unproven. */
  async #restoreSlice({ digest, size, origins = [] }: Artifact): Promise<void> {
    for (const { within } of origins) {
      if (within === null || (await blobRecord(this.#db, within.container)) === undefined) continue;
      await this.#db
        .insertInto('blobs')
        .values({ digest, size, stamp: null, added_at: this.#now, verified_at: null, ...within })
        .onConflict((oc) => oc.column('digest').doNothing())
        .execute();
    }
  }

  /** @returns the number of the published revision */
  async #revise(
    name: string,
    facts: Pick<RevisionHeader, 'id' | 'reason'>,
    work: (revision: OpenRevision) => Promise<void>,
  ): Promise<number> {
    const revision = await this.#begin(name, facts);
    try {
      await work(revision);
      return await this.#end(revision);
    } catch (error) {
      this.#half ??= { error };
      throw error;
    }
  }

  async #begin(name: string, { id, reason }: Pick<RevisionHeader, 'id' | 'reason'>): Promise<OpenRevision> {
    const row = await repositoryRow(this.#db, name);
    const number = Number(row.published) + 1;
    const file = this.#log.begin({
      format: 1,
      id,
      repository: name,
      kind: row.kind as RepositoryKind,
      revision: number,
      createdAt: this.#now,
      reason,
    });
    return { repository: name, number, id, reason, file, put: 0, removed: 0, mayBeEmpty: number === 1 };
  }

  async #end(revision: OpenRevision): Promise<number> {
    const { repository, number, id, reason, file, put, removed, mayBeEmpty } = revision;
    if (put === 0 && removed === 0 && !mayBeEmpty) {
      file.cancel();
      return number - 1;
    }
    file.close();
    await this.#db
      .insertInto('revisions')
      .values({ repository, number, id, reason, put, removed, created_at: this.#now })
      .execute();
    await this.#db.updateTable('repositories').set({ published: number }).where('name', '=', repository).execute();
    return number;
  }

  /** @returns false if the path holds other bytes and these may not be replaced */
  async #put(revision: OpenRevision, path: string, artifact: Artifact, replace: boolean): Promise<boolean> {
    const live = await this.#live(revision.repository, repositoryPath(path));
    if (live?.artifact === artifactId(artifact)) return true;
    if (live !== undefined && live.digest !== artifact.digest && !replace) return false;
    await this.#requireBlob(artifact);
    await this.#replaceEntry(revision, path, artifact, live);
    return true;
  }

  async #replaceEntry(revision: OpenRevision, path: string, artifact: Artifact, known?: LiveEntry): Promise<void> {
    const id = artifactId(artifact);
    await this.#insertArtifact(id, artifact);
    const live = known ?? (await this.#live(revision.repository, path));
    if (live !== undefined) await this.#endEntry(revision, path, live);
    await this.#db
      .insertInto('entries')
      .values({
        repository: revision.repository,
        ...splitPath(path),
        from_revision: revision.number,
        until_revision: null,
        artifact: id,
        // Facts may change while the bytes do not: a client's copy stays good.
        modified_at: live?.digest === artifact.digest ? live.modified_at : this.#now,
        withdrawn_at: null,
      })
      .execute();
    revision.file.add({ put: path, artifact });
    if (!isOf(revision, live)) revision.put += 1;
  }

  /** @returns the digest that was there */
  async #remove(revision: OpenRevision, path: string): Promise<Digest | undefined> {
    const live = await this.#live(revision.repository, path);
    if (live === undefined) return undefined;
    await this.#endEntry(revision, path, live);
    revision.file.add({ remove: path });
    revision.removed += 1;
    return live.digest as Digest;
  }

  /** By digest, not by artifact: facts of the same bytes may have changed from one revision to the next. */
  async #withdraw(revision: OpenRevision, digest: Digest): Promise<void> {
    await this.#db
      .updateTable('entries')
      .set({ withdrawn_at: this.#now })
      .where('artifact', 'in', ({ selectFrom }) => selectFrom('artifacts').select('id').where('digest', '=', digest))
      .where('repository', '=', revision.repository)
      .where('until_revision', 'is not', null)
      .where('withdrawn_at', 'is', null)
      .execute();
    revision.file.add({ withdraw: digest });
  }

  async #live(repository: string, path: string): Promise<LiveEntry | undefined> {
    const { folder, name } = splitPath(path);
    return await this.#db
      .selectFrom('entries')
      .innerJoin('artifacts', 'artifacts.id', 'entries.artifact')
      .select(['entries.artifact', 'entries.from_revision', 'entries.modified_at', 'artifacts.digest'])
      .where('entries.repository', '=', repository)
      .where('entries.folder', '=', folder)
      .where('entries.name', '=', name)
      .where('entries.until_revision', 'is', null)
      .executeTakeFirst();
  }

  async #endEntry(revision: OpenRevision, path: string, live: LiveEntry): Promise<void> {
    const { folder, name } = splitPath(path);
    if (isOf(revision, live)) {
      await this.#db
        .deleteFrom('entries')
        .where('repository', '=', revision.repository)
        .where('folder', '=', folder)
        .where('name', '=', name)
        .where('from_revision', '=', revision.number)
        .execute();
      return;
    }
    await this.#db
      .updateTable('entries')
      .set({ until_revision: revision.number })
      .where('repository', '=', revision.repository)
      .where('folder', '=', folder)
      .where('name', '=', name)
      .where('until_revision', 'is', null)
      .execute();
  }

  async #insertArtifact(id: string, artifact: Artifact): Promise<void> {
    await this.#db
      .insertInto('artifacts')
      .values({
        id,
        digest: artifact.digest,
        size: artifact.size,
        kind: artifact.kind,
        name: artifact.name,
        vendor: artifact.release?.vendor ?? null,
        release: artifact.release?.release ?? null,
        version: artifact.release?.version ?? null,
        order_key: artifact.release?.kind == null ? null : artifact.release.orderKey,
        document: JSON.stringify(artifact),
      })
      .onConflict((oc) => oc.column('id').doNothing())
      .execute();
  }

  async #requireBlob(artifact: Artifact): Promise<void> {
    if ((await blobRecord(this.#db, artifact.digest)) === undefined) throw notStored(artifact.name, artifact.digest);
  }

  async #requireComplete(repository: string, number: number): Promise<void> {
    await repositoryRow(this.#db, repository);
    if (!(await this.#isRevision(repository, number))) {
      throw new AirlockError(
        'revision.not-found',
        `The repository ${repository} has no revision ${number}. "airlock repo revisions ${repository}" lists them.`,
      );
    }
    const lost = await entryQuery(this.#db)
      .leftJoin('blobs', 'blobs.digest', 'artifacts.digest')
      .where('entries.repository', '=', repository)
      .where(inRevision(number))
      .where('blobs.digest', 'is', null)
      .limit(20)
      .execute();
    if (lost.length === 0) return;
    const paths = lost.map((row) => row.folder + row.name);
    throw new AirlockError(
      'revision.incomplete',
      `Revision ${number} of ${repository} can no longer be published: files of it were deleted since (${paths.slice(0, 3).join(', ')}${paths.length > 3 ? ', …' : ''}). Import them again first, or choose a later revision.`,
      { details: { lost: paths } },
    );
  }

  async #isRevision(repository: string, number: number): Promise<boolean> {
    if (!Number.isSafeInteger(number)) return false;
    const row = await this.#db
      .selectFrom('revisions')
      .select('number')
      .where('repository', '=', repository)
      .where('number', '=', number)
      .executeTakeFirst();
    return row !== undefined;
  }

  /** Published paths that a revision did not have, in pages, while they are being removed. */
  async *#pathsMissingIn(repository: string, number: number): AsyncIterable<string> {
    for (let after: PathKey | undefined = FIRST_PATH; after !== undefined; ) {
      const rows = await this.#db
        .selectFrom('entries')
        .select(['entries.folder', 'entries.name'])
        .where('entries.repository', '=', repository)
        .where(afterPath(after))
        .where('entries.until_revision', 'is', null)
        .where('entries.from_revision', '>', number)
        .where(({ not, exists, selectFrom }) =>
          not(
            exists(
              selectFrom('entries as old')
                .select('old.name')
                .whereRef('old.repository', '=', 'entries.repository')
                .whereRef('old.folder', '=', 'entries.folder')
                .whereRef('old.name', '=', 'entries.name')
                .where(inRevision(number, 'old')),
            ),
          ),
        )
        .orderBy('entries.folder')
        .orderBy('entries.name')
        .limit(limits.catalog.page)
        .execute();
      for (const row of rows) yield row.folder + row.name;
      after = nextPath(after, rows.at(-1));
    }
  }

  /** Entries of a revision that are no longer live, in pages, while they are being put back. */
  async *#entriesNotLive(repository: string, number: number): AsyncIterable<Entry> {
    for (let after: PathKey | undefined = FIRST_PATH; after !== undefined; ) {
      const rows = await entryQuery(this.#db)
        .where('entries.repository', '=', repository)
        .where(afterPath(after))
        .where(inRevision(number))
        .where('entries.until_revision', 'is not', null)
        .where(({ not, exists, selectFrom }) =>
          not(
            exists(
              selectFrom('entries as live')
                .select('live.name')
                .whereRef('live.repository', '=', 'entries.repository')
                .whereRef('live.folder', '=', 'entries.folder')
                .whereRef('live.name', '=', 'entries.name')
                .whereRef('live.artifact', '=', 'entries.artifact')
                .where('live.until_revision', 'is', null),
            ),
          ),
        )
        .orderBy('entries.folder')
        .orderBy('entries.name')
        .limit(limits.catalog.page)
        .execute();
      for (const row of rows) yield toEntry(row);
      after = nextPath(after, rows.at(-1));
    }
  }
}

interface OpenRevision {
  readonly repository: string;
  readonly number: number;
  readonly id: string;
  readonly reason: string;
  readonly file: RevisionFile;
  put: number;
  removed: number;
  mayBeEmpty: boolean;
}

function notStored(name: string, digest: Digest): AirlockError {
  return new AirlockError(
    'blob.missing',
    `The bytes of ${name} (${digest}) are not stored, so it cannot be published. Import it again.`,
  );
}

function moved(repository: string, base: number): AirlockError {
  return new AirlockError(
    'revision.moved',
    `Somebody else published ${repository} while a change of its revision ${base} was being made. Run the command again.`,
  );
}

function newId(): string {
  return randomBytes(16).toString('hex');
}

/** What a path holds while a revision is being made. */
interface LiveEntry {
  readonly artifact: string;
  readonly digest: string;
  readonly from_revision: number;
  readonly modified_at: number;
}

/** True for an entry that this very revision made: one path was put twice. */
function isOf(revision: OpenRevision, live: LiveEntry | undefined): boolean {
  return live !== undefined && Number(live.from_revision) === revision.number;
}

/** The same facts give the same id, whoever writes them: it is the digest of their JSON with sorted keys. */
export function artifactId(artifact: Artifact): string {
  const sorted = JSON.stringify(artifact, (_key, value: unknown) =>
    value !== null && typeof value === 'object' && !Array.isArray(value)
      ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
      : value,
  );
  return createHash('sha256').update(sorted).digest('hex').slice(0, 32);
}

function pathConflict(repository: string, paths: readonly string[]): AirlockError {
  return new AirlockError(
    'path.conflict',
    `${repository}/${paths[0]}${paths.length > 1 ? ` and ${paths.length - 1} more` : ''} already holds other bytes, and one path has one content. Delete what is there first, or use another name.`,
    { details: { repository, paths } },
  );
}

/** Keeps or forgets a small fact. */
export async function setMeta(db: Kysely<Database>, key: string, value: string | undefined): Promise<void> {
  await db.deleteFrom('meta').where('key', '=', key).execute();
  if (value !== undefined) await db.insertInto('meta').values({ key, value }).execute();
}
