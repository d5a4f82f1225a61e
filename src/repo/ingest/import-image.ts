/**
 * `import iso`: a vendor's image with its sidecars into the repository `images`, under `<Major>.<Minor>/`.
 */
import path from 'node:path';
import { AirlockError, isAirlockError } from '../../errors.ts';
import type { ByteSource } from '../blobs/blob-store.ts';
import type { Json, ReleaseFacts } from '../catalog/artifact.ts';
import { openIso } from '../formats/iso9660/iso-image.ts';
import { describeImage } from '../formats/iso9660/look-inside.ts';
import type { SsrRelease } from '../formats/releases/facts.ts';
import { orderKey } from '../formats/releases/order.ts';
import { parseRelease, trainOf, versionOf } from '../formats/releases/release.ts';
import { type IngestContext, type IngestOptions, type IngestOutcome, ingestFile } from './ingest-file.ts';
import { checkTar } from './tar-check.ts';

export const IMAGES = 'images';

/**
 * @param file named as the vendor names images (vendor.md C1)
 * @throws release.unparsable, iso.*, tar.invalid, and what ingestFile throws
 */
export async function importImage(
  context: IngestContext,
  file: string,
  options: IngestOptions,
): Promise<IngestOutcome> {
  const name = path.basename(file);
  const { parsed, release } = imageRelease(name);
  return await ingestFile(
    context,
    file,
    {
      repository: IMAGES,
      repositoryKind: 'file',
      path: `${release.release}/${name}`,
      kind: 'image',
      release,
      inspect: (staged) => inspect(parsed, staged),
      ...(parsed.form === 'iso' ? { inside: findInside } : {}),
    },
    options,
  );
}

/** What an image's file name says of its release. @throws release.unparsable */
function imageRelease(name: string): { parsed: SsrRelease; release: ReleaseFacts } {
  const parsed = parseRelease(name);
  const train = parsed && trainOf(parsed);
  if (parsed?.scheme !== 'ssr' || parsed.file === null || parsed.sidecar !== null || train == null) {
    throw new AirlockError(
      'release.unparsable',
      `${JSON.stringify(name)} is not named as the vendor names images (SSR-6.3.0-107.r1.el7.x86_64.ibu-v1.iso). Give it its original name, or use "airlock import file" for other files.`,
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
