/** Bytes on this machine that are read without waiting, line by line: what a medium or a network gives is copied first. */
import { limits } from '../../limits.ts';
import type { FilePlace } from '../../repo/blobs/blob-store.ts';
import { readPart } from '../../repo/blobs/file-source.ts';

export interface LocalBytes {
  readonly size: number;
  /** Reads into the whole of `into`. @returns bytes read; fewer only at the end */
  readonly read: (into: Uint8Array, position: number) => number;
}

/** A line, without its line feed. */
export interface Line {
  readonly text: string;
  /** Where the line after it begins. */
  readonly next: number;
}

export function localMemory(bytes: Buffer): LocalBytes {
  return { size: bytes.length, read: (into, position) => bytes.subarray(position).copy(into) };
}

/** The file stays the caller's, and open as long as this is used. */
export function localFile(place: FilePlace, size: number): LocalBytes {
  return { size, read: (into, position) => readPart(place, size, into, position) };
}

const WINDOW = 256 * 1024;

/**
 * The lines from `start` on; the last one may lack its line feed. Holds one of them at a time.
 * @throws RangeError for a line longer than limits.bundle.manifestLine
 */
export function* linesOf(source: LocalBytes, start = 0): Generator<Line, void, undefined> {
  let window = Buffer.allocUnsafe(WINDOW);
  let filled = 0;
  let from = 0;
  let position = start;
  for (;;) {
    const end = window.subarray(0, filled).indexOf(0x0a, from);
    if (end >= 0) {
      const text = window.toString('utf8', from, end);
      position += end + 1 - from;
      from = end + 1;
      yield { text, next: position };
      continue;
    }
    window.copyWithin(0, from, filled);
    filled -= from;
    from = 0;
    if (filled === window.length) {
      if (filled > limits.bundle.manifestLine) throw new RangeError('a line is too long');
      window = Buffer.concat([window], 2 * window.length);
    }
    const read = source.read(window.subarray(filled), position + filled);
    filled += read;
    if (read > 0) continue;
    if (filled > 0) yield { text: window.toString('utf8', 0, filled), next: position + filled };
    return;
  }
}
