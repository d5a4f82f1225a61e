/**
 * The keys that may sign what comes from an upstream. Shared by pull-through and mirroring.
 */
import path from 'node:path';
import { AirlockError, isAirlockError } from '../errors.ts';
import { limits } from '../limits.ts';
import { readVendorKeys, refuseUselessKey, type VendorKey } from '../repo/formats/openpgp/key-files.ts';
import { readSmallFile } from '../repo/ingest/medium.ts';

/**
 * Reads the key files of a configuration key.
 * @throws config.invalid for a key file that cannot be read, is none, or holds no key that may sign
 */
export async function configuredKeys(dataDir: string, key: string, files: readonly string[]): Promise<VendorKey[]> {
  const keys: VendorKey[] = [];
  for (const file of files) {
    try {
      const bytes = await readSmallFile(path.resolve(dataDir, file), limits.keyFile, { otherwise: 'key.invalid' });
      if (bytes === undefined) throw new AirlockError('file.not-found', 'There is no such file.');
      const now = new Date();
      const found = await readVendorKeys(bytes, now);
      for (const each of found) await refuseUselessKey(each, now);
      keys.push(...found);
    } catch (cause) {
      if (!isAirlockError(cause)) throw cause;
      throw new AirlockError(
        'config.invalid',
        `${key}: ${file} cannot be used. ${cause.message} Name key files relative to the data directory, or absolute.`,
        { cause, details: { key } },
      );
    }
  }
  return keys;
}
