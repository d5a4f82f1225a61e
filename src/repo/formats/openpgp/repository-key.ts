/**
 * The repository key: signs repomd.xml of every repository of this data directory. `DATA/keys/repository/private.asc`,
 * armoured, without a passphrase, readable by its owner only. An HA pair shares one.
 */

import { open } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { PartialConfig, PrivateKey } from 'openpgp';
import { AirlockError, isAirlockError, systemCode } from '../../../errors.ts';
import { limits } from '../../../limits.ts';
import { makeDirectory, writeFileDurably } from '../../blobs/durable.ts';
import { ProcessLock } from '../../blobs/process-lock.ts';
import { openpgpData } from './armor.ts';
import { loadOpenPgp, type OpenPgp } from './library.ts';

export interface RepositoryKey {
  /** Full, upper-case hexadecimal digits. */
  readonly fingerprint: string;
  /** `RSA 3072`, `ed25519` … The clients of el7 know no elliptic curves. */
  readonly algorithm: string;
  readonly created: Date;
  /** Armoured: what is served as RPM-GPG-KEY-airlock. */
  readonly publicKey: string;
  /**
   * A detached signature over `bytes`, armoured: what is served as repomd.xml.asc.
   * @throws key.invalid if the key may not sign (any more)
   */
  signDetached(bytes: Uint8Array, now?: Date): Promise<string>;
}

/** Old readers are strict: SHA-256 and nothing that RFC 4880 does not have (rpm 4.11 and GnuPG 2.0 of el7). */
function signingConfig({ enums }: OpenPgp): PartialConfig {
  return {
    preferredHashAlgorithm: enums.hash.sha256,
    v6Keys: false,
    aeadProtect: false,
    nonDeterministicSignaturesViaNotation: false,
  };
}

const BITS = 3072;
const LOCK_POLL = 25;

/**
 * The key of a data directory, made if there is none yet. Of processes that make one at the same time all get the same.
 * It is read anew each time, so that an import by another process counts at once.
 * @throws key.invalid if the stored key is damaged; server.locked; space.insufficient; system errors
 */
export async function openRepositoryKey(dataDir: string, now: Date = new Date()): Promise<RepositoryKey> {
  return await keyOf((await readStored(dataDir)) ?? (await makeKey(dataDir, now)));
}

/**
 * The private key, armoured and made if need be, for the other half of an HA pair. Whoever has it can sign in our name.
 * @throws as `openRepositoryKey`
 */
export async function exportRepositoryKey(dataDir: string, now: Date = new Date()): Promise<string> {
  const key = (await readStored(dataDir)) ?? (await makeKey(dataDir, now));
  return key.armor();
}

/**
 * Puts another private key in the place of the one that is there, durably. Clients that trust only the former one refuse
 * what is signed from now on. All repositories have to be signed again.
 * @param bytes armoured or binary, without passphrase
 * @returns the new key, and the fingerprint of the former one if that was another
 * @throws key.invalid if it is no private key, locked with a passphrase, of version 6, or may not sign; server.locked
 */
export async function importRepositoryKey(
  dataDir: string,
  bytes: Uint8Array,
  now: Date = new Date(),
): Promise<{ readonly key: RepositoryKey; readonly replaced: string | null }> {
  const imported = await parsePrivateKey(bytes);
  const key = await keyOf(imported);
  await key.signDetached(new Uint8Array(), now);
  return await locked(dataDir, async () => {
    const former = await readStored(dataDir).catch(letInvalidPass);
    await store(dataDir, imported);
    const fingerprint = former?.getFingerprint().toUpperCase();
    return { key, replaced: fingerprint === undefined || fingerprint === key.fingerprint ? null : fingerprint };
  });
}

async function makeKey(dataDir: string, now: Date): Promise<PrivateKey> {
  return await locked(dataDir, async () => {
    const made = await readStored(dataDir);
    if (made !== undefined) return made;
    const openpgp = await loadOpenPgp();
    const { privateKey } = await openpgp.generateKey({
      type: 'rsa',
      rsaBits: BITS,
      userIDs: [{ name: 'Airlock repository key' }],
      subkeys: [],
      // A client whose clock is behind ours refuses keys from its future.
      date: new Date(now.getTime() - limits.clockTolerance),
      format: 'object',
      config: signingConfig(openpgp),
    });
    await store(dataDir, privateKey);
    return privateKey;
  });
}

async function keyOf(key: PrivateKey): Promise<RepositoryKey> {
  const { algorithm, bits, curve } = key.getAlgorithmInfo();
  return {
    fingerprint: key.getFingerprint().toUpperCase(),
    algorithm: algorithm.startsWith('rsa') ? `RSA ${bits}` : (curve ?? algorithm).replace('Legacy', ''),
    created: key.getCreationTime(),
    publicKey: key.toPublic().armor(),
    signDetached: (bytes, now = new Date()) => sign(key, bytes, now),
  };
}

async function sign(key: PrivateKey, bytes: Uint8Array, now: Date): Promise<string> {
  const openpgp = await loadOpenPgp();
  // A clock that was set back must not make signatures that are older than their key.
  const date = new Date(Math.max(now.getTime(), key.getCreationTime().getTime()));
  try {
    return await openpgp.sign({
      message: await openpgp.createMessage({ binary: bytes }),
      signingKeys: key,
      detached: true,
      format: 'armored',
      date,
      config: signingConfig(openpgp),
    });
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw invalid(
      `The repository key ${key.getFingerprint().toUpperCase()} cannot sign (${why}). Import another one with: airlock keys repository import FILE.`,
      cause,
    );
  }
}

async function parsePrivateKey(bytes: Uint8Array): Promise<PrivateKey> {
  if (bytes.length > limits.keyFile) throw invalid(`The file is ${bytes.length} bytes long: that is no key.`);
  if (Buffer.from(bytes).includes('BEGIN PGP PUBLIC KEY BLOCK')) {
    throw invalid('The file holds a public key; give the private one (airlock keys repository export FILE).');
  }
  const data = openpgpData(bytes, 'PRIVATE KEY BLOCK', 'key.invalid');
  const openpgp = await loadOpenPgp();
  let key: PrivateKey;
  try {
    key = await openpgp.readPrivateKey({ binaryKey: data });
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw invalid(`The file holds no private key that can be read (${why}).`, cause);
  }
  if (!key.isDecrypted()) {
    throw invalid('The private key is locked with a passphrase; take that off first (gpg --change-passphrase).');
  }
  if (key.keyPacket.version !== 4) {
    throw invalid(`The file holds a version ${key.keyPacket.version} key, which dnf and yum cannot read.`);
  }
  return key;
}

async function store(dataDir: string, key: PrivateKey): Promise<void> {
  await writeFileDurably(fileOf(dataDir), key.armor(), { mode: 0o600 });
}

/** @returns undefined if there is none. @throws key.invalid naming the file */
async function readStored(dataDir: string): Promise<PrivateKey | undefined> {
  const file = fileOf(dataDir);
  try {
    await using handle = await open(file, 'r');
    const { size } = await handle.stat();
    return await parsePrivateKey(size > limits.keyFile ? new Uint8Array(limits.keyFile + 1) : await handle.readFile());
  } catch (cause) {
    if (systemCode(cause) === 'ENOENT') return undefined;
    if (!isAirlockError(cause, 'key.invalid')) throw cause;
    throw invalid(
      `The repository key in ${file} cannot be used. ${cause.message} Restore it, or import another one with: airlock keys repository import FILE.`,
      cause,
    );
  }
}

/** Runs `work` while no other process changes the key. @throws server.locked if that takes too long */
async function locked<T>(dataDir: string, work: () => Promise<T>): Promise<T> {
  await makeDirectory(folderOf(dataDir));
  const file = path.join(folderOf(dataDir), 'lock');
  const end = performance.now() + limits.partialLockWait;
  let lock = ProcessLock.tryAcquire(file);
  while (lock === undefined) {
    if (performance.now() > end) {
      throw new AirlockError(
        'server.locked',
        'Another process has been changing the repository key for long; try again.',
      );
    }
    await sleep(LOCK_POLL * (0.5 + Math.random()));
    lock = ProcessLock.tryAcquire(file);
  }
  try {
    return await work();
  } finally {
    lock.release();
  }
}

function letInvalidPass(error: unknown): undefined {
  if (!isAirlockError(error, 'key.invalid')) throw error;
}

function invalid(message: string, cause?: unknown): AirlockError {
  return new AirlockError('key.invalid', message, cause === undefined ? {} : { cause });
}

function folderOf(dataDir: string): string {
  return path.join(dataDir, 'keys', 'repository');
}

function fileOf(dataDir: string): string {
  return path.join(folderOf(dataDir), 'private.asc');
}
