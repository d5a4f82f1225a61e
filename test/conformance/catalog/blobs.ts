import assert from 'node:assert/strict';
import { limits } from '../../../src/limits.ts';
import type { Digest } from '../../../src/repo/blobs/blob-store.ts';
import type { Catalog } from '../../../src/repo/catalog/catalog.ts';
import { testArtifact, testDigest, testStat } from '../../support/artifacts.ts';
import { type Check, collected, publishIn } from './under-test.ts';

export function blobChecks(check: Check): void {
  check('a recorded blob is found until it is forgotten', async (under) => {
    assert.equal(await under.catalog.blob(testDigest(1)), undefined);
    await under.catalog.transaction((tx) => tx.recordBlob(testStat(1)));
    const first = await under.catalog.blob(testDigest(1));
    assert.ok(first !== undefined);
    const { addedAt } = first;
    assert.deepEqual(first, { ...testStat(1), addedAt, verifiedAt: addedAt, within: null });
    await under.catalog.transaction((tx) => tx.recordBlob(testStat(1, 'other stamp')));
    const second = await under.catalog.blob(testDigest(1));
    assert.deepEqual([second?.stamp, second?.addedAt], ['other stamp', addedAt]);
    assert.ok((second?.verifiedAt ?? 0) > addedAt);
    await under.catalog.transaction(async (tx) => {
      await tx.forgetBlob(testDigest(1));
      await tx.forgetBlob(testDigest(2));
    });
    assert.equal(await under.catalog.blob(testDigest(1)), undefined);
  });

  check('many blobs are recorded at once, as one after the other would be', async (under) => {
    await under.catalog.transaction((tx) => tx.recordBlob(testStat(1, 'before')));
    const { addedAt } = (await under.catalog.blob(testDigest(1))) ?? {};
    const many = Array.from({ length: limits.catalog.page + 10 }, (_, n) => testStat(n + 1));
    await under.catalog.transaction((tx) => tx.recordBlobs([...many, testStat(7, 'twice')]));
    await under.catalog.transaction((tx) => tx.recordBlobs([]));
    const first = await under.catalog.blob(testDigest(1));
    assert.deepEqual([first?.stamp, first?.addedAt], [testStat(1).stamp, addedAt]);
    assert.ok((first?.verifiedAt ?? 0) > (addedAt ?? 0));
    assert.equal((await under.catalog.blob(testDigest(7)))?.stamp, 'twice');
    const leased = await under.catalog.leaseAll([...many.map(({ digest }) => digest), testDigest(7), testDigest(9999)]);
    assert.equal(leased.size, many.length);
    assert.equal(leased.get(testDigest(7))?.stamp, 'twice');
  });

  check('what a forgotten blob was stays published', async (under) => {
    await under.publish('a', { put: [{ path: 'x', artifact: testArtifact(1) }] });
    await under.catalog.transaction((tx) => tx.forgetBlob(testDigest(1)));
    assert.equal((await under.catalog.lookup('a', 'x'))?.artifact.digest, testDigest(1));
    assert.equal((await under.catalog.entriesOf(testDigest(1))).length, 1);
  });

  check('what is published and has no blob is found, in path order, wherever it is', async (under) => {
    const put = (...sizes: number[]) => ({ put: sizes.map((n) => ({ path: `d/${n}`, artifact: testArtifact(n) })) });
    await under.publish('a', put(1, 2, 3));
    await under.publish('b', { put: [{ path: 'x', artifact: testArtifact(2) }] });
    await under.publish('b', put(4));
    await under.publish('b', { remove: ['d/4'] });
    const lost = async () =>
      (await collected(under.catalog.lostEntries())).map(({ repository, path }) => `${repository}/${path}`);
    assert.deepEqual(await lost(), []);
    await under.catalog.transaction(async (tx) => {
      for (const n of [2, 3, 4]) await tx.forgetBlob(testDigest(n));
    });
    assert.deepEqual(await lost(), ['a/d/2', 'a/d/3', 'b/x']);
    await under.catalog.transaction((tx) => tx.recordBlob(testStat(2)));
    assert.deepEqual(await lost(), ['a/d/3']);
  });

  check('what has no blob is found beyond a page', async (under) => {
    const put = Array.from({ length: 1100 }, (_, n) => ({ path: `f${n}`, artifact: testArtifact(n === 1050 ? 2 : 1) }));
    await under.publish('a', { put });
    await under.catalog.transaction((tx) => tx.forgetBlob(testDigest(2)));
    const lost = await collected(under.catalog.lostEntries());
    assert.deepEqual(
      lost.map((entry) => entry.path),
      ['f1050'],
    );
  });

  check('a blob that is no longer recorded is not confirmed', async (under) => {
    await under.publish('a', { put: [{ path: 'x', artifact: testArtifact(1) }] });
    const confirm = (n: number) => under.catalog.transaction((tx) => tx.confirmBlob(testStat(n, 'new')));
    assert.equal(await confirm(1), true);
    assert.equal((await under.catalog.blob(testDigest(1)))?.stamp, 'new');
    assert.equal(await confirm(2), false);
    assert.equal(await under.catalog.blob(testDigest(2)), undefined);
  });

  check('a transaction sees what it changed', async (under) => {
    await under.publish('a', { put: [{ path: 'd/x', artifact: testArtifact(1) }] });
    await under.catalog.transaction(async (tx) => {
      assert.equal((await tx.lookup('a', 'd/x'))?.artifact.digest, testDigest(1));
      await tx.publish('a', { reason: 'test', remove: ['d/x'] });
      assert.equal(await tx.lookup('a', 'd/x'), undefined);
      assert.equal((await tx.blob(testDigest(1)))?.size, 1);
      await tx.forgetBlob(testDigest(1));
      assert.equal(await tx.blob(testDigest(1)), undefined);
    });
  });

  check('blobs are listed in digest order, in pages, and counted', async (under) => {
    assert.deepEqual(await under.catalog.totals(), { blobs: 0, bytes: 0 });
    assert.deepEqual(await under.catalog.blobs({ limit: 10 }), []);
    const sizes = [5, 300, 1, 17, 42];
    await under.catalog.transaction(async (tx) => {
      for (const size of sizes) await tx.recordBlob(testStat(size));
    });
    assert.deepEqual(await under.catalog.totals(), { blobs: 5, bytes: 365 });
    for (const limit of [1, 2, 5, 6]) {
      const found: number[] = [];
      let after: Digest | undefined;
      do {
        const page = await under.catalog.blobs({ limit, ...(after === undefined ? {} : { after }) });
        assert.ok(page.length <= limit);
        found.push(...page.map((record) => record.size));
        after = page.at(-1)?.digest;
      } while (after !== undefined);
      assert.deepEqual(found, [1, 5, 17, 42, 300], `limit ${limit}`);
    }
  });

  check('sizes and totals beyond 32 bits are exact', async (under) => {
    const size = 2 ** 52 - 1;
    await under.catalog.transaction((tx) => tx.recordBlob({ ...testStat(1), size }));
    await under.catalog.transaction((tx) => tx.recordBlob({ ...testStat(2), size: 7 * 2 ** 40 }));
    assert.equal((await under.catalog.blob(testDigest(1)))?.size, size);
    assert.deepEqual(await under.catalog.totals(), { blobs: 2, bytes: size + 7 * 2 ** 40 });
  });

  check('blobs found in the store are recorded unproven, and never instead of proven ones', async (under) => {
    await under.catalog.transaction((tx) => tx.recordBlob(testStat(1)));
    const known = await under.catalog.blob(testDigest(1));
    await under.catalog.restoreBlobs([1, 2, 2, 3].map((n) => ({ digest: testDigest(n), size: n })));
    assert.deepEqual(await under.catalog.blob(testDigest(1)), known);
    const found = await under.catalog.blob(testDigest(2));
    assert.deepEqual([found?.size, found?.stamp, found?.verifiedAt], [2, null, null]);
    assert.equal((await under.catalog.totals()).blobs, 3);
    await under.catalog.transaction((tx) => tx.recordBlob(testStat(2)));
    assert.equal((await under.catalog.blob(testDigest(2)))?.stamp, 'stamp 2');
  });

  check('small facts are kept', async (under) => {
    assert.equal(await under.catalog.meta('a'), undefined);
    await under.catalog.setMeta('a', 'one');
    await under.catalog.setMeta('b', '');
    await under.catalog.setMeta('a', 'two \u{1f600}');
    assert.deepEqual([await under.catalog.meta('a'), await under.catalog.meta('b')], ['two \u{1f600}', '']);
    await under.catalog.setMeta('a', undefined);
    await under.catalog.setMeta('never', undefined);
    assert.equal(await under.catalog.meta('a'), undefined);
    assert.equal(await (await under.another()).meta('b'), '');
  });

  check('a small fact is kept with the transaction or not at all', async (under) => {
    await under.catalog.transaction((tx) => tx.setMeta('a', 'one'));
    const failing = under.catalog.transaction(async (tx) => {
      await tx.setMeta('a', 'two');
      throw new Error('no');
    });
    await assert.rejects(failing, /no/);
    assert.equal(await under.catalog.meta('a'), 'one');
    await under.catalog.transaction((tx) => tx.setMeta('a', undefined));
    assert.equal(await under.catalog.meta('a'), undefined);
  });

  check('every change changes the version, for whoever looks', async (under) => {
    await under.publish('a', { put: [{ path: 'x', artifact: testArtifact(1) }] });
    const catalogs = [under.catalog, await under.another()];
    const versions = () => catalogs.map((catalog) => catalog.version());
    const changes: Record<string, (catalog: Catalog) => Promise<unknown>> = {
      put: (catalog) =>
        catalog.transaction((tx) => publishIn(tx, 'a', { put: [{ path: 'y', artifact: testArtifact(2) }] })),
      remove: (catalog) => catalog.transaction((tx) => tx.publish('a', { reason: 'test', remove: ['y'] })),
      again: (catalog) => catalog.transaction((tx) => tx.publishAgain('a', 2)),
      repository: (catalog) => catalog.transaction((tx) => tx.ensureRepository('b', 'rpm')),
      record: (catalog) => catalog.transaction((tx) => tx.recordBlob(testStat(1, 'new'))),
      forget: (catalog) => catalog.transaction((tx) => tx.forgetBlob(testDigest(1))),
      restore: (catalog) => catalog.restoreBlobs([{ digest: testDigest(9), size: 9 }]),
      meta: (catalog) => catalog.setMeta('key', 'value'),
      prune: (catalog) => collected(catalog.prune({ before: under.later(), remove: () => Promise.resolve() })),
    };
    for (const [name, change] of Object.entries(changes)) {
      for (const by of [0, 1]) {
        // The second time round nothing may be left to do.
        if (by === 1 && name !== 'meta' && name !== 'record') continue;
        const before = versions();
        await change(catalogs[by] as Catalog);
        const after = versions();
        for (const index of [0, 1]) assert.notEqual(after[index], before[index], `${name} by ${by}, seen by ${index}`);
      }
    }
    // The same once more, made by the other.
    const before = versions();
    await (catalogs[1] as Catalog).transaction((tx) => tx.publish('a', { reason: 'test', remove: ['y'] }));
    assert.ok(versions().every((version, index) => version !== before[index]));
    assert.equal(await under.catalog.lookup('a', 'y'), undefined);
  });

  check('reading does not change the version', async (under) => {
    await under.publish('a', { put: [{ path: 'd/x', artifact: testArtifact(1) }] });
    const before = under.catalog.version();
    await under.catalog.repositories();
    await under.catalog.repository('a');
    await under.catalog.revisions('a');
    await under.catalog.lookup('a', 'd/x');
    await under.catalog.folder('a', '', { limit: 10 });
    await collected(under.catalog.entries('a', 1));
    await under.catalog.releases();
    await under.catalog.newestRelease('juniper', '6.3');
    await under.catalog.entriesOfVersion('juniper', '6.3.1');
    await under.catalog.entriesOf(testDigest(1));
    await under.catalog.blob(testDigest(1));
    await under.catalog.blobs({ limit: 10 });
    await under.catalog.totals();
    await under.catalog.meta('a');
    assert.deepEqual(await under.catalog.check(), []);
    const dry = { before: under.later(), dryRun: true, remove: () => assert.fail('nothing is to be removed') };
    await collected(under.catalog.prune(dry));
    await collected(under.catalog.lostEntries());
    assert.equal(under.catalog.version(), before);
  });
}
