import { AirlockError } from '../../src/errors.ts';
import {
  type CarriedFile,
  type Carrier,
  type CarrierWriter,
  type CreateOptions,
  keptOf,
  ListingBuilder,
  PARTIAL,
  requireSegment,
  segmentsOf,
} from '../../src/sync/carriers/carrier.ts';

/** What lies in memory: files by their paths. Folders are there while something is in them. */
export type MemoryPlace = Map<string, Uint8Array>;

/** A carrier that forgets. Several may be open over one place. */
export function memoryCarrier(place: MemoryPlace, settleEvery: number, below = ''): Carrier {
  const pathOf = (name: string) => {
    segmentsOf(name);
    const path = `${below}${name}`;
    if ([...place.keys()].some((each) => each.startsWith(`${path}/`))) throw inTheWay(path);
    return path;
  };
  return {
    where: `memory:/${below.replace(/\/$/, '')}`,
    async list(folder) {
      const listing = new ListingBuilder('memory:');
      const prefix = folder === undefined ? below : `${below}${requireSegment(folder)}/`;
      const seen = new Set<string>();
      for (const [path, { length }] of place) {
        if (!path.startsWith(prefix)) continue;
        const [name = '', ...rest] = path.slice(prefix.length).split('/');
        if (seen.has(name)) continue;
        seen.add(name);
        await listing.add(name, rest.length > 0 ? 'folder' : 'file', () => length);
      }
      return listing.end();
    },
    async open(name) {
      const bytes = place.get(pathOf(name));
      return bytes === undefined ? undefined : fileOf(bytes);
    },
    async create(name, options) {
      const path = pathOf(name);
      if ([...place.keys()].some((each) => each.startsWith(`${path}${PARTIAL}/`))) throw inTheWay(path);
      return writerOf(place, path, settleEvery, options);
    },
    async remove(name) {
      place.delete(pathOf(name));
    },
    folder: (name) => memoryCarrier(place, settleEvery, `${below}${requireSegment(name)}/`),
    freeSpace: async () => undefined,
    sync: async () => undefined,
    close: async () => undefined,
  };
}

function fileOf(bytes: Uint8Array): CarriedFile {
  return {
    size: bytes.length,
    async readAt(into, position) {
      const piece = bytes.subarray(position, position + into.byteLength);
      into.set(piece);
      return piece.length;
    },
    close: async () => undefined,
  };
}

function writerOf(
  place: MemoryPlace,
  path: string,
  settleEvery: number,
  { anew = false }: CreateOptions = {},
): CarrierWriter {
  const partial = `${path}${PARTIAL}`;
  const former = anew ? undefined : place.get(partial);
  const offset = keptOf(former?.length ?? 0, settleEvery);
  const kept = fileOf((former ?? new Uint8Array()).slice(0, offset));
  let bytes = (former ?? new Uint8Array()).slice(0, offset);
  let ended = false;
  place.set(partial, bytes);
  return {
    offset,
    held: offset,
    readAt: kept.readAt,
    async write(more) {
      bytes = new Uint8Array(Buffer.concat([bytes, more]));
      place.set(partial, bytes);
    },
    async commit() {
      ended = true;
      place.delete(partial);
      place.set(path, bytes);
    },
    async suspend() {
      ended = true;
    },
    async cancel() {
      if (!ended) place.delete(partial);
      ended = true;
    },
  };
}

function inTheWay(path: string): AirlockError {
  return new AirlockError('bundle.invalid', `${path} is a folder, and in the way.`);
}
