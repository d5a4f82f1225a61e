/**
 * System Use entries (SUSP, IEEE P1281) and Rock Ridge entries (IEEE P1282) as a writer records them; also impossible
 * ones, so nothing is checked here.
 */

/** A number in both byte orders (ECMA-119 7.3.3). */
export function both32(value: number, bigEndian = value): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt32LE(value, 0);
  bytes.writeUInt32BE(bigEndian, 4);
  return bytes;
}

export function both16(value: number, bigEndian = value): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt16LE(value, 0);
  bytes.writeUInt16BE(bigEndian, 2);
  return bytes;
}

function toBytes(text: string | Uint8Array): Buffer {
  return typeof text === 'string' ? Buffer.from(text) : Buffer.from(text);
}

/** Any entry: signature, length, version 1, payload. */
export function entry(signature: string, ...payload: (Uint8Array | readonly number[])[]): Buffer {
  const body = Buffer.concat(payload.map((part) => Buffer.from(part)));
  return Buffer.concat([Buffer.from(signature, 'latin1'), Buffer.from([body.length + 4, 1]), body]);
}

/** SUSP is in use; every System Use area but this one starts with `skip` bytes of something else. */
export const SP = (skip = 0): Buffer => entry('SP', [0xbe, 0xef, skip]);

export const CE = (block: number, offset: number, length: number): Buffer =>
  entry('CE', both32(block), both32(offset), both32(length));

export function ER(id = 'RRIP_1991A'): Buffer {
  const [name, description, source] = [id, 'ROCK RIDGE', 'IEEE'].map((text) => Buffer.from(text, 'latin1'));
  if (name === undefined || description === undefined || source === undefined) throw new Error('unreachable');
  return entry('ER', [name.length, description.length, source.length, 1], name, description, source);
}

export const PX = (mode: number, links = 1): Buffer => entry('PX', both32(mode), both32(links), both32(0), both32(0));

/** Flags: 1 CONTINUE, 2 CURRENT, 4 PARENT. */
export const NM = (name: string | Uint8Array, flags = 0): Buffer => entry('NM', [flags], toBytes(name));

/** A name in as many entries as it takes. */
export function names(name: string | Uint8Array, piece = 200): Buffer[] {
  const bytes = toBytes(name);
  const entries: Buffer[] = [];
  for (let start = 0; start < bytes.length; start += piece) {
    entries.push(NM(bytes.subarray(start, start + piece), start + piece < bytes.length ? 1 : 0));
  }
  return entries;
}

/** One component of a symbolic link. Flags: 1 CONTINUE, 2 `.`, 4 `..`, 8 `/`. */
export function component(text: string, flags = 0): Buffer {
  const bytes = Buffer.from(text);
  return Buffer.concat([Buffer.from([flags, bytes.length]), bytes]);
}

export const SL = (components: readonly Uint8Array[], flags = 0): Buffer => entry('SL', [flags], ...components);

/** A link's target in as many entries as it takes, its long components cut in pieces. */
export function links(target: string): Buffer[] {
  const pieces: Buffer[] = [];
  if (target.startsWith('/')) pieces.push(component('', 8));
  for (const part of target.replace(/^\//, '').split('/')) {
    if (part === '.' || part === '..') pieces.push(component('', part === '.' ? 2 : 4));
    else if (part.length <= 200) pieces.push(component(part));
    else {
      for (let start = 0; start < part.length; start += 200) {
        pieces.push(component(part.slice(start, start + 200), start + 200 < part.length ? 1 : 0));
      }
    }
  }
  const entries: Buffer[][] = [[]];
  for (const piece of pieces) {
    const last = entries.at(-1) ?? [];
    if (last.reduce((sum, { length }) => sum + length, piece.length) <= 220) last.push(piece);
    else entries.push([piece]);
  }
  return entries.map((list, index) => SL(list, index < entries.length - 1 ? 1 : 0));
}

/** Modification time. */
export const TF = (date: Date): Buffer => entry('TF', [0x02], shortDate(date));

/** The directory that stands here was moved to `block`. */
export const CL = (block: number): Buffer => entry('CL', both32(block));
/** The parent of this moved directory is at `block`. */
export const PL = (block: number): Buffer => entry('PL', both32(block));
/** This directory was moved here. */
export const RE = (): Buffer => entry('RE');

/** The 7-byte date of directory records, in UTC. */
export function shortDate(date: Date): Buffer {
  return Buffer.from([
    date.getUTCFullYear() - 1900,
    date.getUTCMonth() + 1,
    date.getUTCDate(),
    date.getUTCHours(),
    date.getUTCMinutes(),
    date.getUTCSeconds(),
    0,
  ]);
}
