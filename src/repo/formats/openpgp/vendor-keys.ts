/**
 * The keyring: the vendors' keys that this data directory trusts, one armoured file per primary key,
 * `DATA/keys/vendor/<FULL FINGERPRINT>.asc`. Public keys only; any OpenPGP tool can read them.
 */

import { open, readdir, rm } from 'node:fs/promises';
import path from 'node:path';

import { AirlockError, isAirlockError, systemCode } from '../../../errors.ts';
import { limits } from '../../../limits.ts';
import { makeDirectory, syncDirectory, writeFileDurably } from '../../blobs/durable.ts';
import { quote } from '../quote.ts';
import { isKeyId, normalFingerprint } from './fingerprints.ts';
import {
  factsOf,
  mergeKeyBlocks,
  readVendorKey,
  readVendorKeys,
  refuseUselessKey,
  type VendorKey,
  type VendorKeyFacts,
} from './key-files.ts';
import { loadOpenPgp } from './library.ts';

export interface AddVendorKeyOptions {
  /** Full fingerprint of the one key to take from the file, as a person writes it. Without it every key is taken. */
  readonly fingerprint?: string;
  readonly now?: Date;
}

/**
 * Adds the public keys of a key file to the keyring, durably. A key that is there already is merged with what
 * the file says: a newer expiry or a revocation is taken over, and a revocation never gets lost by adding an older copy.
 * All keys are checked before the first one is stored.
 * @returns the added keys as they are now in the keyring
 * @throws key.invalid (no key, a private key, damaged, unsupported, nothing that may sign),
 *   key.fingerprint-mismatch (no key of exactly that full fingerprint in the file; short key ids are refused)
 */
export async function addVendorKey(
  dataDir: string,
  bytes: Uint8Array,
  { fingerprint, now = new Date() }: AddVendorKeyOptions = {},
): Promise<VendorKeyFacts[]> {
  const keys =
    fingerprint === undefined
      ? await readVendorKeys(bytes, now)
      : [await readVendorKey(bytes, wantedFingerprint(fingerprint), now)];
  for (const key of keys) await refuseUselessKey(key, now);
  await makeDirectory(folderOf(dataDir));
  const added = new Map<string, VendorKeyFacts>();
  for (const key of keys) {
    const merged = await mergeWithStored(dataDir, key, now);
    await writeFileDurably(fileOf(dataDir, key.fingerprint), await armoredKey(merged));
    added.set(key.fingerprint, factsOf(merged));
  }
  return [...added.values()];
}

/** The keys of the keyring as they can be told to people, by fingerprint. @throws key.invalid as `loadVendorKeys` */
export async function listVendorKeys(dataDir: string, now: Date = new Date()): Promise<VendorKeyFacts[]> {
  return (await loadVendorKeys(dataDir, now)).map(factsOf);
}

/**
 * The keys of the keyring for verification, by fingerprint; none if there is no keyring.
 * @throws key.invalid naming the file that is damaged or holds another key than its name says
 */
export async function loadVendorKeys(dataDir: string, now: Date = new Date()): Promise<VendorKey[]> {
  const keys: VendorKey[] = [];
  for (const name of (await namesIn(folderOf(dataDir))).sort()) {
    const fingerprint = name.endsWith('.asc') ? name.slice(0, -'.asc'.length) : '';
    if (normalFingerprint(fingerprint) !== fingerprint) continue;
    const key = await readStored(dataDir, fingerprint, now);
    if (key !== undefined) keys.push(key);
  }
  return keys;
}

/**
 * Takes a key out of the keyring, durably. What it has verified before stays verified.
 * @param fingerprint full, as a person writes it
 * @throws usage.invalid if it is no full fingerprint, key.not-found
 */
export async function removeVendorKey(dataDir: string, fingerprint: string): Promise<void> {
  const normal = normalFingerprint(fingerprint);
  if (normal === undefined) {
    throw new AirlockError(
      'usage.invalid',
      `${quote(fingerprint)} is not a full fingerprint (40 or 64 hexadecimal digits).`,
    );
  }
  try {
    await rm(fileOf(dataDir, normal));
  } catch (cause) {
    if (systemCode(cause) !== 'ENOENT') throw cause;
    throw new AirlockError(
      'key.not-found',
      `No vendor key ${normal} is pinned here; see: airlock trust vendor-key list.`,
      {
        cause,
      },
    );
  }
  await syncDirectory(folderOf(dataDir));
}

function wantedFingerprint(text: string): string {
  const normal = normalFingerprint(text);
  if (normal !== undefined) return normal;
  const problem = isKeyId(text)
    ? 'is a short key id, which anybody can forge'
    : 'is not a fingerprint (40 or 64 hexadecimal digits)';
  throw new AirlockError(
    'key.fingerprint-mismatch',
    `${quote(text)} ${problem}; give the full fingerprint. Nothing was stored.`,
  );
}

async function mergeWithStored(dataDir: string, key: VendorKey, now: Date): Promise<VendorKey> {
  const stored = await readStored(dataDir, key.fingerprint, now);
  if (stored === undefined) return key;
  const merged = mergeKeyBlocks(stored.bytes, key.bytes);
  return await readVendorKey(merged, key.fingerprint, now);
}

/** @throws key.invalid if it is too long to be read again */
export async function armoredKey(key: VendorKey): Promise<Uint8Array> {
  const { armor, enums } = await loadOpenPgp();
  const text = Buffer.from(armor(enums.armor.publicKey, key.bytes, undefined, undefined, undefined, true));
  if (text.length <= limits.keyFile) return text;
  throw new AirlockError(
    'key.invalid',
    `The key ${key.fingerprint} has grown beyond ${limits.keyFile} bytes; get a clean copy of it.`,
  );
}

/** @returns undefined if it is not there */
async function readStored(dataDir: string, fingerprint: string, now: Date): Promise<VendorKey | undefined> {
  const file = fileOf(dataDir, fingerprint);
  try {
    return await readVendorKey(await readBounded(file), fingerprint, now);
  } catch (cause) {
    if (systemCode(cause) === 'ENOENT') return undefined;
    if (!isAirlockError(cause, 'key.invalid', 'key.fingerprint-mismatch')) throw cause;
    throw new AirlockError(
      'key.invalid',
      `The pinned key in ${file} cannot be used. ${cause.message} Remove that file and add the key again with: airlock trust vendor-key add FILE.`,
      { cause },
    );
  }
}

/** @throws key.invalid for a file that is too long for a key */
async function readBounded(file: string): Promise<Uint8Array> {
  await using handle = await open(file, 'r');
  const { size } = await handle.stat();
  if (size > limits.keyFile) throw new AirlockError('key.invalid', `It is ${size} bytes long.`);
  return await handle.readFile();
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (cause) {
    if (systemCode(cause) === 'ENOENT') return [];
    throw cause;
  }
}

function folderOf(dataDir: string): string {
  return path.join(dataDir, 'keys', 'vendor');
}

function fileOf(dataDir: string, fingerprint: string): string {
  return path.join(folderOf(dataDir), `${fingerprint}.asc`);
}
