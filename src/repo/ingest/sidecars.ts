/**
 * The files that vouch for an image: checksum files and the signatures over them, found by exact name.
 */
import path from 'node:path';
import { AirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import type { Digest } from '../blobs/blob-store.ts';
import type { Check } from '../catalog/artifact.ts';
import { digestFor, parseChecksumFile } from '../formats/checksums.ts';
import type { VendorKey } from '../formats/openpgp/key-files.ts';
import { signatureError, verifyDetached } from '../formats/openpgp/verify-detached.ts';
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

/**
 * Finds and reads the sidecars of a file: `<file>.sha256sum`, for an ISO also that of its tar
 * (`SSR-….tar.sha256sum` beside `SSR-….iso`, vendor.md A1), and else a `sha256sum` or `sha256sum.txt` for the whole folder.
 * @throws checksum.invalid for an unreadable one, signature.bad and its siblings for one whose signature is wrong: a
 *   signature by a pinned key must be good; one by an unknown key is refused as soon as any key is pinned
 */
export async function findSidecars(file: string, keys: readonly VendorKey[]): Promise<Sidecar[]> {
  const folder = path.dirname(file);
  const name = path.basename(file);
  const found: Sidecar[] = [];
  const own = await readSidecar(folder, `${name}.sha256sum`, name, keys);
  if (own !== undefined) found.push(own);
  const tar = name.replace(/\.iso$/, '.tar');
  const ofTar = tar === name ? undefined : await readSidecar(folder, `${tar}.sha256sum`, tar, keys);
  if (ofTar !== undefined) found.push(ofTar);
  if (own === undefined) {
    for (const aggregate of ['sha256sum', 'sha256sum.txt']) {
      const sidecar = await readSidecar(folder, aggregate, name, keys);
      if (sidecar !== undefined) found.push(sidecar);
    }
  }
  return found;
}

/** @returns undefined if there is no such file, or it says nothing of `target` */
async function readSidecar(
  folder: string,
  name: string,
  target: string,
  keys: readonly VendorKey[],
): Promise<Sidecar | undefined> {
  const bytes = await readSmallFile(path.join(folder, name), limits.checksumFile);
  if (bytes === undefined) return undefined;
  const digest = named(name, () => digestFor(parseChecksumFile(bytes), target));
  if (digest === undefined) return undefined;
  const asc = await readSmallFile(path.join(folder, `${name}.asc`), limits.signatureFile);
  const signature = asc && { name: `${name}.asc`, bytes: asc };
  return {
    checksum: { name, bytes },
    signature,
    target,
    digest,
    signed: await checkSignature(bytes, `${name}.asc`, asc, keys),
  };
}

function named<T>(name: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof AirlockError)) throw error;
    throw new AirlockError(error.code, `${name}: ${error.message}`, { cause: error, details: error.details });
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
  throw new AirlockError(error.code, `${file}: ${error.message} Nothing was imported.`, {
    details: error.details,
    cause: error,
  });
}
