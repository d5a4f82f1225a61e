/** Chunks, and the file in which they are kept. */
import assert from 'node:assert/strict';
import { appendFile, readFile, stat, truncate, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { digestOfBytes } from '../../../src/repo/blobs/digest-of.ts';
import { appendToChunkFile, readChunkFile } from '../../../src/sync/delta/chunk-file.ts';
import { type ChunkIndex, indexChunks } from '../../../src/sync/delta/chunk-index.ts';
import { type Chunk, type ChunksOptions, COARSE, chunksOf, FINE, MEDIUM } from '../../../src/sync/delta/chunker.ts';
import { indexHeld } from '../../../src/sync/delta/index-held.ts';
import { tempDir } from '../../support/temp-dir.ts';
import { MemoryBlobs, noise, sourceOf } from './memory-blobs.ts';

async function chunks(bytes: Buffer, options: ChunksOptions = {}): Promise<Chunk[]> {
  return await collect(chunksOf(sourceOf(bytes), options));
}

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

const average = (all: readonly Chunk[]) => all.reduce((sum, { length }) => sum + length, 0) / all.length;

test('chunks have the size that was meant', async () => {
  const bytes = noise(12 * 2 ** 20, 1);
  for (const [grain, meant] of [
    [COARSE, 65_536],
    [MEDIUM, 2_048],
    [FINE, 512],
  ] as const) {
    const all = await chunks(bytes, { grain });
    const size = average(all);
    assert.ok(size > meant * 0.8 && size < meant * 1.25, `${size} instead of ${meant}`);
    for (const { length } of all.slice(0, -1)) assert.ok(length > grain.least && length <= grain.most);
  }
});

test('the cuts never change: indexes that are kept rest on them', async () => {
  const all = await chunks(noise(2 ** 20, 1));
  assert.deepEqual(
    all.slice(0, 4).map(({ offset, length, hash }) => [offset, length, Buffer.from(hash, 'binary').toString('hex')]),
    CUTS,
  );
});

test('one byte more moves the cuts beside it only', async () => {
  const bytes = noise(8 * 2 ** 20, 2);
  const before = new Set((await chunks(bytes)).map(({ hash }) => Buffer.from(hash, 'binary').toString('hex')));
  const after = await chunks(
    Buffer.concat([bytes.subarray(0, 3_000_000), Buffer.from('x'), bytes.subarray(3_000_000)]),
  );
  assert.ok(after.filter(({ hash }) => !before.has(Buffer.from(hash, 'binary').toString('hex'))).length <= 3);
});

test('property: the chunks of a range are all of it, and what they are depends on the bytes alone', async () => {
  await fc.assert(
    fc.asyncProperty(fc.nat(3_000_000), fc.nat(3_000_000), fc.nat(100), async (from, to, seed) => {
      const bytes = noise(3_000_000, seed);
      const range = { start: Math.min(from, to), end: Math.max(from, to) };
      const all = await chunks(bytes, { range });
      let position = range.start;
      for (const { offset, length } of all) {
        assert.equal(offset, position);
        position += length;
      }
      assert.equal(position, range.end);
      const alone = await chunks(Buffer.from(bytes.subarray(range.start, range.end)));
      assert.deepEqual(
        alone.map(({ hash }) => hash),
        all.map(({ hash }) => hash),
      );
    }),
    { numRuns: 15 },
  );
});

async function indexOf(seed: number, size = 500_000): Promise<ChunkIndex> {
  const bytes = noise(size, seed);
  return await indexChunks(digestOfBytes(bytes), sourceOf(bytes));
}

async function kept(file: string): Promise<string[]> {
  const all = await collect(readChunkFile(file, () => true));
  return all.map(({ digest }) => digest);
}

test('indexes are kept, and those that are wanted are read', async (t) => {
  const file = path.join(await tempDir(t), 'chunks');
  assert.deepEqual(await kept(file), []);
  const all = [await indexOf(1), await indexOf(2), await indexOf(3, 0), await indexOf(4, 3_000_000)];
  for (const index of all) await appendToChunkFile(file, index);
  assert.deepEqual(await collect(readChunkFile(file, () => true)), all);
  const [, second] = all;
  assert.deepEqual(await collect(readChunkFile(file, (digest) => digest === second?.digest)), [second]);
});

test('what is damaged is cut off, and what comes later is kept', async (t) => {
  const [first, second, third] = [await indexOf(1), await indexOf(2), await indexOf(3)];
  const dir = await tempDir(t);
  const good = path.join(dir, 'good');
  await appendToChunkFile(good, first);
  const { size } = await stat(good);
  await appendToChunkFile(good, second);
  const bytes = await readFile(good);
  const damages: [name: string, damage: (file: string) => Promise<void>, left: string[]][] = [
    ['torn', (file) => truncate(file, bytes.length - 7), [first.digest]],
    ['a torn head', (file) => truncate(file, size + 9), [first.digest]],
    ['a wrong byte', (file) => writeFile(file, flipped(bytes, bytes.length - 30)), [first.digest]],
    ['a wrong digest', (file) => writeFile(file, flipped(bytes, size + 20)), [first.digest]],
    ['a wrong count', (file) => writeFile(file, flipped(bytes, size + 7)), [first.digest]],
    ['something behind', (file) => appendFile(file, 'abc'), [first.digest, second.digest]],
    ['another version', (file) => writeFile(file, flipped(bytes, 15)), []],
    ['nothing at all', (file) => writeFile(file, ''), []],
  ];
  for (const [name, damage, left] of damages) {
    const file = path.join(dir, name);
    await writeFile(file, bytes);
    await damage(file);
    assert.deepEqual(await kept(file), left, name);
    await appendToChunkFile(file, third);
    assert.deepEqual(await kept(file), [...left, third.digest], name);
  }
});

function flipped(bytes: Buffer, at: number): Buffer {
  const copy = Buffer.from(bytes);
  copy[at] = (copy[at] ?? 0) ^ 0x41;
  return copy;
}

test('no blob is read twice for its index, and small ones never', async (t) => {
  const file = path.join(await tempDir(t), 'chunks');
  const site = new MemoryBlobs([noise(400_000, 1), noise(300_000, 2), noise(1000, 3)]);
  const blobs = [...site.blobs].map(([digest, { length: size }]) => ({ digest, size }));
  let read = 0;
  const options = {
    open: site.open,
    onBytes: (bytes: number) => {
      read += bytes;
    },
  };
  const first = await indexHeld(file, blobs, options);
  assert.equal(read, 700_000);
  assert.equal(site.openReaders, 0);
  const second = await indexHeld(file, blobs, options);
  assert.equal(read, 700_000);
  assert.deepEqual([second.count, second.blobs], [first.count, first.blobs]);
  const gone = await indexHeld(file, [...blobs, { digest: digestOfBytes(Buffer.from('gone')), size: 10 ** 9 }], {
    open: async () => undefined,
  });
  assert.equal(gone.count, first.count);
});

/** Computed once. */
const CUTS = [
  [0, 55721, '3f5fcabaaf39a913fbbdedbc11fb8ef3'],
  [55721, 81019, '613ab58a2fe13e01195e437f7df54780'],
  [136740, 97602, 'ed7cf7d173d7ec765ea4165e22a6636d'],
  [234342, 89798, 'e015bdb90ab5a8edfa8601b22e69411f'],
];
