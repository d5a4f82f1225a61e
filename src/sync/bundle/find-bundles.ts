/**
 * Bundles on media: in the folders that somebody names, and in the folders in these. What a folder is called does not
 * matter, nor where volumes lie. Nothing that is found here is trusted yet.
 */
import { AirlockError, isAirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import { digestOf } from '../../repo/blobs/digest-of.ts';
import { quoteUnsafe } from '../../repo/formats/quote.ts';
import type { CarriedFile, Carrier } from '../carriers/carrier.ts';
import { headOf } from './manifest-lines.ts';
import { COMMIT, isVolumeFile, MANIFEST, METADATA } from './names.ts';

/** A folder that holds a bundle, or some of it. */
export interface FoundFolder {
  readonly carrier: Carrier;
  /** It was finished. */
  readonly committed: boolean;
  /** Names of the volumes that lie there, the parity volume among them. */
  readonly volumes: readonly string[];
}

/** One bundle, from all the folders that hold some of it. */
export interface FoundBundle {
  /** SHA-256 of its manifest. */
  readonly id: string;
  /** Bytes of its manifest. */
  readonly size: number;
  /** What the manifest says; nobody vouches for it yet. */
  readonly claims: { readonly site: string; readonly sequence: number };
  readonly folders: readonly FoundFolder[];
}

export interface FoundOnMedia {
  /** Newest first. */
  readonly bundles: readonly FoundBundle[];
  /** Folders with volumes and no manifest: parts of a bundle, or one that was not finished. */
  readonly strays: readonly FoundFolder[];
  /** For the person in front: folders beside them that could not be looked into. */
  readonly warnings: readonly string[];
}

/** Where volumes of a bundle are read from: what was finished, and parts of bundles, which anything may be part of. */
export function volumeFolders({ folders }: FoundBundle, { strays }: FoundOnMedia): FoundFolder[] {
  const finished = folders.filter(({ committed }) => committed);
  return [...(finished.length === 0 ? folders : finished), ...strays];
}

/**
 * @param places stay the caller's, and open as long as what is found is used
 * @throws bundle.not-found if there is nothing; source.lost, interrupted; what a place itself cannot be looked into for
 */
export async function findBundles(places: readonly Carrier[]): Promise<FoundOnMedia> {
  const bundles = new Map<string, Omit<FoundBundle, 'folders'> & { readonly folders: FoundFolder[] }>();
  const strays: FoundFolder[] = [];
  const failures: AirlockError[] = [];
  for await (const carrier of foldersOf(places)) {
    const looked = await lookInto(carrier).catch((error: unknown) => {
      if (places.includes(carrier) || !isAirlockError(error) || error.code === 'interrupted') throw error;
      failures.push(error);
      return undefined;
    });
    if (looked === undefined) continue;
    const { folder, manifest } = looked;
    if (manifest === undefined) strays.push(folder);
    else {
      const known = bundles.get(manifest.id) ?? { ...manifest, folders: [] };
      known.folders.push(folder);
      bundles.set(manifest.id, known);
    }
  }
  if (bundles.size === 0 && strays.length === 0) {
    throw (
      failures[0] ??
      new AirlockError(
        'bundle.not-found',
        `There is no bundle in ${places.map(({ where }) => quoteUnsafe(where)).join(', ')}. Check that the right medium is mounted.`,
      )
    );
  }
  const found = [...bundles.values()].sort((a, b) => b.claims.sequence - a.claims.sequence);
  return { bundles: found, strays, warnings: failures.map(({ message }) => `passed over: ${message}`) };
}

type FoundManifest = Omit<FoundBundle, 'folders'>;

/** @returns undefined if neither a bundle nor a part of one is there */
async function lookInto(
  carrier: Carrier,
): Promise<{ folder: FoundFolder; manifest: FoundManifest | undefined } | undefined> {
  const { files, folders, unfinished } = await carrier.list();
  const names = files.map(({ name }) => name);
  const folder = { carrier, committed: names.includes(COMMIT), volumes: names.filter(isVolumeFile) };
  const isPart = folder.volumes.length > 0 || folders.includes(METADATA);
  const manifest = names.includes(MANIFEST) ? await lookAt(carrier) : undefined;
  if (manifest !== undefined) {
    // Others call files so, too: manifests of web pages, say.
    const isOurs = manifest.claims.site !== '' || isPart || folder.committed;
    return isOurs ? { folder, manifest } : undefined;
  }
  const isBegun = unfinished.some((name) => isVolumeFile(name) || name === MANIFEST);
  return isPart || isBegun ? { folder, manifest } : undefined;
}

/** Where a manifest begins, says for whom it is. */
const HEAD_BYTES = 64 * 1024;

/** Reads a manifest once, without holding it. @returns undefined if it is not there. @throws bundle.invalid if it is too long */
async function lookAt(carrier: Carrier): Promise<FoundManifest | undefined> {
  const file = await openCarried(carrier, MANIFEST, limits.bundle.manifestBytes);
  if (file === undefined) return undefined;
  try {
    const start = Buffer.alloc(Math.min(HEAD_BYTES, file.size));
    await file.readAt(start, 0);
    const id = (await digestOf(file)).slice('sha256:'.length);
    const { site = '', sequence = 0 } = headOf(start) ?? {};
    return { id, size: file.size, claims: { site, sequence } };
  } finally {
    await file.close();
  }
}

/** Reads a small file whole. @returns undefined if it is not there. @throws bundle.invalid if it is too long */
export async function readCarried(carrier: Carrier, name: string, limit: number): Promise<Buffer | undefined> {
  const file = await openCarried(carrier, name, limit);
  if (file === undefined) return undefined;
  try {
    const bytes = Buffer.alloc(file.size);
    await file.readAt(bytes, 0);
    return bytes;
  } finally {
    await file.close();
  }
}

async function openCarried(carrier: Carrier, name: string, limit: number): Promise<CarriedFile | undefined> {
  const file = await carrier.open(name);
  if (file === undefined || file.size <= limit) return file;
  await file.close();
  throw new AirlockError(
    'bundle.invalid',
    `${name} at ${quoteUnsafe(carrier.where)} has ${file.size} bytes; ${limit} are the most it may have. It is not what its name says.`,
  );
}

/** The places and the folders in them, each once. */
async function* foldersOf(places: readonly Carrier[]): AsyncGenerator<Carrier, void, undefined> {
  const seen = new Set<string>();
  for (const place of places) {
    const { folders } = await place.list();
    const inside = folders.filter((name) => name !== METADATA).slice(0, limits.bundle.folders);
    for (const carrier of [place, ...inside.map((name) => place.folder(name))]) {
      if (seen.has(carrier.where)) continue;
      seen.add(carrier.where);
      yield carrier;
    }
  }
}
