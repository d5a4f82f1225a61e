/**
 * TUF metadata: read with bounds, signed, and judged by thresholds. The models are those of @tufjs/models; thresholds are
 * counted here, because what counts are keys: one key under two names is one key.
 */
import { createHash } from 'node:crypto';
import {
  type Key,
  Metadata,
  MetadataKind,
  type Root,
  type Snapshot,
  type Targets,
  type Timestamp,
} from '@tufjs/models';
import { AirlockError } from '../../errors.ts';
import type { SigningKey } from './signing-key.ts';

/** The four kinds by name. */
export interface Kinds {
  readonly root: Root;
  readonly timestamp: Timestamp;
  readonly snapshot: Snapshot;
  readonly targets: Targets;
}

export type Kind = keyof Kinds;

/** Metadata with the very bytes it was read from. */
export interface Document<K extends Kind> {
  readonly bytes: Buffer;
  readonly metadata: Metadata<Kinds[K]>;
  readonly signed: Kinds[K];
}

/** Who may sign something: keys by their ids, and how many of them must. */
export interface Signers {
  readonly keys: Readonly<Record<string, Key>>;
  readonly role: { readonly keyIDs: readonly string[]; readonly threshold: number };
}

type JsonObject = Parameters<typeof Metadata.fromJSON>[1];

/**
 * Reads metadata of a kind. Nothing is verified yet.
 * @param name what it is, for messages
 * @throws trust.invalid
 */
export function parseMetadata<K extends Kind>(kind: K, bytes: Buffer, name: string): Document<K> {
  try {
    const json = JSON.parse(bytes.toString('utf8')) as JsonObject;
    const metadata = readers[kind](json) as Metadata<Kinds[K]>;
    const { version } = metadata.signed;
    if (!Number.isSafeInteger(version) || version < 1) throw new Error(`its version is ${version}`);
    return { bytes, metadata, signed: metadata.signed };
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new AirlockError(
      'trust.invalid',
      `${name} is no metadata that can be used (${why}). Copy the bundle again, or ask for a new one.`,
      { cause, details: { name } },
    );
  }
}

const readers: { readonly [K in Kind]: (json: JsonObject) => Metadata<Kinds[K]> } = {
  root: (json) => Metadata.fromJSON(MetadataKind.Root, json),
  timestamp: (json) => Metadata.fromJSON(MetadataKind.Timestamp, json),
  snapshot: (json) => Metadata.fromJSON(MetadataKind.Snapshot, json),
  targets: (json) => Metadata.fromJSON(MetadataKind.Targets, json),
};

/** The keys that signed, of those that may. One key counts once, under however many ids it stands. */
export function signedBy(metadata: Metadata<Kinds[Kind]>, { keys, role }: Signers): string[] {
  const counted = new Map<string, string>();
  for (const id of new Set(role.keyIDs)) {
    const key = Object.hasOwn(keys, id) ? keys[id] : undefined;
    if (key !== undefined && isSignedBy(metadata, key)) counted.set(publicText(key), id);
  }
  return [...counted.values()];
}

/** @throws trust.unsigned if fewer keys signed than must @returns the ids of those that did */
export function requireSigned(metadata: Metadata<Kinds[Kind]>, signers: Signers, name: string): string[] {
  const by = signedBy(metadata, signers);
  if (by.length >= signers.role.threshold) return by;
  throw new AirlockError(
    'trust.unsigned',
    `${name} is signed by ${by.length} of the ${signers.role.threshold} trusted keys that must sign it. It was changed, or comes from somebody else: do not use this bundle.`,
    { details: { name, signed: by.length, threshold: signers.role.threshold } },
  );
}

/** Who may sign a top-level role. @throws trust.invalid if the root does not say */
export function signersOf(root: Root, role: Kind): Signers {
  const named = root.roles[role];
  if (named !== undefined) return { keys: root.keys, role: named };
  throw new AirlockError('trust.invalid', `The root metadata names no keys for ${role}. Ask for a new root file.`);
}

/** Adds signatures. @returns how many of the keys were not there before */
export function addSignatures(metadata: Metadata<Kinds[Kind]>, keys: readonly SigningKey[]): number {
  let added = 0;
  for (const key of keys) {
    if (!Object.hasOwn(metadata.signatures, key.id)) added += 1;
    metadata.sign((bytes) => key.sign(bytes));
  }
  return added;
}

/** As it is written to files: indented, for people look at it. */
export function metadataBytes(metadata: Metadata<Kinds[Kind]>): Buffer {
  return Buffer.from(`${JSON.stringify(metadata.toJSON(), undefined, 1)}\n`);
}

/** SHA-256 of some bytes, hexadecimal. */
export function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

function isSignedBy(metadata: Metadata<Kinds[Kind]>, key: Key): boolean {
  try {
    key.verifySignature(metadata);
    return true;
  } catch {
    return false; // unknown kinds of keys, too: they do not count
  }
}

/** Keys in PEM and in hexadecimal digits are told apart: no root of ours names one both ways. */
function publicText({ keyVal }: Key): string {
  return (keyVal.public ?? '').trim();
}
