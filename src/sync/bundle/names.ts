/** Names of what a bundle consists of. All are lower case, and safe on FAT, exFAT, ISO 9660 and NTFS. */
import type { Digest } from '../../repo/blobs/blob-store.ts';

export const MANIFEST = 'manifest.json';
export const COMMIT = 'COMMIT';
export const SUMS = 'SHA256SUMS';
export const README = 'README.txt';
export const METADATA = 'metadata';
/** The parity volume: no tar, but the XOR of all volumes. */
export const PARITY = 'parity.bin';

/** As `npm run package` calls it. */
const PROGRAM = /^airlock-\d[0-9a-z.-]*-linux-(?:x64|arm64)\.tar\.gz$/;
const VOLUME = /^volume-(\d{4})\.tar$/;

/** `airlock-north-000003` */
export function bundleName(site: string, sequence: number): string {
  return `airlock-${site}-${String(sequence).padStart(6, '0')}`;
}

/** `airlock-north-000003.receipt.json` */
export function receiptName(site: string, sequence: number): string {
  return `${bundleName(site, sequence)}.receipt.json`;
}

/** `volume-0001.tar` @param number from 1 on */
export function volumeName(number: number): string {
  return `volume-${String(number).padStart(4, '0')}.tar`;
}

export function isProgramName(name: string): boolean {
  return PROGRAM.test(name);
}

export function isVolumeName(name: string): boolean {
  return VOLUME.test(name);
}

/** True for a volume, and for the parity volume. */
export function isVolumeFile(name: string): boolean {
  return isVolumeName(name) || name === PARITY;
}

/** Where the bytes of a blob, or of a delta, lie in a volume, from byte `from` of it on. */
export function entryName(digest: Digest, from: number, kind: 'blob' | 'delta' = 'blob'): string {
  return `${kind}s/${digest.slice('sha256:'.length)}${from === 0 ? '' : `.${from}`}`;
}

/** True for the entry of a delta. */
export function isDeltaEntry(name: string): boolean {
  return name.startsWith('deltas/');
}
