/**
 * The files that vouch for an image: checksum files and the signatures over them, found by exact name.
 */
import path from 'node:path';
import { AirlockError, type ErrorCode, isAirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import type { Digest } from '../blobs/blob-store.ts';
import type { Check } from '../catalog/artifact.ts';
import { type ChecksumFile, digestFor, parseChecksumFile } from '../formats/checksums.ts';
import type { VendorKey } from '../formats/openpgp/key-files.ts';
import { signatureError, verifyDetached } from '../formats/openpgp/verify-detached.ts';
import { quote, quoteUnsafe } from '../formats/quote.ts';
import { readSmallFile } from './medium.ts';

export interface SidecarFile {
  readonly name: string;
  readonly bytes: Buffer;
}

/** A checksum file, what it says, and how far its own signature proves it. */
export interface Sidecar {
  readonly checksum: SidecarFile;
  readonly signature: SidecarFile | undefined;
  /** The file whose digest it names: the image, or the upgrade tar that belongs to it. */
  readonly target: string;
  readonly digest: Digest;
  /** `passed`, `missing` or `unknown-key`: anything worse was thrown. */
  readonly signed: Check;
}

export interface FoundSidecars {
  readonly sidecars: readonly Sidecar[];
  /** Checksum files named for this one that speak of others. */
  readonly strays: readonly Check[];
  /** What else a person should know. */
  readonly warnings: readonly string[];
}

/**
 * Finds and reads the sidecars of a file: `<file>.sha256sum`; without that, a `sha256sum` or `sha256sum.txt` for the
 * whole folder; for an ISO without either, that of its tar (`SSR-….tar.sha256sum` beside `SSR-….iso`, vendor.md A1).
 * @throws checksum.invalid, signature.invalid for one of its own that cannot be read, signature.bad and its siblings for
 *   one whose signature is wrong: a signature by a pinned key must be good; one by an unknown key is refused as soon as
 *   any key is pinned
 */
export async function findSidecars(file: string, keys: readonly VendorKey[]): Promise<FoundSidecars> {
  const folder = path.dirname(file);
  return await findSidecarsBeside(path.basename(file), keys, (name, most, otherwise) => {
    return readSmallFile(path.join(folder, name), most, { found: true, otherwise });
  });
}

/**
 * Reads a small file that lies where the image does.
 * @param otherwise the code to throw if it is larger than `most` bytes, or no file
 * @returns undefined if there is none
 */
export type ReadBeside = (name: string, most: number, otherwise: ErrorCode) => Promise<Buffer | undefined>;

/** As findSidecars, wherever the image lies. */
export async function findSidecarsBeside(
  name: string,
  keys: readonly VendorKey[],
  read: ReadBeside,
): Promise<FoundSidecars> {
  const own = await readChecksums(read, `${name}.sha256sum`);
  const sidecar = own && (await speakingOf(name, read, own, keys));
  if (sidecar !== undefined) return { sidecars: [sidecar], strays: [], warnings: [] };
  const strays = own === undefined ? [] : [stray(own, name)];
  const { sidecars, warnings } = await findAggregates(read, name, keys);
  if (sidecars.length > 0) return { sidecars, strays, warnings };
  const ofTar = await findForTar(read, name, keys);
  return { sidecars: ofTar.sidecars, strays: [...strays, ...ofTar.strays], warnings };
}

/** One that cannot be read may have nothing to do with the file: it is named, and not taken for a refusal. */
async function findAggregates(
  read: ReadBeside,
  target: string,
  keys: readonly VendorKey[],
): Promise<{ sidecars: Sidecar[]; warnings: string[] }> {
  const sidecars: Sidecar[] = [];
  const warnings: string[] = [];
  for (const name of ['sha256sum', 'sha256sum.txt']) {
    const checksums = await readChecksums(read, name).catch((error: unknown) => {
      if (!isAirlockError(error, 'checksum.invalid', 'usage.invalid')) throw error;
      warnings.push(`not used as a checksum file: ${error.message}`);
      return undefined;
    });
    const sidecar = checksums && (await speakingOf(target, read, checksums, keys));
    if (sidecar !== undefined) sidecars.push(sidecar);
  }
  return { sidecars, warnings };
}

async function findForTar(
  read: ReadBeside,
  name: string,
  keys: readonly VendorKey[],
): Promise<{ sidecars: Sidecar[]; strays: Check[] }> {
  if (!name.endsWith('.iso')) return { sidecars: [], strays: [] };
  const tar = name.replace(/\.iso$/, '.tar');
  const checksums = await readChecksums(read, `${tar}.sha256sum`);
  if (checksums === undefined) return { sidecars: [], strays: [] };
  const sidecar = await speakingOf(tar, read, checksums, keys);
  return sidecar === undefined
    ? { sidecars: [], strays: [stray(checksums, tar)] }
    : { sidecars: [sidecar], strays: [] };
}

interface ReadChecksums extends SidecarFile {
  readonly parsed: ChecksumFile;
}

/** @returns undefined if there is no such file */
async function readChecksums(read: ReadBeside, name: string): Promise<ReadChecksums | undefined> {
  const bytes = await read(name, limits.checksumFile, 'checksum.invalid');
  return bytes && { name, bytes, parsed: named(name, () => parseChecksumFile(bytes)) };
}

/** @returns undefined if the checksum file says nothing of `target` */
async function speakingOf(
  target: string,
  read: ReadBeside,
  { name, bytes, parsed }: ReadChecksums,
  keys: readonly VendorKey[],
): Promise<Sidecar | undefined> {
  const digest = named(name, () => digestFor(parsed, target));
  if (digest === undefined) return undefined;
  const asc = await read(`${name}.asc`, limits.signatureFile, 'signature.invalid');
  return {
    checksum: { name, bytes },
    signature: asc && { name: `${name}.asc`, bytes: asc },
    target,
    digest,
    signed: await checkSignature(bytes, `${name}.asc`, asc, keys),
  };
}

function stray({ name, parsed: { lines } }: ReadChecksums, target: string): Check {
  const [first] = lines;
  const others = lines.length > 1 ? ` and ${lines.length - 1} more` : '';
  const note = `it names ${quote(first?.name ?? '')}${others}, not ${quoteUnsafe(target)}`;
  return { check: 'checksum', result: 'does-not-apply', file: name, note };
}

function named<T>(name: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof AirlockError)) throw error;
    throw new AirlockError(error.code, `${quoteUnsafe(name)}: ${error.message}`, {
      cause: error,
      details: error.details,
    });
  }
}

async function checkSignature(
  signed: Buffer,
  file: string,
  signature: Buffer | undefined,
  keys: readonly VendorKey[],
): Promise<Check> {
  if (signature === undefined) return { check: 'signature', result: 'missing', file };
  const verdict = await verifyDetached({ signed, signature, keys });
  const who = {
    ...(verdict.keyId === null ? {} : { keyId: verdict.keyId }),
    ...(verdict.fingerprint === null ? {} : { fingerprint: verdict.fingerprint }),
  };
  const check = { check: 'signature', file, ...who, note: verdict.message } as const;
  if (verdict.outcome === 'good') return { ...check, result: 'passed' };
  // Before any key is pinned nothing can be told from a signature; after that a stranger's is a forgery or a lapse.
  if (verdict.outcome === 'unknown-key' && keys.length === 0) return { ...check, result: 'unknown-key' };
  const error = signatureError(verdict);
  throw new AirlockError(error.code, `${quoteUnsafe(file)}: ${error.message} Nothing was imported.`, {
    details: error.details,
    cause: error,
  });
}
