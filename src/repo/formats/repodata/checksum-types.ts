import { createHash, type Hash } from 'node:crypto';
import type { Digest } from '../../blobs/blob-store.ts';
import type { Checksum } from './read-repomd.ts';

/** What repodata calls its checksums, and what they are. Old repositories say `sha` for SHA-1. */
const HASHES: Readonly<Record<string, string>> = {
  sha: 'sha1',
  sha1: 'sha1',
  sha224: 'sha224',
  sha256: 'sha256',
  sha384: 'sha384',
  sha512: 'sha512',
  md5: 'md5',
};

/** @returns what computes checksums of this type; undefined for one that is not known */
export function hashFor({ type }: Checksum): Hash | undefined {
  const algorithm = HASHES[type];
  return algorithm === undefined ? undefined : createHash(algorithm);
}

/** The digest under which a blob with this checksum is stored, where that can be told. */
export function digestFor({ type, value }: Checksum): Digest | undefined {
  return type === 'sha256' && value.length === 64 ? `sha256:${value}` : undefined;
}

/** False for checksums for which bytes can be forged. */
export function isStrongChecksum({ type }: Checksum): boolean {
  return ['sha256', 'sha384', 'sha512'].includes(type);
}
