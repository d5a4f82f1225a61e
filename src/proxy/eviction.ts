/**
 * Keeps what was fetched within a size: what nobody used for longest goes first, large files before small ones, for a
 * lost package list costs every client, and saves nothing. What is pinned never goes.
 */
import { limits } from '../limits.ts';
import type { BlobStore } from '../repo/blobs/blob-store.ts';
import type { Catalog } from '../repo/catalog/catalog.ts';
import type { Pulled } from '../repo/catalog/pulled.ts';

export interface EvictionParts {
  readonly catalog: Catalog;
  readonly blobs: BlobStore;
  /** Bytes; Infinity: nothing goes. */
  readonly size: number;
  /** Releases, versions or other parts of a path. */
  readonly pinned: readonly string[];
  /** When a path was last used, as far as the catalog does not know it yet; milliseconds since the epoch. */
  readonly usedAt: (path: string) => number | undefined;
}

/** @returns what went */
export async function evict({ catalog, blobs, size, pinned, usedAt }: EvictionParts): Promise<Pulled[]> {
  if (size === Number.POSITIVE_INFINITY) return [];
  let over = (await catalog.pulledTotals()).bytes - size;
  if (over <= 0) return [];
  const candidates = (await catalog.leastUsed(limits.proxy.evictionLook))
    .filter(({ path }) => !pinned.some((part) => path.includes(part)))
    .map((pulled) => ({ pulled, used: Math.max(pulled.usedAt.getTime(), usedAt(pulled.path) ?? 0) }))
    .sort((a, b) => Number(isSmall(a.pulled)) - Number(isSmall(b.pulled)) || a.used - b.used);
  const gone: Pulled[] = [];
  for (const { pulled } of candidates) {
    if (over <= 0) break;
    await catalog.transaction((tx) => tx.dropPulled(pulled.path));
    await catalog.removeUnheld(pulled.digest, async (digest) => {
      await blobs.delete(digest);
    });
    over -= pulled.size;
    gone.push(pulled);
  }
  return gone;
}

function isSmall({ size }: Pulled): boolean {
  return size < limits.proxy.smallFile;
}
