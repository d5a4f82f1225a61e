/**
 * A revision that is being made: what each change does to the entries, and what the revision's file tells of it.
 */
import { createHash } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import type { Kysely } from 'kysely';
import { AirlockError } from '../../errors.ts';
import type { Digest } from '../blobs/blob-store.ts';
import type { Artifact, RepositoryKind } from './artifact.ts';
import { listKey } from './list-key.ts';
import { repositoryPath, splitPath } from './names.ts';
import { dropPulled, keepPulled, type Pulled, pulledAt } from './pulled.ts';
import type { HeldContent, RevisionFile, RevisionHeader, RevisionLog } from './revision-log.ts';
import { blobRecord, repositoryRow } from './rows.ts';
import type { Database } from './schema.ts';

export type RevisionFacts = Pick<RevisionHeader, 'id' | 'reason'>;

export interface RevisionParts {
  /** In a transaction. */
  readonly db: Kysely<Database>;
  readonly log: Pick<RevisionLog, 'begin'>;
  /** Milliseconds since the epoch. */
  readonly now: number;
}

interface Begun {
  readonly repository: string;
  readonly number: number;
  readonly facts: RevisionFacts;
  readonly file: RevisionFile;
}

/** Whoever begins one ends it, or rolls its transaction back. */
export class OpenRevision {
  readonly number: number;
  /** Is a revision also where no path changed. */
  mayBeEmpty: boolean;
  readonly #db: Kysely<Database>;
  readonly #now: number;
  readonly #repository: string;
  readonly #facts: RevisionFacts;
  readonly #file: RevisionFile;
  #putCount = 0;
  #removedCount = 0;

  private constructor({ db, now }: RevisionParts, { repository, number, facts, file }: Begun) {
    this.#db = db;
    this.#now = now;
    this.#repository = repository;
    this.number = number;
    this.#facts = facts;
    this.#file = file;
    this.mayBeEmpty = number === 1;
  }

  /** @throws repository.not-found */
  static async begin(parts: RevisionParts, repository: string, facts: RevisionFacts): Promise<OpenRevision> {
    const row = await repositoryRow(parts.db, repository);
    const number = Number(row.published) + 1;
    const file = parts.log.begin({
      format: 1,
      id: facts.id,
      repository,
      kind: row.kind as RepositoryKind,
      revision: number,
      createdAt: parts.now,
      reason: facts.reason,
    });
    return new OpenRevision(parts, { repository, number, facts, file });
  }

  /** @returns the number of the revision that is published then: the one before, where nothing changed */
  async end(): Promise<number> {
    const [put, removed] = [this.#putCount, this.#removedCount];
    if (put === 0 && removed === 0 && !this.mayBeEmpty) {
      this.#file.cancel();
      return this.number - 1;
    }
    this.#file.close();
    const { id, reason } = this.#facts;
    const [repository, number] = [this.#repository, this.number];
    await this.#db
      .insertInto('revisions')
      .values({ repository, number, id, reason, put, removed, created_at: this.#now })
      .execute();
    await this.#db.updateTable('repositories').set({ published: number }).where('name', '=', repository).execute();
    return number;
  }

  /** What is held already as it is told is left alone. */
  async hold({ path, digest, size, usedAt, facts }: Pulled): Promise<void> {
    const known = await pulledAt(this.#db, path);
    if (known?.digest === digest && isDeepStrictEqual(known.facts, facts)) return;
    if ((await blobRecord(this.#db, digest)) === undefined) throw notStored(path, digest);
    await keepPulled(this.#db, { path, digest, size, usedAt, facts });
    this.#file.add({ hold: path, content: { digest, size, usedAt: usedAt.getTime(), facts } });
    this.mayBeEmpty = true; // of paths
  }

  async unhold(path: string): Promise<void> {
    if (!(await dropPulled(this.#db, path))) return;
    this.#file.add({ unhold: path });
    this.mayBeEmpty = true;
  }

  /** Bytes that are gone were let go of later. */
  async restoreHeld(path: string, { usedAt, ...content }: HeldContent): Promise<void> {
    if ((await blobRecord(this.#db, content.digest)) === undefined) return;
    await this.hold({ path, usedAt: new Date(usedAt), ...content });
  }

  /** @returns false if the path holds other bytes and these may not be replaced */
  async put(path: string, artifact: Artifact, replace: boolean): Promise<boolean> {
    const live = await this.#live(repositoryPath(path));
    if (live?.artifact === artifactId(artifact)) return true;
    if (live !== undefined && live.digest !== artifact.digest && !replace) return false;
    await this.#requireBlob(artifact);
    await this.#put(path, artifact, live);
    return true;
  }

  async replaceEntry(path: string, artifact: Artifact): Promise<void> {
    await this.#put(path, artifact, await this.#live(path));
  }

  async #put(path: string, artifact: Artifact, live: LiveEntry | undefined): Promise<void> {
    const id = artifactId(artifact);
    await this.#insertArtifact(id, artifact);
    if (live !== undefined) await this.#endEntry(path, live);
    await this.#db
      .insertInto('entries')
      .values({
        repository: this.#repository,
        ...splitPath(path),
        from_revision: this.number,
        until_revision: null,
        artifact: id,
        // Facts may change while the bytes do not: a client's copy stays good.
        modified_at: live?.digest === artifact.digest ? live.modified_at : this.#now,
        withdrawn_at: null,
        list_key: listKey(artifact),
      })
      .execute();
    this.#file.add({ put: path, artifact });
    if (!this.#isOwn(live)) this.#putCount += 1;
  }

  /** @returns the digest that was there */
  async remove(path: string): Promise<Digest | undefined> {
    const live = await this.#live(path);
    if (live === undefined) return undefined;
    await this.#endEntry(path, live);
    this.#file.add({ remove: path });
    this.#removedCount += 1;
    return live.digest as Digest;
  }

  /** By digest, not by artifact: facts of the same bytes may have changed from one revision to the next. */
  async withdraw(digest: Digest): Promise<void> {
    await this.#db
      .updateTable('entries')
      .set({ withdrawn_at: this.#now })
      .where('artifact', 'in', ({ selectFrom }) => selectFrom('artifacts').select('id').where('digest', '=', digest))
      .where('repository', '=', this.#repository)
      .where('until_revision', 'is not', null)
      .where('withdrawn_at', 'is', null)
      .execute();
    this.#file.add({ withdraw: digest });
  }

  async #live(path: string): Promise<LiveEntry | undefined> {
    const { folder, name } = splitPath(path);
    return await this.#db
      .selectFrom('entries')
      .innerJoin('artifacts', 'artifacts.id', 'entries.artifact')
      .select(['entries.artifact', 'entries.from_revision', 'entries.modified_at', 'artifacts.digest'])
      .where('entries.repository', '=', this.#repository)
      .where('entries.folder', '=', folder)
      .where('entries.name', '=', name)
      .where('entries.until_revision', 'is', null)
      .executeTakeFirst();
  }

  async #endEntry(path: string, live: LiveEntry): Promise<void> {
    const { folder, name } = splitPath(path);
    if (this.#isOwn(live)) {
      await this.#db
        .deleteFrom('entries')
        .where('repository', '=', this.#repository)
        .where('folder', '=', folder)
        .where('name', '=', name)
        .where('from_revision', '=', this.number)
        .execute();
      return;
    }
    await this.#db
      .updateTable('entries')
      .set({ until_revision: this.number })
      .where('repository', '=', this.#repository)
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

  /** True for an entry that this very revision made: one path was put twice. */
  #isOwn(live: LiveEntry | undefined): boolean {
    return live !== undefined && Number(live.from_revision) === this.number;
  }
}

/** What a path holds while a revision is being made. */
interface LiveEntry {
  readonly artifact: string;
  readonly digest: string;
  readonly from_revision: number;
  readonly modified_at: number;
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

function notStored(name: string, digest: Digest): AirlockError {
  return new AirlockError(
    'blob.missing',
    `The bytes of ${name} (${digest}) are not stored, so it cannot be published. Import it again.`,
  );
}
