/**
 * `import iso`: a vendor's image with its sidecars into the repository `images`, under `<Major>.<Minor>/`.
 */
import path from 'node:path';
import { AirlockError, isAirlockError } from '../../errors.ts';
import type { ByteSource } from '../blobs/blob-store.ts';
import type { Json, ReleaseFacts } from '../catalog/artifact.ts';
import { openIso } from '../formats/iso9660/iso-image.ts';
import { describeImage } from '../formats/iso9660/look-inside.ts';
import { quote } from '../formats/quote.ts';
import type { SsrRelease } from '../formats/releases/facts.ts';
import { orderKey } from '../formats/releases/order.ts';
import { parseRelease, trainOf, versionOf } from '../formats/releases/release.ts';
import { findPackages, type PackagePolicy } from '../packages/iso-packages.ts';
import { rpmRepositoryName } from '../packages/repository-name.ts';
import type { Destination } from './destination.ts';
import { hasAllPackages, imagePackages } from './image-packages.ts';
import { type IngestContext, type IngestOptions, type IngestOutcome, ingestFile } from './ingest-file.ts';
import { requireFile } from './medium.ts';
import { checkTar } from './tar-check.ts';

export const IMAGES = 'images';

export interface ImageOptions extends IngestOptions {
  /** For the packages in package-based images. */
  readonly policy: PackagePolicy;
}

/**
 * @param file named as the vendor names images (vendor.md C1)
 * @throws file.not-found, usage.invalid, release.unparsable, iso.*, tar.invalid, and what ingestFile throws
 */
export async function importImage(context: IngestContext, file: string, options: ImageOptions): Promise<IngestOutcome> {
  await requireFile(file, options); // what its name should be matters only if it is there
  return await ingestFile(context, file, imageDestination(context, path.basename(file), options), options);
}

/**
 * Where an image goes, and what is looked at in it.
 * @param name as the vendor names images
 * @throws release.unparsable
 */
export function imageDestination(context: IngestContext, name: string, options: ImageOptions): Destination {
  const { parsed, release } = imageRelease(name);
  return {
    repository: IMAGES,
    repositoryKind: 'file',
    path: `${release.release}/${name}`,
    kind: 'image',
    release,
    wayOut: `Find out which of the two is right. To take the new one, first "airlock delete system software version ${release.version}".`,
    inspect: async (staged, { digest }) => {
      const { facts, warnings } = await inspect(parsed, staged);
      if (!hasPackages(parsed)) return { facts, warnings };
      const found = await findPackages(context.catalog, staged, {
        ...options,
        keys: context.keys,
        revoked: await context.revoked(),
      });
      const image = { digest, name, release };
      return {
        facts: { ...facts, packages: found.packages.length },
        warnings: [...warnings, ...found.warnings],
        ...(found.packages.length === 0
          ? {}
          : { contents: imagePackages(context, repositoryOf(release), image, found) }),
      };
    },
    isComplete: async (image) =>
      !hasPackages(parsed) || (await hasAllPackages(context.catalog, repositoryOf(release), image)),
    ...(parsed.form === 'iso' ? { inside: findInside } : {}),
  };
}

/** Package-based images hold the packages that routers install from. */
function hasPackages({ kind, form }: SsrRelease): boolean {
  return kind === 'package' && form === 'iso';
}

/** The names of package-based images tell both (vendor.md C1); the type is that of all releases. */
function repositoryOf({ dist, arch }: ReleaseFacts): string {
  return rpmRepositoryName(dist ?? 'el7', arch ?? 'x86_64');
}

/** True if a file of this name can be imported as an image. */
export function isImageName(name: string): boolean {
  try {
    imageRelease(name);
    return true;
  } catch (error) {
    if (isAirlockError(error, 'release.unparsable')) return false;
    throw error;
  }
}

/** What an image's file name says of its release. @throws release.unparsable */
function imageRelease(name: string): { parsed: SsrRelease; release: ReleaseFacts } {
  const parsed = parseRelease(name);
  const train = parsed && trainOf(parsed);
  if (parsed?.scheme !== 'ssr' || parsed.file === null || parsed.sidecar !== null || train == null) {
    throw new AirlockError(
      'release.unparsable',
      `${quote(name, 255)} is not named as the vendor names images (SSR-6.3.0-107.r1.el7.x86_64.ibu-v1.iso). Give it its original name, or use "airlock import file" for other files.`,
    );
  }
  const kind = parsed.kind === 'package' ? 'package' : 'image';
  return {
    parsed,
    release: {
      vendor: parsed.vendor,
      product: parsed.product ?? 'SSR',
      release: train,
      version: versionOf(parsed),
      orderKey: orderKey(parsed),
      kind,
      arch: parsed.arch,
      dist: parsed.dist,
    },
  };
}

async function inspect(
  parsed: SsrRelease,
  staged: ByteSource,
): Promise<{ facts: { readonly [key: string]: Json }; warnings: string[] }> {
  if (parsed.form === 'tar') return { facts: { entries: await checkTar(staged) }, warnings: [] };
  if (parsed.form !== 'iso') return { facts: {}, warnings: [] };
  const inside = await describeImage(await openIso(staged));
  const isOther = inside.kind !== 'unknown' && inside.kind !== parsed.kind;
  return {
    facts: { inside: JSON.parse(JSON.stringify(inside)) as Json },
    warnings: isOther ? [`by its name it is ${parsed.kind}-based, by its content ${inside.kind}-based`] : [],
  };
}

/** A file of this name anywhere in the image. */
async function findInside(staged: ByteSource, name: string): Promise<ByteSource | undefined> {
  const iso = await openIso(staged).catch((error: unknown) => {
    // Whether it is an image at all is for `inspect` to say.
    if (isAirlockError(error, 'iso.invalid', 'iso.truncated', 'iso.limit')) return undefined;
    throw error;
  });
  if (iso === undefined) return undefined;
  for await (const entry of iso.walk()) if (entry.type === 'file' && entry.name === name) return iso.source(entry);
  return undefined;
}
