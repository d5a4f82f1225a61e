/** What clients can read, and what must not fill the memory. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { constants, gzipSync, zstdCompressSync } from 'node:zlib';
import fc from 'fast-check';
import { bunzip2 } from '../../../src/repo/formats/repodata/bunzip2.ts';
import { decompressed } from '../../../src/repo/formats/repodata/decompress.ts';
import { needs } from '../../support/needs.ts';

const PACKERS: Readonly<Record<string, (bytes: Uint8Array) => Buffer>> = {
  plain: (bytes) => Buffer.from(bytes),
  gzip: (bytes) => gzipSync(bytes),
  zstd: (bytes) => zstdCompressSync(bytes, { params: { [constants.ZSTD_c_checksumFlag]: 1 } }),
  xz: (bytes) => packed('xz', bytes, '--check=crc32'),
  bzip2: (bytes) => packed('bzip2', bytes),
};

function packed(tool: string, bytes: Uint8Array, ...options: string[]): Buffer {
  return execFileSync(tool, ['-c', ...options], { input: bytes, maxBuffer: 2 ** 28, stdio: 'pipe' });
}

async function* inPieces(bytes: Uint8Array, size = 1000): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function whole(pieces: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const all: Uint8Array[] = [];
  for await (const piece of pieces) all.push(piece);
  return Buffer.concat(all);
}

function open(bytes: Uint8Array, most = 2 ** 28): Promise<Buffer> {
  return whole(decompressed(inPieces(bytes), { what: 'primary', most }));
}

test('every kind of compression', needs('xz=xz-utils', 'bzip2'), async () => {
  const text = Buffer.from(Array.from({ length: 40_000 }, (_, index) => `<package n="${index * 7919}"/>\n`).join(''));
  for (const [name, pack] of Object.entries(PACKERS)) {
    const bytes = pack(text);
    assert.deepEqual(await open(bytes), text, name);
    await assert.rejects(open(bytes, text.length - 1), /holds more than/, name);
    if (name === 'plain') continue;
    await assert.rejects(open(bytes.subarray(0, bytes.length - 20)), { code: 'repodata.invalid' }, `${name}, cut`);
    const damaged = Buffer.from(bytes);
    damaged.fill(0xff, 2000, 2010);
    await assert.rejects(open(damaged), { code: 'repodata.invalid' }, `${name}, damaged`);
  }
});

test('what bzip2 packs comes out again, whatever it is', needs('bzip2'), async () => {
  const runs = fc.array(fc.tuple(fc.integer({ min: 0, max: 255 }), fc.integer({ min: 1, max: 600 })), {
    maxLength: 60,
  });
  const content = fc.oneof(
    fc.uint8Array({ maxLength: 3000 }),
    runs.map((all) => Buffer.concat(all.map(([byte, count]) => Buffer.alloc(count, byte)))),
  );
  await fc.assert(
    fc.asyncProperty(
      content,
      fc.integer({ min: 1, max: 5000 }),
      fc.integer({ min: 1, max: 9 }),
      async (bytes, size, level) => {
        const file = packed('bzip2', bytes, `-${level}`);
        const twice = Buffer.concat([file, file]);
        assert.deepEqual(await whole(bunzip2(inPieces(twice, size))), Buffer.concat([bytes, bytes]));
      },
    ),
    { numRuns: 30 },
  );
});

test('damaged bzip2 ends with an error, or as it was', needs('bzip2'), async () => {
  const content = Buffer.from('a line of some length, again and again\n'.repeat(200));
  const file = packed('bzip2', content);
  await fc.assert(
    fc.asyncProperty(fc.nat(file.length - 1), fc.nat(7), async (at, bit) => {
      const damaged = Buffer.from(file);
      damaged[at] = (damaged[at] ?? 0) ^ (1 << bit);
      const result = await whole(bunzip2(inPieces(damaged))).catch((error: Error) => error);
      if (Buffer.isBuffer(result)) assert.deepEqual(result, content);
    }),
    { numRuns: 200 },
  );
});

test('a few bytes of bzip2 that stand for many are read piece by piece', needs('bzip2'), async () => {
  const bomb = packed('bzip2', Buffer.alloc(100 * 2 ** 20));
  assert.ok(bomb.length < 1000);
  let most = 0;
  let total = 0;
  for await (const piece of bunzip2(inPieces(bomb))) {
    most = Math.max(most, piece.byteLength);
    total += piece.byteLength;
  }
  assert.deepEqual([total, most <= 64 * 1024], [100 * 2 ** 20, true]);
});

test('a window that would take too much memory is refused', needs('xz=xz-utils'), async () => {
  const text = Buffer.from('x'.repeat(1000));
  await assert.rejects(open(packed('xz', text, '--lzma2=preset=0,dict=256MiB')), { code: 'repodata.invalid' });
});
