import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MemoryStore } from '../../../src/repo/blobs/memory-store.ts';
import { blobStoreConformance, pattern, put, readBlob, rejects } from '../../conformance/blob-store.ts';

blobStoreConformance('memory', async () => {
  const store = new MemoryStore();
  return {
    store,
    another: async () => store,
    tamper: async (digest, change) => store.tamper(digest, change),
    quarantined: async (place) => store.quarantined(place) ?? new Uint8Array(),
    partials: async () => store.partials(),
    remove: async () => undefined,
  };
});

test('a full memory store refuses to write, goes on reading, and lets a writer be suspended', async () => {
  const store = new MemoryStore({ capacity: 1500 });
  const digest = await put(store, pattern(1000, 1));
  const writer = await store.create();
  await writer.writeAt(0, pattern(400, 2));
  await rejects(writer.writeAt(400, pattern(400, 2)), 'space.insufficient');
  await rejects(writer.commit(), 'space.insufficient');
  assert.deepEqual(await readBlob(store, digest), pattern(1000, 1));
  await writer.suspend();
  await store.delete(digest);
  const resumed = await store.resume(writer.id);
  await resumed.writeAt(400, pattern(400, 2));
  await resumed.commit({ size: 800 });
  assert.equal(await store.freeSpace(), 700);
  await store.close();
});
