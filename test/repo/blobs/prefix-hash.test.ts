/** Large blobs are hashed by a thread that reads back what was written: whatever happens, the digest is that of the bytes. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { describe, test } from 'node:test';
import { limits } from '../../../src/limits.ts';
import type { BlobWriter } from '../../../src/repo/blobs/blob-store.ts';
import { openDiskStore } from '../../../src/repo/blobs/disk-store.ts';
import { Hashing } from '../../../src/repo/blobs/hashing.ts';
import { PositionalFile } from '../../../src/repo/blobs/positional-file.ts';
import { PrefixHash } from '../../../src/repo/blobs/prefix-hash.ts';
import { digestOf, pattern } from '../../conformance/blob-store.ts';
import { withDirectory } from './support.ts';

const SIZE = 2 * limits.hashing.from + 54_321;
const PIECE = 300_000;
const bytes = pattern(SIZE, 1);

describe('the digest of a large blob', () => {
  test('written in order', () =>
    withWriter(async (writer) => {
      await write(writer, bytes);
      assert.equal((await writer.seal()).digest, digestOf(bytes));
      assert.equal((await writer.seal()).digest, digestOf(bytes), 'a second time');
    }));

  test('written from its end', () =>
    withWriter(async (writer) => {
      const starts = startsOf(bytes).reverse();
      for (const at of starts) await writer.writeAt(at, bytes.subarray(at, at + PIECE));
      assert.equal((await writer.seal()).digest, digestOf(bytes));
    }));

  test('sealed, and written on', () =>
    withWriter(async (writer) => {
      const half = limits.hashing.from + 1;
      await write(writer, bytes.subarray(0, half));
      assert.equal((await writer.seal()).digest, digestOf(bytes.subarray(0, half)));
      for (const at of startsOf(bytes)) if (at + PIECE > half) await writer.writeAt(at, bytes.subarray(at, at + PIECE));
      assert.equal((await writer.seal()).digest, digestOf(bytes));
    }));

  test('with a part that was written anew, early and late', () =>
    withWriter(async (writer) => {
      const wanted = Uint8Array.from(bytes);
      await write(writer, bytes);
      for (const at of [5, limits.hashing.from + 7, SIZE - 3]) {
        wanted.set([1, 2, 3], at);
        await writer.writeAt(at, wanted.subarray(at, at + 3));
        assert.equal((await writer.seal()).digest, digestOf(wanted), `at ${at}`);
      }
    }));

  test('suspended and resumed', () =>
    withDirectory(async (dir) => {
      const store = await openDiskStore(dir);
      try {
        const half = limits.hashing.from + 12_345;
        const first = await store.create({ resumable: true });
        await write(first, bytes.subarray(0, half));
        await first.suspend();
        const writer = await store.resume(first.id);
        await writer.writeAt(half, bytes.subarray(half));
        assert.equal((await writer.commit()).digest, digestOf(bytes));
      } finally {
        await store.close();
      }
    }));

  test('two at once, one of them given up', () =>
    withDirectory(async (dir) => {
      const store = await openDiskStore(dir);
      try {
        const [kept, dropped] = [await store.create(), await store.create()];
        await Promise.all([write(kept, bytes), write(dropped, bytes)]);
        await dropped.cancel();
        const again = await store.create(); // may get the descriptor that has just been closed
        const other = pattern(SIZE, 2);
        await write(again, other);
        assert.equal((await kept.commit()).digest, digestOf(bytes));
        assert.equal((await again.commit()).digest, digestOf(other));
      } finally {
        await store.close();
      }
    }));
});

describe('the thread', () => {
  test('that went away is done without', () =>
    withFile(async (file, hashing) => {
      const hash = new PrefixHash(file, hashing);
      await file.writeAt(bytes, 0, () => undefined);
      hash.written(SIZE);
      await hashing.close();
      assert.deepEqual(await hash.digest(SIZE), { hex: digestOf(bytes).slice(7), to: SIZE });
      await hash.end();
    }));

  test('that is being ended is not given to who comes next', () =>
    withFile(async (file, hashing) => {
      await file.writeAt(bytes, 0, () => undefined);
      const first = hashing.start(file.fd);
      await first.end();
      const closing = hashing.close();
      const next = hashing.start(file.fd);
      await closing;
      assert.equal(await next.digest(SIZE), digestOf(bytes).slice(7));
      await next.end();
    }));

  test('says where a file is shorter than what was written', () =>
    withFile(async (file, hashing) => {
      const hash = new PrefixHash(file, hashing);
      await file.writeAt(bytes, 0, () => undefined);
      hash.written(SIZE);
      await file.truncate(SIZE - 10);
      const { to } = await hash.digest(SIZE);
      assert.equal(to, SIZE - 10);
      await hash.end();
    }));

  test('does not keep a process from ending', () =>
    withDirectory(async (dir) => {
      const program = `
        import { PositionalFile } from '${moduleUrl('positional-file.ts')}';
        import { PrefixHash } from '${moduleUrl('prefix-hash.ts')}';
        import { Hashing } from '${moduleUrl('hashing.ts')}';
        const file = await PositionalFile.open(${JSON.stringify(path.join(dir, 'file'))}, 'wx+');
        await file.writeAt(Buffer.alloc(${SIZE}, 1), 0, () => undefined);
        const hash = new PrefixHash(file, new Hashing());
        hash.written(${SIZE});
        console.log((await hash.digest(${SIZE})).hex);
        await hash.end();`;
      const printed = execFileSync(process.execPath, ['--input-type=module', '-e', program], { timeout: 60_000 });
      assert.equal(String(printed).trim(), digestOf(new Uint8Array(SIZE).fill(1)).slice(7));
      assert.ok(existsSync(path.join(dir, 'file')));
    }));
});

function moduleUrl(name: string): string {
  return new URL(`../../../src/repo/blobs/${name}`, import.meta.url).href;
}

function withWriter(run: (writer: BlobWriter) => Promise<void>): Promise<void> {
  return withDirectory(async (dir) => {
    const store = await openDiskStore(dir);
    try {
      const writer = await store.create();
      await run(writer);
      await writer.cancel();
    } finally {
      await store.close();
    }
  });
}

function withFile(run: (file: PositionalFile, hashing: Hashing) => Promise<void>): Promise<void> {
  return withDirectory(async (dir) => {
    const hashing = new Hashing();
    const file = await PositionalFile.open(path.join(dir, 'file'), 'wx+');
    try {
      await run(file, hashing);
    } finally {
      await hashing.close();
      await file.close();
    }
  });
}

async function write(writer: BlobWriter, all: Uint8Array): Promise<void> {
  for (const at of startsOf(all)) await writer.writeAt(at, all.subarray(at, at + PIECE));
}

function startsOf(all: Uint8Array): number[] {
  return Array.from({ length: Math.ceil(all.length / PIECE) }, (_, index) => index * PIECE);
}
