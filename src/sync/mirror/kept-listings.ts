/**
 * Listings as they came, with what their server said by which to tell that they are still the same: an unchanged one need not
 * come again. Nothing is lost with them but bytes, so a new catalog begins without, and a large one is not kept.
 */
import { z } from 'zod';
import { limits } from '../../limits.ts';
import type { Catalog } from '../../repo/catalog/catalog.ts';
import type { UpstreamFacts } from '../../repo/upstream/upstream.ts';

const schema = z.object({
  etag: z.string().nullable(),
  /** Milliseconds since 1970. */
  modified: z.number().nullable(),
  mediaType: z.string().nullable(),
  text: z.string(),
});

export interface KeptListing {
  readonly etag: string | null;
  readonly modified: Date | null;
  readonly mediaType: string | null;
  /** The body. */
  readonly text: string;
}

export interface KeptListings {
  /** @param url where the listing is, whole: another site under the same name is another one */
  get(url: string): Promise<KeptListing | undefined>;
  /**
   * Keeps a listing that can be asked for by what its server said, and forgets what was kept before.
   * @param text undefined for one that is too long
   */
  put(url: string, facts: UpstreamFacts, text: string | undefined): Promise<void>;
}

/** What one run reads and keeps, in the catalog. In a dry run nothing new is kept. */
export function keptListings(catalog: Catalog, { name, dryRun }: { readonly name: string; readonly dryRun: boolean }) {
  let room: number = limits.mirror.keptListings;
  const keyOf = (url: string) => `mirror:listing:${name}:${url}`;
  return {
    async get(url) {
      const text = await catalog.meta(keyOf(url));
      const { data } = schema.safeParse(text === undefined ? undefined : JSON.parse(text));
      return data && { ...data, modified: data.modified === null ? null : new Date(data.modified) };
    },
    async put(url, { etag, modified, mediaType, strongValidator }, text) {
      if (dryRun) return;
      // A date alone tells two states apart only where the older one was some time old.
      const isKnowable = etag !== null || strongValidator !== null;
      const isKept = text !== undefined && isKnowable && text.length <= room;
      if (isKept) room -= text.length;
      const kept = isKept ? { etag, modified: modified?.getTime() ?? null, mediaType, text } : undefined;
      if (kept === undefined && (await catalog.meta(keyOf(url))) === undefined) return;
      await catalog.setMeta(keyOf(url), kept && JSON.stringify(kept));
    },
  } satisfies KeptListings;
}
