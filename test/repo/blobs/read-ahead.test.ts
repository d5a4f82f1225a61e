import assert from 'node:assert/strict';
import { test } from 'node:test';
import { limits } from '../../../src/limits.ts';
import { readAhead } from '../../../src/repo/blobs/read-ahead.ts';
import { pattern } from '../../conformance/blob-store.ts';

const bytes = pattern(10_000, 1);

function sourceOf(content: Uint8Array, log: string[] = []) {
  return {
    async readAt(into: Uint8Array, position: number): Promise<number> {
      log.push(`read ${position}`);
      const piece = content.subarray(position, position + into.byteLength);
      into.set(piece);
      return piece.length;
    },
  };
}

async function collect(range: { start: number; end: number }, chunk: number, content = bytes): Promise<Uint8Array> {
  const pieces: Buffer[] = [];
  for await (const piece of readAhead(sourceOf(content), range, chunk)) pieces.push(Buffer.from(piece));
  return new Uint8Array(Buffer.concat(pieces));
}

test('a range is read whole, whatever the chunk', async () => {
  for (const chunk of [1, 7, 1000, 9_999, 10_000, 10_001, 50_000]) {
    const range = chunk === 1 ? { start: 9_000, end: 9_100 } : { start: 123, end: 9_877 };
    assert.deepEqual(await collect(range, chunk), bytes.subarray(range.start, range.end));
  }
  assert.deepEqual(await collect({ start: 5, end: 5 }, 10), new Uint8Array());
});

test('a source that ends early ends the reading', async () => {
  assert.deepEqual(await collect({ start: 0, end: 10_000 }, 300, bytes.subarray(0, 1000)), bytes.subarray(0, 1000));
});

test('the next pieces are asked for before this one is done with, and no more than a few', async () => {
  const log: string[] = [];
  for await (const piece of readAhead(sourceOf(bytes, log), { start: 0, end: 7000 }, 1000))
    log.push(`got ${piece.length}`);
  const { depth } = limits.readAhead;
  const reads = (count: number) => log.slice(0, log.indexOf('got 1000', count)).filter((line) => line !== 'got 1000');
  assert.equal(reads(0).length, depth + 1);
  assert.equal(log.filter((line) => line === 'got 1000').length, 7);
  assert.deepEqual(
    log.filter((line) => line.startsWith('read')),
    [0, 1, 2, 3, 4, 5, 6].map((n) => `read ${n * 1000}`),
  );
});

test('a piece stays what it is until the next one is asked for', async () => {
  let position = 0;
  for await (const piece of readAhead(sourceOf(bytes), { start: 0, end: 10_000 }, 100)) {
    await new Promise(setImmediate);
    assert.deepEqual(new Uint8Array(piece), bytes.subarray(position, position + 100));
    position += 100;
  }
});

test('an error of the source comes through, after the pieces before it', async () => {
  const seen: number[] = [];
  const source = {
    readAt: async (into: Uint8Array, position: number) => {
      if (position >= 2000) throw new Error('the medium was pulled');
      return into.byteLength;
    },
  };
  await assert.rejects(async () => {
    for await (const piece of readAhead(source, { start: 0, end: 9000 }, 1000)) seen.push(piece.length);
  }, /pulled/);
  assert.deepEqual(seen, [1000, 1000]);
});

test('who stops early may close the source at once', async () => {
  let running = 0;
  const source = {
    readAt: async (into: Uint8Array) => {
      running++;
      await new Promise(setImmediate);
      running--;
      return into.byteLength;
    },
  };
  for await (const piece of readAhead(source, { start: 0, end: 9000 }, 1000)) {
    assert.equal(piece.length, 1000);
    break;
  }
  assert.equal(running, 0);
});
