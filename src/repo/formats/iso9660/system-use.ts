import { limits } from '../../../limits.ts';
import type { ByteSource } from '../../blobs/blob-store.ts';
import { type Allowance, spendContinuation } from './allowance.ts';
import { readExactly } from './image-reader.ts';
import { beyondLimit, invalid, quoted } from './iso-fault.ts';
import { both32 } from './iso-numbers.ts';

/** One System Use entry (SUSP 4.1). */
export interface SystemUseEntry {
  readonly signature: string;
  /** The whole entry: signature, length, version, payload. So offsets are those of the specification, less one. */
  readonly bytes: Buffer;
  /** Byte of the image where the entry starts. */
  readonly position: number;
}

interface Area {
  readonly bytes: Buffer;
  readonly position: number;
}

/**
 * Reads System Use areas (SUSP, IEEE P1281): the rest of a directory record, and the continuation areas that it points to.
 * Keeps the block that it read last, because neighbours continue in the same one.
 */
export class SystemUseReader {
  readonly #source: ByteSource;
  readonly #blockSize: number;
  #kept: { readonly position: number; readonly bytes: Buffer } | undefined;

  constructor(source: ByteSource, blockSize: number) {
    this.#source = source;
    this.#blockSize = blockSize;
  }

  /**
   * All entries of a record in order, without CE, ST and padding.
   * @param bytes the area that stands in the record, after what SP tells to skip; @param position its byte in the image
   * @throws iso.invalid for entries that do not fit their area, and for continuations that run in circles, leave their
   *   block or come twice; iso.truncated for continuations behind the image; iso.limit for too many of them
   */
  async read(bytes: Buffer, position: number, allowance: Allowance): Promise<SystemUseEntry[]> {
    const entries: SystemUseEntry[] = [];
    const seen = new Set<number>();
    let area: Area | undefined = { bytes, position };
    while (area !== undefined) {
      const continuation = collectEntries(area, entries);
      if (continuation === undefined) break;
      area = await this.#follow(continuation, seen, allowance);
    }
    return entries;
  }

  /** Reads the area that a CE entry points to (SUSP 5.1). */
  async #follow(entry: SystemUseEntry, seen: Set<number>, allowance: Allowance): Promise<Area | undefined> {
    const { bytes, position } = entry;
    if (bytes.length !== 28) throw invalid(position, `a CE entry is ${bytes.length} bytes long instead of 28`);
    const block = both32(bytes, 4, position, 'the block of a continuation area');
    const offset = both32(bytes, 12, position, 'the offset of a continuation area');
    const length = both32(bytes, 20, position, 'the length of a continuation area');
    if (length === 0) return undefined;
    if (offset + length > this.#blockSize) {
      throw invalid(
        position,
        `a continuation area (offset ${offset}, length ${length}) leaves its block of ${this.#blockSize} bytes`,
      );
    }
    const start = block * this.#blockSize + offset;
    if (seen.has(start)) throw invalid(position, 'continuation areas run in a circle');
    seen.add(start);
    if (seen.size > limits.iso.continuationAreas) {
      throw beyondLimit(position, `${seen.size} continuation areas of one record`, limits.iso.continuationAreas);
    }
    spendContinuation(allowance, length, position);
    return { bytes: await this.#readInBlock(block, offset, length), position: start };
  }

  async #readInBlock(block: number, offset: number, length: number): Promise<Buffer> {
    const position = block * this.#blockSize;
    const end = Math.min(position + this.#blockSize, this.#source.size);
    let kept = this.#kept;
    if (kept?.position !== position || kept.bytes.length < offset + length) {
      const wanted = Math.max(offset + length, end - position);
      kept = { position, bytes: await readExactly(this.#source, position, wanted, 'a continuation area') };
      this.#kept = kept;
    }
    return kept.bytes.subarray(offset, offset + length);
  }
}

/**
 * Adds the entries of one area to `entries`.
 * @returns the CE entry if there was one; it takes effect after the area, wherever it stands in it
 */
function collectEntries({ bytes, position }: Area, entries: SystemUseEntry[]): SystemUseEntry | undefined {
  let continuation: SystemUseEntry | undefined;
  let offset = 0;
  // Fewer than four bytes at the end are padding (SUSP 4).
  while (offset + 4 <= bytes.length) {
    // Some writers pad with more zeros than they should: zeros up to the end hide nothing.
    if (bytes[offset] === 0 && bytes.subarray(offset).every((byte) => byte === 0)) break;
    const entry = entryAt(bytes, offset, position + offset);
    if (entry.signature === 'ST') break;
    if (entry.signature === 'CE') {
      if (continuation !== undefined) throw invalid(entry.position, 'a System Use area has two CE entries');
      continuation = entry;
    } else {
      entries.push(entry);
    }
    offset += entry.bytes.length;
  }
  return continuation;
}

function entryAt(area: Buffer, offset: number, position: number): SystemUseEntry {
  const signature = area.toString('latin1', offset, offset + 2);
  if (!/^[A-Z0-9]{2}$/.test(signature)) {
    throw invalid(position, `a System Use entry has the impossible signature ${quoted(signature)}`);
  }
  const length = area.readUInt8(offset + 2);
  if (length < 4 || offset + length > area.length) {
    throw invalid(
      position,
      `a System Use entry says that it is ${length} bytes long, where 4 to ${area.length - offset} are possible`,
    );
  }
  return { signature, bytes: area.subarray(offset, offset + length), position };
}
