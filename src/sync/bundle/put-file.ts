import { createHash } from 'node:crypto';
import { AirlockError, isAirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import type { ByteSource } from '../../repo/blobs/blob-store.ts';
import { readAhead } from '../../repo/blobs/read-ahead.ts';
import type { Carrier, CarrierWriter } from '../carriers/carrier.ts';
import { type PersistentlyOptions, persistently } from './persistently.ts';

/**
 * Writes what it is given; returns the SHA-256 that it should have, hexadecimal. Gives the same bytes each time: it is
 * asked again where a connection was lost, and what it gives is compared with what came to stay.
 */
export type Fill = (sink: (bytes: Uint8Array) => Promise<void>) => Promise<string>;

export interface PutOptions extends Pick<PersistentlyOptions, 'onLost'> {
  /** Read the file again once it is there, from the medium as far as that can be had, and compare. */
  readonly readback: boolean;
  /** Told of bytes that were read back; may throw to stop. */
  readonly onRead?: (bytes: number) => void;
  /** Told, before anything is written, how many bytes of the file take up room there already; may throw. */
  readonly onBegin?: (held: number) => Promise<void>;
  /** Told the SHA-256 that it should have once it is whole and durable, before it is read back. */
  readonly onWritten?: (digest: string) => Promise<void>;
}

/**
 * Puts a file on a carrier: under another name until it is whole and durable, then read back. What an earlier attempt left
 * of it is gone on with if it is right; where a connection is lost, it is gone on with on another.
 * @returns its SHA-256
 * @throws medium.full, source.lost; blob.digest-mismatch if the medium gives back other bytes; what `fill` throws. What
 *   was written stays for another attempt after source.lost and interrupted.
 */
export async function putFile(carrier: Carrier, name: string, fill: Fill, options: PutOptions): Promise<string> {
  for (let anew = false; ; anew = true) {
    const { digest, goesOn } = await write(carrier, name, { fill, anew }, options);
    await options.onWritten?.(digest);
    if (!options.readback || (await sha256OnMedium(carrier, name, options)) === digest) return digest;
    await carrier.remove(name);
    if (!goesOn) break; // otherwise it may be the fault of what was there before: once more, all of it
  }
  throw new AirlockError(
    'blob.digest-mismatch',
    `${name} was written to ${carrier.where}, but other bytes come back: the medium is worn or a forgery. Use another one, and run the same command with --resume.`,
    { details: { file: name, where: carrier.where } },
  );
}

/** @returns what was written, and whether some of it was there before */
async function write(
  carrier: Carrier,
  name: string,
  how: { readonly fill: Fill; readonly anew: boolean },
  { readback, onBegin, onLost }: PutOptions,
): Promise<{ digest: string; goesOn: boolean }> {
  let { anew } = how;
  let reached = 0;
  const attempt = async (): Promise<{ digest: string; goesOn: boolean }> => {
    const writer = await carrier.create(name, { anew });
    const { offset } = writer;
    reached = offset;
    anew = false;
    let digest: string;
    try {
      await onBegin?.(writer.held);
      const rest = new Rest(writer, readback ? Math.max(0, offset - limits.carrier.compared) : 0);
      digest = await how.fill((bytes) => rest.add(bytes));
      rest.end();
    } catch (error) {
      // After a loss that is all that can be done, and what stays is looked at before it is gone on with.
      if (isAirlockError(error, 'source.lost', 'interrupted')) await writer.suspend().catch(() => undefined);
      else await writer.cancel();
      if (!(error instanceof OtherBytes)) throw error;
      anew = true;
      return await attempt();
    }
    await writer.commit();
    return { digest, goesOn: offset > 0 };
  };
  return await persistently(carrier, attempt, { reached: () => reached, onLost });
}

/** What is there is not the beginning of the file. */
class OtherBytes extends Error {}

/** All bytes of a file come by: what is there already is compared, and what is not there is written. */
class Rest {
  readonly #writer: CarrierWriter;
  readonly #from: number;
  #position = 0;

  /** @param from bytes below it are not compared here: everything is read back later */
  constructor(writer: CarrierWriter, from: number) {
    this.#writer = writer;
    this.#from = from;
  }

  /** @throws OtherBytes; as CarrierWriter.write */
  async add(bytes: Uint8Array): Promise<void> {
    const start = this.#position;
    const kept = Math.min(bytes.byteLength, Math.max(0, this.#writer.offset - start));
    const passed = Math.min(kept, Math.max(0, this.#from - start));
    this.#position += bytes.byteLength;
    if (kept > passed) await this.#compare(bytes.subarray(passed, kept), start + passed);
    if (bytes.byteLength > kept) await this.#writer.write(bytes.subarray(kept));
  }

  /** There were no more. @throws OtherBytes if more are there than the file has */
  end(): void {
    if (this.#position < this.#writer.offset) throw new OtherBytes();
  }

  async #compare(bytes: Uint8Array, position: number): Promise<void> {
    const there = Buffer.allocUnsafe(bytes.byteLength);
    const read = await this.#writer.readAt(there, position);
    if (read < there.length || !there.equals(bytes)) throw new OtherBytes();
  }
}

/** As `putFile`, of bytes in memory. */
export async function putBytes(
  carrier: Carrier,
  name: string,
  parts: Iterable<Uint8Array>,
  options: PutOptions,
): Promise<string> {
  const fill: Fill = async (sink) => {
    const hash = createHash('sha256');
    for (const part of parts) {
      hash.update(part);
      await sink(part);
    }
    return hash.digest('hex');
  };
  return await putFile(carrier, name, fill, options);
}

/** As `putFile`, of a file that is here. */
export async function putSource(
  carrier: Carrier,
  name: string,
  source: ByteSource,
  options: PutOptions,
): Promise<string> {
  const fill: Fill = async (sink) => {
    const hash = createHash('sha256');
    for await (const piece of readAhead(source, { start: 0, end: source.size })) {
      hash.update(piece);
      await sink(piece);
    }
    return hash.digest('hex');
  };
  return await putFile(carrier, name, fill, options);
}

export interface ReadOptions extends Pick<PersistentlyOptions, 'onLost'>, Pick<PutOptions, 'onRead'> {}

/**
 * As `sha256Of`, of the bytes on the medium: what was just written is still in memory, and always good there.
 * @returns SHA-256, hexadecimal; undefined if there is no such file
 */
export async function sha256OnMedium(
  carrier: Pick<Carrier, 'open' | 'dropCache' | 'reconnect'>,
  name: string,
  options: ReadOptions = {},
): Promise<string | undefined> {
  await carrier.dropCache?.(name);
  return await sha256Of(carrier, name, options);
}

/** Goes on where it was if a connection is lost. @returns SHA-256, hexadecimal; undefined if there is no such file */
export async function sha256Of(
  carrier: Pick<Carrier, 'open' | 'reconnect'>,
  name: string,
  { onRead, onLost }: ReadOptions = {},
): Promise<string | undefined> {
  const hash = createHash('sha256');
  let done = 0;
  const work = async (): Promise<string | undefined> => {
    const file = await carrier.open(name);
    if (file === undefined) return undefined;
    try {
      for await (const piece of readAhead(file, { start: done, end: file.size }, limits.chunk)) {
        hash.update(piece);
        done += piece.byteLength;
        onRead?.(piece.byteLength);
      }
      return hash.digest('hex');
    } finally {
      await file.close();
    }
  };
  return await persistently(carrier, work, { reached: () => done, onLost });
}

/** @returns SHA-256, hexadecimal @throws whatever the source and `onRead` throw */
export async function sha256OfSource(source: ByteSource, onRead?: (bytes: number) => void): Promise<string> {
  const hash = createHash('sha256');
  for await (const piece of readAhead(source, { start: 0, end: source.size }, limits.chunk)) {
    hash.update(piece);
    onRead?.(piece.byteLength);
  }
  return hash.digest('hex');
}
