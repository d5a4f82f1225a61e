/**
 * Every path under the data directory that has to do with blobs. Nobody else joins such paths.
 *
 *     DATA/blobs/sha256/<first two hex digits>/<64 hex digits>     one blob, read only
 *     DATA/partial/lock                                            held while owner folders come and go
 *     DATA/partial/<owner>/lock                                    held as long as the owning process lives
 *     DATA/partial/<owner>/<id>.part                               bytes of a writer that is open
 *     DATA/partial/<owner>/<id>.ranges                             which of them are durable, if it can be resumed
 *     DATA/partial/suspended/<id>.part, <id>.ranges                a writer that nobody has open
 *     DATA/quarantine/<64 hex digits>.<n>                          damaged blobs, for a person to look at
 *     DATA/reserve                                                 space that is given up when the disk is full
 *
 * Only digests and identifiers of our own making become names (invariant 4).
 */

import path from 'node:path';
import { AirlockError } from '../../errors.ts';
import type { Digest } from './blob-store.ts';

const LOCK = 'lock';
const DIGEST = /^sha256:([0-9a-f]{64})$/;
const HEX = /^[0-9a-f]{64}$/;
const SHARD = /^[0-9a-f]{2}$/;
const OWNER = /^[0-9a-f]{16}$/;
const WRITER_ID = /^[0-9a-f]{32}$/;
const PARTIAL = /^([0-9a-f]{32})\.(part|ranges)$/;

/** @returns `text` if it is a digest as we write them (lower case, `sha256:` in front), else undefined. */
export function parseDigest(text: string): Digest | undefined {
  return DIGEST.test(text) ? (text as Digest) : undefined;
}

/** @returns the digest with these 64 lower-case hexadecimal digits, undefined if `hex` is anything else. */
export function digestOfHex(hex: string): Digest | undefined {
  return HEX.test(hex) ? `sha256:${hex}` : undefined;
}

/**
 * The 64 hexadecimal digits of a digest.
 * @throws internal if `digest` only claims to be one: text from outside goes through `parseDigest` first.
 */
export function hexOf(digest: Digest): string {
  const hex = DIGEST.exec(digest)?.[1];
  if (hex === undefined) {
    throw new AirlockError('internal', `Not a digest: ${JSON.stringify(digest)}. Please report this with the command.`);
  }
  return hex;
}

/** Folder of the shards. */
export function shardsDir(dataDir: string): string {
  return path.join(dataDir, 'blobs', 'sha256');
}

/** Folder of one blob. */
export function shardDir(dataDir: string, digest: Digest): string {
  return path.join(shardsDir(dataDir), hexOf(digest).slice(0, 2));
}

export function blobPath(dataDir: string, digest: Digest): string {
  return path.join(shardDir(dataDir, digest), hexOf(digest));
}

/** True for the name of a folder that holds blobs. */
export function isShardName(name: string): boolean {
  return SHARD.test(name);
}

/** @returns the digest of the blob that lies under this name in this shard, undefined for a foreign name. */
export function digestOfName(shard: string, name: string): Digest | undefined {
  return name.startsWith(shard) ? digestOfHex(name) : undefined;
}

export function quarantineDir(dataDir: string): string {
  return path.join(dataDir, 'quarantine');
}

/** Place of the `n`th damaged copy of a blob. */
export function quarantinePath(dataDir: string, digest: Digest, n: number): string {
  return path.join(quarantineDir(dataDir), `${hexOf(digest)}.${n}`);
}

/** File whose space is given up when the disk is full. */
export function reservePath(dataDir: string): string {
  return path.join(dataDir, 'reserve');
}

export function partialDir(dataDir: string): string {
  return path.join(dataDir, 'partial');
}

/** Partial files that no process has open. */
export function suspendedDir(dataDir: string): string {
  return path.join(partialDir(dataDir), 'suspended');
}

/** Partial files of one process. */
export function ownerDir(dataDir: string, owner: string): string {
  return path.join(partialDir(dataDir), owner);
}

/** True for the name of a folder that belongs, or belonged, to a process. */
export function isOwnerName(name: string): boolean {
  return OWNER.test(name);
}

/** Lock file of a folder of partial files. */
export function lockPath(dir: string): string {
  return path.join(dir, LOCK);
}

export function isLockName(name: string): boolean {
  return name === LOCK;
}

/** Staged bytes of a writer. */
export function partPath(dir: string, id: string): string {
  return path.join(dir, `${id}.part`);
}

/** Journal of a writer: which of its bytes are durable. */
export function rangesPath(dir: string, id: string): string {
  return path.join(dir, `${id}.ranges`);
}

/** True for an identifier as `BlobWriter.id` gives them. */
export function isWriterId(id: string): boolean {
  return WRITER_ID.test(id);
}

/** @returns whose file this is and which one, undefined for a foreign name. */
export function parsePartialName(name: string): { id: string; kind: 'part' | 'ranges' } | undefined {
  const match = PARTIAL.exec(name);
  const [, id, kind] = match ?? [];
  return id === undefined ? undefined : { id, kind: kind === 'part' ? 'part' : 'ranges' };
}
