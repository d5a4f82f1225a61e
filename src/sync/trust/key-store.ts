/**
 * Private keys of a data directory: a PEM file each, readable by its owner only. A key that was moved offline is simply
 * not there.
 */
import { existsSync } from 'node:fs';
import { chmod, readdir } from 'node:fs/promises';
import path from 'node:path';
import { AirlockError, isAirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import { makeDirectory, writeFileDurably } from '../../repo/blobs/durable.ts';
import { readSmallFile } from '../../repo/ingest/medium.ts';
import { makeSigningKey, readSigningKey, type SigningKey } from './signing-key.ts';

/** A file of a private key. */
export interface StoredKey {
  /** What it was made for: a role's name. For people; metadata says what a key may sign. */
  readonly label: string;
  readonly file: string;
  readonly key: SigningKey;
}

const FILE = /^([a-z0-9-]+)\.[0-9a-f]{16}\.pem$/;

/** The private keys in a folder. */
export class KeyStore {
  readonly #dir: string;

  constructor(dir: string) {
    this.#dir = dir;
  }

  /** Makes a key and stores it durably. @throws space.insufficient */
  async make(label: string): Promise<StoredKey> {
    await makeDirectory(this.#dir);
    await chmod(this.#dir, 0o700);
    const key = makeSigningKey();
    const file = path.join(this.#dir, `${label}.${key.id.slice(0, 16)}.pem`);
    await writeFileDurably(file, key.exportPem(), { mode: 0o600 });
    return { label, file, key };
  }

  /** All that are there, by file name. @throws key.invalid naming a file that cannot be used */
  async list(): Promise<StoredKey[]> {
    if (!existsSync(this.#dir)) return [];
    const stored: StoredKey[] = [];
    for (const name of (await readdir(this.#dir)).sort()) {
      const label = FILE.exec(name)?.[1];
      if (label !== undefined) stored.push(await this.#read(label, path.join(this.#dir, name)));
    }
    return stored;
  }

  async #read(label: string, file: string): Promise<StoredKey> {
    const bytes = await readSmallFile(file, limits.keyFile, { otherwise: 'key.invalid' });
    try {
      return { label, file, key: readSigningKey(bytes?.toString('latin1') ?? '') };
    } catch (error) {
      if (!isAirlockError(error, 'key.invalid')) throw error;
      throw new AirlockError('key.invalid', `${file} cannot be used. ${error.message}`, { cause: error });
    }
  }
}
