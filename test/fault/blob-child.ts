/**
 * `node blob-child.ts DATA VERB …`: a process that works with a blob store, to be killed or starved by a test.
 *
 *     hold BYTES plain|resumable    writes, says `ID`, waits
 *     commit BYTES                  writes and commits, says the digest or the code of the error
 *     together COUNT                stores so many at once, says of each the digest or the code of the error, in one line
 *     suspend BYTES                 writes and suspends, says `ID`, then `suspended`
 *     resume ID                     resumes and commits, says the digest or the code of the error
 *     churn SEED                    stores and suspends for ever, says `blob DIGEST` or `partial ID BYTES` after each
 */

import { once } from 'node:events';
import { isAirlockError, systemCode } from '../../src/errors.ts';
import { limits } from '../../src/limits.ts';
import type { BlobStore, BlobWriter } from '../../src/repo/blobs/blob-store.ts';
import { openDiskStore } from '../../src/repo/blobs/disk-store.ts';
import { pattern } from '../conformance/blob-store.ts';

/** The bytes that every test of this kind writes: one chunk, over and over. */
export const chunk = pattern(limits.chunk, 99);

/** Writes the first `length` bytes of the endless repetition of `chunk` that are not there yet. */
export async function fill(writer: BlobWriter, length: number, from = 0): Promise<void> {
  for (let at = from; at < length; ) {
    const piece = chunk.subarray(at % chunk.length, Math.min(chunk.length, (at % chunk.length) + length - at));
    await writer.writeAt(at, piece);
    at += piece.length;
  }
}

async function say(store: BlobStore, work: () => Promise<string>): Promise<void> {
  try {
    console.log(await work());
  } catch (error) {
    console.log(codeOf(error));
  } finally {
    await store.close();
  }
}

/** Bytes of the `n`th of those that are stored together. */
export function small(n: number): Uint8Array {
  return pattern(1000 + n, n);
}

async function together(store: BlobStore, count: number, first = 0): Promise<string[]> {
  const all = Array.from({ length: count }, (_, index) => store.put(small(first + index)));
  return await Promise.all(all.map((one) => one.then(({ digest }) => digest, codeOf)));
}

function codeOf(error: unknown): string {
  return String(isAirlockError(error) ? error.code : systemCode(error));
}

async function churn(store: BlobStore, seed: number): Promise<never> {
  for (let n = seed; ; n++) {
    if (n % 4 === 0) {
      for (const said of await together(store, 5, 5 * n)) console.log(`blob ${said}`);
      continue;
    }
    const writer = await store.create({ resumable: n % 2 === 0 });
    const bytes = pattern(((n * 7919) % 100) * 1000, n);
    await writer.writeAt(0, bytes);
    if (n % 3 === 0) {
      await writer.suspend();
      console.log(`partial ${writer.id} ${bytes.length}`);
    } else {
      console.log(`blob ${(await writer.commit()).digest}`);
    }
  }
}

async function run([data = '', verb, first = '', second]: string[]): Promise<void> {
  const store = await openDiskStore(data);
  if (verb === 'churn') await churn(store, Number(first));
  if (verb === 'resume') {
    await say(store, async () => (await (await store.resume(first)).commit()).digest);
    return;
  }
  if (verb === 'together') {
    await say(store, async () => (await together(store, Number(first))).join(' '));
    return;
  }
  if (verb === 'hold' || verb === 'suspend') {
    const writer = await store.create({ resumable: second === 'resumable' });
    await fill(writer, Number(first));
    console.log(writer.id);
    if (verb === 'hold') await once(process.stdin.resume(), 'end');
    else await say(store, () => writer.suspend().then(() => 'suspended'));
    return;
  }
  await say(store, async () => {
    const writer = await store.create();
    await fill(writer, Number(first));
    return (await writer.commit()).digest;
  });
}

if (import.meta.main) await run(process.argv.slice(2));
