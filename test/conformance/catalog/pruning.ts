import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { limits } from '../../../src/limits.ts';
import type { Digest } from '../../../src/repo/blobs/blob-store.ts';
import { LEASE_MS } from '../../../src/repo/catalog/catalog.ts';
import { testArtifact, testDigest, testStat } from '../../support/artifacts.ts';
import { type CatalogUnderTest, type Check, collected } from './under-test.ts';

/** Digits of what a prune lets go, and of what it handed to `remove`. */
export async function pruned(under: CatalogUnderTest, options: { before?: Date; dryRun?: boolean } = {}) {
  const removed: number[] = [];
  const remove = (digest: Digest) => {
    removed.push(digits(digest));
    return Promise.resolve();
  };
  const told = await collected(under.catalog.prune({ before: under.later(), ...options, remove }));
  for (const { digest, size } of told) assert.equal(size, digits(digest));
  return { told: told.map(({ size }) => size), removed: removed.sort((a, b) => a - b) };
}

function digits(digest: Digest): number {
  return Number.parseInt(digest.slice('sha256:'.length), 16);
}

export async function record(under: CatalogUnderTest, ...sizes: number[]): Promise<void> {
  await under.catalog.transaction(async (tx) => {
    for (const size of sizes) await tx.recordBlob(testStat(size));
  });
}

export function pruningChecks(check: Check): void {
  referenceChecks(check);
  leaseChecks(check);
  interruptionChecks(check);
  discardChecks(check);
  pulledChecks(check);
}

function referenceChecks(check: Check): void {
  check('what nothing ever referred to goes after the grace period', async (under) => {
    await record(under, 1);
    const between = under.later();
    await record(under, 2);
    await under.publish('a', { put: [{ path: 'x', artifact: testArtifact(3) }] });
    assert.deepEqual(await pruned(under, { before: new Date(0) }), { told: [], removed: [] });
    assert.deepEqual(await pruned(under, { before: between, dryRun: true }), { told: [1], removed: [] });
    assert.deepEqual(await pruned(under, { before: between }), { told: [1], removed: [1] });
    assert.equal(await under.catalog.blob(testDigest(1)), undefined);
    assert.deepEqual(await pruned(under), { told: [2], removed: [2] });
    assert.deepEqual(await pruned(under), { told: [], removed: [] });
    assert.deepEqual(await under.catalog.totals(), { blobs: 1, bytes: 3 });
  });

  check('what goes is told with the moment from which nothing held it', async (under) => {
    await record(under, 1);
    const recorded = (await under.catalog.blob(testDigest(1)))?.addedAt;
    await under.publish('a', { put: [{ path: 'x', artifact: testArtifact(2) }] });
    const before = under.later();
    await under.publish('a', { withdraw: ['x'] });
    const remove = () => Promise.reject();
    const [first, second] = await collected(under.catalog.prune({ before: under.later(), dryRun: true, remove }));
    assert.deepEqual([first?.digest, first?.since], [testDigest(1), recorded]);
    assert.equal(second?.digest, testDigest(2));
    assert.ok((second?.since ?? 0) > before && (second?.since ?? 0) < under.later());
  });

  check('what an older revision holds stays, until it is withdrawn', async (under) => {
    const put = [1, 2].map((n) => ({ path: `${n}`, artifact: testArtifact(n) }));
    await under.publish('a', { put });
    await under.publish('a', { remove: ['1'] });
    assert.deepEqual(await pruned(under), { told: [], removed: [] });
    await under.publish('a', { put: put.slice(0, 1) });
    const before = under.later();
    await under.publish('a', { withdraw: ['1'] });
    assert.deepEqual(await pruned(under, { before }), { told: [], removed: [] });
    assert.deepEqual(await pruned(under), { told: [1], removed: [1] });
    await assert.rejects(under.catalog.transaction((tx) => tx.publishAgain('a', 1)));
    assert.equal(await under.catalog.transaction((tx) => tx.publishAgain('a', 2)), 4);
  });

  check('what was withdrawn can be published again during the grace period, and then stays', async (under) => {
    await under.publish('a', { put: [{ path: 'x', artifact: testArtifact(1) }] });
    await under.publish('a', { withdraw: ['x'] });
    await under.catalog.transaction((tx) => tx.publishAgain('a', 1));
    assert.deepEqual(await pruned(under), { told: [], removed: [] });
    // Removed, but not withdrawn this time: revision 3 can still be published.
    await under.publish('a', { remove: ['x'] });
    assert.deepEqual(await pruned(under), { told: [], removed: [] });
    await under.catalog.transaction((tx) => tx.publishAgain('a', 3));
    await under.publish('a', { withdraw: ['x'] });
    assert.deepEqual(await pruned(under), { told: [1], removed: [1] });
  });

  check('withdrawing in one repository takes nothing from another, nor from another path', async (under) => {
    const put = ['x', 'y'].map((path) => ({ path, artifact: testArtifact(1) }));
    await under.publish('a', { put });
    await under.publish('b', { put });
    await under.publish('a', { withdraw: ['x'] });
    assert.deepEqual(await pruned(under), { told: [], removed: [] });
    await under.publish('a', { withdraw: ['y'] });
    assert.deepEqual(await pruned(under), { told: [], removed: [] });
    await under.publish('b', { remove: ['x', 'y'] });
    assert.deepEqual(await pruned(under), { told: [], removed: [] });
    assert.equal(await under.catalog.transaction((tx) => tx.publishAgain('b', 1)), 3);
    await under.publish('b', { withdraw: ['x', 'y'] });
    assert.deepEqual(await pruned(under), { told: [1], removed: [1] });
  });

  check('withdrawing takes the bytes, whatever was once known of them', async (under) => {
    await under.publish('a', { put: [{ path: 'x', artifact: testArtifact(1) }] });
    const verification = { status: 'checksum', checks: [] } as const;
    await under.publish('a', { put: [{ path: 'x', artifact: testArtifact(1, { verification }) }] });
    await under.publish('a', { withdraw: ['x'] });
    assert.deepEqual(await pruned(under), { told: [1], removed: [1] });
  });

  check(
    'content that is published nowhere any more is withdrawn from older revisions, and the log says so',
    async (under) => {
      const put = (n: number) => [{ path: 'x', artifact: testArtifact(n), replace: true }];
      await under.publish('a', { put: put(1) });
      await under.publish('a', { put: put(2) });
      await under.publish('b', { put: put(1) });
      await under.publish('c', { put: put(3) });
      const digests = [testDigest(1), testDigest(3), testDigest(4)];
      await under.catalog.transaction((tx) => tx.withdrawFormer(digests, 'faulty'));
      const [newest] = await under.catalog.revisions('a');
      assert.deepEqual([newest?.number, newest?.reason, newest?.put, newest?.removed], [3, 'faulty', 0, 0]);
      assert.ok((await readFile(path.join(under.logDir, 'a', '00000003.jsonl'), 'utf8')).includes(testDigest(1)));
      // What is published stays, and where there is nothing to do, nothing is done.
      assert.equal((await under.catalog.lookup('b', 'x'))?.artifact.digest, testDigest(1));
      assert.deepEqual(
        [(await under.catalog.revisions('b')).length, (await under.catalog.revisions('c')).length],
        [1, 1],
      );
      await under.publish('b', { put: put(2) });
      await under.catalog.transaction((tx) => tx.withdrawFormer(digests, 'faulty'));
      assert.equal((await under.catalog.revisions('a')).length, 3);
      assert.deepEqual(await pruned(under), { told: [1], removed: [1] });
    },
  );

  check('more than a page is pruned', async (under) => {
    const kept = [3, 777, 2 * limits.catalog.page];
    const all = Array.from({ length: 2 * limits.catalog.page + 9 }, (_, n) => n + 1);
    await under.catalog.restoreBlobs(all.map((n) => ({ digest: testDigest(n), size: n })));
    await under.publish('a', { put: kept.map((n) => ({ path: `${n}`, artifact: testArtifact(n) })) });
    const others = all.filter((n) => !kept.includes(n));
    assert.deepEqual(await pruned(under, { dryRun: true }), { told: others, removed: [] });
    assert.deepEqual(await pruned(under), { told: others, removed: others });
    assert.equal((await under.catalog.totals()).blobs, kept.length);
  });
}

function leaseChecks(check: Check): void {
  check('leases of many tell which of them are here, and protect all', async (under) => {
    await under.catalog.transaction((tx) => tx.recordBlob(testStat(2)));
    const here = await under.catalog.leaseAll([testDigest(1), testDigest(2), testDigest(3)]);
    assert.deepEqual([...here.keys()], [testDigest(2)]);
    assert.equal(here.get(testDigest(2))?.size, 2);
    for (const n of [1, 2, 3]) {
      assert.equal(await under.catalog.discard(testDigest(n), async () => assert.fail('it is leased')), false);
    }
  });

  check('a lease tells what is here, and protects it for a time', async (under) => {
    assert.equal(await under.catalog.lease(testDigest(1)), undefined);
    await record(under, 1, 2);
    assert.deepEqual(await under.catalog.lease(testDigest(1)), await under.catalog.blob(testDigest(1)));
    assert.deepEqual(await pruned(under, { dryRun: true }), { told: [2], removed: [] });
    assert.deepEqual(await pruned(under), { told: [2], removed: [2] });
    under.time += LEASE_MS / 2;
    await under.catalog.lease(testDigest(1));
    under.time += LEASE_MS / 2 + 1000;
    assert.deepEqual(await pruned(under), { told: [], removed: [] });
    under.time += LEASE_MS / 2;
    assert.deepEqual(await pruned(under, { dryRun: true }), { told: [1], removed: [] });
    assert.deepEqual(await pruned(under), { told: [1], removed: [1] });
  });

  check('a lease ends when its holder releases it, and only then', async (under) => {
    const other = await under.another();
    await record(under, 1, 2);
    for (const catalog of [under.catalog, other]) for (const n of [1, 2]) await catalog.lease(testDigest(n));
    await under.catalog.transaction((tx) => tx.release([testDigest(1)]));
    assert.deepEqual(await pruned(under), { told: [], removed: [] });
    await other.transaction((tx) => tx.release([testDigest(1)]));
    assert.deepEqual(await pruned(under), { told: [1], removed: [1] });
    await other.transaction((tx) => tx.release([testDigest(99)]));
  });

  check('jobs of one catalog hold leases of their own', async (under) => {
    await record(under, 1, 2);
    for (const job of ['a', 'b']) await under.catalog.leaseAll([testDigest(1), testDigest(2)], job);
    await under.catalog.lease(testDigest(1));
    await under.catalog.transaction((tx) => tx.release([testDigest(1)], 'a'));
    assert.deepEqual(await pruned(under), { told: [], removed: [] });
    await under.catalog.transaction((tx) => tx.release([testDigest(1)], 'b'));
    assert.deepEqual(await pruned(under), { told: [1], removed: [1] });
    await (await under.another()).transaction((tx) => tx.release([testDigest(2)]));
    assert.deepEqual(await pruned(under), { told: [], removed: [] });
    await under.catalog.transaction((tx) => tx.release([testDigest(2)]));
    assert.deepEqual(await pruned(under), { told: [2], removed: [2] });
  });

  check('nobody gets a lease while bytes are being removed', async (under) => {
    const other = await under.another();
    await record(under, 1);
    const order: string[] = [];
    const leases: Promise<unknown>[] = [];
    const remove = async () => {
      for (const catalog of [under.catalog, other]) {
        leases.push(catalog.lease(testDigest(1)).then((found) => order.push(`leased: ${found}`)));
      }
      await new Promise((resolve) => setTimeout(resolve, 30));
      order.push('removed');
    };
    await collected(under.catalog.prune({ before: under.later(), remove }));
    await Promise.all(leases);
    assert.deepEqual(order, ['removed', 'leased: undefined', 'leased: undefined']);
  });
}

function interruptionChecks(check: Check): void {
  const failing = () => Promise.reject(new RangeError('on purpose'));

  check('what could not be removed is removed by the next prune', async (under) => {
    await record(under, 1, 2, 3);
    const all = collected(under.catalog.prune({ before: under.later(), remove: failing }));
    await assert.rejects(all, RangeError);
    // The catalog has let go of them, whatever became of the bytes.
    assert.equal((await under.catalog.totals()).blobs, 0);
    assert.deepEqual(await pruned(under, { dryRun: true }), { told: [], removed: [] });
    assert.deepEqual((await pruned(under)).removed, [1, 2, 3]);
    assert.deepEqual((await pruned(under)).removed, []);
  });

  check('one prune ends all that earlier ones could not', async (under) => {
    const half = limits.catalog.page / 2;
    const all = Array.from({ length: 6 * half }, (_, n) => n + 1);
    let calls = 0;
    // Fails in each page anew, so that more and more is left over.
    const unreliable = () => (calls++ % half === half - 1 ? failing() : Promise.resolve());
    for (const n of [0, 1, 2]) {
      const some = all.slice(2 * n * half, 2 * (n + 1) * half);
      await under.catalog.restoreBlobs(some.map((each) => ({ digest: testDigest(each), size: each })));
      await assert.rejects(collected(under.catalog.prune({ before: under.later(), remove: unreliable })), RangeError);
    }
    const left = await pruned(under);
    assert.ok(left.removed.length > 2 * half);
    assert.deepEqual(await under.place.dump().then(({ blobs, doomed }) => [blobs, doomed]), [[], []]);
  });

  check('what is leased or recorded again is no longer removed', async (under) => {
    await record(under, 1, 2, 3);
    await assert.rejects(collected(under.catalog.prune({ before: under.later(), remove: failing })), RangeError);
    assert.equal(await under.catalog.lease(testDigest(1)), undefined);
    await record(under, 2);
    assert.deepEqual((await pruned(under, { before: new Date(0) })).removed, [3]);
    assert.equal((await under.catalog.blob(testDigest(2)))?.size, 2);
  });

  check('an import that leased a blob before the prune keeps it', async (under) => {
    await record(under, 1);
    assert.notEqual(await under.catalog.lease(testDigest(1)), undefined);
    assert.deepEqual(await pruned(under), { told: [], removed: [] });
    await under.catalog.transaction(async (tx) => {
      await tx.ensureRepository('a', 'file');
      await tx.publish('a', { reason: 'import', put: [{ path: 'x', artifact: testArtifact(1) }] });
      await tx.release([testDigest(1)]);
    });
    assert.deepEqual(await pruned(under), { told: [], removed: [] });
  });
}

function discardChecks(check: Check): void {
  check('only what nobody knows and nobody leased is discarded', async (under) => {
    const removed: Digest[] = [];
    const remove = (digest: Digest) => {
      removed.push(digest);
      return Promise.resolve();
    };
    await record(under, 1);
    await (await under.another()).lease(testDigest(2));
    assert.equal(await under.catalog.discard(testDigest(1), remove), false);
    assert.equal(await under.catalog.discard(testDigest(2), remove), false);
    assert.deepEqual(removed, []);
    assert.equal(await under.catalog.discard(testDigest(3), remove), true);
    under.time += LEASE_MS + 1000;
    assert.equal(await under.catalog.discard(testDigest(2), remove), true);
    assert.deepEqual(removed, [testDigest(3), testDigest(2)]);
    await assert.rejects(
      under.catalog.discard(testDigest(4), () => Promise.reject(new RangeError('on purpose'))),
      RangeError,
    );
  });
}

function pulledChecks(check: Check): void {
  check('what was fetched and is kept stays until it is let go', async (under) => {
    const kept = { path: 'upstreams/a/x', digest: testDigest(1), size: 1, usedAt: new Date(5), facts: { etag: '"1"' } };
    await under.catalog.transaction(async (tx) => {
      await tx.recordBlob(testStat(1));
      await tx.keepPulled(kept);
      await tx.keepPulled({ ...kept, path: 'upstreams/a/y' });
    });
    assert.deepEqual(await under.catalog.pulled('upstreams/a/x'), kept);
    assert.equal(await under.catalog.pulled('upstreams/a'), undefined);
    assert.deepEqual(await pruned(under), { told: [], removed: [] });
    await under.catalog.transaction(async (tx) => {
      await tx.keepPulled({ ...kept, facts: {} });
      assert.equal(await tx.dropPulled('upstreams/a/y'), true);
      assert.equal(await tx.dropPulled('upstreams/a/y'), false);
    });
    assert.deepEqual(await under.catalog.pulledPage({ limit: 10 }), [{ ...kept, facts: {} }]);
    assert.deepEqual(await under.catalog.pulledPage({ after: kept.path, limit: 10 }), []);
    assert.deepEqual(await pruned(under), { told: [], removed: [] });
    await under.catalog.transaction((tx) => tx.dropPulled(kept.path));
    assert.deepEqual(await pruned(under), { told: [1], removed: [1] });
  });

  check('what makes room goes at once, unless something else holds it', async (under) => {
    const kept = (n: number, usedAt: number) => ({
      path: `repos/${n}`,
      digest: testDigest(n),
      size: n,
      usedAt: new Date(usedAt),
      facts: {},
    });
    await record(under, 1, 2, 3);
    await under.publish('a', { put: [{ path: 'x', artifact: testArtifact(2) }] });
    await under.publish('a', { withdraw: ['x'] });
    await under.catalog.transaction(async (tx) => {
      for (const [n, usedAt] of [
        [1, 9],
        [2, 5],
        [3, 7],
      ] as const)
        await tx.keepPulled(kept(n, usedAt));
    });
    assert.deepEqual(
      (await under.catalog.leastUsed(2)).map(({ size }) => size),
      [2, 3],
    );
    assert.deepEqual(await under.catalog.pulledTotals(), { files: 3, bytes: 6 });
    const removed: number[] = [];
    const evict = (n: number) =>
      under.catalog.removeUnheld(testDigest(n), (digest) => {
        removed.push(digits(digest));
        return Promise.resolve();
      });
    assert.equal(await evict(1), false, 'it is kept');
    await under.catalog.transaction(async (tx) => {
      for (const n of [1, 2, 3]) await tx.dropPulled(`repos/${n}`);
    });
    await under.catalog.lease(testDigest(3));
    assert.deepEqual([await evict(1), await evict(2), await evict(3)], [true, false, false]);
    assert.deepEqual(removed, [1]);
    assert.equal(await under.catalog.blob(testDigest(1)), undefined);
  });
}
