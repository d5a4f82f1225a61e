/**
 * From an image into a package repository: its packages are published where they lie, as slices of it.
 */
import type { Digest } from '../blobs/blob-store.ts';
import { sliceStat } from '../blobs/slice-reader.ts';
import type { Artifact, Json, Origin, ReleaseFacts } from '../catalog/artifact.ts';
import type { Catalog } from '../catalog/catalog.ts';
import type { FoundCarried } from '../packages/carried.ts';
import type { FoundPackage, FoundPackages } from '../packages/iso-packages.ts';
import { packageFactsOf } from '../packages/package-list.ts';
import { prepareChange } from '../packages/prepare-change.ts';
import type { Contents, IngestContext } from './destination.ts';

export interface ImageWithPackages {
  readonly digest: Digest;
  readonly name: string;
  readonly release: ReleaseFacts;
}

/** What an image adds to a package repository, to be published in the same transaction as the image. */
export function imagePackages(
  context: IngestContext,
  repository: string,
  image: ImageWithPackages,
  { packages, carried }: FoundPackages,
): Contents {
  const slices = [...packages, ...carried];
  const add = [
    ...packages.map((found) => new Brought(image, found, packageArtifact)),
    ...carried.map((found) => new Brought(image, found, carriedArtifact)),
  ];
  return {
    async prepare(leases) {
      const change = await prepareChange(context, { repository, reason: `import ${image.name}`, add }, leases);
      return async (tx, container) => {
        for (const slice of slices) {
          await tx.recordSlice(sliceStat(container, slice), { container: container.digest, start: slice.start });
        }
        await change.publish(tx);
      };
    },
  };
}

/** What is found in an image becomes an artifact when somebody looks: there may be many thousands. */
class Brought<Found extends FoundPackage | FoundCarried> {
  readonly #image: ImageWithPackages;
  readonly #found: Found;
  readonly #artifactOf: (found: Found, origin: Origin) => Artifact;

  constructor(image: ImageWithPackages, found: Found, artifactOf: (found: Found, origin: Origin) => Artifact) {
    this.#image = image;
    this.#found = found;
    this.#artifactOf = artifactOf;
  }

  get path(): string {
    return this.#found.path;
  }

  get artifact(): Artifact {
    return this.#artifactOf(this.#found, originIn(this.#image, this.#found));
  }
}

/** Whether all packages of a published image are published: they are not where no key was known, or after a roll-back. */
export async function hasAllPackages(
  catalog: Catalog,
  repository: string,
  { digest, facts }: Artifact,
): Promise<boolean> {
  let missing = Number(facts.packages ?? 0);
  if (missing === 0) return false;
  const published = (await catalog.repository(repository))?.published ?? 0;
  for await (const { artifact } of catalog.entries(repository, published)) {
    if (artifact.kind !== 'rpm') continue;
    if (artifact.origins?.some(({ within }) => within?.container === digest)) missing -= 1;
  }
  return missing <= 0;
}

function originIn({ digest, release }: ImageWithPackages, { start }: { readonly start: number }): Origin {
  const { vendor, version, orderKey } = release;
  return { within: { container: digest, start }, release: { vendor, version, orderKey } };
}

/** A package as it is published. */
export function packageArtifact(found: Omit<FoundPackage, 'start' | 'file'>, origin: Origin): Artifact {
  const { path, digest, size, facts, verification } = found;
  return {
    digest,
    size,
    kind: 'rpm',
    name: path.slice(path.lastIndexOf('/') + 1),
    release: null,
    channel: 'downloads',
    source: 'downloads',
    facts: { ...packageFactsOf(facts) },
    verification,
    origins: [origin],
  };
}

function carriedArtifact({ path, digest, size, facts }: FoundCarried, origin: Origin): Artifact {
  return {
    digest,
    size,
    kind: 'file',
    name: path.slice(path.lastIndexOf('/') + 1),
    release: null,
    channel: 'metadata',
    source: 'downloads',
    facts: { ...facts } as { readonly [key: string]: Json },
    verification: { status: 'checksum', checks: [] },
    origins: [origin],
  };
}
