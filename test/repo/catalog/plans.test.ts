/**
 * Every query that a request waits for reads an index, however much there is: seen in the plans of the very statements
 * that the catalog sends, over a catalog in bulk (20,000 artifacts, or a million with AIRLOCK_DEEP=1) that nobody
 * has run ANALYZE on.
 */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { PGlite } from '@electric-sql/pglite';
import { type CompiledQuery, Kysely, PGliteDialect } from 'kysely';
import type { Artifact } from '../../../src/repo/catalog/artifact.ts';
import { listKey } from '../../../src/repo/catalog/list-key.ts';
import { migrate } from '../../../src/repo/catalog/migrate.ts';
import { connectSqlite } from '../../../src/repo/catalog/node-sqlite.ts';
import { artifactId } from '../../../src/repo/catalog/open-revision.ts';
import { DiskRevisionLog } from '../../../src/repo/catalog/revision-log.ts';
import { type Database, postgresText, sqliteText } from '../../../src/repo/catalog/schema.ts';
import { SqlCatalog } from '../../../src/repo/catalog/sql-catalog.ts';
import { collected } from '../../conformance/catalog/under-test.ts';
import { testArtifact, testDigest, testRelease } from '../../support/artifacts.ts';
import { closePglites, returnPglite, takePglite } from '../../support/pglite-catalog.ts';

const COUNT = process.env.AIRLOCK_DEEP === '1' ? 1_000_000 : 20_000;
/** Every so many artifacts is an image with a release; the others are RPMs without one. */
const IMAGES = 500;

interface Bulk {
  readonly db: Kysely<Database>;
  readonly catalog: SqlCatalog;
  /** Statements since it was last emptied. */
  readonly sent: CompiledQuery[];
}

function bulkOn(db: Kysely<Database>, sent: CompiledQuery[], dir: string): Bulk {
  const catalog = new SqlCatalog({
    read: db,
    write: db,
    log: new DiskRevisionLog(path.join(dir, 'revisions')),
    now: Date.now,
    version: () => 0,
    check: () => [],
    close: () => Promise.resolve(),
  });
  return { db, catalog, sent };
}

function nth(n: number): { folder: string; name: string; artifact: Artifact } {
  if (n % IMAGES === 0) {
    const release = testRelease(n, { release: `6.${n % 7}`, version: `6.${n % 7}.${n}` });
    return {
      folder: `${release.release}/`,
      name: `SSR-${n}.iso`,
      artifact: testArtifact(n, { kind: 'image', name: `SSR-${n}.iso`, release }),
    };
  }
  const name = `package-${n}.rpm`;
  return { folder: `Packages/${(n % 997).toString(36)}/`, name, artifact: testArtifact(n, { kind: 'rpm', name }) };
}

/** Rows as `publish` makes them: most are published, some belong to older revisions only. */
async function fill(db: Kysely<Database>, count: number): Promise<void> {
  const size = 1000;
  await db.insertInto('repositories').values({ name: 'a', kind: 'rpm', published: 2, created_at: 0 }).execute();
  for (const number of [1, 2]) {
    await db
      .insertInto('revisions')
      .values({ repository: 'a', number, id: String(number), created_at: 0, reason: 'bulk', put: 0, removed: 0 })
      .execute();
  }
  for (let first = 0; first < count; first += size) {
    const rows = Array.from({ length: Math.min(size, count - first) }, (_, i) => ({ ...nth(first + i), n: first + i }));
    await db.transaction().execute(async (tx) => {
      await tx
        .insertInto('artifacts')
        .values(
          rows.map(({ artifact }) => ({
            id: artifactId(artifact),
            digest: artifact.digest,
            size: artifact.size,
            kind: artifact.kind,
            name: artifact.name,
            vendor: artifact.release?.vendor ?? null,
            release: artifact.release?.release ?? null,
            version: artifact.release?.version ?? null,
            order_key: artifact.release?.orderKey ?? null,
            document: JSON.stringify(artifact),
          })),
        )
        .execute();
      await tx
        .insertInto('entries')
        .values(
          rows.map(({ folder, name, artifact, n }) => ({
            repository: 'a',
            folder,
            name,
            from_revision: 1,
            until_revision: n % 50 === 1 ? 2 : null,
            artifact: artifactId(artifact),
            modified_at: 0,
            withdrawn_at: null,
            list_key: listKey(artifact),
          })),
        )
        .execute();
      await tx
        .insertInto('blobs')
        .values(
          rows.map(({ artifact }) => ({
            digest: artifact.digest,
            size: artifact.size,
            stamp: 's',
            added_at: 0,
            verified_at: 0,
          })),
        )
        .execute();
    });
  }
}

/** What requests and imports do, each with what its statements may do besides searching an index. */
const uses: Record<string, { run: (catalog: SqlCatalog) => Promise<unknown>; maySort?: boolean }> = {
  'looking up a path': { run: (catalog) => catalog.lookup('a', `Packages/${(2).toString(36)}/package-2.rpm`) },
  'listing the top folder': { run: (catalog) => catalog.folder('a', '', { limit: 100 }) },
  'listing a folder of folders': { run: (catalog) => catalog.folder('a', 'Packages/', { limit: 100 }) },
  'listing a folder of files': { run: (catalog) => catalog.folder('a', 'Packages/2/', { limit: 100 }) },
  'listing on': {
    run: async (catalog) => {
      const [item] = await catalog.folder('a', 'Packages/', { limit: 1 });
      assert.ok(item !== undefined);
      return await catalog.folder('a', 'Packages/', { after: item, limit: 100 });
    },
  },
  'the newest of a release': { run: (catalog) => catalog.newestRelease('juniper', '6.3') },
  'the newest of a release that is not there': { run: (catalog) => catalog.newestRelease('juniper', '9.9') },
  // Sorted are the few of one version, of one digest, of equally new releases.
  'entries of a version': { run: (catalog) => catalog.entriesOfVersion('juniper', '6.3.3500'), maySort: true },
  'entries of a digest': { run: (catalog) => catalog.entriesOf(testDigest(2)), maySort: true },
  'all releases': { run: (catalog) => catalog.releases(), maySort: true },
  'releases of a vendor': { run: (catalog) => catalog.releases({ vendor: 'juniper' }), maySort: true },
  'releases of a vendor and a number': {
    run: (catalog) => catalog.releases({ vendor: 'juniper', release: '6.3' }),
    maySort: true,
  },
  'a blob': { run: (catalog) => catalog.blob(testDigest(2)) },
  'blobs in pages': { run: (catalog) => catalog.blobs({ after: testDigest(2), limit: 100 }) },
  'a lease': { run: (catalog) => catalog.lease(testDigest(2)) },
  discarding: { run: (catalog) => catalog.discard(testDigest(0xffffffff), () => Promise.resolve()) },
  'what is unreferenced': {
    run: (catalog) => collected(catalog.prune({ before: new Date(), dryRun: true, remove: () => Promise.reject() })),
  },
  'a page of a revision': {
    run: async (catalog) => {
      for await (const _ of catalog.entries('a', 1)) break;
    },
  },
  'the packages of a repository': { run: (catalog) => catalog.listedPackages('a') },
  'small facts': { run: (catalog) => catalog.meta('key') },
  publishing: { run: (catalog) => publishOne(catalog, 1) },
  'replacing and withdrawing': {
    run: async (catalog) => {
      await publishOne(catalog, 2);
      await catalog.transaction((tx) => tx.publish('a', { reason: 'test', withdraw: ['new'] }));
    },
  },
};

async function publishOne(catalog: SqlCatalog, n: number): Promise<void> {
  const put = [{ path: 'new', artifact: testArtifact(n, { name: 'new' }), replace: true }];
  await catalog.transaction(async (tx) => {
    await tx.recordBlob({ digest: testDigest(n), size: n, stamp: 's' });
    await tx.publish('a', { reason: 'test', put });
    await tx.release([testDigest(n)]);
  });
}

function statements(sent: readonly CompiledQuery[]): CompiledQuery[] {
  const isQuery = ({ sql }: CompiledQuery) => /^(select|update|delete|with)/.test(sql);
  return [...new Map(sent.filter(isQuery).map((query) => [query.sql, query])).values()];
}

describe('SQLite plans', () => {
  const sent: CompiledQuery[] = [];
  let dir = '';
  let bulk: Bulk;
  let explain: (sql: string) => string[];
  let close: () => void;

  before(async () => {
    dir = await mkdtemp(path.join(os.tmpdir(), 'airlock-plans-'));
    const { database, dialect } = connectSqlite(path.join(dir, 'catalog.sqlite'));
    const db = new Kysely<Database>({ dialect, log: ({ query }) => void sent.push(query) });
    bulk = bulkOn(db, sent, dir);
    explain = (sql) =>
      database
        .prepare(`explain query plan ${sql}`)
        .all()
        .map((row) => String(row.detail));
    close = () => database.close();
    await migrate(db, sqliteText);
    await fill(db, COUNT);
  });
  after(async () => {
    close();
    await rm(dir, { recursive: true });
  });

  for (const [name, { run, maySort = false }] of Object.entries(uses)) {
    test(`${name}: reads an index only`, async () => {
      sent.length = 0;
      await run(bulk.catalog);
      const queries = statements(sent);
      assert.ok(queries.length > 0);
      for (const { sql } of queries) {
        const plan = explain(sql);
        for (const step of plan) {
          if (maySort && step.startsWith('USE TEMP B-TREE FOR')) continue;
          const said = `${sql}\n${plan.join('\n')}`;
          assert.match(step, /^SEARCH |SUBQUERY/, said);
          if (name === 'the packages of a repository') assert.match(step, /USING COVERING INDEX entries_listed /, said);
          else if (name !== 'a page of a revision')
            assert.doesNotMatch(step, /\(repository=\?\)$/, `all of a repository: ${said}`);
        }
      }
    });
  }
});

describe('PostgreSQL plans', () => {
  const sent: CompiledQuery[] = [];
  let dir = '';
  let bulk: Bulk;
  let pglite: PGlite;

  before(async () => {
    dir = await mkdtemp(path.join(os.tmpdir(), 'airlock-plans-'));
    pglite = await takePglite();
    const db = new Kysely<Database>({
      dialect: new PGliteDialect({ pglite }),
      log: ({ query }) => void sent.push(query),
    });
    bulk = bulkOn(db, sent, dir);
    await migrate(db, postgresText);
    await fill(db, 2000);
  });
  after(async () => {
    await pglite.exec('reset enable_seqscan');
    returnPglite(pglite);
    await closePglites();
    await rm(dir, { recursive: true });
  });

  for (const [name, { run }] of Object.entries(uses)) {
    test(`${name}: can read an index`, async () => {
      await pglite.exec('reset enable_seqscan');
      sent.length = 0;
      await run(bulk.catalog);
      const queries = statements(sent);
      assert.ok(queries.length > 0);
      // With so little data a scan may be quicker; what counts is that there is another way.
      await pglite.exec('set enable_seqscan = off');
      for (const { sql, parameters } of queries) {
        const { rows } = await pglite.query<Record<string, string>>(`explain ${sql}`, [...parameters]);
        const plan = rows.map((row) => row['QUERY PLAN']).join('\n');
        assert.match(plan, /Index|Bitmap/, `${sql}\n${plan}`);
        assert.doesNotMatch(plan, /Seq Scan/, `${sql}\n${plan}`);
      }
    });
  }
});
