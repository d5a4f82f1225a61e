/**
 * What a bundle holds (docs/bundle-format.md). A target that the site's role signs; everything else in a bundle is found
 * through it.
 */
import { z } from 'zod';
import { AirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import type { Digest } from '../../repo/blobs/blob-store.ts';
import type { Artifact } from '../../repo/catalog/artifact.ts';
import { isRepositoryName } from '../../repo/catalog/names.ts';
import { digestSchema } from '../trust/revocations.ts';
import { isSiteName } from '../trust/site-name.ts';
import { isVolumeName, MANIFEST, PARITY } from './names.ts';

/** Readers take every minor version of their major one: what they do not know there, they may pass over. */
export const FORMAT = { name: 'airlock-bundle', major: 1, minor: 2 } as const;

/** The first minor version whose readers know deltas. Sites say in their receipts what they read. */
export const DELTAS_SINCE = 1;

const count = z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER);
const text = z.string().max(4096);

const piece = z.object({ volume: count.min(1), entry: z.string().max(255), offset: count, length: count });

/** How the bytes of a blob reach the site. */
const blob = z.discriminatedUnion('in', [
  /** In volumes: pieces in the order of the blob. */
  z.object({ in: z.literal('volumes'), digest: digestSchema, size: count, pieces: z.array(piece).min(1) }),
  /** A slice of another blob, which is stored as such. */
  z.object({ in: z.literal('blob'), digest: digestSchema, size: count, of: digestSchema, start: count }),
  /** Nowhere: the site has it, as its receipts say, since it had that sequence. */
  z.object({ in: z.literal('site'), digest: digestSchema, size: count, since: count }),
  /** As a delta, which lies in volumes: packs of new bytes, and after them `recipe` bytes of a recipe (sync/delta). */
  z.object({
    in: z.literal('delta'),
    digest: digestSchema,
    size: count,
    /** What it copies from. All of it is at the site. */
    bases: z.array(digestSchema).min(1).max(limits.delta.bases),
    delta: z.object({
      digest: digestSchema,
      size: count.max(limits.delta.deltaBytes),
      recipe: count.min(1).max(limits.delta.recipeBytes),
    }),
    pieces: z.array(piece).min(1),
  }),
]);

const artifact = z
  .object({
    digest: digestSchema,
    size: count,
    kind: z.enum(['image', 'rpm', 'policy', 'file']),
    name: text,
    release: z
      .object({
        vendor: text,
        product: text,
        release: text,
        version: text,
        orderKey: text,
        kind: z.enum(['image', 'package']).nullable(),
        arch: text.nullable(),
        dist: text.nullable(),
      })
      .nullable(),
    channel: text,
    source: text,
    facts: z.record(z.string(), z.json()),
    verification: z.object({
      status: z.enum(['signature', 'checksum', 'unverified']),
      checks: z.array(z.looseObject({ check: text, result: text })),
    }),
    origins: z
      .array(
        z.object({
          within: z.object({ container: digestSchema, start: count }).nullable(),
          release: z.object({ vendor: text, version: text, orderKey: text }).nullable(),
        }),
      )
      .optional(),
  })
  .transform((value) => value as Artifact);

const volume = z.object({ name: z.string().refine(isVolumeName), size: count });

const entry = z.object({ path: z.string(), artifact });

const repository = z.object({
  name: z.string().refine(isRepositoryName, { error: 'no name of a repository' }),
  kind: z.enum(['file', 'rpm', 'policy']),
  /** On the sending side. */
  revision: count,
});

const head = z.object({
  format: z.literal(FORMAT.name),
  major: z.literal(FORMAT.major),
  minor: count,
  site: z.string().refine(isSiteName, { error: 'no name of a site' }),
  sequence: count.min(1),
  created: z.iso.datetime(),
  /** The receipt that it rests on: the newest of the site that was accepted. Null: it rests on nothing. */
  base: z.object({ sequence: count, receipt: count }).nullable(),
  /** Since 1.2: the XOR of all volumes, as long as the longest. Readers of 1.1 pass over it, and need all volumes. */
  parity: z.object({ name: z.literal(PARITY), size: count }).optional(),
});

/** The schemas of its lines. */
export const manifestParts = { head, volume, repository, entry, blob } as const;

export type ManifestHead = z.infer<typeof head>;
export type ManifestVolume = z.infer<typeof volume>;
export type ManifestEntry = z.infer<typeof entry>;
export type ManifestBlob = z.infer<typeof blob>;
/** A blob of which something lies in volumes: itself, or a delta. */
export type ManifestCarried = Extract<ManifestBlob, { pieces: unknown }>;
/** `entries`: how many there are. */
export type ManifestRepository = z.infer<typeof repository> & { readonly entries: number };

/** What a manifest says. Entries are read anew each time they are asked for: nobody holds all of them. */
export interface Manifest extends ManifestHead {
  readonly volumes: readonly ManifestVolume[];
  readonly repositories: readonly ManifestRepository[];
  readonly blobs: ReadonlyMap<Digest, ManifestBlob>;
  /** Of one of `repositories`, by its name. */
  readonly entriesOf: (repository: string) => Iterable<ManifestEntry>;
}

/** A manifest that is to be written. */
export type ManifestDraft = Omit<Manifest, 'entriesOf'> & {
  readonly entriesOf: (repository: string) => Iterable<ManifestEntry> | AsyncIterable<ManifestEntry>;
};

export function isCarried(each: ManifestBlob): each is ManifestCarried {
  return each.in === 'volumes' || each.in === 'delta';
}

/** Bytes that lie in volumes. */
export function carriedBytes(each: ManifestBlob): number {
  if (each.in === 'volumes') return each.size;
  return each.in === 'delta' ? each.delta.size : 0;
}

/** Bytes that a site needs room for. */
export function neededBytes(each: ManifestBlob): number {
  return isCarried(each) ? each.size : 0;
}

/** @returns what to throw */
export function invalidManifest(why: string): AirlockError {
  return new AirlockError('bundle.invalid', `${MANIFEST} cannot be used: ${why}. Ask for a new bundle.`);
}
