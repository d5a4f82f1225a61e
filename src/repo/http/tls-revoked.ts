/**
 * Client certificates that are let in no more: `DATA/keys/tls/revoked/`, a file for each, whose name is the serial number.
 *
 * Not the fingerprint: whoever has a certificate can write its signature in another way that is as good, and so change the
 * fingerprint. The serial number is what the authority has signed.
 */
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { AirlockError, systemCode } from '../../errors.ts';
import { makeDirectory, writeFileDurably } from '../blobs/durable.ts';

/** Relative to the data directory. */
const FOLDER = 'keys/tls/revoked';

/** Of an X.509 certificate, in hexadecimal digits: 20 bytes at most (RFC 5280, 4.1.2.2). */
const SERIAL = /^[0-9A-F]{1,40}$/;

/** @returns a serial number as it is written here, however somebody else writes it; undefined if it is none */
export function serialOf(text: string): string | undefined {
  const serial = text
    .replaceAll(':', '')
    .toUpperCase()
    .replace(/^0+(?=.)/, '');
  return SERIAL.test(serial) ? serial : undefined;
}

/**
 * @returns the serial numbers
 * @throws config.invalid if they cannot be read: nobody shall be let in for that
 */
export async function readRevoked(dataDir: string): Promise<ReadonlySet<string>> {
  try {
    const names = await readdir(path.join(dataDir, FOLDER));
    return new Set(names.flatMap((name) => serialOf(name) ?? []));
  } catch (cause) {
    const code = systemCode(cause);
    if (code === 'ENOENT') return new Set();
    throw new AirlockError(
      'config.invalid',
      `The list of revoked certificates, ${FOLDER} in the data directory, cannot be read (${code ?? String(cause)}). See who may read it.`,
      { cause },
    );
  }
}

/**
 * Takes effect when a server starts, or reads its certificates again.
 * @param serial as `serialOf` gives it
 * @param note for people who look into the folder
 */
export async function addRevoked(dataDir: string, serial: string, note: string): Promise<void> {
  const folder = path.join(dataDir, FOLDER);
  await makeDirectory(folder);
  await writeFileDurably(path.join(folder, serial), `${note}\n`);
}
