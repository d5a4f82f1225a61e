import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, truncate, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { isAirlockError } from '../../src/errors.ts';
import { limits } from '../../src/limits.ts';
import type { BlobStore, BlobWriter, Digest } from '../../src/repo/blobs/blob-store.ts';
import { openDiskStore } from '../../src/repo/blobs/disk-store.ts';
import * as layout from '../../src/repo/blobs/layout.ts';
import { readAhead } from '../../src/repo/blobs/read-ahead.ts';
import { digestOf, pattern, put, readBlob, rejects } from '../conformance/blob-store.ts';
import { type Child, partialFiles, startChild, withDirectory } from '../repo/blobs/support.ts';
import { needs, needsRoot } from '../support/needs.ts';
import { parseTrace, STRACE, straceFor } from '../support/strace.ts';
import { chunk, fill, small } from './blob-child.ts';

const MiB = 1024 * 1024;

function child(data: string, args: (string | number)[], wrapper: string[] = []): Child {
  return startChild(path.join(import.meta.dirname, 'blob-child.ts'), [data, ...args.map(String)], wrapper);
}

async function withStore<T>(dir: string, run: (store: BlobStore) => Promise<T>): Promise<T> {
  const store = await openDiskStore(dir);
  try {
    return await run(store);
  } finally {
    await store.close();
  }
}

/** Digest of the first `length` bytes of what the child writes. */
function filledDigest(length: number): Digest {
  const hash = createHash('sha256');
  for (let at = 0; at < length; at += chunk.length) hash.update(chunk.subarray(0, length - at));
  return `sha256:${hash.digest('hex')}`;
}

async function blobsOf(store: BlobStore): Promise<Digest[]> {
  const digests: Digest[] = [];
  for await (const { digest } of store.list()) digests.push(digest);
  return digests;
}

describe('a process killed while it writes', () => {
  test('leaves nothing behind', () =>
    withDirectory(async (dir) => {
      const writing = child(dir, ['hold', 3 * MiB, 'plain']);
      const id = await writing.line();
      assert.equal((await partialFiles(dir)).length, 1);
      await withStore(dir, async (store) => {
        await rejects(store.resume(id), 'blob.busy');
        assert.equal((await partialFiles(dir)).length, 1, 'it lives');
      });
      await writing.kill();
      await withStore(dir, async (store) => {
        assert.deepEqual(await partialFiles(dir), []);
        await rejects(store.resume(id), 'blob.missing');
        assert.deepEqual(await blobsOf(store), []);
      });
      assert.deepEqual(await readdir(layout.partialDir(dir)), ['lock']);
    }));

  test('loses at most one checkpoint if it is resumable', () =>
    withDirectory(async (dir) => {
      const written = limits.checkpointEvery + 40 * MiB;
      const writing = child(dir, ['hold', written, 'resumable']);
      const id = await writing.line();
      await writing.kill();
      await withStore(dir, async (store) => {
        const writer = await store.resume(id);
        const [have, ...more] = writer.have();
        assert.ok(have !== undefined && more.length === 0 && have.start === 0);
        assert.ok(have.end >= written - limits.checkpointEvery, `only ${have.end} bytes were kept`);
        await fill(writer, written, have.end);
        assert.equal((await writer.commit()).digest, filledDigest(written));
      });
    }));

  test('at any moment: what it acknowledged is there, and nothing else shows', () =>
    withDirectory(async (dir) => {
      const blobs = new Set<string>();
      const partials = new Map<string, number>();
      for (let round = 0; round < 6; round++) {
        const churning = child(dir, ['churn', round * 1000]);
        for (let lines = 3 + Math.random() * 30; lines > 0; lines--) note(await churning.line(), blobs, partials);
        await sleep(Math.random() * 15);
        await churning.kill();
        await noteAll(churning, blobs, partials);
      }
      await withStore(dir, async (store) => {
        assert.ok(blobs.size > 0 && partials.size > 0);
        const listed = new Set<string>(await blobsOf(store));
        for (const digest of blobs) assert.ok(listed.has(digest), `${digest} was acknowledged`);
        for (const digest of listed) assert.equal(digestOf(await readBlob(store, digest as Digest)), digest);
        for (const [id, length] of partials) {
          const writer = await store.resume(id);
          assert.deepEqual(writer.have(), length === 0 ? [] : [{ start: 0, end: length }]);
          await writer.cancel();
        }
        for (const file of await partialFiles(dir)) assert.match(file, /^suspended\//);
      });
    }));

  function note(line: string, blobs: Set<string>, partials: Map<string, number>): void {
    const [kind, name = '', length] = line.split(' ');
    if (kind === 'blob') blobs.add(name);
    else partials.set(name, Number(length));
  }

  /** What it said last, before it was killed, counts as acknowledged too. */
  async function noteAll(from: Child, blobs: Set<string>, partials: Map<string, number>): Promise<void> {
    for (;;) {
      const line = await from.line().catch(() => undefined);
      if (line === undefined) return;
      note(line, blobs, partials);
    }
  }
});

describe('with strace', needs('strace'), () => {
  /** Options that fail or kill at the `n`th call of one kind, and write down what happened. */
  function inject(log: string, call: string, fault: string): string[] {
    return [...straceFor(fault), '-qq', '-y', '-o', log, '-e', `trace=${call}`, '-e', `inject=${call}:${fault}`];
  }

  test('a commit syncs the file, renames it, and syncs the folder, in this order', () =>
    withDirectory(async (dir) => {
      const log = path.join(dir, 'log');
      const data = path.join(dir, 'data');
      const wrapper = [...STRACE, '-qq', '-y', '-o', log, '-e', 'trace=fsync,fdatasync,rename,fchmod'];
      const committing = child(data, ['commit', 50_000], wrapper);
      const digest = (await committing.line()) as Digest;
      await committing.finish();
      const calls = (await readFile(log, 'utf8')).split('\n');
      const at = (pattern: RegExp): number => {
        const index = calls.findLastIndex((call) => pattern.test(call));
        assert.notEqual(index, -1, `no ${pattern} in:\n${calls.join('\n')}`);
        return index;
      };
      const shard = layout.shardDir(data, digest);
      const order = [
        at(new RegExp(`fsync\\(\\d+<${layout.shardsDir(data)}>\\) = 0`)), // the new folder's name
        at(/fchmod\(\d+<.*\.part>, 0444\) = 0/),
        at(/fsync\(\d+<.*\.part>\) = 0/),
        at(new RegExp(`rename\\(".*\\.part", "${layout.blobPath(data, digest)}"\\) = 0`)),
        at(new RegExp(`fsync\\(\\d+<${shard}>\\) = 0`)),
      ];
      assert.deepEqual(
        order,
        order.toSorted((a, b) => a - b),
      );
      at(new RegExp(`fsync\\(\\d+<${path.join(data, 'blobs')}>\\) = 0`));
      at(new RegExp(`fsync\\(\\d+<${data}>\\) = 0`));
    }));

  test('a failed fsync, whichever, fails the commit, and nothing shows', () =>
    withDirectory(async (dir) => {
      const data = path.join(dir, 'data');
      const failed: string[] = [];
      await withStore(data, (store) => put(store, pattern(10, 1))); // folders that are there already
      for (let n = 1; ; n++) {
        const log = path.join(dir, `log${n}`);
        const committing = child(data, ['commit', 50_000], inject(log, 'fsync', `error=EIO:when=${n}`));
        const said = await committing.line();
        await committing.finish();
        if (said === filledDigest(50_000)) break;
        assert.equal(said, 'EIO');
        failed.push(/fsync\(\d+<(.*)>\) = -1 EIO/.exec(await readFile(log, 'utf8'))?.[1] ?? '');
        await withStore(data, async (store) => assert.equal(await store.stat(filledDigest(50_000)), undefined));
        assert.deepEqual(await partialFiles(data), []);
      }
      assert.ok(failed.some((file) => file.endsWith('.part')));
      assert.ok(failed.includes(layout.shardDir(data, filledDigest(50_000))));
    }));

  test('of blobs stored together each is synced, then renamed, then its folder synced, before anybody is told', () =>
    withDirectory(async (dir) => {
      const log = path.join(dir, 'log');
      const data = path.join(dir, 'data');
      const wrapper = [...STRACE, '-qq', '-y', '-o', log, '-e', 'trace=fsync,rename,write'];
      const storing = child(data, ['together', 40], wrapper);
      const digests = (await storing.line()).split(' ') as Digest[];
      await storing.finish();
      assert.deepEqual(
        digests,
        Array.from({ length: 40 }, (_, n) => digestOf(small(n))),
      );
      const calls = parseTrace(await readFile(log, 'utf8'));
      const told = calls.find(({ name, args }) => name === 'write' && args.includes('"sha256:')); // strace cuts what is long
      assert.ok(told !== undefined);
      const folders = new Set<string>();
      for (const digest of digests) {
        const named = calls.find(({ name, paths }) => name === 'rename' && paths[1] === layout.blobPath(data, digest));
        const part = named?.paths[0];
        const synced = calls.find(({ name, paths }) => name === 'fsync' && paths[0] === part);
        assert.ok(named !== undefined && synced !== undefined && synced.ended < named.began, digest);
        const shard = layout.shardDir(data, digest);
        folders.add(shard);
        const lasting = calls.filter(({ name, paths }) => name === 'fsync' && paths[0] === shard);
        assert.ok(lasting.some(({ began, ended }) => began > named.ended && ended < told.began));
      }
      const flushes = calls.filter(({ name, paths }) => name === 'fsync' && folders.has(paths[0] ?? ''));
      assert.ok(flushes.length <= folders.size, 'each folder once');
    }));

  test('of blobs stored together, those that a failed fsync concerns are not stored, the others are', () =>
    withDirectory(async (dir) => {
      const data = path.join(dir, 'data');
      const digests = Array.from({ length: 2 }, (_, n) => digestOf(small(n)));
      await withStore(data, async (store) => await store.delete(await put(store, pattern(10, 1)))); // the folder is there already
      for (let n = 1; ; n++) {
        assert.ok(n < 100);
        const storing = child(data, ['together', 2], inject('/dev/null', 'fsync', `error=EIO:when=${n}`));
        const said = (await storing.line()).split(' ');
        await storing.finish();
        await withStore(data, async (store) => {
          const stored = digests.filter((digest) => said.includes(digest));
          assert.deepEqual((await blobsOf(store)).toSorted(), stored.toSorted(), said.join());
          for (const digest of stored) await store.delete(digest);
        });
        assert.deepEqual(await partialFiles(data), []);
        if (!said.includes('EIO')) break;
      }
    }));

  test('a failed early flush is not forgotten when the last fsync succeeds', () =>
    withDirectory(async (dir) => {
      const data = path.join(dir, 'data');
      const length = limits.flushEvery; // the flush starts with the last byte
      const committing = child(
        data,
        ['commit', length],
        inject(path.join(dir, 'log'), 'fdatasync', 'error=EIO:when=1'),
      );
      assert.equal(await committing.line(), 'EIO');
      await committing.finish();
      await withStore(data, async (store) => assert.deepEqual(await blobsOf(store), []));
      assert.deepEqual(await partialFiles(data), []);
    }));

  test('killed at any rename of a suspend, it keeps the bytes that its journal names, or none', () =>
    withDirectory(async (dir) => {
      const outcomes: string[] = [];
      for (let n = 1; outcomes.at(-1) !== 'suspended'; n++) {
        const data = path.join(dir, `data${n}`);
        const suspending = child(data, ['suspend', 50_000], inject('/dev/null', 'rename', `signal=SIGKILL:when=${n}`));
        const id = await suspending.line();
        outcomes.push(await suspending.line().catch(() => 'killed'));
        await suspending.finish();
        await withStore(data, async (store) => {
          if (n === 1) {
            await rejects(store.resume(id), 'blob.missing'); // the journal was not in place
          } else {
            assert.equal((await (await store.resume(id)).commit()).digest, filledDigest(50_000));
          }
        });
        assert.deepEqual(await partialFiles(data), []);
      }
      assert.deepEqual(outcomes, ['killed', 'killed', 'killed', 'suspended']);
    }));

  test('killed at any rename of a resume, the next one can resume', () =>
    withDirectory(async (dir) => {
      const outcomes: string[] = [];
      for (let n = 1; n <= 3; n++) {
        const data = path.join(dir, `data${n}`);
        const id = await withStore(data, async (store) => {
          const writer = await store.create();
          await fill(writer, 50_000);
          await writer.suspend();
          return writer.id;
        });
        const resuming = child(data, ['resume', id], inject('/dev/null', 'rename', `signal=SIGKILL:when=${n}`));
        outcomes.push(await resuming.line().catch(() => 'killed'));
        await resuming.finish();
        await withStore(data, async (store) => {
          assert.equal((await (await store.resume(id)).commit()).digest, filledDigest(50_000));
        });
        assert.deepEqual(await partialFiles(data), []);
      }
      assert.deepEqual(outcomes, ['killed', 'killed', 'killed']); // the third is that of the commit
    }));
});

describe('a power cut', () => {
  const tools = needsRoot('mount', 'losetup', 'mkfs.ext4', 'xfs_io');

  /** Runs on a file system that can be stopped dead: what it had not put on the disk by then is lost. */
  async function withCuttableDisk(
    run: (dir: string, cutPower: (open: BlobStore) => Promise<void>) => Promise<void>,
  ): Promise<void> {
    await withDirectory(async (dir) => {
      const [image, mount] = [path.join(dir, 'image'), path.join(dir, 'disk')];
      await mkdir(mount);
      await writeFile(image, '');
      await truncate(image, 64 * MiB);
      execFileSync('mkfs.ext4', ['-q', image]);
      const mountImage = () => execFileSync('mount', ['-o', 'loop', image, mount]);
      mountImage();
      try {
        await run(mount, async (open) => {
          execFileSync('xfs_io', ['-x', '-c', 'shutdown', mount]);
          await open.close().catch(() => undefined); // it reaches the disk no more, but holds files open on it
          execFileSync('umount', [mount]);
          mountImage();
        });
      } finally {
        execFileSync('umount', ['-l', mount]);
      }
    });
  }

  test('loses nothing that was acknowledged, and shows nothing else', tools, () =>
    withCuttableDisk(async (dir, cutPower) => {
      const store = await openDiskStore(dir);
      const digests: Digest[] = [];
      for (let seed = 0; seed < 10; seed++) digests.push(await put(store, pattern(20_000, seed)));
      const together = await Promise.all(Array.from({ length: 100 }, (_, n) => store.put(small(n))));
      digests.push(...together.map(({ digest }) => digest));
      const suspended = await store.create();
      await fill(suspended, 3 * MiB);
      await suspended.suspend();
      const open = await store.create();
      await fill(open, 2 * MiB);
      await open.seal();

      await cutPower(store);
      await withStore(dir, async (after) => {
        assert.deepEqual((await blobsOf(after)).toSorted(), digests.toSorted());
        for (const digest of digests) assert.equal(digestOf(await readBlob(after, digest)), digest);
        const writer = await after.resume(suspended.id);
        assert.equal((await writer.commit()).digest, filledDigest(3 * MiB));
        await rejects(after.resume(open.id), 'blob.missing');
        assert.deepEqual(await partialFiles(dir), []);
      });
    }),
  );
});

describe('a full disk', () => {
  const size = 1 * MiB;

  async function withTinyDisk(run: (dir: string) => Promise<void>): Promise<void> {
    await withDirectory(async (dir) => {
      const mount = path.join(dir, 'tiny');
      await mkdir(mount);
      execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'none', mount]);
      try {
        await run(mount);
      } finally {
        execFileSync('umount', ['-l', mount]);
      }
    });
  }

  /** Writes until nothing fits any more. */
  async function exhaust(writer: BlobWriter): Promise<void> {
    await assert.rejects(fill(writer, 2 * size), (error) => {
      assert.ok(isAirlockError(error, 'space.insufficient'), String(error));
      assert.match(error.message, /bytes to write, \d+ free/);
      assert.equal(error.exitCode, 6);
      return true;
    });
  }

  test('refuses more with the numbers, and goes on reading', needsRoot('mount'), () =>
    withTinyDisk((dir) =>
      withStore(dir, async (store) => {
        const digest = await put(store, pattern(100_000, 1));
        const writer = await store.create();
        await exhaust(writer);
        await rejects(writer.writeAt(0, chunk), 'space.insufficient');
        await rejects(writer.commit(), 'space.insufficient');
        assert.equal(await store.freeSpace(), 0);
        assert.deepEqual(await readBlob(store, digest), pattern(100_000, 1));
        assert.equal((await blobsOf(store)).length, 1);
        await writer.cancel();
        assert.ok((await store.freeSpace()) > 500_000);
        await put(store, pattern(100_000, 2));
      }),
    ),
  );

  test('lets a writer be suspended and go on when there is space', needsRoot('mount'), () =>
    withTinyDisk(async (dir) => {
      const id = await withStore(dir, async (store) => {
        const digest = await put(store, pattern(100_000, 1));
        const writer = await store.create({ resumable: true });
        await exhaust(writer);
        await writer.suspend();
        await store.delete(digest);
        return writer.id;
      });
      await withStore(dir, async (store) => {
        const writer = await store.resume(id);
        const end = writer.have()[0]?.end ?? 0;
        assert.ok(end > size / 2);
        for await (const piece of readAhead(writer, { start: 0, end }, end))
          assert.ok(Buffer.from(chunk.subarray(0, end)).equals(piece));
        await fill(writer, 900_000, end);
        assert.equal((await writer.commit()).digest, filledDigest(900_000));
      });
    }),
  );

  test('says so when only a limit on the size of one file is reached', needs('prlimit=util-linux'), () =>
    withDirectory(async (dir) => {
      const limited = child(dir, ['commit', 3 * MiB], ['prlimit', `--fsize=${2 * MiB}`]);
      assert.equal(await limited.line(), 'space.insufficient');
      await limited.finish();
      assert.deepEqual(await partialFiles(dir), []);
    }),
  );
});
