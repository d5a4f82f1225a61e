import { readSync } from 'node:fs';
import type { ByteSource, FilePlace } from './blob-store.ts';

/**
 * Part of an open file, read by the thread that asks, which waits: for threads that have nothing else to do. Many small
 * reads take a fraction of the time that they take the other way. The file stays the caller's.
 */
export function fileSource(place: FilePlace, size: number): ByteSource {
  return { size, readAt: async (into, position) => readPart(place, size, into, position) };
}

/**
 * Reads into the whole of `into`.
 * @param size bytes of the part that begins at `start`
 * @returns bytes read; fewer than asked for only at the end
 */
export function readPart({ fd, start }: FilePlace, size: number, into: Uint8Array, position: number): number {
  const wanted = Math.max(0, Math.min(into.byteLength, size - position));
  let done = 0;
  while (done < wanted) {
    const read = readSync(fd, into, done, wanted - done, start + position + done);
    if (read === 0) break;
    done += read;
  }
  return done;
}
