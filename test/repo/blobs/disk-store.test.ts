import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, test } from 'node:test';
import { limits } from '../../../src/limits.ts';
import type { BlobStore } from '../../../src/repo/blobs/blob-store.ts';
import { openDiskStore } from '../../../src/repo/blobs/disk-store.ts';
import * as layout from '../../../src/repo/blobs/layout.ts';
import { ProcessLock } from '../../../src/repo/blobs/process-lock.ts';
import { blobStoreConformance, digestOf, pattern, put, readBlob, rejects } from '../../conformance/blob-store.ts';
import { partialFiles, tamperFile, withDirectory } from './support.ts';

blobStoreConformance('disk', async () => {
  const dir = await mkdtemp(path.join(tmpdir(), 'airlock-blobs-'));
  return {
    store: await openDiskStore(dir),
    another: () => openDiskStore(dir),
    tamper: (digest, change) => tamperFile(dir, digest, change),
    quarantined: async (place) => new Uint8Array(await readFile(place)),
    partials: () => partialFiles(dir),
    remove: () => rm(dir, { recursive: true }),
  };
});

/** Runs with a data directory and the means to open stores on it, which are closed afterwards. */
function withData(run: (dir: string, open: () => Promise<BlobStore>) => Promise<void>): Promise<void> {
  return withDirectory(async (dir) => {
    const stores: BlobStore[] = [];
    try {
      await run(dir, async () => {
        const store = await openDiskStore(dir);
        stores.push(store);
        return store;
      });
    } finally {
      for (const store of stores) await store.close();
    }
  });
}

describe('on disk', () => {
  test('a blob is a read-only file under its digest', () =>
    withData(async (dir, open) => {
      const store = await open();
      const bytes = pattern(1234, 1);
      const digest = await put(store, bytes);
      const file = path.join(dir, 'blobs', 'sha256', digest.slice(7, 9), digest.slice(7));
      assert.deepEqual(new Uint8Array(await readFile(file)), bytes);
      assert.equal((await stat(file)).mode & 0o777, 0o444);
    }));

  test('a stamp tells a change also when the modification time was set back to the nanosecond', () =>
    withData(async (dir, open) => {
      const store = await open();
      const digest = await put(store, pattern(1000, 6));
      const before = await store.stat(digest);
      const file = layout.blobPath(dir, digest);
      const reference = path.join(dir, 'reference');
      execFileSync('touch', ['-r', file, reference]);
      await tamperFile(dir, digest, () => pattern(1000, 7));
      execFileSync('touch', ['-r', reference, file]);
      const mtimes = await Promise.all(
        [file, reference].map(async (each) => (await stat(each, { bigint: true })).mtimeNs),
      );
      assert.equal(mtimes[0], mtimes[1]);
      assert.notEqual((await store.stat(digest))?.stamp, before?.stamp);
    }));

  test('a missing data directory is made, one that is a file is refused', () =>
    withDirectory(async (dir) => {
      const store = await openDiskStore(path.join(dir, 'a', 'b'));
      await put(store, pattern(10, 2));
      await store.close();
      await writeFile(path.join(dir, 'file'), '');
      await rejects(openDiskStore(path.join(dir, 'file')), 'usage.invalid');
    }));

  test('opening and reading make nothing', () =>
    withData(async (dir, open) => {
      const store = await open();
      assert.equal(await store.stat(digestOf(pattern(1, 1))), undefined);
      for await (const blob of store.list()) assert.fail(blob.digest);
      await store.close();
      assert.deepEqual(await readdir(dir), []);
    }));

  test('names that are not ours are not blobs', () =>
    withData(async (dir, open) => {
      const store = await open();
      const digest = await put(store, pattern(10, 3));
      const shards = layout.shardsDir(dir);
      const other = digestOf(pattern(11, 3));
      await writeFile(path.join(shards, 'README'), 'x');
      await writeFile(path.join(shards, 'ff'), 'not a folder');
      await mkdir(path.join(shards, 'lost+found'));
      await mkdir(path.join(shards, '00', 'x'), { recursive: true });
      await writeFile(path.join(shards, '00', '.DS_Store'), 'x');
      await writeFile(path.join(shards, digest.slice(7, 9), other.slice(7)), 'in the wrong shard, unless by chance');
      await mkdir(layout.blobPath(dir, other), { recursive: true });
      const linked = digestOf(pattern(12, 3));
      await mkdir(layout.shardDir(dir, linked), { recursive: true });
      await symlink('/etc/hostname', layout.blobPath(dir, linked));
      const seen: string[] = [];
      for await (const blob of store.list()) seen.push(blob.digest);
      assert.deepEqual(seen, [digest]);
      for (const none of [other, linked]) {
        assert.equal(await store.stat(none), undefined);
        await rejects(store.open(none), 'blob.missing');
      }
    }));

  test('a digest from outside that is none makes no path', () =>
    withData(async (_dir, open) => {
      const store = await open();
      await rejects(store.open('sha256:../../../../etc/passwd'), 'internal');
      await rejects(store.stat('sha256:..'), 'internal');
      await rejects(store.delete('sha256:..'), 'internal');
    }));

  test('a file cut while it was being written does not become a blob', () =>
    withData(async (dir, open) => {
      const store = await open();
      const writer = await store.create();
      await writer.writeAt(0, pattern(5000, 4));
      const [part = ''] = await partialFiles(dir);
      await writeFile(path.join(layout.partialDir(dir), part), 'x');
      await rejects(writer.commit(), 'blob.damaged');
      for await (const blob of store.list()) assert.fail(blob.digest);
      assert.deepEqual(await partialFiles(dir), []);
    }));

  test('a closed store leaves no folder of its own', () =>
    withData(async (dir, open) => {
      const store = await open();
      await put(store, pattern(10, 5));
      await store.close();
      assert.deepEqual(await readdir(layout.partialDir(dir)), ['lock']);
    }));
});

describe('partial files of processes that are gone', () => {
  const id = '0123456789abcdef'.repeat(2);
  const owner = 'dead0000dead0000';
  const journal = '{"version":1,"size":4000,"ranges":[[0,3000],[3500,4000]]}\n';
  const ranges = [
    { start: 0, end: 3000 },
    { start: 3500, end: 4000 },
  ];

  /** Puts a pair of files down, each in `suspended` or in the folder of the dead owner, as kills may leave them. */
  async function lay(dir: string, part: string | undefined, token: string | undefined): Promise<void> {
    for (const folder of [owner, 'suspended'])
      await mkdir(path.join(layout.partialDir(dir), folder), { recursive: true });
    await writeFile(path.join(layout.partialDir(dir), owner, 'lock'), '');
    if (part !== undefined) await writeFile(path.join(layout.partialDir(dir), part, `${id}.part`), pattern(4096, 7));
    if (token !== undefined) await writeFile(path.join(layout.partialDir(dir), token, `${id}.ranges`), journal);
  }

  test('are removed with their folder, if they cannot be resumed', () =>
    withData(async (dir, open) => {
      await lay(dir, owner, undefined);
      await writeFile(path.join(layout.ownerDir(dir, owner), `${id}.ranges.0123456789abcdef.tmp`), '{"vers');
      await open();
      assert.deepEqual(await readdir(layout.partialDir(dir)), ['lock', 'suspended']);
      assert.deepEqual(await partialFiles(dir), []);
    }));

  for (const part of [owner, 'suspended']) {
    for (const token of [owner, 'suspended']) {
      test(`are resumed with bytes in ${part === owner ? 'its folder' : part}, journal in ${token === owner ? 'its folder' : token}`, () =>
        withData(async (dir, open) => {
          await lay(dir, part, token);
          const store = await open();
          assert.deepEqual(await partialFiles(dir), [`suspended/${id}.part`, `suspended/${id}.ranges`]);
          assert.equal(existsSync(layout.ownerDir(dir, owner)), false);
          const writer = await store.resume(id);
          assert.deepEqual(writer.have(), ranges);
          await writer.writeAt(3000, pattern(4096, 7).subarray(3000, 3500));
          const stat = await writer.commit();
          assert.deepEqual([stat.size, stat.digest], [4000, digestOf(pattern(4096, 7).subarray(0, 4000))]);
        }));
    }
  }

  test('are found although their process died after the store was opened', () =>
    withData(async (dir, open) => {
      const store = await open();
      await lay(dir, owner, owner);
      const writer = await store.resume(id);
      assert.deepEqual(writer.have(), ranges);
      await writer.cancel();
      assert.deepEqual(await partialFiles(dir), []);
    }));

  test('are nothing any more once their bytes are gone', () =>
    withData(async (dir, open) => {
      await lay(dir, undefined, owner);
      const store = await open();
      await rejects(store.resume(id), 'blob.missing');
      assert.deepEqual(await partialFiles(dir), []);
      await lay(dir, undefined, 'suspended');
      await rejects(store.resume(id), 'blob.missing');
      assert.deepEqual(await partialFiles(dir), []);
    }));

  test('are cut to what their journal vouches for, and the journal to what is there', () =>
    withData(async (dir, open) => {
      await lay(dir, owner, owner);
      await writeFile(path.join(layout.ownerDir(dir, owner), `${id}.part`), pattern(1000, 7));
      const store = await open();
      const writer = await store.resume(id);
      assert.deepEqual(writer.have(), [{ start: 0, end: 1000 }]);
      assert.equal((await writer.commit()).digest, digestOf(pattern(1000, 7)));
    }));

  test('can be written to although a killed commit had made them read-only', () =>
    withData(async (dir, open) => {
      await lay(dir, owner, owner);
      await chmod(path.join(layout.ownerDir(dir, owner), `${id}.part`), 0o444);
      const store = await open();
      const writer = await store.resume(id); // as root it would open all the same: look at the mode
      const [part = ''] = await partialFiles(dir);
      assert.equal((await stat(path.join(layout.partialDir(dir), part))).mode & 0o777, 0o600);
      await writer.cancel();
    }));

  test('are thrown away if their journal cannot be read', async () => {
    for (const text of [
      '',
      '{"version":1',
      '{"version":2,"ranges":[]}',
      '{"version":1,"ranges":[[5,3]]}',
      '[]',
      'null',
    ]) {
      await withData(async (dir, open) => {
        await lay(dir, owner, owner);
        await writeFile(path.join(layout.ownerDir(dir, owner), `${id}.ranges`), text);
        const store = await open();
        await rejects(store.resume(id), 'blob.missing');
        assert.deepEqual(await partialFiles(dir), []);
      });
    }
  });

  test('are kept for a while, and no longer', () =>
    withDirectory(async (dir) => {
      await lay(dir, owner, owner);
      const start = Date.now();
      for (const [age, kept] of [
        [0, 2],
        [limits.partialRetention - 60_000, 2],
        [limits.partialRetention + 60_000, 0],
      ] as const) {
        const store = await openDiskStore(dir, { now: () => start + age });
        await store.close();
        assert.equal((await partialFiles(dir)).length, kept);
      }
    }));

  test('torn from their journal for good, go when they are old', () =>
    withData(async (dir, open) => {
      await lay(dir, 'suspended', undefined);
      await open();
      assert.equal((await partialFiles(dir)).length, 1);
      const old = new Date(Date.now() - limits.partialRetention - 60_000);
      await utimes(path.join(layout.suspendedDir(dir), `${id}.part`), old, old);
      await open();
      assert.deepEqual(await partialFiles(dir), []);
    }));

  test('are left alone while their process lives', () =>
    withData(async (dir, open) => {
      await lay(dir, owner, owner);
      const lock = ProcessLock.tryAcquire(path.join(layout.ownerDir(dir, owner), 'lock'));
      const store = await open();
      assert.deepEqual(await partialFiles(dir), [`${owner}/${id}.part`, `${owner}/${id}.ranges`]);
      await rejects(store.resume(id), 'blob.busy');
      lock?.release();
      await (await store.resume(id)).cancel();
    }));

  test('stand in nobody’s way with files that are not ours', () =>
    withData(async (dir, open) => {
      await lay(dir, owner, undefined);
      await writeFile(path.join(layout.ownerDir(dir, owner), 'notes.txt'), 'mine');
      await mkdir(path.join(layout.partialDir(dir), 'other'));
      await open();
      assert.deepEqual(await readdir(layout.ownerDir(dir, owner)), ['lock', 'notes.txt']);
      assert.ok(existsSync(path.join(layout.partialDir(dir), 'other')));
    }));

  test('are cleaned up by many at once while others start', () =>
    withData(async (dir, open) => {
      await lay(dir, owner, owner);
      for (let n = 1; n <= 5; n++) {
        const another = layout.ownerDir(dir, `dead00000000000${n}`);
        await mkdir(another);
        await writeFile(path.join(another, `${id.replace(/^./, String(n + 1))}.part`), 'x');
      }
      const stores = await Promise.all(Array.from({ length: 8 }, open));
      const digests = await Promise.all(stores.map((store, index) => put(store, pattern(1000, index))));
      for (const [index, digest] of digests.entries()) {
        assert.deepEqual(await readBlob(stores[7 - index] ?? assert.fail(), digest), pattern(1000, index));
      }
      assert.deepEqual(await partialFiles(dir), [`suspended/${id}.part`, `suspended/${id}.ranges`]);
      const claims = await Promise.allSettled(stores.map((store) => store.resume(id)));
      assert.equal(claims.filter(({ status }) => status === 'fulfilled').length, 1);
    }));

  test('do not keep a store from opening if they cannot be cleaned up', () =>
    withDirectory(async (dir) => {
      await lay(dir, owner, owner);
      await rm(path.join(layout.partialDir(dir), 'suspended'), { recursive: true });
      await writeFile(path.join(layout.partialDir(dir), 'suspended'), 'a file in the way');
      const failures: unknown[] = [];
      const store = await openDiskStore(dir, { onCleanUpFailure: (error) => failures.push(error) });
      assert.equal(failures.length, 1);
      await put(store, pattern(10, 1));
      await store.close();
    }));
});
