import type { Digest } from '../../blobs/blob-store.ts';
import { type Nevra, versionKey } from '../rpm/evr.ts';

/**
 * Text of printable ASCII whose byte order is the order of packages in metadata: name, then EVR as rpm compares it, then
 * architecture, then digest. Made for an index: sort by it, byte by byte (SQLite's BINARY, JavaScript's `<`).
 */
export function packageSortKey({ name, epoch, version, release, arch }: Nevra, digest: Digest): string {
  // A space is below every character of a name.
  return `${name} ${versionKey(String(epoch))}${versionKey(version)}${versionKey(release)}${arch} ${digest}`;
}
