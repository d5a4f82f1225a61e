import { createHash } from 'node:crypto';
import { AirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import type { ByteSource } from '../../repo/blobs/blob-store.ts';
import { readAhead } from '../../repo/blobs/read-ahead.ts';
import type { Carrier } from '../carriers/carrier.ts';

/** Writes what it is given; returns the SHA-256 that it should have, hexadecimal. */
export type Fill = (sink: (bytes: Uint8Array) => Promise<void>) => Promise<string>;

export interface PutOptions {
  /** Read the file again once it is there, from the medium as far as that can be had, and compare. */
  readonly readback: boolean;
  readonly onRead?: (bytes: number) => void;
}

/**
 * Puts a file on a carrier: under another name until it is whole and durable, then read back.
 * @returns its SHA-256
 * @throws medium.full, source.lost; blob.digest-mismatch if the medium gives back other bytes; what `fill` throws
 */
export async function putFile(carrier: Carrier, name: string, fill: Fill, options: PutOptions): Promise<string> {
  const writer = await carrier.create(name, { anew: true });
  let digest: string;
  try {
    digest = await fill((bytes) => writer.write(bytes));
  } catch (error) {
    await writer.cancel();
    throw error;
  }
  await writer.commit();
  if (!options.readback || (await sha256OnMedium(carrier, name, options.onRead)) === digest) return digest;
  await carrier.remove(name);
  throw new AirlockError(
    'blob.digest-mismatch',
    `${name} was written to ${carrier.where}, but other bytes come back: the medium is worn or a forgery. Use another one, and run the same command with --resume.`,
    { details: { file: name, where: carrier.where } },
  );
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

/**
 * As `sha256Of`, of the bytes on the medium: what was just written is still in memory, and always good there.
 * @returns SHA-256, hexadecimal; undefined if there is no such file
 */
export async function sha256OnMedium(
  carrier: Pick<Carrier, 'open' | 'dropCache'>,
  name: string,
  onRead?: (bytes: number) => void,
): Promise<string | undefined> {
  await carrier.dropCache?.(name);
  return await sha256Of(carrier, name, onRead);
}

/** @returns SHA-256, hexadecimal; undefined if there is no such file */
export async function sha256Of(
  carrier: Pick<Carrier, 'open'>,
  name: string,
  onRead?: (bytes: number) => void,
): Promise<string | undefined> {
  const file = await carrier.open(name);
  if (file === undefined) return undefined;
  try {
    return await sha256OfSource(file, onRead);
  } finally {
    await file.close();
  }
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
