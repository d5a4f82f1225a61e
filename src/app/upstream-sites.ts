/**
 * What stands in the configuration of an upstream, made ready for use: secrets and certificates are read. Shared by
 * pull-through and mirroring.
 */
import path from 'node:path';
import { PlainSecret, type Secret } from '../config/values.ts';
import type { Config } from '../config.ts';
import { AirlockError, isAirlockError, systemCode } from '../errors.ts';
import { limits } from '../limits.ts';
import { quoteUnsafe } from '../repo/formats/quote.ts';
import type { Logger } from '../repo/http/logger.ts';
import { factsOf, validityWarnings } from '../repo/http/tls.ts';
import { type Identity, keyFileWarnings, readCertificates, readIdentity } from '../repo/http/tls-files.ts';
import { readSmallFile } from '../repo/ingest/medium.ts';

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
  config: CertificateConfig,
  section = '',
): Promise<{ ca?: string; identity?: Identity }> {
  const { authorities, identity } = await readAll(dataDir, config, section);
  return {
    ...(authorities === undefined ? {} : { ca: authorities.pem }),
    ...(identity === undefined ? {} : { identity: { certificate: identity.certificate, key: identity.key } }),
  };
}

/** What people should know of certificates that can be used. */
export interface CertificateWarning {
  /** What it is about. */
  readonly key: keyof CertificateConfig;
  /** Begins with the section and the key. */
  readonly message: string;
}

const REMEDY = 'Put a new one there, and send SIGHUP to the server.';
const VOUCHES = { effect: 'those it vouches for are refused', remedy: REMEDY };
const IS_SHOWN = { effect: 'servers refuse it', remedy: REMEDY };

/**
 * Which of them have expired or soon will, and whether others may read the private key.
 * @throws as certificates
 */
export async function certificateWarnings(
  dataDir: string,
  config: CertificateConfig,
  section = '',
): Promise<CertificateWarning[]> {
  const { ca, clientCertificate, clientKey } = namesOf(config, section);
  const { authorities, identity } = await readAll(dataDir, config, section);
  const now = new Date();
  const found = {
    ca: (authorities?.all ?? []).flatMap((each) => validityWarnings(ca.key, factsOf(each), now, VOUCHES)),
    clientCertificate:
      identity === undefined ? [] : validityWarnings(clientCertificate.key, factsOf(identity.leaf), now, IS_SHOWN),
    clientKey: identity === undefined ? [] : await keyFileWarnings(dataDir, clientKey),
  };
  return (['ca', 'clientCertificate', 'clientKey'] as const).flatMap((key) =>
    found[key].map((message) => ({ key, message })),
  );
}

/** As `certificateWarnings`, into the log. */
export async function logCertificateWarnings(
  logger: Logger,
  ...[dataDir, config, section]: Parameters<typeof certificateWarnings>
): Promise<void> {
  const warnings = await certificateWarnings(dataDir, config, section);
  for (const { message } of warnings) logger.warn({ part: 'tls' }, message);
}

async function readAll(dataDir: string, config: CertificateConfig, section: string) {
  const { ca, clientCertificate, clientKey } = namesOf(config, section);
  const isWhole = config.clientCertificate !== undefined && config.clientKey !== undefined;
  return {
    authorities: config.ca === undefined ? undefined : await readCertificates(dataDir, ca),
    identity: isWhole ? await readIdentity(dataDir, clientCertificate, clientKey) : undefined,
  };
}

function namesOf(config: CertificateConfig, section: string) {
  const named = (key: keyof CertificateConfig) => ({ key: `${section}${key}`, file: config[key] ?? '' });
  return { ca: named('ca'), clientCertificate: named('clientCertificate'), clientKey: named('clientKey') };
}

/**
 * @param key of the configuration, for messages
 * @throws config.invalid if it is not where it should be; the message names the place, never the secret
 */
export async function readSecret(dataDir: string, key: string, secret: Secret): Promise<string> {
  if (secret instanceof PlainSecret) return secret.reveal();
  if ('file' in secret) return await secretIn(path.resolve(dataDir, secret.file), key);
  const value = process.env[secret.env];
  if (value !== undefined && value !== '') return value;
  throw new AirlockError(
    'config.invalid',
    `${key} is to be read from the environment variable ${secret.env}, which is not set. Set it, and start again.`,
    { details: { key } },
  );
}

async function secretIn(file: string, key: string): Promise<string> {
  const unusable = (why: string, cause?: unknown) =>
    new AirlockError('config.invalid', `${key}: ${why}`, { cause, details: { key } });
  let bytes: Buffer | undefined;
  try {
    bytes = await readSmallFile(file, limits.keyFile, { otherwise: 'config.invalid' });
  } catch (cause) {
    if (isAirlockError(cause)) throw unusable(cause.message, cause);
    throw unusable(`${quoteUnsafe(file)} cannot be read (${systemCode(cause) ?? String(cause)}).`, cause);
  }
  const name = quoteUnsafe(file);
  if (bytes === undefined) {
    throw unusable(`there is no file ${name}. Name one relative to the data directory, or absolute.`);
  }
  const text = bytes.toString('utf8').trim();
  if (text === '')
    throw unusable(`there is nothing in the file ${name}. Write the secret there, or take the key away.`);
  return text;
}
