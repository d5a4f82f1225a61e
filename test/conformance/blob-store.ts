import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { type ErrorCode, isAirlockError } from '../../src/errors.ts';
import { limits } from '../../src/limits.ts';
import type { BlobStat, BlobStore, BlobWriter, ByteSource, Digest } from '../../src/repo/blobs/blob-store.ts';

/** A driver under test, over a place of its own. */
export interface BlobStoreUnderTest {
  readonly store: BlobStore;
  /** Another store over the same blobs, as another process would open it. For drivers that live in one process: `store`. */
  another(): Promise<BlobStore>;
  /** Changes a stored copy behind the store's back. */
  tamper(digest: Digest, change: (bytes: Uint8Array) => Uint8Array): Promise<void>;
  /** What lies at a place that `quarantine` gave. */
  quarantined(place: string): Promise<Uint8Array>;
  /** Names of partial files. */
  partials(): Promise<string[]>;
  /** Called after `store` was closed. */
  remove(): Promise<void>;
}

/** Everything that the seam promises (src/repo/blobs/blob-store.ts), for one driver. */
export function blobStoreConformance(name: string, make: () => Promise<BlobStoreUnderTest>): void {
  /** Runs on a fresh store, and looks afterwards whether anything was left over. */
  function check(title: string, run: (under: BlobStoreUnderTest) => Promise<void>): void {
    test(title, async () => {
      const under = await make();
      try {
        await run(under);
        assert.deepEqual(await under.partials(), [], 'partial files are left over');
      } finally {
        await under.store.close();
        await under.remove();
      }
    });
  }

  describe(`blob store: ${name}`, () => {
    describe('a blob', () => {
      check('is stored, found, listed and read', async ({ store }) => {
        const bytes = pattern(100_000, 1);
        const writer = await store.create();
        await writer.writeAt(0, bytes.subarray(0, 60_000));
        await writer.writeAt(60_000, bytes.subarray(60_000));
        const stat = await writer.commit({ digest: digestOf(bytes), size: bytes.length });
        assert.deepEqual([stat.digest, stat.size], [digestOf(bytes), bytes.length]);
        assert.deepEqual(await store.stat(stat.digest), stat);
        assert.deepEqual(await listed(store), [stat]);
        assert.deepEqual(await readBlob(store, stat.digest), bytes);
      });

      check('may be empty', async ({ store }) => {
        const stat = await (await store.create()).commit({ size: 0 });
        assert.deepEqual([stat.digest, stat.size], [digestOf(new Uint8Array()), 0]);
        assert.deepEqual(await readBlob(store, stat.digest), new Uint8Array());
      });

      check('may be larger than a chunk, in odd pieces', async ({ store }) => {
        const bytes = pattern(3 * limits.chunk + 12_345, 2);
        const writer = await store.create();
        for (let at = 0; at < bytes.length; at += 777_777) {
          await writer.writeAt(at, bytes.subarray(at, at + 777_777));
        }
        assert.equal((await writer.commit()).digest, digestOf(bytes));
        assert.equal(digestOf(await readBlob(store, digestOf(bytes))), digestOf(bytes));
      });

      check('may be stored in one go, many at once', async ({ store }) => {
        const all = Array.from({ length: 2 * limits.storeTogether + 3 }, (_, seed) => pattern(seed * 37, seed));
        const stats = await Promise.all(
          all.map((bytes) => store.put(bytes, { digest: digestOf(bytes), size: bytes.length })),
        );
        assert.deepEqual(
          stats.map(({ digest }) => digest),
          all.map((bytes) => digestOf(bytes)),
        );
        for (const [index, stat] of stats.entries()) {
          assert.deepEqual(await store.stat(stat.digest), stat);
          assert.deepEqual(await readBlob(store, stat.digest), all[index]);
        }
        const again = await store.put(pattern(37, 1));
        assert.deepEqual(await store.stat(again.digest), again);
      });

      check('put twice at once is one blob, with the stamp that both are told', async ({ store }) => {
        const bytes = pattern(1234, 43);
        const stats = await Promise.all(Array.from({ length: 8 }, () => store.put(Buffer.from(bytes))));
        const stored = await store.stat(digestOf(bytes));
        for (const stat of stats) assert.deepEqual(stat, stored);
      });

      check('in one go is what was expected, or is not kept; others at the same time are', async ({ store }) => {
        const [good, bad] = [pattern(1000, 41), pattern(1000, 42)];
        const kept = store.put(good);
        await rejects(store.put(bad, { digest: digestOf(good) }), 'blob.digest-mismatch');
        await rejects(store.put(bad, { size: 999 }), 'blob.size-mismatch');
        const stat = await kept;
        assert.deepEqual(await listed(store), [stat]);
        await store.close();
        await assert.rejects(store.put(good));
      });

      check('that is not there is missing', async ({ store }) => {
        const digest = digestOf(pattern(5, 3));
        assert.equal(await store.stat(digest), undefined);
        await rejects(store.open(digest), 'blob.missing');
        assert.equal(await store.delete(digest), false);
        assert.equal(await store.quarantine(digest), undefined);
        assert.deepEqual(await listed(store), []);
      });

      check('is not visible before it is committed', async ({ store }) => {
        const bytes = pattern(1000, 4);
        const writer = await store.create();
        await writer.writeAt(0, bytes);
        const { digest } = await writer.seal();
        assert.equal(await store.stat(digest), undefined);
        await rejects(store.open(digest), 'blob.missing');
        assert.deepEqual(await listed(store), []);
        await writer.cancel();
      });

      check('is listed with all others', async ({ store }) => {
        const digests = new Set<Digest>();
        for (let seed = 0; seed < 40; seed++) digests.add(await put(store, pattern(seed, seed)));
        const stats = await listed(store);
        assert.equal(stats.length, 40);
        assert.deepEqual(new Set(stats.map(({ digest }) => digest)), digests);
        for (const stat of stats) assert.deepEqual(await store.stat(stat.digest), stat);
      });

      check('can be deleted while the list is read', async ({ store }) => {
        for (let seed = 0; seed < 20; seed++) await put(store, pattern(50, seed));
        for await (const { digest } of store.list()) assert.equal(await store.delete(digest), true);
        assert.deepEqual(await listed(store), []);
      });

      check('keeps its stamp until somebody touches it', async ({ store, tamper }) => {
        const digest = await put(store, pattern(5000, 5));
        const stat = await store.stat(digest);
        const reader = await store.open(digest);
        await readAll(reader);
        assert.equal(reader.stamp, stat?.stamp);
        await reader.close();
        assert.deepEqual(await store.stat(digest), stat);
        await tamper(digest, (bytes) => bytes.map((byte, index) => (index === 17 ? byte ^ 1 : byte)));
        const after = await store.stat(digest);
        assert.equal(after?.size, stat?.size);
        assert.notEqual(after?.stamp, stat?.stamp);
      });
    });

    describe('a reader', () => {
      check('fills the buffer except at the end of the blob', async ({ store }) => {
        const bytes = pattern(10_000, 6);
        const reader = await store.open(await put(store, bytes));
        for (const [position, length, expected] of [
          [0, 10_000, 10_000],
          [0, 20_000, 10_000],
          [9_999, 10, 1],
          [10_000, 10, 0],
          [99_999, 10, 0],
          [5_000, 0, 0],
          [1_234, 4_321, 4_321],
        ] as const) {
          const into = new Uint8Array(length);
          assert.equal(await reader.readAt(into, position), expected);
          assert.deepEqual(into.subarray(0, expected), bytes.subarray(position, position + expected));
        }
        await reader.close();
      });

      check('serves many reads at once', async ({ store }) => {
        const bytes = pattern(300_000, 7);
        const reader = await store.open(await put(store, bytes));
        const reads = Array.from({ length: 200 }, async (_, index) => {
          const [start, length] = [(index * 7919) % 290_000, 1 + ((index * 31) % 9_000)];
          const into = new Uint8Array(length);
          assert.equal(await reader.readAt(into, start), length);
          assert.deepEqual(into, bytes.subarray(start, start + length));
        });
        await Promise.all(reads);
        await reader.close();
      });

      check('refuses positions that are none', async ({ store }) => {
        const reader = await store.open(await put(store, pattern(10, 8)));
        for (const position of [-1, 0.5, Number.NaN]) {
          await rejects(reader.readAt(new Uint8Array(4), position), 'internal');
        }
        await reader.close();
      });

      check('may be closed twice, and not read afterwards', async ({ store }) => {
        const reader = await store.open(await put(store, pattern(10, 9)));
        await reader.close();
        await reader.close();
        await rejects(reader.readAt(new Uint8Array(4), 0), 'internal');
      });

      check('finishes what is under way before it closes', async ({ store }) => {
        const bytes = pattern(500_000, 46);
        const reader = await store.open(await put(store, bytes));
        const buffers = Array.from({ length: 20 }, () => new Uint8Array(bytes.length));
        const reads = buffers.map((into) => reader.readAt(into, 0));
        await reader.close();
        for (const read of reads) assert.equal(await read, bytes.length);
        for (const into of buffers) assert.deepEqual(into, bytes);
      });

      check('goes on when its blob is replaced, deleted or quarantined', async ({ store }) => {
        const bytes = pattern(50_000, 10);
        for (const change of ['replaced', 'deleted', 'quarantined'] as const) {
          const digest = await put(store, bytes);
          const reader = await store.open(digest);
          if (change === 'replaced') await put(store, bytes);
          if (change === 'deleted') assert.equal(await store.delete(digest), true);
          if (change === 'quarantined') assert.ok(await store.quarantine(digest));
          assert.deepEqual(await readAll(reader), bytes, change);
          await reader.close();
        }
      });

      check('says so when its blob was cut under its hands', async ({ store, tamper }) => {
        const digest = await put(store, pattern(9000, 11));
        const reader = await store.open(digest);
        await tamper(digest, (bytes) => bytes.subarray(0, 4000));
        assert.equal(reader.size, 9000);
        assert.equal(await reader.readAt(new Uint8Array(4000), 0), 4000);
        await rejects(reader.readAt(new Uint8Array(100), 3950), 'blob.damaged');
        await rejects(reader.readAt(new Uint8Array(100), 8000), 'blob.damaged');
        await reader.close();
      });
    });

    describe('a writer', () => {
      check('takes bytes in any order, with overlaps', async ({ store }) => {
        await fc.assert(
          fc.asyncProperty(writes, fc.boolean(), async (pieces, sealBetween) => {
            const writer = await store.create();
            const model = new Model();
            for (const { position, bytes } of pieces) {
              const buffer = bytes.slice();
              await writer.writeAt(position, buffer);
              buffer.fill(0); // it is ours again
              model.write(position, bytes);
              assert.deepEqual(writer.have(), model.ranges());
              if (sealBetween && model.whole()) assert.equal((await writer.seal()).digest, digestOf(model.bytes()));
            }
            await compareStaged(writer, model);
            if (model.whole()) {
              const stat = await writer.commit({ digest: digestOf(model.bytes()), size: model.bytes().length });
              assert.deepEqual(await readBlob(store, stat.digest), model.bytes());
            } else {
              await rejects(writer.seal(), 'blob.incomplete');
              await rejects(writer.commit(), 'blob.incomplete');
              await writer.cancel();
            }
          }),
          { numRuns: 150 },
        );
      });

      check('takes large pieces out of order', async ({ store }) => {
        const bytes = pattern(4 * limits.chunk, 12);
        const writer = await store.create();
        for (const index of [3, 0, 2, 1]) {
          const at = index * limits.chunk;
          await writer.writeAt(at, bytes.subarray(at, at + limits.chunk));
        }
        assert.equal((await writer.commit()).digest, digestOf(bytes));
      });

      check('keeps the order of calls that were not waited for', async ({ store }) => {
        const bytes = pattern(64_000, 13);
        const writer = await store.create();
        const calls = Array.from({ length: 64 }, (_, i) =>
          writer.writeAt(i * 1000, bytes.subarray(i * 1000, i * 1000 + 1000)),
        );
        const rewritten = writer.writeAt(500, pattern(1000, 14));
        const committed = writer.commit();
        await Promise.all([...calls, rewritten]);
        bytes.set(pattern(1000, 14), 500);
        assert.equal((await committed).digest, digestOf(bytes));
      });

      check('can be written to after a seal', async ({ store }) => {
        const writer = await store.create();
        await writer.writeAt(0, pattern(1000, 15));
        assert.equal((await writer.seal()).digest, digestOf(pattern(1000, 15)));
        await writer.writeAt(1000, pattern(500, 16));
        assert.equal((await writer.seal()).digest, digestOf(concat(pattern(1000, 15), pattern(500, 16))));
        await writer.writeAt(0, pattern(1000, 17));
        const expected = concat(pattern(1000, 17), pattern(500, 16));
        assert.deepEqual(await writer.seal(), { digest: digestOf(expected), size: 1500 });
        assert.equal((await writer.commit()).digest, digestOf(expected));
      });

      check('refuses to end with a gap, and can go on', async ({ store }) => {
        const bytes = pattern(3000, 18);
        const writer = await store.create();
        await writer.writeAt(2000, bytes.subarray(2000));
        await rejects(writer.seal(), 'blob.incomplete');
        await writer.writeAt(0, bytes.subarray(0, 1000));
        await rejects(writer.commit({ digest: digestOf(bytes) }), 'blob.incomplete');
        assert.deepEqual(await listed(store), []);
        await writer.writeAt(1000, bytes.subarray(1000, 2000));
        await writer.commit({ digest: digestOf(bytes) });
      });

      check('keeps nothing that is not what was expected', async ({ store }) => {
        const bytes = pattern(2000, 19);
        const other = digestOf(pattern(2000, 20));
        for (const [expected, code] of [
          [{ digest: other }, 'blob.digest-mismatch'],
          [{ digest: other, size: 2000 }, 'blob.digest-mismatch'],
          [{ size: 1999 }, 'blob.size-mismatch'],
          [{ digest: digestOf(bytes), size: 2001 }, 'blob.size-mismatch'],
        ] as const) {
          const writer = await store.create();
          await writer.writeAt(0, bytes);
          await rejects(writer.commit(expected), code);
          await rejects(writer.writeAt(0, bytes), 'internal');
          await writer.cancel();
          assert.deepEqual(await listed(store), []);
        }
      });

      check('does no harm to the blob that is there when its own bytes are wrong', async ({ store }) => {
        const bytes = pattern(2000, 21);
        const digest = await put(store, bytes);
        const before = await store.stat(digest);
        const writer = await store.create();
        await writer.writeAt(0, pattern(2000, 22));
        await rejects(writer.commit({ digest }), 'blob.digest-mismatch');
        assert.deepEqual(await store.stat(digest), before);
        assert.deepEqual(await readBlob(store, digest), bytes);
      });

      check('puts right a copy that was damaged', async ({ store, tamper }) => {
        const bytes = pattern(2000, 23);
        const digest = await put(store, bytes);
        await tamper(digest, () => pattern(1500, 24));
        await put(store, bytes);
        assert.deepEqual(await readBlob(store, digest), bytes);
      });

      check('may be cancelled at any time, also after its end', async ({ store }) => {
        const cancelled = await store.create();
        await cancelled.writeAt(0, pattern(100, 25));
        await Promise.all([cancelled.cancel(), cancelled.cancel()]);
        await cancelled.cancel();
        assert.deepEqual(await listed(store), []);

        const committed = await store.create();
        await committed.writeAt(0, pattern(100, 26));
        const [stat] = await Promise.all([committed.commit(), committed.cancel()]);
        await committed.cancel();
        assert.deepEqual(await listed(store), [stat]);

        const suspended = await store.create();
        await suspended.suspend();
        await suspended.cancel();
        await (await store.resume(suspended.id)).cancel();
      });

      check('refuses everything else after its end', async ({ store }) => {
        for (const end of ['commit', 'cancel', 'suspend'] as const) {
          const writer = await store.create();
          await writer.writeAt(0, pattern(10, 27));
          await writer[end]();
          await rejects(writer.writeAt(0, pattern(10, 27)), 'internal');
          await rejects(writer.seal(), 'internal');
          await rejects(writer.commit(), 'internal');
          await rejects(writer.suspend(), 'internal');
          if (end === 'suspend') await (await store.resume(writer.id)).cancel();
        }
      });

      check('works beside others that write the same blob', async ({ store, another }) => {
        const bytes = pattern(200_000, 28);
        const second = await another();
        const writers = await Promise.all([store, store, second, second].map((each) => each.create()));
        for (let at = 0; at < bytes.length; at += 50_000) {
          await Promise.all(writers.map((writer) => writer.writeAt(at, bytes.subarray(at, at + 50_000))));
        }
        const stats = await Promise.all(writers.map((writer) => writer.commit({ digest: digestOf(bytes) })));
        assert.equal(new Set(stats.map(({ digest }) => digest)).size, 1);
        assert.equal((await listed(store)).length, 1);
        assert.deepEqual(await readBlob(second, digestOf(bytes)), bytes);
        if (second !== store) await second.close();
      });
    });

    describe('a suspended writer', () => {
      check('goes on where it was', async ({ store }) => {
        const bytes = pattern(2 * limits.chunk + 500, 30);
        const first = await store.create();
        await first.writeAt(0, bytes.subarray(0, 1000));
        await first.writeAt(5000, bytes.subarray(5000, limits.chunk));
        const had = first.have();
        await first.suspend();
        const second = await store.resume(first.id);
        assert.equal(second.id, first.id);
        assert.deepEqual(second.have(), had);
        const into = new Uint8Array(6000);
        assert.equal(await second.readAt(into, 0), 1000);
        assert.deepEqual(into.subarray(0, 1000), bytes.subarray(0, 1000));
        await rejects(second.seal(), 'blob.incomplete');
        await second.writeAt(1000, bytes.subarray(1000, 5000));
        assert.deepEqual(await second.seal(), {
          digest: digestOf(bytes.subarray(0, limits.chunk)),
          size: limits.chunk,
        });
        await second.writeAt(limits.chunk, bytes.subarray(limits.chunk));
        assert.equal((await second.commit({ size: bytes.length })).digest, digestOf(bytes));
        await rejects(store.resume(first.id), 'blob.missing');
      });

      check('is taken over by another store', async ({ store, another }) => {
        const bytes = pattern(10_000, 31);
        const first = await store.create({ resumable: true });
        await first.writeAt(0, bytes.subarray(0, 7000));
        await first.suspend();
        const other = await another();
        const second = await other.resume(first.id);
        assert.deepEqual(second.have(), [{ start: 0, end: 7000 }]);
        await second.suspend();
        const third = await store.resume(first.id);
        await third.writeAt(7000, bytes.subarray(7000));
        assert.equal((await third.commit()).digest, digestOf(bytes));
        if (other !== store) await other.close();
      });

      check('is taken over by one only', async ({ store, another }) => {
        const other = await another();
        const first = await store.create();
        await first.writeAt(0, pattern(100, 32));
        await first.suspend();
        const claims = await Promise.allSettled([store, store, other, other].map((each) => each.resume(first.id)));
        const won = claims.flatMap((claim) => (claim.status === 'fulfilled' ? [claim.value] : []));
        assert.equal(won.length, 1);
        for (const claim of claims) {
          if (claim.status === 'rejected')
            assert.ok(isAirlockError(claim.reason, 'blob.busy', 'blob.missing'), claim.reason);
        }
        await won[0]?.cancel();
        if (other !== store) await other.close();
      });

      check('that lives is busy', async ({ store, another }) => {
        const other = await another();
        const writer = await store.create();
        await writer.writeAt(0, pattern(10, 33));
        await rejects(store.resume(writer.id), 'blob.busy');
        await rejects(other.resume(writer.id), 'blob.busy');
        await writer.suspend();
        const resumed = await other.resume(writer.id);
        await rejects(store.resume(writer.id), 'blob.busy');
        await resumed.cancel();
        if (other !== store) await other.close();
      });

      check('that nobody knows is missing', async ({ store }) => {
        const id = 'c0ffee'.padEnd(32, '0');
        for (const wrong of [id, '', '../../etc/passwd', 'x/../../y', `${id}\0`, '.']) {
          await rejects(store.resume(wrong), 'blob.missing');
        }
      });

      check('may be empty', async ({ store }) => {
        const writer = await store.create();
        await writer.suspend();
        const resumed = await store.resume(writer.id);
        assert.deepEqual(resumed.have(), []);
        await resumed.commit({ size: 0 });
      });
    });

    describe('the store', () => {
      check('quarantines every damaged copy, and keeps its bytes', async ({ store, tamper, quarantined }) => {
        const bytes = pattern(1000, 40);
        const digest = await put(store, bytes);
        await tamper(digest, () => pattern(1000, 41));
        const first = await store.quarantine(digest);
        assert.equal(await store.stat(digest), undefined);
        await rejects(store.open(digest), 'blob.missing');
        assert.deepEqual(await listed(store), []);
        await put(store, bytes);
        const second = await store.quarantine(digest);
        assert.ok(first !== undefined && second !== undefined);
        assert.notEqual(first, second);
        assert.deepEqual(await quarantined(first), pattern(1000, 41));
        assert.deepEqual(await quarantined(second), bytes);
      });

      check('deletes', async ({ store }) => {
        const digest = await put(store, pattern(1000, 42));
        assert.equal(await store.delete(digest), true);
        assert.equal(await store.delete(digest), false);
        assert.equal(await store.stat(digest), undefined);
      });

      check('shows at once what another one does', async ({ store, another }) => {
        const other = await another();
        const digest = await put(other, pattern(1000, 43));
        assert.deepEqual(await readBlob(store, digest), pattern(1000, 43));
        assert.equal(await store.delete(digest), true);
        assert.equal(await other.stat(digest), undefined);
        if (other !== store) await other.close();
      });

      check('knows the free space', async ({ store }) => {
        assert.ok((await store.freeSpace()) > 0);
      });

      check('closes what is open', async ({ store }) => {
        const reader = await store.open(await put(store, pattern(1000, 44)));
        const writer = await store.create({ resumable: true });
        await writer.writeAt(0, pattern(1000, 45));
        await store.close();
        await store.close();
        await rejects(reader.readAt(new Uint8Array(10), 0), 'internal');
        await rejects(writer.commit(), 'internal');
        await writer.cancel();
        await reader.close();
        await rejects(store.create(), 'internal');
        await rejects(store.stat(digestOf(pattern(1000, 44))), 'internal');
        await rejects(store.open(digestOf(pattern(1000, 44))), 'internal');
      });
    });

    describe('from a source that lies', () => {
      const bytes = pattern(40_000, 50);
      const expected = { digest: digestOf(bytes), size: bytes.length };
      const lies: [string, ByteSource, ErrorCode | 'as it is'][] = [
        ['that ends too early', lyingSource(bytes, { end: 30_000 }), 'blob.size-mismatch'],
        ['that does not end where it should', lyingSource(concat(bytes, bytes), {}), 'blob.size-mismatch'],
        ['that gives one wrong byte', lyingSource(flip(bytes, 39_999), {}), 'blob.digest-mismatch'],
        [
          'that gives zeros instead of an error',
          lyingSource(
            bytes.map((b, i) => (i < 8192 ? b : 0)),
            {},
          ),
          'blob.digest-mismatch',
        ],
        ['that skips bytes', lyingSource(bytes, { skipFrom: 20_000 }), 'blob.incomplete'],
        ['that fails half way', lyingSource(bytes, { failAt: 25_000 }), 'as it is'],
      ];
      for (const [title, source, code] of lies) {
        check(`${title}: nothing becomes visible`, async ({ store }) => {
          const writer = await store.create();
          try {
            const copied = pour(source, writer).then(() => writer.commit(expected));
            if (code === 'as it is') await assert.rejects(copied, /the medium was pulled/);
            else await rejects(copied, code);
          } finally {
            await writer.cancel();
          }
          assert.deepEqual(await listed(store), []);
        });
      }

      check('that gives few bytes at a time: all is well', async ({ store }) => {
        const writer = await store.create();
        await pour(lyingSource(bytes, { atMost: 37 }), writer);
        assert.equal((await writer.commit(expected)).digest, expected.digest);
      });
    });
  });
}

/** SHA-256 of `bytes`, by node:crypto alone. */
export function digestOf(bytes: Uint8Array): Digest {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

/** Bytes that differ from place to place and from seed to seed. */
export function pattern(length: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let state = (seed + 1) * 2654435761;
  for (let index = 0; index < length; index++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes[index] = state >>> 24;
  }
  return bytes;
}

/** Stores bytes. @returns their digest */
export async function put(store: BlobStore, bytes: Uint8Array): Promise<Digest> {
  const writer = await store.create();
  await writer.writeAt(0, bytes);
  return (await writer.commit({ digest: digestOf(bytes), size: bytes.length })).digest;
}

/** All of a blob. */
export async function readBlob(store: BlobStore, digest: Digest): Promise<Uint8Array> {
  const reader = await store.open(digest);
  try {
    return await readAll(reader);
  } finally {
    await reader.close();
  }
}

/** Passes if `promise` is rejected with an AirlockError of this code. */
export async function rejects(promise: Promise<unknown>, code: ErrorCode): Promise<void> {
  await assert.rejects(promise, (error) => {
    assert.ok(isAirlockError(error, code), `expected ${code}, got ${error}`);
    return true;
  });
}

async function readAll(source: ByteSource): Promise<Uint8Array> {
  const bytes = new Uint8Array(source.size);
  assert.equal(await source.readAt(bytes, 0), source.size);
  return bytes;
}

async function listed(store: BlobStore): Promise<BlobStat[]> {
  const stats: BlobStat[] = [];
  for await (const stat of store.list()) stats.push(stat);
  return stats;
}

/** Bytes written anywhere in the first few hundred, small and overlapping; one write in three goes on at the end. */
const writes = fc
  .array(
    fc.record({ anywhere: fc.nat(300), goOn: fc.nat(2), bytes: fc.uint8Array({ minLength: 0, maxLength: 120 }) }),
    { maxLength: 14 },
  )
  .map((steps) => {
    let end = 0;
    return steps.map(({ anywhere, goOn, bytes }) => {
      const position = goOn === 0 ? anywhere : end;
      if (bytes.length > 0) end = Math.max(end, position + bytes.length);
      return { position, bytes };
    });
  });

/** The naive truth: which byte was written last where. */
class Model {
  readonly #bytes: (number | undefined)[] = [];

  write(position: number, bytes: Uint8Array): void {
    for (const [index, byte] of bytes.entries()) this.#bytes[position + index] = byte;
  }

  ranges(): { start: number; end: number }[] {
    const ranges: { start: number; end: number }[] = [];
    for (let at = 0; at < this.#bytes.length; at++) {
      if (this.#bytes[at] === undefined) continue;
      const last = ranges.at(-1);
      if (last?.end === at) last.end = at + 1;
      else ranges.push({ start: at, end: at + 1 });
    }
    return ranges;
  }

  whole(): boolean {
    const ranges = this.ranges();
    return ranges.length === 0 || (ranges.length === 1 && ranges[0]?.start === 0);
  }

  bytes(): Uint8Array {
    return Uint8Array.from(this.#bytes, (byte) => byte ?? 0);
  }
}

/** `readAt` of a writer gives what was written and stops at the first gap. */
async function compareStaged(writer: BlobWriter, model: Model): Promise<void> {
  const bytes = model.bytes();
  for (const position of [0, 1, 150, bytes.length, bytes.length + 10]) {
    const into = new Uint8Array(200);
    const run = model.ranges().find(({ start, end }) => start <= position && position < end);
    const expected = bytes.subarray(position, Math.min(run?.end ?? position, position + 200));
    assert.equal(await writer.readAt(into, position), expected.length);
    assert.deepEqual(into.subarray(0, expected.length), expected);
  }
}

interface Lie {
  /** Where it ends, whatever it said before. */
  readonly end?: number;
  /** From here on, bytes are left out. */
  readonly skipFrom?: number;
  readonly failAt?: number;
  /** Bytes per read. */
  readonly atMost?: number;
}

/** A medium that is not what it seems. Writers are fed from it byte range by byte range, as ingest does. */
function lyingSource(bytes: Uint8Array, lie: Lie): ByteSource & { holes: (position: number) => boolean } {
  const size = lie.end ?? bytes.length;
  return {
    size,
    holes: (position) => lie.skipFrom !== undefined && position >= lie.skipFrom && position < lie.skipFrom + 4096,
    async readAt(into, position) {
      if (lie.failAt !== undefined && position >= lie.failAt) throw new Error('the medium was pulled');
      const end = Math.min(size, position + Math.min(into.byteLength, lie.atMost ?? into.byteLength));
      const piece = bytes.subarray(Math.min(position, end), end);
      into.set(piece);
      return piece.length;
    },
  };
}

async function pour(source: ByteSource & { holes?: (position: number) => boolean }, writer: BlobWriter): Promise<void> {
  const buffer = new Uint8Array(4096);
  for (let at = 0; ; ) {
    const read = await source.readAt(buffer, at);
    if (read === 0) return;
    if (!source.holes?.(at)) await writer.writeAt(at, buffer.subarray(0, read));
    at += read;
  }
}

function flip(bytes: Uint8Array, index: number): Uint8Array {
  return bytes.map((byte, at) => (at === index ? byte ^ 1 : byte));
}

function concat(...parts: Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts));
}
