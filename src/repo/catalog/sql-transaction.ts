/**
 * A change of the catalog: publishing, and what goes with it. All or nothing.
 */
import { randomBytes } from 'node:crypto';
import type { Kysely, Transaction } from 'kysely';
import { AirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import type { BlobStat, Digest } from '../blobs/blob-store.ts';
import type { Artifact, Place, RepositoryKind } from './artifact.ts';
import type { BlobRecord, CatalogTransaction, Entry, Repository, RevisionChange } from './catalog.ts';
import { entriesNotLive, pathsMissingIn, requireComplete } from './former-revision.ts';
import { repositoryName } from './names.ts';
import { OpenRevision, type RevisionFacts } from './open-revision.ts';
import { dropPulled, keepPulled, type Pulled } from './pulled.ts';
import { forgetRemembered, type RememberedFile, remember } from './remembered.ts';
import { type RevisionHeader, type RevisionLine, type RevisionLog, WITHOUT } from './revision-log.ts';
import { blobRecord, publishedEntry, repositoryRow, toRepository } from './rows.ts';
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

  async recordBlobs(stats: readonly BlobStat[]): Promise<void> {
    const all = [...new Map(stats.map((stat) => [stat.digest, stat])).values()]; // a statement may change a row once only
    const [added_at, verified_at] = [this.#now, this.#now];
    for (let at = 0; at < all.length; at += limits.catalog.page) {
      const page = all.slice(at, at + limits.catalog.page);
      await this.#db
        .insertInto('blobs')
        .values(page.map(({ digest, size, stamp }) => ({ digest, added_at, size, stamp, verified_at })))
        .onConflict((oc) =>
          oc.column('digest').doUpdateSet({
            size: ({ ref }) => ref('excluded.size'),
            stamp: ({ ref }) => ref('excluded.stamp'),
            verified_at,
          }),
        )
        .execute();
      const digests = page.map(({ digest }) => digest);
      await this.#db.deleteFrom('doomed').where('digest', 'in', digests).execute();
    }
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

  async release(digests: Iterable<Digest>, job?: string): Promise<void> {
    const all = [...digests];
    for (let at = 0; at < all.length; at += limits.catalog.page) {
      const leases = this.#db.deleteFrom('leases').where('digest', 'in', all.slice(at, at + limits.catalog.page));
      const ours =
        job === undefined
          ? leases.where('holder', 'like', `${this.#holder}%`)
          : leases.where('holder', 'in', [this.#holder, holderOf(this.#holder, job)]);
      await ours.execute();
    }
  }

  setMeta(key: string, value: string | undefined): Promise<void> {
    return setMeta(this.#db, key, value);
  }

  async publish(name: string, change: RevisionChange): Promise<number> {
    return await this.#revise(name, { id: newId(), reason: change.reason }, async (revision) => {
      const conflicts: string[] = [];
      if (change.base !== undefined && change.base !== revision.number - 1) throw moved(name, change.base);
      for (const path of change.remove ?? []) await revision.remove(path);
      for (const path of change.withdraw ?? []) {
        const digest = await revision.remove(path);
        if (digest !== undefined) await revision.withdraw(digest);
      }
      for (const { path, artifact, replace = false } of change.put ?? []) {
        if (!(await revision.put(path, artifact, replace))) conflicts.push(path);
      }
      for (const held of change.hold ?? []) await revision.hold(held);
      for (const path of change.unhold ?? []) await revision.unhold(path);
      if (conflicts.length > 0) throw pathConflict(name, conflicts);
    });
  }

  async publishAgain(name: string, number: number): Promise<number> {
    await requireComplete(this.#db, name, number);
    return await this.#revise(name, { id: newId(), reason: `publish ${number}` }, async (revision) => {
      for await (const path of pathsMissingIn(this.#db, name, number)) await revision.remove(path);
      for await (const { path, artifact } of entriesNotLive(this.#db, name, number)) {
        await revision.put(path, artifact, true);
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
        for (const digest of own) await revision.withdraw(digest);
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
          await revision.replaceEntry(line.put, line.artifact);
        } else if ('remove' in line) await revision.remove(line.remove);
        else if ('withdraw' in line) await revision.withdraw(line.withdraw);
        else if ('hold' in line) await revision.restoreHeld(line.hold, line.content);
        else await revision.unhold(line.unhold);
      }
      revision.mayBeEmpty = true; // the log has it
    });
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
  async #revise(name: string, facts: RevisionFacts, work: (revision: OpenRevision) => Promise<void>): Promise<number> {
    const parts = { db: this.#db, log: this.#log, now: this.#now };
    const revision = await OpenRevision.begin(parts, name, facts);
    try {
      await work(revision);
      return await revision.end();
    } catch (error) {
      this.#half ??= { error };
      throw error;
    }
  }
}

function newId(): string {
  return randomBytes(16).toString('hex');
}

function moved(repository: string, base: number): AirlockError {
  return new AirlockError(
    'revision.moved',
    `Somebody else published ${repository} while a change of its revision ${base} was being made. Run the command again.`,
  );
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
