/**
 * With what the server introduces itself over TLS, and whom it lets in: read from files, and looked at before it is used.
 */
import { constants, type X509Certificate } from 'node:crypto';
import { isIPv6 } from 'node:net';
import type { SecureContextOptions } from 'node:tls';
import { keyFileWarnings, readCertificates, readIdentity } from './tls-files.ts';
import { readRevoked, serialOf } from './tls-revoked.ts';

/** What the configuration says. Files are relative to the data directory, or absolute. */
export interface TlsConfig {
  readonly certificate: string;
  readonly key: string;
  readonly clients?: string | undefined;
  readonly requireClients?: boolean | undefined;
}

/** Ready for use. */
export interface TlsMaterial {
  /** For `https.createServer` and `setSecureContext`. */
  readonly context: SecureContextOptions;
  /** Which clients are served: all; those without a certificate, and those with one of `clients`; only the latter. */
  readonly clients: 'any' | 'known-or-silent' | 'known';
  readonly facts: CertificateFacts;
  /** Serial numbers of clients that are served no more. */
  readonly revoked: ReadonlySet<string>;
  /** Of the server, in PEM. */
  readonly certificate: string;
  /** What people should know and do. */
  readonly warnings: readonly string[];
}

export interface CertificateFacts {
  readonly subject: string;
  readonly issuer: string;
  /** As tls-revoked.ts writes it. */
  readonly serial: string;
  /** Host names and addresses. */
  readonly names: readonly string[];
  readonly from: Date;
  readonly until: Date;
  /** SHA-256 over all of it, `AB:CD:…`. */
  readonly fingerprint: string;
}

const DAY = 24 * 60 * 60_000;
/** From so many days before its end on, a certificate is worth a warning. */
export const RENEW_DAYS = 30;

/** @throws config.invalid for files that are not there, that are not what they should be, and for a key of another certificate */
export async function readTls(dataDir: string, tls: TlsConfig, now: Date = new Date()): Promise<TlsMaterial> {
  const { clients, requireClients = clients !== undefined } = tls;
  const keyFile = { key: 'tls.key', file: tls.key };
  const { certificate, key, leaf } = await readIdentity(
    dataDir,
    { key: 'tls.certificate', file: tls.certificate },
    keyFile,
  );
  const authorities =
    clients === undefined ? undefined : await readCertificates(dataDir, { key: 'tls.clients', file: clients });
  const facts = factsOf(leaf);
  return {
    context: {
      cert: certificate,
      key,
      minVersion: 'TLSv1.2',
      ...(authorities === undefined ? {} : { ca: authorities.pem, ...WITHOUT_RESUMPTION }),
    },
    clients: clients === undefined ? 'any' : requireClients ? 'known' : 'known-or-silent',
    revoked: authorities === undefined ? new Set() : await readRevoked(dataDir),
    facts,
    certificate,
    warnings: [
      ...validityWarnings('tls.certificate', facts, now),
      ...nameWarnings(facts),
      ...(authorities?.all ?? []).flatMap((each) => validityWarnings('tls.clients', factsOf(each), now)),
      ...(await keyFileWarnings(dataDir, keyFile)),
    ],
  };
}

/** A resumed session says nothing of the client's certificate by itself: each client shows it anew. */
const WITHOUT_RESUMPTION = { secureOptions: constants.SSL_OP_NO_TICKET };

export function factsOf(certificate: X509Certificate): CertificateFacts {
  const {
    subject,
    issuer,
    serialNumber,
    subjectAltName = '',
    validFromDate,
    validToDate,
    fingerprint256,
  } = certificate;
  return {
    subject: commonName(subject),
    issuer: commonName(issuer),
    serial: serialOf(serialNumber) ?? serialNumber,
    names: [...subjectAltName.matchAll(/(?:DNS|IP Address):([^\s,]+)/g)].map(([, name = '']) => shortened(name)),
    from: validFromDate,
    until: validToDate,
    fingerprint: fingerprint256,
  };
}

/** What an expired certificate comes to, and how a new one is taken. */
interface Renewal {
  readonly effect: string;
  readonly remedy: string;
}

const OF_THE_SERVER: Renewal = {
  effect: 'clients refuse it',
  remedy: 'Put a new one there, and send SIGHUP to the server.',
};

/** @returns in words: not yet valid, expired, or soon to be */
export function validityWarnings(
  key: string,
  { subject, from, until }: CertificateFacts,
  now: Date,
  { effect, remedy }: Renewal = OF_THE_SERVER,
): string[] {
  const day = (date: Date) => date.toISOString().slice(0, 10);
  const what = `${key}: the certificate of ${subject}`;
  if (now > until) return [`${what} expired on ${day(until)}: ${effect}. ${remedy}`];
  if (now < from) return [`${what} is valid from ${day(from)} on only: see that the clock is right.`];
  const left = Math.floor((until.getTime() - now.getTime()) / DAY);
  return left >= RENEW_DAYS ? [] : [`${what} expires in ${left} days, on ${day(until)}. ${remedy}`];
}

function nameWarnings({ names }: CertificateFacts): string[] {
  return names.length > 0
    ? []
    : [
        'tls.certificate: it names no host (subjectAltName): clients of today refuse it. Have it made anew, with names.',
      ];
}

/** `FD00:0:0:0:0:0:0:2` is better known as `fd00::2`. */
function shortened(name: string): string {
  return isIPv6(name) ? new URL(`http://[${name}]`).hostname.slice(1, -1) : name;
}

/** Of a distinguished name as Node.js writes it, a line for each part. */
function commonName(name: string | undefined): string {
  return /^CN=(.*)$/m.exec(name ?? '')?.[1] ?? (name ?? '').replaceAll('\n', ', ');
}
