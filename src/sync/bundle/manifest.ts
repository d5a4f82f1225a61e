/**
 * What a bundle holds (docs/bundle-format.md). A target that the site's role signs; everything else in a bundle is found
 * through it.
 */
import { z } from 'zod';
import { AirlockError } from '../../errors.ts';
import type { Digest } from '../../repo/blobs/blob-store.ts';
import type { Artifact } from '../../repo/catalog/artifact.ts';
import { isRepositoryName, repositoryPath } from '../../repo/catalog/names.ts';
import { quote } from '../../repo/formats/quote.ts';
import { digestSchema } from '../trust/revocations.ts';
import { isSiteName } from '../trust/site-name.ts';
import { padded } from './layout.ts';
import { isVolumeName, MANIFEST } from './names.ts';

/** Readers take every minor version of their major one: what they do not know there, they may pass over. */
export const FORMAT = { name: 'airlock-bundle', major: 1, minor: 0 } as const;

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

const manifest = z.object({
  format: z.literal(FORMAT.name),
  major: z.literal(FORMAT.major),
  minor: count,
  site: z.string().refine(isSiteName, { error: 'no name of a site' }),
  sequence: count.min(1),
  created: z.iso.datetime(),
  /** The receipt that it rests on: the newest of the site that was accepted. Null: it rests on nothing. */
  base: z.object({ sequence: count, receipt: count }).nullable(),
  volumes: z.array(z.object({ name: z.string().refine(isVolumeName), size: count })),
  repositories: z.array(
    z.object({
      name: z.string().refine(isRepositoryName, { error: 'no name of a repository' }),
      kind: z.enum(['file', 'rpm', 'policy']),
      /** On the sending side. */
      revision: count,
      entries: z.array(z.object({ path: z.string(), artifact })),
    }),
  ),
  blobs: z.array(blob),
});

export type Manifest = z.infer<typeof manifest>;
export type ManifestBlob = z.infer<typeof blob>;
export type ManifestRepository = Manifest['repositories'][number];

/** One line for each repository entry and blob, so that large ones can be looked through with common tools. */
export function* manifestLines(value: Manifest): Generator<string, void, undefined> {
  const { volumes, repositories, blobs, ...head } = value;
  yield `{${JSON.stringify(head).slice(1, -1)},`;
  yield `"volumes":[`;
  yield* listed(volumes);
  yield `],"repositories":[`;
  for (const [index, { entries, ...repository }] of repositories.entries()) {
    yield `${index === 0 ? '' : ','}{${JSON.stringify(repository).slice(1, -1)},"entries":[`;
    yield* listed(entries);
    yield ']}';
  }
  yield `],"blobs":[`;
  yield* listed(blobs);
  yield ']}';
}

function* listed(items: readonly unknown[]): Generator<string, void, undefined> {
  for (const [index, item] of items.entries()) yield `${JSON.stringify(item)}${index === items.length - 1 ? '' : ','}`;
}

/**
 * Reads a manifest, and checks that it makes sense in itself: it says where every blob is that an entry names, every slice
 * lies in its container, and the pieces are all that there is in the volumes.
 * @throws bundle.newer-format, bundle.invalid
 */
export function parseManifest(bytes: Buffer): Manifest {
  const value = parsed(bytes);
  requireVersion(value);
  const result = manifest.safeParse(value);
  if (!result.success) {
    const [issue] = result.error.issues;
    throw invalid(`${quote(issue?.path.join('.') ?? '')}: ${issue?.message ?? 'it is not as it should be'}`);
  }
  requireSense(result.data);
  return result.data;
}

/** Everything in it by digest. */
export function blobsOf({ blobs }: Manifest): Map<Digest, ManifestBlob> {
  return new Map(blobs.map((each) => [each.digest, each]));
}

function parsed(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch (cause) {
    throw invalid(cause instanceof Error ? cause.message : String(cause));
  }
}

function requireVersion(value: unknown): void {
  const { format, major } = (value ?? {}) as { format?: unknown; major?: unknown };
  if (format !== FORMAT.name || typeof major !== 'number' || major <= FORMAT.major) return;
  throw new AirlockError(
    'bundle.newer-format',
    `This bundle has format ${major}, and this Airlock reads up to ${FORMAT.major}. Use a newer version here, or export with an older one.`,
    { details: { format: major } },
  );
}

function requireSense(value: Manifest): void {
  const blobs = blobsOf(value);
  if (blobs.size !== value.blobs.length) throw invalid('it lists a blob twice');
  requireNames(value);
  for (const { name, entries } of value.repositories) {
    const paths = new Set<string>();
    for (const { path, artifact: held } of entries) {
      repositoryPath(path);
      if (paths.has(path)) throw invalid(`${name} has the path ${quote(path)} twice`);
      paths.add(path);
      if (blobs.get(held.digest)?.size !== held.size)
        throw invalid(`${quote(path)} names a blob that it does not list`);
    }
  }
  for (const each of value.blobs) {
    if (each.in !== 'blob') continue;
    const container = blobs.get(each.of);
    if (container === undefined || container.in === 'blob' || each.start + each.size > container.size) {
      throw invalid(`${each.digest} is no slice of ${each.of}`);
    }
  }
  requireTiling(value);
}

function requireNames({ volumes, repositories }: Manifest): void {
  const names = [...volumes.map(({ name }) => name), ...repositories.map(({ name }) => name)];
  if (new Set(names).size !== names.length) throw invalid('it lists a volume or a repository twice');
}

/** Entries follow one another in each volume, with nothing between them, before or after them. */
function requireTiling({ volumes, blobs }: Manifest): void {
  const next = volumes.map(() => 512);
  const pieces = [];
  for (const each of blobs) {
    if (each.in !== 'volumes') continue;
    const length = each.pieces.reduce((sum, one) => sum + one.length, 0);
    if (length !== each.size) throw invalid(`the pieces of ${each.digest} are not all of it`);
    pieces.push(...each.pieces);
  }
  pieces.sort((a, b) => a.volume - b.volume || a.offset - b.offset);
  for (const { volume, offset, length } of pieces) {
    if (next[volume - 1] !== offset)
      throw invalid(`in volume ${volume} something lies at ${offset} that may not be there`);
    next[volume - 1] = offset + padded(length) + 512;
  }
  for (const [index, { name, size }] of volumes.entries()) {
    if (next[index] !== size - 512) throw invalid(`${name} holds something that is not listed`);
  }
}

function invalid(why: string): AirlockError {
  return new AirlockError('bundle.invalid', `${MANIFEST} cannot be used: ${why}. Ask for a new bundle.`);
}
