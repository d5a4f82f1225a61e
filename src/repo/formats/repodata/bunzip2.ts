/**
 * Decompresses bzip2, piece by piece. By hand: a block of a few bytes may stand for 46 MB, and what libraries there are
 * hold that, or the whole file, in memory. Here one block of compressed input and its 900 kB of sorted bytes are held.
 */

/** More than any compressed block has: 900,000 symbols of at most 20 bits, and its tables. */
const BLOCK_INPUT = 2_400_000;
/** Bytes of one piece that comes out. */
const PIECE = 64 * 1024;
/** Symbols that are coded with one table before the next selector. */
const GROUP = 50;
const LONGEST_CODE = 20;

/** @throws Error for anything that is not whole and undamaged bzip2; what `input` throws */
export async function* bunzip2(input: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  const bits = new Bits();
  const source = input[Symbol.asyncIterator]();
  let isEnded = false;
  const fill = async (): Promise<void> => {
    const pieces: Uint8Array[] = [];
    for (let length = bits.available; !isEnded && length < BLOCK_INPUT; ) {
      const { done, value } = await source.next();
      if (done === true) isEnded = true;
      else {
        pieces.push(value);
        length += value.byteLength;
      }
    }
    if (pieces.length > 0) bits.append(pieces);
  };
  try {
    do {
      await fill();
      const blockSize = readStreamHead(bits);
      let combined = 0;
      for (;;) {
        await fill();
        const [first, second] = [bits.read(24), bits.read(24)];
        if (first === 0x177245 && second === 0x385090) break;
        if (first !== 0x314159 || second !== 0x265359) throw new Error('a block of it begins wrongly');
        const block = new Block(bits, blockSize);
        yield* block.bytes();
        combined = ((combined << 1) | (combined >>> 31)) ^ block.crc;
      }
      if (readCrc(bits) !== combined >>> 0) throw new Error('its checksum is wrong');
      bits.align();
      await fill();
    } while (bits.available > 0);
  } finally {
    await source.return?.();
  }
}

/** @returns bytes of a block */
function readStreamHead(bits: Bits): number {
  const level = bits.read(24) === 0x425a68 ? bits.read(8) - 0x30 : 0;
  if (level < 1 || level > 9) throw new Error('it does not begin as bzip2 does');
  return level * 100_000;
}

function readCrc(bits: Bits): number {
  return ((bits.read(16) << 16) | bits.read(16)) >>> 0;
}

/** Input, from the highest bit on. */
class Bits {
  #bytes: Uint8Array = new Uint8Array(0);
  #at = 0;
  #hold = 0;
  #count = 0;

  /** Whole bytes that are left. */
  get available(): number {
    return this.#bytes.length - this.#at + (this.#count >> 3);
  }

  append(pieces: readonly Uint8Array[]): void {
    this.#bytes = Buffer.concat([this.#bytes.subarray(this.#at), ...pieces]);
    this.#at = 0;
  }

  /** @param count at most 24 */
  read(count: number): number {
    while (this.#count < count) {
      const byte = this.#bytes[this.#at];
      if (byte === undefined) throw new Error('it ends early');
      this.#hold = (this.#hold << 8) | byte;
      this.#at += 1;
      this.#count += 8;
    }
    this.#count -= count;
    return (this.#hold >>> this.#count) & ((1 << count) - 1);
  }

  /** Goes on at the next whole byte. */
  align(): void {
    this.#count -= this.#count % 8;
  }
}

/** One block, sorted bytes first, text on demand. */
class Block {
  readonly #expected: number;
  readonly #sorted: Uint32Array;
  readonly #length: number;
  readonly #origin: number;
  #crc = 0xffffffff;

  constructor(bits: Bits, blockSize: number) {
    this.#expected = readCrc(bits);
    if (bits.read(1) === 1) throw new Error('a block is randomised, as nobody has done for decades');
    this.#origin = bits.read(24);
    this.#sorted = new Uint32Array(blockSize);
    this.#length = readSymbols(bits, this.#sorted);
    if (this.#origin >= this.#length) throw new Error('a block points outside of itself');
    this.#sort();
  }

  get crc(): number {
    return this.#expected;
  }

  /** Each entry comes to hold its byte and, above it, the place of the next one. */
  #sort(): void {
    const places = new Uint32Array(257);
    for (let index = 0; index < this.#length; index += 1) {
      const place = (this.#sorted[index] ?? 0) + 1;
      places[place] = (places[place] ?? 0) + 1;
    }
    for (let byte = 1; byte <= 256; byte += 1) places[byte] = (places[byte] ?? 0) + (places[byte - 1] ?? 0);
    for (let index = 0; index < this.#length; index += 1) {
      const byte = (this.#sorted[index] ?? 0) & 0xff;
      const place = places[byte] ?? 0;
      this.#sorted[place] = (this.#sorted[place] ?? 0) | (index << 8);
      places[byte] = place + 1;
    }
  }

  /** Four equal bytes are followed by how many more there are. */
  *bytes(): Generator<Uint8Array, void, undefined> {
    let out = new Uint8Array(PIECE);
    let filled = 0;
    let last = -1;
    let run = 0;
    let entry = (this.#sorted[this.#origin] ?? 0) >>> 8;
    for (let index = 0; index < this.#length; index += 1) {
      const packed = this.#sorted[entry] ?? 0;
      const byte = packed & 0xff;
      entry = packed >>> 8;
      const isCount = run === 4;
      let copies = isCount ? byte : 1;
      if (isCount) run = 0;
      else {
        run = byte === last ? run + 1 : 1;
        last = byte;
      }
      if (filled + copies > PIECE) {
        yield out.subarray(0, filled);
        out = new Uint8Array(PIECE);
        filled = 0;
      }
      for (; copies > 0; copies -= 1) {
        out[filled] = last;
        filled += 1;
        this.#crc = (this.#crc << 8) ^ (CRC[(this.#crc >>> 24) ^ last] ?? 0);
      }
    }
    yield out.subarray(0, filled);
    if (~this.#crc >>> 0 !== this.#expected) throw new Error('the checksum of a block is wrong');
  }
}

/** Undoes Huffman coding, runs of zeros and moving to the front. @returns how many bytes there are */
function readSymbols(bits: Bits, into: Uint32Array): number {
  const front = readAlphabet(bits);
  const end = front.length + 1;
  const { tables, selectors } = readTables(bits, end + 1);
  let length = 0;
  let runLength = 0;
  let runBit = 1;
  for (let group = 0; ; group += 1) {
    const table = tables[selectors[group] ?? -1];
    if (table === undefined) throw new Error('a block goes on behind its tables');
    for (let count = 0; count < GROUP; count += 1) {
      const symbol = table.read(bits);
      if (symbol <= 1) {
        runLength += runBit << symbol;
        runBit <<= 1;
        if (runLength > into.length) throw new Error('a block is too long');
        continue;
      }
      if (length + runLength + (symbol === end ? 0 : 1) > into.length) throw new Error('a block is too long');
      into.fill(front[0] ?? 0, length, length + runLength);
      length += runLength;
      [runLength, runBit] = [0, 1];
      if (symbol === end) return length;
      const byte = front[symbol - 1] ?? 0;
      front.copyWithin(1, 0, symbol - 1);
      front[0] = byte;
      into[length] = byte;
      length += 1;
    }
  }
}

/** The bytes that occur. */
function readAlphabet(bits: Bits): Uint8Array {
  const used = bits.read(16);
  const bytes: number[] = [];
  for (let high = 0; high < 16; high += 1) {
    if ((used & (0x8000 >> high)) === 0) continue;
    const row = bits.read(16);
    for (let low = 0; low < 16; low += 1) if ((row & (0x8000 >> low)) !== 0) bytes.push(high * 16 + low);
  }
  if (bytes.length === 0) throw new Error('a block says that it has no bytes');
  return Uint8Array.from(bytes);
}

function readTables(bits: Bits, symbols: number): { tables: Huffman[]; selectors: Uint8Array } {
  const groups = bits.read(3);
  const count = bits.read(15);
  if (groups < 2 || groups > 6 || count === 0) throw new Error('a block has a wrong number of tables');
  const order = Array.from({ length: groups }, (_, index) => index);
  const selectors = new Uint8Array(count);
  for (let index = 0; index < count; index += 1) {
    let place = 0;
    while (bits.read(1) === 1) place += 1;
    const [table] = order.splice(place, 1);
    if (table === undefined) throw new Error('a block asks for a table that it has not');
    order.unshift(table);
    selectors[index] = table;
  }
  const tables: Huffman[] = [];
  for (let group = 0; group < groups; group += 1) tables.push(new Huffman(readLengths(bits, symbols)));
  return { tables, selectors };
}

function readLengths(bits: Bits, symbols: number): Uint8Array {
  const lengths = new Uint8Array(symbols);
  let length = bits.read(5);
  for (let symbol = 0; symbol < symbols; symbol += 1) {
    while (true) {
      if (length < 1 || length > LONGEST_CODE) throw new Error('a code of it is too long');
      if (bits.read(1) === 0) break;
      length += bits.read(1) === 0 ? 1 : -1;
    }
    lengths[symbol] = length;
  }
  return lengths;
}

/** A canonical code: those of one length follow one another. */
class Huffman {
  readonly #symbols: Uint16Array;
  /** By length: the first code, how many there are, and where their symbols begin. */
  readonly #first = new Int32Array(LONGEST_CODE + 1);
  readonly #count = new Int32Array(LONGEST_CODE + 1);
  readonly #start = new Int32Array(LONGEST_CODE + 1);

  constructor(lengths: Uint8Array) {
    for (const length of lengths) this.#count[length] = (this.#count[length] ?? 0) + 1;
    let [code, start] = [0, 0];
    for (let length = 1; length <= LONGEST_CODE; length += 1) {
      const count = this.#count[length] ?? 0;
      this.#first[length] = code;
      this.#start[length] = start;
      code = (code + count) << 1;
      start += count;
    }
    this.#symbols = new Uint16Array(lengths.length);
    const next = this.#start.slice();
    for (const [symbol, length] of lengths.entries()) {
      const place = next[length] ?? 0;
      this.#symbols[place] = symbol;
      next[length] = place + 1;
    }
  }

  read(bits: Bits): number {
    let code = 0;
    for (let length = 1; length <= LONGEST_CODE; length += 1) {
      code = (code << 1) | bits.read(1);
      const offset = code - (this.#first[length] ?? 0);
      if (offset >= 0 && offset < (this.#count[length] ?? 0)) {
        return this.#symbols[(this.#start[length] ?? 0) + offset] ?? 0;
      }
    }
    throw new Error('a code of it means nothing');
  }
}

/** CRC-32 from the highest bit on. */
const CRC = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte << 24;
  for (let bit = 0; bit < 8; bit += 1) crc = crc < 0 ? (crc << 1) ^ 0x04c11db7 : crc << 1;
  return crc;
});
