import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, type TestContext, test } from 'node:test';
import { limits } from '../../../src/limits.ts';
import type { Catalog } from '../../../src/repo/catalog/catalog.ts';
import { listKey } from '../../../src/repo/catalog/list-key.ts';
import { connectSqlite } from '../../../src/repo/catalog/node-sqlite.ts';
import { DiskRevisionLog } from '../../../src/repo/catalog/revision-log.ts';
import { openSqliteCatalog } from '../../../src/repo/catalog/sqlite.ts';
import { collected, type Dump, failsWith, publishIn, shown, TABLES } from '../../conformance/catalog/under-test.ts';
import { catalogConformance } from '../../conformance/catalog.ts';
import { testArtifact, testDigest } from '../../support/artifacts.ts';
import { tempDir } from '../../support/temp-dir.ts';
import { startChild } from './child.ts';

catalogConformance('SQLite', async () => {
  const dir = await mkdtemp(path.join(os.tmpdir(), 'airlock-sqlite-'));
  const file = path.join(dir, 'catalog.sqlite');
  return {
    open: (log, options) => openSqliteCatalog(file, log, options),
    dump: () => Promise.resolve(dump(file)),
    remove: () => rm(dir, { recursive: true }),
  };
});

function dump(file: string): Dump {
  const database = new DatabaseSync(file, { readOnly: true });
  try {
    const tables = Object.entries(TABLES).map(([table, key]) => [
      table,
      database.prepare(`select * from ${table} order by ${key}`).all(),
    ]);
    return Object.fromEntries(tables) as Dump;
  } finally {
    database.close();
  }
}

async function open(t: TestContext, dir: string): Promise<Catalog> {
  const catalog = await openSqliteCatalog(
    path.join(dir, 'catalog.sqlite'),
    new DiskRevisionLog(path.join(dir, 'revisions')),
  );
  t.after(() => catalog.close());
  return catalog;
}

describe('connections', () => {
  test('every connection is durable, checks itself and reads beside a writer', async (t) => {
    const file = path.join(await tempDir(t), 'catalog.sqlite');
    for (const connection of [connectSqlite(file), connectSqlite(file)]) {
      const pragma = (name: string) => Object.values(connection.database.prepare(`PRAGMA ${name}`).get() ?? {})[0];
      assert.equal(pragma('journal_mode'), 'wal');
      assert.equal(pragma('synchronous'), 2);
      assert.equal(pragma('foreign_keys'), 1);
      assert.equal(pragma('cell_size_check'), 1);
      assert.equal(pragma('busy_timeout'), limits.catalog.busyTimeout);
      assert.equal(pragma('journal_size_limit'), limits.catalog.journal);
      assert.equal(pragma('cache_size'), -limits.catalog.cache / 1024);
      assert.equal(pragma('encoding'), 'UTF-8');
      t.after(() => connection.database.close());
    }
  });

  test('a catalog of a newer program is left alone', async (t) => {
    const dir = await tempDir(t);
    const file = path.join(dir, 'catalog.sqlite');
    await (await open(t, dir)).close();
    const database = new DatabaseSync(file);
    database.exec(`insert into kysely_migration values ('9999-future', '2031-01-01T00:00:00.000Z')`);
    const schema = database.prepare('select * from sqlite_master').all();
    await assert.rejects(open(t, dir), failsWith('catalog.newer-format', /newer Airlock \(9999-future\)/));
    assert.deepEqual(database.prepare('select * from sqlite_master').all(), schema);
    // Nothing keeps it open: the last connection to close takes the write-ahead log away.
    database.close();
    await assert.rejects(rm(`${file}-wal`), { code: 'ENOENT' });
  });

  test('packages of a catalog that was made before they were listed are listed', async (t) => {
    const dir = await tempDir(t);
    const rpm = (n: number) => testArtifact(n, { kind: 'rpm', facts: { name: `p${n}`, version: '1' } });
    const put = [3, 1, 2].map((n) => ({ path: `p${n}.rpm`, artifact: rpm(n) }));
    const before = await open(t, dir);
    await before.transaction((tx) => publishIn(tx, 'a', { put: [...put, { path: 'x', artifact: testArtifact(4) }] }));
    await before.transaction((tx) => publishIn(tx, 'a', { remove: ['p2.rpm'] }));
    await before.close();
    const database = new DatabaseSync(path.join(dir, 'catalog.sqlite'));
    database.exec(`
      drop index entries_listed;
      alter table entries drop column list_key;
      delete from kysely_migration where name = '0005-listed'`);
    database.close();
    const catalog = await open(t, dir);
    assert.deepEqual(await catalog.listedPackages('a'), [rpm(1), rpm(3)].map(listKey));
    assert.deepEqual(shown(await collected(catalog.entries('a', 2, 'unlisted'))), ['x=4']);
  });

  test('what cannot be opened says why', async (t) => {
    const dir = await tempDir(t);
    await assert.rejects(
      open(t, path.join(dir, 'missing')),
      failsWith('catalog.inaccessible', /data directory belongs/),
    );
  });

  test('closing twice is harmless', async (t) => {
    const catalog = await open(t, await tempDir(t));
    await catalog.close();
    await catalog.close();
  });
});

describe('several catalogs', () => {
  test('of one process may be open on one file, and write in turn', async (t) => {
    const dir = await tempDir(t);
    const catalogs = [await open(t, dir), await open(t, dir), await open(t, dir)];
    const numbers = await Promise.all(
      catalogs.flatMap((catalog, index) =>
        Array.from({ length: 10 }, (_, n) =>
          catalog.transaction(async (tx) => {
            const put = [{ path: `${index}/${n}`, artifact: testArtifact(1) }];
            const number = await publishIn(tx, 'a', { put });
            await new Promise((resolve) => setTimeout(resolve, 1));
            return number;
          }),
        ),
      ),
    );
    assert.deepEqual(
      numbers.sort((a, b) => a - b),
      Array.from({ length: 30 }, (_, n) => n + 1),
    );
  });

  test('of two processes that write at once lose nothing', async (t) => {
    const dir = await tempDir(t);
    const writers = ['one', 'two'].map((label) => startChild(t, ['write', dir, label, '50']));
    const ended = await Promise.all(writers.map((writer) => writer.end()));
    for (const { code, stderr } of ended) assert.deepEqual([code, stderr], [0, '']);
    const numbers = ended.flatMap(({ lines }) => lines.map(Number));
    assert.deepEqual(
      numbers.sort((a, b) => a - b),
      Array.from({ length: 100 }, (_, n) => n + 1),
    );
    const catalog = await open(t, dir);
    assert.equal((await catalog.repository('a'))?.published, 100);
    const entries = await collected(catalog.entries('a', 100));
    assert.equal(entries.length, 101);
    assert.deepEqual(await catalog.check(), []);
    const log = new DiskRevisionLog(path.join(dir, 'revisions'));
    const reasons: string[] = [];
    for await (const { header } of log.revisions('a')) reasons.push(header.reason);
    const revisions = await catalog.revisions('a');
    assert.deepEqual(reasons, revisions.map(({ reason }) => reason).reverse());
  });

  test('of many processes may be made at once', async (t) => {
    const dir = await tempDir(t);
    const children = Array.from({ length: 5 }, (_, n) => startChild(t, ['write', dir, `${n}`, '1']));
    const ended = await Promise.all(children.map((child) => child.end()));
    for (const { code, stderr } of ended) assert.deepEqual([code, stderr], [0, '']);
    assert.equal((await (await open(t, dir)).repository('a'))?.published, 5);
  });

  test('of another process see a commit at once', async (t) => {
    const dir = await tempDir(t);
    const catalog = await open(t, dir);
    const reader = startChild(t, ['read', dir]);
    assert.equal(await reader.line(), 'ready');
    for (let number = 1; number <= 5; number++) {
      const put = [{ path: `${number}`, artifact: testArtifact(1) }];
      await catalog.transaction((tx) => publishIn(tx, 'a', { put }));
      reader.process.stdin.write('\n');
      assert.equal(await reader.line(), `changed ${number}`);
      reader.process.stdin.write('\n');
      assert.equal(await reader.line(), `same ${number}`);
    }
    reader.process.stdin.end();
    assert.equal((await reader.end()).code, 0);
  });

  test('go on reading, opening and doing other things while one waits to write', async (t) => {
    const dir = await tempDir(t);
    const catalog = await open(t, dir);
    await catalog.transaction((tx) => publishIn(tx, 'a', { put: [{ path: 'x', artifact: testArtifact(1) }] }));
    const holder = startChild(t, ['hold', dir]);
    assert.equal(await holder.line(), 'held');
    let isWaiting = true;
    const lease = catalog.lease(testDigest(1)).finally(() => {
      isWaiting = false;
    });
    await new Promise((resolve) => setTimeout(resolve, 100));
    assert.deepEqual(shown(await collected(catalog.entries('a', 1))), ['x=1']);
    await (await open(t, dir)).close();
    assert.ok(isWaiting);
    holder.process.stdin.write('\n');
    assert.equal((await lease)?.digest, testDigest(1));
    assert.equal((await holder.end()).code, 0);
    assert.notEqual(await catalog.repository('held'), undefined);
  });
});
