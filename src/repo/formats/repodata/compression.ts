import { gzipFormat } from './gzip-format.ts';
import { zstdFormat } from './zstd-format.ts';

/** What a metadata file is compressed with. Every client reads gzip; zstd is smaller and faster to read. */
export type Compression = 'gzip' | 'zstd';

/**
 * A compressed file that is made of pieces, each compressed by itself: an opening, the pieces one behind the other, and a
 * closing that also holds bytes which are none of the content. Readers see one ordinary compressed file.
 */
export interface CompressionFormat {
  /** As in `primary.xml.gz`. */
  readonly extension: 'gz' | 'zst';
  /** Changes when the same input may give other output. */
  readonly version: string;
  readonly opening: Uint8Array;
  compress(bytes: Uint8Array): Promise<Buffer>;
  /**
   * Undoes `compress` for pieces that lie one behind the other.
   * @param pieces what they are; more than they say is refused before it takes memory
   * @returns what was compressed, in order, in as many parts as is convenient
   * @throws an error if it has other lengths or CRCs; what zlib throws
   */
  decompress(bytes: Uint8Array, pieces: readonly CompressedPiece[]): Promise<readonly Buffer[]>;
  /** @param content of the whole file, but for what the closing adds to it */
  closing(hidden: Uint8Array, content: { readonly crc: number; readonly size: number }): Closing;
  /**
   * Finds what `closing` has hidden.
   * @param read from the end of the file; undefined where there is no so much
   * @returns where the closing begins, from the end of the file; undefined if there is none of that kind
   */
  hiddenIn(read: ReadFromEnd): Promise<{ readonly hidden: Buffer; readonly length: number } | undefined>;
}

export interface CompressedPiece {
  /** Bytes, and bytes of what was compressed. */
  readonly length: number;
  readonly openLength: number;
  /** CRC-32 of what was compressed. */
  readonly openCrc: number;
}

export interface Closing {
  readonly bytes: Buffer;
  /** What of it readers see as content: a comment behind the XML's root element, or nothing. */
  readonly content: Buffer;
}

/** The last `length` bytes of a file. */
export type ReadFromEnd = (length: number) => Promise<Buffer | undefined>;

export const COMPRESSION: Readonly<Record<Compression, CompressionFormat>> = { gzip: gzipFormat, zstd: zstdFormat };

/**
 * What the clients of a distribution can read: gzip for all, zstd from el10 on, whose own repositories use it.
 * @param distribution `el7`, `el9` …; what is not known gets gzip
 */
export function compressionFor(distribution: string): Compression {
  const release = Number(/^el(\d{1,3})$/.exec(distribution)?.[1] ?? 0);
  return release >= 10 ? 'zstd' : 'gzip';
}
