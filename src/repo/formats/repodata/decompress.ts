/**
 * Decompresses metadata that somebody else wrote, whatever clients can read: gzip, zstd, xz, bzip2, or nothing at all.
 */
import { createRequire } from 'node:module';
import { pipeline, Readable } from 'node:stream';
import { createGunzip, createZstdDecompress } from 'node:zlib';
import { AirlockError, isAirlockError } from '../../../errors.ts';
import { bunzip2 } from './bunzip2.ts';

export interface DecompressOptions {
  /** For messages: `primary`. */
  readonly what: string;
  /** Bytes that may come out. */
  readonly most: number;
}

type Decode = (input: AsyncIterable<Uint8Array>) => AsyncIterable<Uint8Array>;

/** How compressed content begins. Names may say anything. */
const FORMATS: readonly { readonly begins: readonly number[]; readonly decode: Decode }[] = [
  { begins: [0x1f, 0x8b], decode: (input) => through(input, createGunzip()) },
  // Windows of more than 128 MiB are refused.
  { begins: [0x28, 0xb5, 0x2f, 0xfd], decode: (input) => through(input, createZstdDecompress()) },
  { begins: [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00], decode: unxz },
  { begins: [0x42, 0x5a, 0x68], decode: bunzip2 },
];

/**
 * Bounded in memory, whatever is in it: what comes out is to be read piece by piece.
 * @throws repodata.invalid for what is damaged, ends early, or holds more than `most`; what `input` throws
 */
export async function* decompressed(
  input: AsyncIterable<Uint8Array>,
  { what, most }: DecompressOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  let total = 0;
  try {
    for await (const piece of await decoded(input)) {
      total += piece.byteLength;
      if (total > most) throw tooMuch(what, most);
      yield piece;
    }
  } catch (cause) {
    if (isAirlockError(cause)) throw cause;
    throw new AirlockError(
      'repodata.invalid',
      `The ${what} metadata cannot be decompressed (${cause instanceof Error ? cause.message : String(cause)}). Fetch it again; if it stays so, tell whoever made the repository.`,
      { cause },
    );
  }
}

async function decoded(input: AsyncIterable<Uint8Array>): Promise<AsyncIterable<Uint8Array>> {
  const source = input[Symbol.asyncIterator]();
  let head: Uint8Array = new Uint8Array(0);
  let isEnded = false;
  while (head.byteLength < 6 && !isEnded) {
    const { done, value } = await source.next();
    if (done === true) isEnded = true;
    else head = Buffer.concat([head, value]);
  }
  async function* all(): AsyncGenerator<Uint8Array, void, undefined> {
    try {
      yield head;
      while (!isEnded) {
        const { done, value } = await source.next();
        if (done === true) return;
        yield value;
      }
    } finally {
      await source.return?.();
    }
  }
  const format = FORMATS.find(({ begins }) => begins.every((byte, index) => head[index] === byte));
  return format === undefined ? all() : format.decode(all());
}

function through(input: AsyncIterable<Uint8Array>, decoder: NodeJS.ReadWriteStream & AsyncIterable<Uint8Array>) {
  // The error is thrown to whoever reads.
  pipeline(Readable.from(input, { objectMode: false }), decoder, () => undefined);
  return decoder;
}

/** Dictionaries of more than 64 MiB are refused, and so are checks by SHA-256, which nobody uses for metadata. */
async function* unxz(input: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  // Loaded where it is needed: its machine code is a text in the file.
  const { XzReadableStream } = createRequire(import.meta.url)('xz-decompress') as typeof import('xz-decompress');
  const reader = new XzReadableStream(ReadableStream.from(nonEmpty(input)) as ReadableStream<Uint8Array>).getReader();
  try {
    for (let next = await reader.read(); !next.done; next = await reader.read()) yield next.value;
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}

/** The decoder takes an empty piece for the end. */
async function* nonEmpty(input: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const piece of input) if (piece.byteLength > 0) yield piece;
}

function tooMuch(what: string, most: number): AirlockError {
  return new AirlockError(
    'repodata.invalid',
    `The ${what} metadata holds more than ${most} bytes when it is decompressed, which is more than it says, or than is read here. Tell whoever made the repository.`,
    { details: { limit: most } },
  );
}
