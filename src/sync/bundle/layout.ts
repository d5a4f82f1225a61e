/**
 * What goes where in the volumes of a bundle. A volume is a tar: a block of 512 bytes before each entry, entries filled up
 * to whole blocks, two empty blocks at the end. Pure arithmetic.
 */
import type { Digest } from '../../repo/blobs/blob-store.ts';
import { entryName, volumeName } from './names.ts';

/** Tars consist of blocks of so many bytes. */
export const BLOCK = 512;
const END = 2 * BLOCK;
/** A blob up to this size is not cut, if a volume holds it; no piece is smaller, unless it ends its blob. */
const UNCUT = 16 * 2 ** 20;
const LEAST_PIECE = 2 ** 20;

export interface Item {
  readonly digest: Digest;
  /** Bytes. */
  readonly size: number;
  /** Default: a blob. */
  readonly kind?: 'blob' | 'delta';
}

/** A run of a blob's bytes in a volume. */
export interface Piece {
  /** From 1 on. */
  readonly volume: number;
  /** Name of the tar's entry. */
  readonly entry: string;
  /** Of the first byte in the volume's file. */
  readonly offset: number;
  readonly length: number;
}

/** An entry of a volume. */
export interface LaidEntry extends Piece {
  /** Of the blob, or the delta. */
  readonly digest: Digest;
  /** Of the first byte in it. */
  readonly from: number;
}

export interface LaidVolume {
  readonly name: string;
  /** Of the whole file. */
  readonly size: number;
  readonly entries: readonly LaidEntry[];
}

/** @param limit bytes of a volume at most: whole blocks, a megabyte or more */
export function layOut(items: Iterable<Item>, limit: number): LaidVolume[] {
  const volumes: LaidVolume[] = [];
  let entries: LaidEntry[] = [];
  let used = 0;
  const close = () => {
    if (entries.length === 0) return;
    volumes.push({ name: volumeName(volumes.length + 1), size: used + END, entries });
    entries = [];
    used = 0;
  };
  for (const { digest, size, kind } of items) {
    let from = 0;
    do {
      const left = size - from;
      const room = limit - END - used - BLOCK;
      const mustCut = padded(left) > room;
      const fitsAlone = padded(left) <= limit - END - BLOCK;
      if (mustCut && entries.length > 0 && (room < LEAST_PIECE || (fitsAlone && left <= UNCUT))) {
        close();
        continue;
      }
      const length = mustCut ? Math.floor(room / BLOCK) * BLOCK : left;
      const entry = entryName(digest, from, kind);
      entries.push({ volume: volumes.length + 1, entry, offset: used + BLOCK, length, digest, from });
      used += BLOCK + padded(length);
      from += length;
    } while (from < size);
  }
  close();
  return volumes;
}

/** Bytes of the longest volume; 0 without any. */
export function longest(volumes: readonly { readonly size: number }[]): number {
  return volumes.reduce((most, { size }) => Math.max(most, size), 0);
}

/** Up to whole blocks. */
export function padded(size: number): number {
  return Math.ceil(size / BLOCK) * BLOCK;
}
