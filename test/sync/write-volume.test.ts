import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Digest } from '../../src/repo/blobs/blob-store.ts';
import { layOut } from '../../src/sync/bundle/layout.ts';
import { writeVolume } from '../../src/sync/bundle/write-volume.ts';
import { MemoryBlobs, noise } from './delta/memory-blobs.ts';

const MIB = 2 ** 20;
const CONTENTS = [noise(20 * MIB + 5, 1), Buffer.alloc(0), noise(700, 2), noise(MIB, 3), noise(3 * MIB - 1, 4)];

function sceneOf(contents: readonly Buffer[]) {
  const blobs = new MemoryBlobs(contents);
  const items = [...blobs.blobs].map(([digest, { length: size }]) => ({ digest, size }));
  const [volume] = layOut(items, 2 ** 40);
  assert.ok(volume !== undefined);
  const write = (sink: (bytes: Uint8Array) => Promise<void>, open = (digest: Digest) => blobs.open(digest)) =>
    writeVolume(open, volume, { created: new Date(0), sink, onBytes: () => undefined });
  return { blobs, volume, write };
}

test('volume: a slow medium gets every byte, though all of them pass through a few buffers', async () => {
  const { blobs, volume, write } = sceneOf(CONTENTS);
  const pieces: Buffer[] = [];
  await write(async (bytes) => {
    await new Promise((resolve) => setTimeout(resolve, pieces.length % 3));
    pieces.push(Buffer.from(bytes));
  });
  const all = Buffer.concat(pieces);
  assert.equal(all.length, volume.size);
  for (const { digest, offset, length } of volume.entries) {
    assert.ok(all.subarray(offset, offset + length).equals(blobs.blobs.get(digest) ?? Buffer.alloc(0)), digest);
  }
  assert.equal(blobs.openReaders, 0);
});

test('volume: what fails, on either side, ends it at once, and closes what was open', async () => {
  for (const at of [0, 1, 2, 5, 12, 19]) {
    const { blobs, write } = sceneOf(CONTENTS);
    let count = 0;
    const sink = async () => {
      count += 1;
      if (count > at) throw new Error('the medium is full');
    };
    await assert.rejects(write(sink), /the medium is full/);
    assert.equal(blobs.openReaders, 0);
    const open = async (digest: Digest) => {
      const reader = await blobs.open(digest);
      const readAt = async (into: Uint8Array, position: number) => {
        if (position >= at * MIB) throw new Error('the disk fails');
        return await reader.readAt(into, position);
      };
      return { ...reader, readAt };
    };
    await assert.rejects(
      write(async () => undefined, open),
      /the disk fails/,
    );
    assert.equal(blobs.openReaders, 0);
  }
});
