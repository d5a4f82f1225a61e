/**
 * Packages of repositories that were mirrored on demand: their metadata is published here, and a package that it lists is
 * fetched from the repository's upstream when somebody asks for it. What the metadata does not list is not asked for.
 */
import { AirlockError } from '../errors.ts';
import type { Digest } from '../repo/blobs/blob-store.ts';
import type { Stated } from './sidecar.ts';

/** Where a repository comes from. */
export interface OnDemandPlace {
  /** The name of its upstream. */
  readonly upstream: string;
  /** Below the upstream's URL, without slashes around it; empty for the URL itself. */
  readonly path: string;
}

/** By the names of our repositories. */
export type OnDemandPlaces = ReadonlyMap<string, OnDemandPlace>;

/** Whether a path lies in such a repository. */
export function placeOf(places: OnDemandPlaces, path: string): OnDemandPlace | undefined {
  const [room, repository = ''] = path.split('/', 2);
  return room === 'repos' ? places.get(repository) : undefined;
}

export class OnDemand {
  readonly #places: OnDemandPlaces;
  readonly #stated: (path: string) => Promise<Stated | null>;

  /** @param stated what the metadata says of a path */
  constructor(places: OnDemandPlaces, stated: (path: string) => Promise<Stated | null>) {
    this.#places = places;
    this.#stated = stated;
  }

  /** @returns the path under which the upstream has it: `upstreams/<name>/<path>`; undefined for what is not listed */
  async origin(path: string): Promise<string | undefined> {
    const place = placeOf(this.#places, path);
    if (place === undefined || (await this.#stated(path)) === null) return undefined;
    const [, , ...rest] = path.split('/');
    return ['upstreams', place.upstream, ...(place.path === '' ? [] : [place.path]), ...rest].join('/');
  }

  /** The metadata says by now that the path holds other bytes than those with this digest. */
  async isOutdated(path: string, digest: Digest): Promise<boolean> {
    if (placeOf(this.#places, path) === undefined) return false;
    const stated = await this.#stated(path);
    return stated !== null && stated.digest !== digest;
  }

  /** Why there is nobody to ask for a path of such a repository. @param origin what `origin` gave */
  refusal(path: string, origin: string | undefined): AirlockError | undefined {
    const place = placeOf(this.#places, path);
    if (place === undefined) return undefined;
    const [, repository] = path.split('/', 2);
    if (origin === undefined) {
      return new AirlockError('path.not-found', `${repository} does not list /${path}.`);
    }
    return new AirlockError(
      'proxy.not-cached',
      `${repository} lists /${path}, and nobody has asked for it before, so it is not here. Offline mode or the source type forbid to ask ${place.upstream} for it now. Allow that, or mirror with policy "immediate" while it is allowed.`,
    );
  }
}
