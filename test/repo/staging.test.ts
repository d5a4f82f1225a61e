/** Bytes on their way into the store, and what becomes of them when their job gives up. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { abandon, endLeases, Leases, storeBytes } from '../../src/repo/staging.ts';
import { TestRepository, testBytes } from './http/support.ts';

test('a job that gives up leaves what another job of the same process is about to publish', async (t) => {
  const repository = await TestRepository.make(t);
  const [one, other] = [new Leases(), new Leases()];
  assert.ok(one !== undefined && other !== undefined);
  const { digest, size } = await storeBytes(repository, testBytes(100), one);
  const alone = await storeBytes(repository, testBytes(100, 2), one);
  const stat = await storeBytes(repository, testBytes(100), other);
  await abandon(repository, one);
  assert.equal(await repository.blobs.stat(alone.digest), undefined);
  await repository.catalog.transaction((tx) => tx.recordBlob(stat));
  await repository.publish('tools', [{ path: 'x', digest, size }]);
  await repository.catalog.transaction((tx) => endLeases(tx, other));
  assert.equal((await repository.blobs.stat(digest))?.stamp, stat.stamp);
});

test('the last of several jobs that give up leaves nothing', async (t) => {
  const repository = await TestRepository.make(t);
  const jobs = [new Leases(), new Leases()];
  for (const job of jobs) await storeBytes(repository, testBytes(100), job);
  for (const job of jobs) await abandon(repository, job);
  const left: string[] = [];
  for await (const { digest } of repository.blobs.list()) left.push(digest);
  assert.deepEqual(left, []);
});
