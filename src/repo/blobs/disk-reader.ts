import type { BigIntStats } from 'node:fs';
import { systemCode } from '../../errors.ts';
import { damagedBlob } from './blob-errors.ts';
import type { BlobReader, BlobStat, Digest, FilePlace } from './blob-store.ts';
import type { PositionalFile } from './positional-file.ts';

/**
 * What the file system tells of a stored copy. The change time (ctime) and the inode are there because whoever
 * tampers can set the modification time back.
 */
export function blobStat(digest: Digest, stats: BigIntStats): BlobStat {
  const { size, mtimeNs, ctimeNs, ino } = stats;
  return { digest, size: Number(size), stamp: `${size}:${mtimeNs}:${ctimeNs}:${ino}` };
}

/** A blob in an open file. It goes on reading the same bytes when the blob is replaced, deleted or quarantined. */
export class DiskReader implements BlobReader {
  readonly digest: Digest;
  readonly size: number;
  readonly stamp: string;
  readonly #file: PositionalFile;
  readonly #onClose: (reader: DiskReader) => void;

  /** Takes over `file`. */
  constructor(file: PositionalFile, stat: BlobStat, onClose: (reader: DiskReader) => void) {
    this.digest = stat.digest;
    this.size = stat.size;
    this.stamp = stat.stamp;
    this.#file = file;
    this.#onClose = onClose;
  }

  /** @throws blob.damaged if the file ends, or the disk fails, before `size` */
  async readAt(into: Uint8Array, position: number): Promise<number> {
    const wanted = Math.max(0, Math.min(into.byteLength, this.size - position));
    const read = await this.#file.readAt(into.subarray(0, wanted), position).catch((error: unknown) => {
      if (systemCode(error) !== 'EIO') throw error;
      throw damagedBlob(this.digest, `cannot be read from the disk near byte ${position}`, error);
    });
    if (read < wanted) throw damagedBlob(this.digest, `is shorter than it was when it was opened (${this.size} bytes)`);
    return read;
  }

  get inFile(): FilePlace {
    return { fd: this.#file.fd, start: 0 };
  }

  async close(): Promise<void> {
    this.#onClose(this);
    await this.#file.close();
  }
}
