/**
 * Reads a manifest, and checks that it makes sense in itself: it says where every blob is that an entry names, every slice
 * lies in its container, deltas rest on what the site has, and the pieces are all that there is in the volumes.
 */
import { setImmediate } from 'node:timers/promises';
import { AirlockError } from '../../errors.ts';
import type { Digest } from '../../repo/blobs/blob-store.ts';
import { repositoryPath } from '../../repo/catalog/names.ts';
import { quote } from '../../repo/formats/quote.ts';
import { longest, padded } from './layout.ts';
import type { LocalBytes } from './local-bytes.ts';
import {
  carriedBytes,
  FORMAT,
  invalidManifest,
  isCarried,
  type Manifest,
  type ManifestBlob,
  type ManifestEntry,
  type ManifestHead,
  type ManifestRepository,
} from './manifest.ts';
import { manifestEntries, manifestPartsOf } from './manifest-lines.ts';

/** Lines that are read before others have their turn. */
const TURN = 2000;

/**
 * @param source stays as it is, and open, as long as the manifest is used
 * @throws bundle.newer-format, bundle.invalid, path.invalid
 */
export async function readManifest(source: LocalBytes): Promise<Manifest> {
  requireVersion(source);
  const reading = new Reading();
  let count = 0;
  for (const part of manifestPartsOf(source)) {
    if (part.kind === 'head') reading.head = part.value;
    else if (part.kind === 'volume') reading.volumes.push(part.value);
    else if (part.kind === 'repository') reading.beginRepository(part.value, part.next);
    else if (part.kind === 'entry') reading.addEntry(part.value);
    else reading.addBlob(part.value);
    count += 1;
    if (count % TURN === 0) await setImmediate();
  }
  return reading.end(source);
}

class Reading {
  head: ManifestHead | undefined;
  readonly volumes: Manifest['volumes'][number][] = [];
  readonly #repositories: (ManifestRepository & { entries: number })[] = [];
  readonly #blobs = new Map<Digest, ManifestBlob>();
  readonly #starts = new Map<string, number>();
  /** Blobs that entries name, with the sizes that they say. */
  readonly #named = new Map<Digest, number>();
  #paths = new Set<string>();

  beginRepository(repository: Omit<ManifestRepository, 'entries'>, start: number): void {
    if (this.#starts.has(repository.name)) throw invalidManifest('it lists a repository twice');
    this.#repositories.push({ ...repository, entries: 0 });
    this.#starts.set(repository.name, start);
    this.#paths = new Set();
  }

  addEntry({ path, artifact: { digest, size } }: ManifestEntry): void {
    repositoryPath(path);
    const repository = this.#repositories.at(-1);
    if (repository === undefined || this.#paths.has(path))
      throw invalidManifest(`it has the path ${quote(path)} twice`);
    this.#paths.add(path);
    repository.entries += 1;
    if ((this.#named.get(digest) ?? size) !== size) throw invalidManifest(`${digest} has two sizes`);
    this.#named.set(digest, size);
  }

  addBlob(blob: ManifestBlob): void {
    this.#paths.clear();
    if (this.#blobs.has(blob.digest)) throw invalidManifest('it lists a blob twice');
    this.#blobs.set(blob.digest, blob);
  }

  end(source: LocalBytes): Manifest {
    const { head, volumes } = this;
    if (head === undefined) throw invalidManifest('it is empty');
    if (new Set(volumes.map(({ name }) => name)).size !== volumes.length)
      throw invalidManifest('it lists a volume twice');
    for (const [digest, size] of this.#named) {
      if (this.#blobs.get(digest)?.size !== size) throw invalidManifest(`it does not say where ${digest} is`);
    }
    for (const blob of this.#blobs.values()) requirePlace(blob, this.#blobs);
    requireTiling(volumes, this.#blobs.values());
    if (head.parity !== undefined && head.parity.size !== longest(volumes))
      throw invalidManifest(`${head.parity.name} is not as long as the longest volume`);
    const starts = this.#starts;
    return {
      ...head,
      volumes,
      repositories: this.#repositories,
      blobs: this.#blobs,
      entriesOf: (name) => manifestEntries(source, starts.get(name) ?? source.size),
    };
  }
}

/** Whatever else a newer one holds, its first words say that it is newer. */
function requireVersion(source: LocalBytes): void {
  const start = Buffer.alloc(128);
  const text = start.toString('latin1', 0, source.read(start, 0));
  const major = Number(/^\s*\{\s*"format"\s*:\s*"airlock-bundle"\s*,\s*"major"\s*:\s*(\d{1,9})\b/.exec(text)?.[1] ?? 0);
  if (major <= FORMAT.major) return;
  throw new AirlockError(
    'bundle.newer-format',
    `This bundle has format ${major}, and this Airlock reads up to ${FORMAT.major}. Use a newer version here, or export with an older one.`,
    { details: { format: major } },
  );
}

function requirePlace(blob: ManifestBlob, blobs: ReadonlyMap<Digest, ManifestBlob>): void {
  if (blob.in === 'blob') {
    const container = blobs.get(blob.of);
    if (container === undefined || container.in === 'blob' || blob.start + blob.size > container.size) {
      throw invalidManifest(`${blob.digest} is no slice of ${blob.of}`);
    }
  }
  if (blob.in === 'delta') {
    if (blob.delta.recipe > blob.delta.size)
      throw invalidManifest(`the recipe of ${blob.digest} is longer than its delta`);
    const strange = blob.bases.find((base) => blobs.get(base)?.in !== 'site');
    if (strange !== undefined)
      throw invalidManifest(`${blob.digest} rests on ${strange}, which is not said to be at the site`);
  }
}

/** Entries follow one another in each volume, with nothing between them, before or after them. */
function requireTiling(volumes: Manifest['volumes'], blobs: Iterable<ManifestBlob>): void {
  const next = volumes.map(() => 512);
  const pieces = [];
  for (const each of blobs) {
    if (!isCarried(each)) continue;
    const length = each.pieces.reduce((sum, one) => sum + one.length, 0);
    if (length !== carriedBytes(each)) throw invalidManifest(`the pieces of ${each.digest} are not all of it`);
    for (const piece of each.pieces) pieces.push(piece);
  }
  pieces.sort((a, b) => a.volume - b.volume || a.offset - b.offset);
  for (const { volume, offset, length } of pieces) {
    if (next[volume - 1] !== offset)
      throw invalidManifest(`in volume ${volume} something lies at ${offset} that may not be there`);
    next[volume - 1] = offset + padded(length) + 512;
  }
  for (const [index, { name, size }] of volumes.entries()) {
    if (next[index] !== size - 512) throw invalidManifest(`${name} holds something that is not listed`);
  }
}
