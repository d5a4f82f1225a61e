import { promisify } from 'node:util';
import { constants, crc32, zstdCompress, zstdDecompress } from 'node:zlib';
import type { CompressionFormat } from './compression.ts';
import { oneBuffer } from './one-buffer.ts';

const LEVEL = 9;
/** Of a skippable frame (RFC 8878 section 3.1.2). */
const MAGIC = 0x184d2a50;
const HEAD = 8;
const LENGTH = 4;

const compressed = promisify(zstdCompress);
const decompressed = promisify(zstdDecompress);

/** Pieces are frames; what is hidden is in a skippable frame, which ends with its own length. */
export const zstdFormat: CompressionFormat = {
  extension: 'zst',
  version: `zstd ${LEVEL} ${process.versions.zstd} ${process.arch}`,
  opening: new Uint8Array(),

  compress: (bytes) =>
    compressed(bytes, {
      pledgedSrcSize: bytes.length,
      params: { [constants.ZSTD_c_compressionLevel]: LEVEL, [constants.ZSTD_c_checksumFlag]: 1 },
    }),

  /** One by one: Node.js reads the first frame and nothing behind it. */
  async decompress(bytes, pieces) {
    let position = 0;
    const work = pieces.map(async ({ length, openLength, openCrc }) => {
      const frame = bytes.subarray(position, position + length);
      position += length;
      const open = await decompressed(frame, oneBuffer(openLength));
      if (open.length === openLength && crc32(open) === openCrc) return open;
      throw new Error('a piece has other content');
    });
    return await Promise.all(work);
  },

  closing(hidden) {
    const bytes = Buffer.alloc(HEAD + hidden.length + LENGTH);
    bytes.writeUInt32LE(MAGIC, 0);
    bytes.writeUInt32LE(hidden.length + LENGTH, 4);
    bytes.set(hidden, HEAD);
    bytes.writeUInt32LE(bytes.length, HEAD + hidden.length);
    return { bytes, content: Buffer.alloc(0) };
  },

  async hiddenIn(read) {
    const length = (await read(LENGTH))?.readUInt32LE() ?? 0;
    const bytes = await read(length);
    if (bytes === undefined || length < HEAD + LENGTH || bytes.readUInt32LE(0) !== MAGIC) return undefined;
    if (bytes.readUInt32LE(4) !== length - HEAD) return undefined;
    return { hidden: bytes.subarray(HEAD, -LENGTH), length };
  },
};
