/**
 * A blob store in which blobs may be slices of others: the packages of an image lie in the image, and nowhere else.
 *
 * The bytes are the inner store's, and where a slice lies the catalog says. A blob that is stored by itself is read
 * from there, whatever else is known of it.
 */
import { LRUCache } from 'lru-cache';
import { AirlockError, isAirlockError } from '../errors.ts';
import { limits } from '../limits.ts';
import type { BlobReader, BlobStat, BlobStore, Digest } from './blobs/blob-store.ts';
import { type SliceOf, sliceReader, sliceStat } from './blobs/slice-reader.ts';
import type { Catalog } from './catalog/catalog.ts';

/** @returns a store over `inner`; closing it closes `inner`. The catalog stays the caller's. */
export function slicedBlobs(inner: BlobStore, catalog: Pick<Catalog, 'blob' | 'version'>): BlobStore {
  const places = new Places(catalog);
  return {
    async stat(digest) {
      const stored = await inner.stat(digest);
      if (stored !== undefined) return stored;
      const place = await places.of(digest);
      return place && (await statSlice(inner, place));
    },
    async open(digest, range) {
      try {
        return await inner.open(digest, range);
      } catch (error) {
        const place = isAirlockError(error, 'blob.missing') ? await places.of(digest) : undefined;
        if (place === undefined) throw error;
        return await openSlice(inner, place);
      }
    },
    create: (options) => inner.create(options),
    put: (bytes, expected) => inner.put(bytes, expected),
    resume: (id) => inner.resume(id),
    delete: (digest) => inner.delete(digest),
    // Of a slice nothing is moved: what lies beside it in its container may be good.
    quarantine: (digest) => inner.quarantine(digest),
    list: () => inner.list(),
    freeSpace: () => inner.freeSpace(),
    close: () => inner.close(),
  };
}

interface SlicePlace extends SliceOf {
  readonly container: Digest;
}

/** Where slices lie; remembered until the catalog changes. */
class Places {
  readonly #catalog: Pick<Catalog, 'blob' | 'version'>;
  readonly #known = new LRUCache<Digest, SlicePlace>({ max: limits.cache.lookups });
  #version = Number.NaN;

  constructor(catalog: Pick<Catalog, 'blob' | 'version'>) {
    this.#catalog = catalog;
  }

  async of(digest: Digest): Promise<SlicePlace | undefined> {
    const version = this.#catalog.version();
    if (version !== this.#version) this.#known.clear();
    this.#version = version;
    const known = this.#known.get(digest);
    if (known !== undefined) return known;
    const record = await this.#catalog.blob(digest);
    if (record?.within == null) return undefined;
    const place = { digest, size: record.size, ...record.within };
    if (this.#catalog.version() === version) this.#known.set(digest, place);
    return place;
  }
}

async function statSlice(inner: BlobStore, place: SlicePlace): Promise<BlobStat | undefined> {
  const container = await inner.stat(place.container);
  return container && sliceStat(container, place);
}

async function openSlice(inner: BlobStore, place: SlicePlace): Promise<BlobReader> {
  try {
    return sliceReader(await inner.open(place.container), place);
  } catch (cause) {
    if (!isAirlockError(cause, 'blob.missing')) throw cause;
    throw new AirlockError(
      'blob.missing',
      `The image that holds ${place.digest} is not stored any more. Import the image again.`,
      { cause, details: { digest: place.digest, container: place.container } },
    );
  }
}
