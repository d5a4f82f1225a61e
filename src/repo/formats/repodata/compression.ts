import { promisify } from 'node:util';
import { constants, gunzip, gzip, zstdCompress, zstdDecompress } from 'node:zlib';

/** What a metadata file is compressed with. Every client reads gzip; zstd is smaller and faster to read. */
export type Compression = 'gzip' | 'zstd';

/**
 * A format in which compressed pieces, put one behind the other, are a compressed file, and in which there can be bytes
 * between them that readers skip.
 */
export interface CompressionFormat {
  /** As in `primary.xml.gz`. */
  readonly extension: 'gz' | 'zst';
  /** Changes when the same input may give other output. */
  readonly version: string;
  compress(bytes: Uint8Array): Promise<Buffer>;
  /** @param length of what comes out; more is refused before it takes memory. @throws what zlib throws */
  decompress(bytes: Uint8Array, length: number): Promise<Buffer>;
  /** Bytes that readers skip: `content`, and what it has to be wrapped in. */
  comment(content: Uint8Array): Buffer;
  /** What `comment` put behind `content`: always as many bytes. */
  readonly commentEnd: number;
  /** Most bytes of content. */
  readonly commentLimit: number;
}

const zipped = promisify(gzip);
const unzipped = promisify(gunzip);
const zstdZipped = promisify(zstdCompress);
const zstdUnzipped = promisify(zstdDecompress);

const GZIP_LEVEL = 6;
const ZSTD_LEVEL = 9;

/** The extra field of a gzip header (RFC 1952 section 2.3.1.1) holds subfields, each with two letters and a length. */
const EXTRA_HEAD = 16;
/** An empty deflate block, and the CRC and length of nothing. */
const EMPTY = Buffer.from([3, 0, 0, 0, 0, 0, 0, 0, 0, 0]);

const SKIPPABLE_HEAD = 8;

/** By what is written: members (RFC 1952 section 2.2), as in BGZF; frames (RFC 8878 section 3.1). */
export const COMPRESSION: Readonly<Record<Compression, CompressionFormat>> = {
  gzip: {
    extension: 'gz',
    version: `gzip ${GZIP_LEVEL} ${process.versions.zlib} ${process.arch}`,
    compress: (bytes) => zipped(bytes, { level: GZIP_LEVEL }),
    decompress: (bytes, length) => unzipped(bytes, bounds(length)),
    comment(content) {
      const head = Buffer.alloc(EXTRA_HEAD);
      head.set([0x1f, 0x8b, 8, 4]);
      head[9] = 255;
      head.writeUInt16LE(content.length + 4, 10);
      head.write('AL', 12, 'latin1');
      head.writeUInt16LE(content.length, 14);
      return Buffer.concat([head, content, EMPTY]);
    },
    commentEnd: EMPTY.length,
    commentLimit: 0xffff - 4,
  },
  zstd: {
    extension: 'zst',
    version: `zstd ${ZSTD_LEVEL} ${process.versions.zstd} ${process.arch}`,
    compress: (bytes) =>
      zstdZipped(bytes, {
        pledgedSrcSize: bytes.length,
        params: { [constants.ZSTD_c_compressionLevel]: ZSTD_LEVEL, [constants.ZSTD_c_checksumFlag]: 1 },
      }),
    decompress: (bytes, length) => zstdUnzipped(bytes, bounds(length)),
    comment(content) {
      // The skippable frame of RFC 8878 section 3.1.2.
      const head = Buffer.alloc(SKIPPABLE_HEAD);
      head.writeUInt32LE(0x184d2a50, 0);
      head.writeUInt32LE(content.length, 4);
      return Buffer.concat([head, content]);
    },
    commentEnd: 0,
    commentLimit: 0xffff - 4,
  },
};

/**
 * What the clients of a distribution can read: gzip for all, zstd from el10 on, whose own repositories use it.
 * @param distribution `el7`, `el9` …; what is not known gets gzip
 */
export function compressionFor(distribution: string): Compression {
  const release = Number(/^el(\d{1,3})$/.exec(distribution)?.[1] ?? 0);
  return release >= 10 ? 'zstd' : 'gzip';
}

/** One buffer of the right size, and no more than that. */
function bounds(length: number): { chunkSize: number; maxOutputLength: number } {
  return { chunkSize: Math.max(64, length + 1), maxOutputLength: Math.max(1, length) };
}
