import assert from 'node:assert/strict';
import { after, describe, type TestContext, test } from 'node:test';
import type { PGlite, Transaction } from '@electric-sql/pglite';
import { DiskRevisionLog } from '../../../src/repo/catalog/revision-log.ts';
import { type Dump, publishIn, TABLES } from '../../conformance/catalog/under-test.ts';
import { catalogConformance } from '../../conformance/catalog.ts';
import { testArtifact } from '../../support/artifacts.ts';
import { closePglites, openPgliteCatalog, returnPglite, takePglite } from '../../support/pglite-catalog.ts';
import { tempDir } from '../../support/temp-dir.ts';

after(closePglites);

catalogConformance('PostgreSQL (PGlite)', async () => {
  const pglite = await takePglite();
  return {
    open: (log, options) => openPgliteCatalog(pglite, log, options),
    dump: async (): Promise<Dump> => {
      const tables: Record<string, object[]> = {};
      for (const [table, key] of Object.entries(TABLES)) {
        tables[table] = (await pglite.query<object>(`select * from ${table} order by ${key}`)).rows;
      }
      return tables;
    },
    remove: () => Promise.resolve(returnPglite(pglite)),
  };
});

test('PostgreSQL compares all text by bytes, whatever the locale of the database', async (t) => {
  const pglite = await takePglite();
  await openPgliteCatalog(pglite, new DiskRevisionLog(await tempDir(t)));
  const { rows } = await pglite.query<{ name: string }>(
    `select table_name || '.' || column_name as name from information_schema.columns
     where table_schema = 'public' and data_type = 'text' and collation_name is distinct from 'C'`,
  );
  assert.deepEqual(rows, []);
  returnPglite(pglite);
});

describe('a connection that is lost at COMMIT', () => {
  type Fault = 'none' | 'before it took effect' | 'after it took effect' | 'for good' | 'gone';

  const BROKEN = { query: () => Promise.reject(new Error('connection lost')) } as unknown as Transaction;

  /** A catalog whose connection fails at COMMIT as `fault` says. */
  async function unreliable(t: TestContext) {
    const pglite = await takePglite();
    t.after(() => returnPglite(pglite));
    const fault: { now: Fault } = { now: 'none' };
    const transaction: PGlite['transaction'] = async (work) => {
      const { now } = fault;
      if (now === 'none') return await pglite.transaction(work);
      if (now === 'gone') return await work(BROKEN);
      if (now === 'after it took effect') await pglite.transaction(work);
      else await rolledBack(pglite, work);
      fault.now = now === 'for good' ? 'gone' : 'none';
      throw new Error('connection lost');
    };
    const proxy = new Proxy(pglite, {
      get(target, key) {
        if (key === 'transaction') return transaction;
        const value: unknown = Reflect.get(target, key);
        return typeof value === 'function' ? value.bind(target) : value;
      },
    });
    const log = new DiskRevisionLog(await tempDir(t));
    const catalog = await openPgliteCatalog(proxy, log);
    const publish = () =>
      catalog.transaction((tx) => publishIn(tx, 'a', { put: [{ path: 'x', artifact: testArtifact(1) }] }));
    return { pglite, log, catalog, fault, publish };
  }

  async function rolledBack(pglite: PGlite, work: (tx: Transaction) => Promise<unknown>): Promise<void> {
    await pglite.transaction(async (tx) => {
      await work(tx);
      await tx.rollback();
    });
  }

  test('before it took effect: nothing is published, and nothing left in the log', async (t) => {
    const { log, catalog, fault, publish } = await unreliable(t);
    fault.now = 'before it took effect';
    await assert.rejects(publish(), /connection lost/);
    assert.equal(await catalog.repository('a'), undefined);
    assert.deepEqual([log.pending(), log.has('a', 1)], [[], false]);
    assert.equal(await publish(), 1);
    assert.equal(log.has('a', 1), true);
  });

  test('after it took effect: it is published, and in the log', async (t) => {
    const { log, catalog, fault, publish } = await unreliable(t);
    fault.now = 'after it took effect';
    await assert.rejects(publish(), /connection lost/);
    assert.equal((await catalog.lookup('a', 'x'))?.since, 1);
    assert.deepEqual([log.pending(), log.has('a', 1)], [[], true]);
    // Whoever tries again finds it done.
    assert.equal(await publish(), 1);
  });

  test('for good: the next opening ends it', async (t) => {
    const { pglite, log, fault, publish } = await unreliable(t);
    fault.now = 'for good';
    await assert.rejects(publish(), /connection lost/);
    assert.deepEqual([log.pending().length, log.has('a', 1)], [1, false]);
    const catalog = await openPgliteCatalog(pglite, log);
    assert.deepEqual([log.pending(), log.has('a', 1)], [[], false]);
    assert.equal(await catalog.repository('a'), undefined);
  });
});
