/**
 * The seam between Airlock and the place where bytes live.
 *
 * A blob is immutable bytes; its digest is its only identity. What a vendor, a medium or an archive calls
 * a file never gets here. Every driver passes test/conformance/blob-store.ts.
 */

/** `sha256:` and 64 lower-case hexadecimal digits. */
export type Digest = `sha256:${string}`;

/** Half open: from `start` up to, not including, `end`. Bytes. */
export interface ByteRange {
  readonly start: number;
  readonly end: number;
}

/** Anything that can be read at a position: a blob, a staged blob, a file on a medium. */
export interface ByteSource {
  /** Bytes in all. */
  readonly size: number;
  /**
   * Reads into the whole of `into` from `position` on.
   * @returns bytes read: `into.byteLength`, or fewer only where the source ends; 0 at or past the end.
   */
  readAt(into: Uint8Array, position: number): Promise<number>;
  /** Where it lies in an open file of this process, if that is known: other threads can read it there. */
  readonly inFile?: FilePlace | undefined;
}

/** A place in an open file. Only for reading; nobody may still be reading there when the source is closed. */
export interface FilePlace {
  readonly fd: number;
  /** Byte of the file that is the first of the source. */
  readonly start: number;
}

export interface BlobStat {
  readonly digest: Digest;
  /** Bytes. */
  readonly size: number;
  /**
   * What the driver can tell of the stored copy without reading it (on disk: size, mtime, ctime, inode).
   * An equal stamp means nobody touched the copy since; a changed one means: hash before use. Opaque.
   */
  readonly stamp: string;
}

/** An open blob. The caller closes it; closing twice is harmless. */
export interface BlobReader extends ByteSource, BlobStat {
  close(): Promise<void>;
}

/** What a commit demands of the staged bytes. */
export interface Expected {
  readonly digest?: Digest;
  /** Bytes. */
  readonly size?: number;
}

/**
 * Bytes on their way to become a blob. Nothing of them is visible before `commit`.
 * Exactly one of `commit`, `suspend` or `cancel` ends a writer; `cancel` after any of them is a no-op, so it
 * may stand in a `finally`.
 */
export interface BlobWriter {
  /** Names the partial file for `BlobStore.resume`. */
  readonly id: string;
  /**
   * Stores all of `bytes` at `position`, in any order, overlaps allowed. Bytes written in order are hashed on
   * the way; what was written out of order is read again by `seal`. The buffer is the caller's again afterwards.
   * @throws space.insufficient when the file system is full; the writer can then only be cancelled or suspended.
   */
  writeAt(position: number, bytes: Uint8Array): Promise<void>;
  /** What is there so far: ascending, disjoint, not touching. */
  have(): readonly ByteRange[];
  /** Reads staged bytes, like ByteSource.readAt; ends at the first gap. */
  readAt(into: Uint8Array, position: number): Promise<number>;
  /** Where staged bytes lie, as ByteSource.inFile; until the writer ends. */
  readonly inFile?: FilePlace | undefined;
  /**
   * Hashes what is not hashed yet. More may be written afterwards; that asks for a new `seal`.
   * @throws blob.incomplete where there is a gap before the last byte
   */
  seal(): Promise<{ readonly digest: Digest; readonly size: number }>;
  /** Makes what was written durable and lets go of it; `resume(id)` goes on, in this process or another. */
  suspend(): Promise<void>;
  /**
   * Seals, compares with `expected`, makes durable (file, then name, then folder) and only then visible.
   * If the blob is there already, the new copy takes its place; readers of the old one are not disturbed.
   * @throws blob.size-mismatch, blob.digest-mismatch (the writer is cancelled: wrong bytes are of no use),
   *   blob.incomplete; a failed fsync is thrown as it is, and the writer is cancelled
   */
  commit(expected?: Expected): Promise<BlobStat>;
  /** Throws the staged bytes away. Never fails. */
  cancel(): Promise<void>;
}

export interface CreateOptions {
  /**
   * Notes now and then what is durable (at least every limits.checkpointEvery bytes), so that `resume` works also
   * after the process was killed or the power cut. Without it, such a writer leaves nothing behind. Default false;
   * resumed writers always do.
   */
  readonly resumable?: boolean;
}

export interface BlobStore {
  /** @returns undefined if the blob is not here. */
  stat(digest: Digest): Promise<BlobStat | undefined>;
  /**
   * Opens a blob for positional reads. `range` tells remote drivers what will be read; reads outside of it are
   * allowed but may cost another request.
   * @throws blob.missing
   */
  open(digest: Digest, range?: ByteRange): Promise<BlobReader>;
  create(options?: CreateOptions): Promise<BlobWriter>;
  /**
   * Stores bytes that are in memory, as `create`, `writeAt` and `commit(expected)` do, in one go. Many at once cost far less
   * than one after the other. The bytes must stay as they are until then. The same bytes at the same time are stored once.
   * @throws as `commit`, and space.insufficient; nothing is left then
   */
  put(bytes: Uint8Array, expected?: Expected): Promise<BlobStat>;
  /**
   * Takes over the partial file of a writer that was suspended or whose process died.
   * @throws blob.missing if there is none, blob.busy if its writer lives
   */
  resume(id: string): Promise<BlobWriter>;
  /** Removes a blob. Readers that have it open may go on. @returns false if it was not here. */
  delete(digest: Digest): Promise<boolean>;
  /**
   * Takes a damaged blob out of sight, keeping its bytes for a person to look at.
   * @returns where they are now, undefined if the blob was not here.
   */
  quarantine(digest: Digest): Promise<string | undefined>;
  /** Every blob, in no particular order, however many there are. */
  list(): AsyncIterable<BlobStat>;
  /** Bytes that can still be written. Infinity if nobody knows. */
  freeSpace(): Promise<number>;
  /** Lets go of open files. Writers still open are cancelled. */
  close(): Promise<void>;
}
