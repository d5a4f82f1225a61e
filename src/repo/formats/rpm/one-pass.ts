import { limits } from '../../../limits.ts';
import type { ByteRange, ByteSource } from '../../blobs/blob-store.ts';
import { truncated } from './rpm-fault.ts';
import type { RpmFile } from './rpm-file.ts';

/** Somebody who wants to see the bytes of a range. */
export interface PassListener {
  readonly range: ByteRange;
  /** Gets all of the range, in order. The piece is the listener's only during the call. */
  update(piece: Uint8Array): void;
}

export interface PassOptions {
  /** Called with the number of bytes read since the last call; may throw to stop. */
  readonly onBytes?: ((bytes: number) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Buffers that nobody uses at the moment. Made anew for each of many packages they would cost more than they save, and pile
 * up until the memory is tidied.
 */
const spare: Buffer[] = [];

/**
 * Reads part of a package once, for all who want to see some of it.
 * @param range covers the ranges of all listeners; an empty or turned one reads nothing
 * @throws rpm.truncated where the source ends early; the signal's reason; what the source and `onBytes` throw
 */
export async function readOnce(
  source: ByteSource,
  rpm: RpmFile,
  range: ByteRange,
  listeners: readonly PassListener[],
  { onBytes, signal }: PassOptions = {},
): Promise<void> {
  if (!(range.start < range.end)) return;
  const buffer = spare.pop() ?? Buffer.allocUnsafe(limits.rpm.piece);
  let position = range.start;
  try {
    while (position < range.end) {
      const length = await source.readAt(buffer.subarray(0, range.end - position), position);
      signal?.throwIfAborted();
      if (length === 0) break;
      for (const listener of listeners) {
        const from = Math.max(0, listener.range.start - position);
        const to = Math.min(length, listener.range.end - position);
        if (from < to) listener.update(buffer.subarray(from, to));
      }
      position += length;
      onBytes?.(length);
    }
  } finally {
    spare.push(buffer);
  }
  if (position < range.end) {
    throw truncated(position < rpm.payload.start ? 'the header' : 'the payload', range.end, position);
  }
}
