/** What an export would write: planned without a byte on the medium, and the same each time. */
import { AirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import type { Digest } from '../../repo/blobs/blob-store.ts';
import type { MadeDelta } from '../delta/make-delta.ts';
import { holdingsOf } from '../receipts.ts';
import type { ExportContext, ExportOptions } from './export.ts';
import { type Item, type LaidVolume, layOut, longest } from './layout.ts';
import {
  carriedBytes,
  FORMAT,
  isCarried,
  type Manifest,
  type ManifestBlob,
  type ManifestDraft,
  neededBytes,
} from './manifest.ts';
import { lineBytes } from './manifest-lines.ts';
import { type Medium, parseMedium, volumeSize } from './medium-size.ts';
import { PARITY } from './names.ts';
import { type Plan, planBundle } from './plan.ts';
import { type PlannedDeltas, planDeltas } from './plan-deltas.ts';

/** What is, or would be, written. */
export interface ExportPlan {
  readonly site: string;
  readonly base: Plan['base'];
  readonly repositories: readonly { readonly name: string; readonly entries: number }[];
  readonly volumes: readonly { readonly name: string; readonly size: number }[];
  /** The parity volume; null if none is asked for, or there is nothing to carry. */
  readonly parity: { readonly name: string; readonly size: number } | null;
  readonly bytes: {
    /** Of blobs that are carried as they are. */
    readonly whole: number;
    /** Of deltas that are carried, and of the blobs that the site makes from them. */
    readonly deltas: number;
    readonly made: number;
    /** Of blobs that the site has, and of slices of others. */
    readonly held: number;
    readonly slices: number;
    /**
     * What is written, on all media together: volumes and parity, and on each medium manifest (at most) and program.
     * Signed metadata and README are some KiB more.
     */
    readonly medium: number;
    /** What has to be free there for that: on each medium room is kept for metadata. */
    readonly room: number;
    /** What the site needs free. */
    readonly site: number;
  };
  /** Discs of the medium's size that it fills; 1 where the size is not known. */
  readonly media: number;
  /** Bytes that are free at the destination now; null where nobody can tell. */
  readonly free: number | null;
}

/** A bundle that could be written. */
export interface Prepared {
  /** With 1 as its sequence. */
  readonly draft: ManifestDraft;
  readonly volumes: readonly LaidVolume[];
  readonly deltas: PlannedDeltas;
  /** Bytes of the manifest, at most. */
  readonly manifestBytes: number;
}

/** What the default medium is good for: any. */
const DEFAULT_MEDIUM = 'fat32';
/** Of a manifest, besides entries and blobs: its head, and what is around a repository. */
const HEAD_BYTES = 1024;
const REPOSITORY_BYTES = 512;
const PIECE_BYTES = 256;

/** @throws as planBundle and planDeltas; usage.invalid for more than a bundle holds */
export async function prepare(context: ExportContext, options: ExportOptions): Promise<Prepared> {
  const { site, repositories = [], full = false } = options;
  const holdings = full ? undefined : await holdingsOf(context.dataDir, site);
  const plan = await planBundle(context.catalog, { holdings, repositories });
  const deltas = await planDeltas(context, { site, plan, holdings }, options);
  const items = plan.items.map((item) => itemOf(item, deltas.deltas.get(item.digest)));
  const around = HEAD_BYTES + plan.repositories.length * REPOSITORY_BYTES + plan.entriesBytes;
  const beside = around + placesBytes(plan, deltas.deltas) + besideBytes(options);
  const volumes = layOut(items, volumeSize(mediumOf(options), beside));
  if (volumes.length > limits.bundle.volumes) {
    throw new AirlockError('usage.invalid', `${volumes.length} volumes would be needed. Choose a larger --medium.`);
  }
  const blobs = placesOf(plan, { deltas: deltas.deltas, volumes });
  let manifestBytes = around + volumes.length * PIECE_BYTES;
  for (const blob of blobs.values()) manifestBytes += lineBytes(blob);
  if (manifestBytes > limits.bundle.manifestBytes) {
    throw new AirlockError(
      'usage.invalid',
      'One bundle cannot hold so many files. Export some of the repositories at a time: --repository NAME.',
    );
  }
  const draft: ManifestDraft = {
    format: FORMAT.name,
    major: FORMAT.major,
    minor: FORMAT.minor,
    site,
    sequence: 1,
    created: context.now().toISOString(),
    base: plan.base,
    ...(options.parity === true && volumes.length > 0 ? { parity: { name: PARITY, size: longest(volumes) } } : {}),
    volumes: volumes.map(({ name, size }) => ({ name, size })),
    repositories: plan.repositories,
    blobs,
    entriesOf: plan.entriesOf,
  };
  return { draft, volumes, deltas, manifestBytes };
}

/** Bytes of the lines of all blobs, roughly, before it is known where they lie. */
function placesBytes({ items, others }: Plan, deltas: ReadonlyMap<Digest, MadeDelta>): number {
  let bytes = (items.length + others.size) * 2 * PIECE_BYTES;
  for (const { bases } of deltas.values()) bytes += bases.length * 2 * PIECE_BYTES;
  return bytes;
}

function itemOf(item: Item, delta: MadeDelta | undefined): Item {
  return delta === undefined ? item : { digest: delta.digest, size: delta.size, kind: 'delta' };
}

/** Where each blob is, or what it is made from. What deltas rest on is listed, too. */
function placesOf(
  { items, others, known, base }: Plan,
  { deltas, volumes }: { deltas: ReadonlyMap<Digest, MadeDelta>; volumes: readonly LaidVolume[] },
): Map<Digest, ManifestBlob> {
  const pieces = Map.groupBy(
    volumes.flatMap(({ entries }) => entries),
    ({ digest }) => digest,
  );
  const piecesOf = (digest: Digest) =>
    (pieces.get(digest) ?? []).map(({ volume, entry, offset, length }) => ({ volume, entry, offset, length }));
  const blobs = new Map<Digest, ManifestBlob>();
  for (const { digest, size } of items) {
    const delta = deltas.get(digest);
    if (delta === undefined) {
      blobs.set(digest, { in: 'volumes', digest, size, pieces: piecesOf(digest) });
      continue;
    }
    const { bases, digest: file, size: bytes, recipe } = delta;
    const told = { digest: file, size: bytes, recipe };
    blobs.set(digest, { in: 'delta', digest, size, bases: [...bases], delta: told, pieces: piecesOf(file) });
    for (const held of bases) {
      const of = known.get(held)?.size ?? 0;
      if (!others.has(held)) blobs.set(held, { in: 'site', digest: held, size: of, since: base?.sequence ?? 0 });
    }
  }
  for (const [digest, blob] of others) blobs.set(digest, blob);
  return blobs;
}

/** The layout of a manifest: the same as it was made with. */
export function laidVolumes({ volumes, blobs }: Pick<Manifest, 'volumes' | 'blobs'>): LaidVolume[] {
  const laid = volumes.map(({ name, size }) => ({ name, size, entries: [] as LaidVolume['entries'][number][] }));
  for (const each of blobs.values()) {
    if (!isCarried(each)) continue;
    const digest = each.in === 'delta' ? each.delta.digest : each.digest;
    let from = 0;
    for (const piece of each.pieces) {
      laid[piece.volume - 1]?.entries.push({ ...piece, digest, from });
      from += piece.length;
    }
  }
  for (const { entries } of laid) entries.sort((a, b) => a.offset - b.offset);
  return laid;
}

export async function describe(
  {
    site,
    base,
    volumes,
    parity,
    repositories,
    blobs,
  }: Pick<Manifest, 'site' | 'base' | 'volumes' | 'parity' | 'repositories' | 'blobs'>,
  manifestBytes: number,
  options: ExportOptions,
): Promise<ExportPlan> {
  const bytes = { whole: 0, deltas: 0, made: 0, held: 0, slices: 0, medium: 0, room: 0, site: limits.spaceReserve };
  for (const blob of blobs.values()) {
    if (blob.in === 'volumes') bytes.whole += blob.size;
    else if (blob.in === 'site') bytes.held += blob.size;
    else if (blob.in === 'blob') bytes.slices += blob.size;
    else bytes.made += blob.size;
    if (blob.in === 'delta') bytes.deltas += carriedBytes(blob);
    bytes.site += neededBytes(blob);
  }
  const files = [...volumes, ...(parity === undefined ? [] : [parity])];
  for (const { size } of files) bytes.medium += size;
  const media = Number.isFinite(mediumOf(options).capacity) ? Math.max(1, files.length) : 1;
  bytes.medium += media * (manifestBytes + (options.program?.size ?? 0));
  bytes.room = bytes.medium + media * limits.bundle.mediumReserve;
  return {
    site,
    base,
    repositories: repositories.map(({ name, entries }) => ({ name, entries })),
    volumes,
    parity: parity ?? null,
    bytes,
    media,
    free: (await options.to.freeSpace()) ?? null,
  };
}

/** On each medium, besides volumes and manifest. */
function besideBytes({ program }: ExportOptions): number {
  return limits.bundle.mediumReserve + (program?.size ?? 0);
}

function mediumOf({ medium = parseMedium(DEFAULT_MEDIUM) }: ExportOptions): Medium {
  return medium;
}
