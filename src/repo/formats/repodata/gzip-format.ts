import { promisify } from 'node:util';
import { constants, crc32, deflateRaw, gunzip } from 'node:zlib';
import type { CompressionFormat } from './compression.ts';
import { crc32Joined } from './crc32-joined.ts';
import { oneBuffer } from './one-buffer.ts';

const LEVEL = 6;
/** RFC 1952 section 2.3: deflate, no flags, no time, no system. */
const HEADER = Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]);
/** CRC and length. */
const TRAILER = 8;
/** An empty last block (RFC 1951 section 3.2.6). */
const LAST_BLOCK = Buffer.from([3, 0]);

/** Blocks that are stored as they are (RFC 1951 section 3.2.4): last or not, length, its complement. */
const STORED_HEAD = 5;
const STORED_MOST = 0xffff;

/** Behind the hidden bytes: how long the closing is, hexadecimal. */
const COMMENT = /^<!-- airlock ([A-Za-z0-9+/=]*) [0-9a-f]{8} -->\n$/;
const COMMENT_END = ' 00000000 -->\n'.length;

const compressed = promisify(deflateRaw);
const decompressed = promisify(gunzip);

/**
 * One gzip member, because libxml2 takes what follows the first one for text. Its pieces are runs of deflate blocks: a full
 * flush ends each, so that it begins and ends at a byte and refers to nothing before it. What is hidden is in an XML comment
 * that ends the content; it is stored as it is, so that it can be found without decompressing what comes before.
 */
export const gzipFormat: CompressionFormat = {
  extension: 'gz',
  version: `gzip ${LEVEL} ${process.versions.zlib} ${process.arch}`,
  opening: HEADER,

  compress: (bytes) => compressed(bytes, { level: LEVEL, finishFlush: constants.Z_FULL_FLUSH }),

  /** Pieces in a row are one run of blocks. As a gzip file of its own it has its CRC and length checked by zlib. */
  async decompress(bytes, pieces) {
    let [crc, size] = [0, 0];
    for (const { openLength, openCrc } of pieces) {
      crc = crc32Joined(crc, openCrc, openLength);
      size += openLength;
    }
    return [await decompressed(Buffer.concat([HEADER, bytes, LAST_BLOCK, trailer(crc, size)]), oneBuffer(size))];
  },

  closing(hidden, { crc, size }) {
    const text = `<!-- airlock ${Buffer.from(hidden).toString('base64')}`;
    const length = storedLength(text.length + COMMENT_END) + TRAILER;
    const content = Buffer.from(`${text} ${length.toString(16).padStart(8, '0')} -->\n`);
    const end = trailer(crc32Joined(crc, crc32(content), content.length), size + content.length);
    return { bytes: Buffer.concat([stored(content), end]), content };
  },

  async hiddenIn(read) {
    const end = (await read(COMMENT_END + STORED_HEAD + TRAILER))?.toString('latin1', 0, COMMENT_END + STORED_HEAD);
    const length = Number.parseInt(/ ([0-9a-f]{8}) -->\n$/.exec(end ?? '')?.[1] ?? '0', 16);
    const blocks = (await read(length))?.subarray(0, -TRAILER);
    const content = blocks === undefined ? undefined : unstored(blocks);
    const hidden = COMMENT.exec(content?.toString('latin1') ?? '')?.[1];
    return hidden === undefined ? undefined : { hidden: Buffer.from(hidden, 'base64'), length };
  },
};

/** What ends a member: the CRC and the length of its content (RFC 1952 section 2.3.1). */
function trailer(crc: number, size: number): Buffer {
  const bytes = Buffer.alloc(TRAILER);
  bytes.writeUInt32LE(crc, 0);
  bytes.writeUInt32LE(size % 2 ** 32, 4);
  return bytes;
}

function storedLength(length: number): number {
  return length + STORED_HEAD * Math.ceil(length / STORED_MOST);
}

/** `content` as stored blocks, the last one of them the last of the member. */
function stored(content: Buffer): Buffer {
  const parts: Buffer[] = [];
  for (let at = 0; at < content.length; at += STORED_MOST) {
    const part = content.subarray(at, at + STORED_MOST);
    const head = Buffer.alloc(STORED_HEAD);
    head.writeUInt8(at + part.length === content.length ? 1 : 0, 0);
    head.writeUInt16LE(part.length, 1);
    head.writeUInt16LE(part.length ^ 0xffff, 3);
    parts.push(head, part);
  }
  return Buffer.concat(parts);
}

/** @returns undefined if these are not such blocks */
function unstored(blocks: Buffer): Buffer | undefined {
  const parts: Buffer[] = [];
  for (let at = 0; at < blocks.length; ) {
    if (at + STORED_HEAD > blocks.length) return undefined;
    const length = blocks.readUInt16LE(at + 1);
    parts.push(blocks.subarray(at + STORED_HEAD, at + STORED_HEAD + length));
    at += STORED_HEAD + length;
  }
  const content = Buffer.concat(parts);
  return stored(content).equals(blocks) ? content : undefined;
}
