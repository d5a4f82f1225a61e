/**
 * What stands in the configuration of an upstream, made ready for use: secrets and certificates are read. Shared by
 * pull-through and mirroring.
 */
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { PlainSecret, type Secret } from '../config/values.ts';
import type { Config } from '../config.ts';
import { AirlockError } from '../errors.ts';
import { type Identity, readCertificates, readIdentity } from '../repo/http/tls-files.ts';

type UpstreamConfig = Config['upstreams'][string];

/** An upstream as its HTTP client wants it. */
export interface UpstreamSite {
  readonly name: string;
  readonly url: string;
  readonly hosts: readonly string[];
  /** Bytes per second. */
  readonly bandwidth: number;
  readonly username?: string;
  readonly password?: string;
  readonly ca?: string;
  readonly identity?: Identity;
  readonly proxy?: string;
}

/** @throws config.invalid if a secret or a certificate cannot be read; the message names the place, never the secret */
export async function upstreamSite(dataDir: string, name: string, upstream: UpstreamConfig): Promise<UpstreamSite> {
  const { url, hosts, proxy, maxBandwidth, username, password } = upstream;
  const at = `upstreams.${name}`;
  return {
    name,
    url,
    hosts,
    bandwidth: maxBandwidth / 8,
    ...(proxy === undefined ? {} : { proxy }),
    ...(await certificates(dataDir, upstream, `${at}.`)),
    ...(username === undefined ? {} : { username: await readSecret(dataDir, `${at}.username`, username) }),
    ...(password === undefined ? {} : { password: await readSecret(dataDir, `${at}.password`, password) }),
  };
}

/** Who vouches for the other side, and how we introduce ourselves. */
export type CertificateConfig = Pick<Config, 'ca' | 'clientCertificate' | 'clientKey'>;

/**
 * Reads the files, and looks at them.
 * @param section of the configuration, with its dot, for messages
 * @throws config.invalid; `details.key` names the key
 */
export async function certificates(
  dataDir: string,
  { ca, clientCertificate, clientKey }: CertificateConfig,
  section = '',
): Promise<{ ca?: string; identity?: Identity }> {
  const named = (key: keyof CertificateConfig, file: string) => ({ key: `${section}${key}`, file });
  const authorities = ca === undefined ? undefined : await readCertificates(dataDir, named('ca', ca));
  const identity =
    clientCertificate === undefined || clientKey === undefined
      ? undefined
      : await readIdentity(dataDir, named('clientCertificate', clientCertificate), named('clientKey', clientKey));
  return {
    ...(authorities === undefined ? {} : { ca: authorities.pem }),
    ...(identity === undefined ? {} : { identity: { certificate: identity.certificate, key: identity.key } }),
  };
}

/**
 * @param key of the configuration, for messages
 * @throws config.invalid if it is not where it should be; the message names the place, never the secret
 */
export async function readSecret(dataDir: string, key: string, secret: Secret): Promise<string> {
  if (secret instanceof PlainSecret) return secret.reveal();
  if ('file' in secret) return (await readText(dataDir, key, secret.file)).trim();
  const value = process.env[secret.env];
  if (value !== undefined && value !== '') return value;
  throw new AirlockError(
    'config.invalid',
    `${key} is to be read from the environment variable ${secret.env}, which is not set. Set it, and start again.`,
    { details: { key } },
  );
}

async function readText(dataDir: string, key: string, file: string): Promise<string> {
  try {
    return await readFile(path.resolve(dataDir, file), 'utf8');
  } catch (cause) {
    throw new AirlockError(
      'config.invalid',
      `${key}: the file ${file} cannot be read. Name one relative to the data directory.`,
      { cause, details: { key } },
    );
  }
}
