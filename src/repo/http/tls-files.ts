/**
 * Certificates and private keys as they lie in files that the configuration names: read, and looked at before anybody relies on
 * them.
 */
import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import { stat } from 'node:fs/promises';
import path from 'node:path';
import { AirlockError, isAirlockError, systemCode } from '../../errors.ts';
import { limits } from '../../limits.ts';
import { quoteUnsafe } from '../formats/quote.ts';
import { readSmallFile } from '../ingest/medium.ts';

/** A file, and which key of the configuration names it. */
export interface NamedFile {
  /** `tls.certificate` */
  readonly key: string;
  /** Relative to the data directory, or absolute. */
  readonly file: string;
}

/** A certificate with those that lead to its authority, and the private key that belongs to it. Both in PEM. */
export interface Identity {
  readonly certificate: string;
  readonly key: string;
}

const CERTIFICATE =
  /-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----[\s\S]+?-----END (?:X509 |TRUSTED )?CERTIFICATE-----/g;

/**
 * Reads certificates in PEM; what else stands in the file is no matter.
 * @throws config.invalid if it cannot be read, or holds none; `details.key` names the key of the configuration
 */
export async function readCertificates(
  dataDir: string,
  at: NamedFile,
): Promise<{ readonly pem: string; readonly all: readonly [X509Certificate, ...X509Certificate[]] }> {
  const pem = await readText(dataDir, at);
  let all: X509Certificate[];
  try {
    all = (pem.match(CERTIFICATE) ?? []).map((text) => new X509Certificate(text));
  } catch (cause) {
    throw unusable(at, 'holds a damaged certificate. Copy it anew, whole, from where it was made.', cause);
  }
  const [first, ...others] = all;
  if (first !== undefined) return { pem, all: [first, ...others] };
  const hint = pem.includes('PRIVATE KEY') ? ' It holds a private key: are the two names mixed up?' : '';
  throw unusable(at, `holds no certificate in PEM ("-----BEGIN CERTIFICATE-----").${hint}`);
}

/**
 * Reads a certificate and the private key that belongs to it.
 * @throws config.invalid as readCertificates; if the key is none, asks for a passphrase, or belongs to another certificate
 */
export async function readIdentity(
  dataDir: string,
  certificate: NamedFile,
  key: NamedFile,
): Promise<Identity & { readonly leaf: X509Certificate }> {
  const { pem, all } = await readCertificates(dataDir, certificate);
  const text = await readText(dataDir, key);
  const [leaf, ...others] = all;
  const secret = privateKey(key, text);
  if (leaf.checkPrivateKey(secret)) return { certificate: pem, key: text, leaf };
  throw unusable(
    key,
    others.some((each) => each.checkPrivateKey(secret))
      ? `belongs to a later certificate in ${quoteUnsafe(certificate.file)}. Put that one first there, and those that vouch for it after it.`
      : `does not belong to the certificate in ${quoteUnsafe(certificate.file)}. Name the key with which that certificate was asked for.`,
  );
}

/** @returns what people should know of a private key's file: others may read it */
export async function keyFileWarnings(dataDir: string, { key, file }: NamedFile): Promise<string[]> {
  const { mode } = await stat(path.resolve(dataDir, file));
  return (mode & 0o077) === 0
    ? []
    : [`${key}: others than the owner may read or write ${quoteUnsafe(file)}. Mend that with "chmod 600".`];
}

function privateKey(at: NamedFile, text: string): KeyObject {
  try {
    return createPrivateKey(text);
  } catch (cause) {
    if (/ENCRYPTED/.test(text)) {
      throw unusable(at, 'is locked with a passphrase. Unlock it: openssl pkey -in FILE -out UNLOCKED', cause);
    }
    throw unusable(at, 'holds no private key in PEM ("-----BEGIN PRIVATE KEY-----").', cause);
  }
}

async function readText(dataDir: string, at: NamedFile): Promise<string> {
  try {
    const file = path.resolve(dataDir, at.file);
    const bytes = await readSmallFile(file, limits.keyFile, { otherwise: 'config.invalid' });
    if (bytes !== undefined) return bytes.toString('latin1');
  } catch (cause) {
    if (isAirlockError(cause)) throw unusable(at, `cannot be used. ${cause.message}`, cause);
    throw unusable(at, `cannot be read (${systemCode(cause) ?? String(cause)}). See who may read it.`, cause);
  }
  throw unusable(at, 'is not there. Name a file relative to the data directory, or absolute.');
}

function unusable({ key, file }: NamedFile, why: string, cause?: unknown): AirlockError {
  return new AirlockError('config.invalid', `${key}: ${quoteUnsafe(file)} ${why}`, { cause, details: { key } });
}
