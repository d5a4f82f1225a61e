/**
 * A small authority of our own, for sites that have none: `DATA/keys/tls/`.
 *
 * ca.key, ca.pem           the authority; whoever has ca.key can make certificates that our clients believe
 * server.key, server.pem   of this server
 * clients/<name>.key, .pem of routers, to be carried there
 * revoked/<serial>         those that are let in no more (tls-revoked.ts)
 *
 * Private keys are readable by their owner only.
 */
import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, X509Certificate } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chmod, readdir } from 'node:fs/promises';
import { isIP } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { AirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import { makeDirectory, writeFileDurably } from '../blobs/durable.ts';
import { quote, quoteUnsafe } from '../formats/quote.ts';
import { readSmallFile } from '../ingest/medium.ts';
import { type CertificateFacts, factsOf } from './tls.ts';
import { readCertificates, readIdentity } from './tls-files.ts';
import { addRevoked, readRevoked, serialOf } from './tls-revoked.ts';

/** Relative to the data directory, as the configuration names them. */
export const AUTHORITY_FILES = {
  ca: 'keys/tls/ca.pem',
  caKey: 'keys/tls/ca.key',
  server: 'keys/tls/server.pem',
  serverKey: 'keys/tls/server.key',
  clients: 'keys/tls/clients',
} as const;

const DAY = 24 * 60 * 60_000;
/** An authority is carried to each router by hand: it shall last. */
const AUTHORITY_DAYS = 3650;
/** By default, of what it signs. */
export const DEFAULT_DAYS = 825;

export interface Issued {
  /** Relative to the data directory. */
  readonly certificate: string;
  readonly key: string;
  readonly facts: CertificateFacts;
}

interface Order {
  /** So long it is valid. */
  readonly days: number;
  readonly now: Date;
}

/**
 * Makes an authority and a certificate of this server.
 * @param names host names and addresses of this server; by default those of this machine
 * @throws usage.invalid for names that are none; key.exists if there is one already; space.insufficient
 */
export async function initAuthority(
  dataDir: string,
  { names, ...order }: Order & { readonly names: readonly string[] },
): Promise<{ readonly ca: Issued; readonly server: Issued }> {
  const { ca: certificate, caKey: key } = AUTHORITY_FILES;
  refuseOverwriting(dataDir, [certificate, key, AUTHORITY_FILES.server, AUTHORITY_FILES.serverKey]);
  const known = knownNames(names);
  const { publicKey, privateKey } = newKeys();
  const until = endOf({ ...order, days: Math.max(AUTHORITY_DAYS, order.days) });
  const { makeCertificate } = await import('./tls-certificate.ts');
  const subject = `Airlock CA of ${os.hostname()}`.slice(0, MOST_NAME);
  const pem = makeCertificate(
    { subject, publicKey, use: 'authority', names: [], from: order.now, until },
    { key: privateKey },
  );
  const ca = await store(dataDir, { certificate, key }, pem, privateKey);
  return { ca, server: await issueServer(dataDir, { ...order, names: known }) };
}

/**
 * Makes a new certificate of this server in the place of the former one, for the key that is here: one file is replaced, in
 * one step, so there is no moment in which the two do not belong together. Only where no key is, or none that can be used, is
 * a new one made.
 * @param names by default those of the former one
 * @throws as initAuthority; key.missing if the authority's key is not here; usage.invalid if the key may not be read
 */
export async function renewServer(
  dataDir: string,
  { names, ...order }: Order & { readonly names: readonly string[] },
): Promise<Issued> {
  const former = await readIssued(dataDir, AUTHORITY_FILES.server);
  const known = knownNames(names.length > 0 ? names : (former?.names ?? []));
  return await issueServer(dataDir, { ...order, names: known }, await serverKey(dataDir));
}

/** @returns undefined if it is not there, or is none that a server can use */
async function serverKey(dataDir: string): Promise<KeyObject | undefined> {
  const text = await readSmallFile(path.join(dataDir, AUTHORITY_FILES.serverKey), limits.keyFile);
  try {
    return text === undefined ? undefined : createPrivateKey(text);
  } catch {
    return undefined;
  }
}

/**
 * Makes a certificate with which a client introduces itself; in the place of a former one only if that is revoked.
 * @throws usage.invalid if the name is none, key.exists, key.missing
 */
export async function issueClient(dataDir: string, name: string, order: Order): Promise<Issued> {
  if (!CLIENT.test(name)) {
    throw new AirlockError(
      'usage.invalid',
      `${quote(name)} is no name for a client. Use letters, digits, dots and hyphens, such as router-7.`,
    );
  }
  const certificate = `${AUTHORITY_FILES.clients}/${name}.pem`;
  const key = `${AUTHORITY_FILES.clients}/${name}.key`;
  const former = await readIssued(dataDir, certificate);
  const isRevoked = former !== undefined && (await readRevoked(dataDir)).has(former.serial);
  if (!isRevoked) refuseOverwriting(dataDir, [certificate, key]);
  return await issue(dataDir, { certificate, key }, { ...order, use: 'client', subject: name, names: [] });
}

/**
 * From the next start or SIGHUP on, a server lets this client in no more.
 * @param what the name of a client whose certificate is here, or the serial number of any
 * @throws key.not-found if it is neither
 */
export async function revokeClient(
  dataDir: string,
  what: string,
  now: Date,
): Promise<{ readonly serial: string; readonly subject: string | null }> {
  const facts = CLIENT.test(what) ? await readIssued(dataDir, `${AUTHORITY_FILES.clients}/${what}.pem`) : undefined;
  const serial = facts?.serial ?? serialOf(what);
  if (serial === undefined) {
    throw new AirlockError(
      'key.not-found',
      `There is no certificate of a client ${quote(what)} here. "airlock tls show" lists those that are; of another one, give the serial number (openssl x509 -in FILE -noout -serial).`,
    );
  }
  const subject = facts?.subject ?? null;
  await addRevoked(dataDir, serial, `${now.toISOString()} ${subject ?? ''}`.trimEnd());
  return { serial, subject };
}

/** What is there: the authority, the server, the clients, in this order. */
export async function listIssued(
  dataDir: string,
): Promise<{ readonly file: string; readonly facts: CertificateFacts }[]> {
  const clients = await readdir(path.join(dataDir, AUTHORITY_FILES.clients)).catch(() => []);
  const files = [
    AUTHORITY_FILES.ca,
    AUTHORITY_FILES.server,
    ...clients
      .filter((name) => name.endsWith('.pem'))
      .sort()
      .map((name) => `${AUTHORITY_FILES.clients}/${name}`),
  ];
  const found = await Promise.all(files.map(async (file) => ({ file, facts: await readIssued(dataDir, file) })));
  return found.flatMap(({ file, facts }) => (facts === undefined ? [] : [{ file, facts }]));
}

/** The host name of this machine and the addresses under which others reach it. */
export function ownNames(): string[] {
  const addresses = Object.values(os.networkInterfaces())
    .flatMap((each) => each ?? [])
    .filter(({ internal, address }) => !internal && !address.startsWith('fe80:'))
    .map(({ address }) => address);
  return [...new Set([os.hostname(), 'localhost', ...addresses, '127.0.0.1', '::1'])];
}

async function issueServer(
  dataDir: string,
  order: Order & { readonly names: readonly string[] },
  present?: KeyObject,
): Promise<Issued> {
  const { server: certificate, serverKey: key } = AUTHORITY_FILES;
  const subject = (order.names[0] ?? os.hostname()).slice(0, MOST_NAME);
  return await issue(dataDir, { certificate, key }, { ...order, use: 'server', subject }, present);
}

/** @param present the private key that is in its file already; without one, it is made and written */
async function issue(
  dataDir: string,
  files: { readonly certificate: string; readonly key: string },
  order: Order & {
    readonly use: 'server' | 'client';
    readonly subject: string;
    readonly names: readonly string[];
  },
  present?: KeyObject,
): Promise<Issued> {
  const authority = await openAuthority(dataDir);
  const { publicKey, privateKey } =
    present === undefined ? newKeys() : { publicKey: createPublicKey(present), privateKey: undefined };
  const until = new Date(Math.min(endOf(order).getTime(), authority.certificate.validToDate.getTime()));
  const { makeCertificate } = await import('./tls-certificate.ts');
  const pem = makeCertificate({ ...order, publicKey, from: order.now, until }, authority);
  return await store(dataDir, files, pem, privateKey);
}

async function openAuthority(dataDir: string): Promise<{ certificate: X509Certificate; key: KeyObject }> {
  const { ca, caKey } = AUTHORITY_FILES;
  if (!existsSync(path.join(dataDir, ca)) || !existsSync(path.join(dataDir, caKey))) {
    throw new AirlockError(
      'key.missing',
      `There is no authority here: ${ca} and ${caKey} are not in the data directory. Make one with "airlock tls init", or bring them back from where you keep them.`,
    );
  }
  const { leaf, key } = await readIdentity(
    dataDir,
    { key: 'the authority', file: ca },
    { key: 'its key', file: caKey },
  );
  return { certificate: leaf, key: createPrivateKey(key) };
}

/**
 * The key goes first: a certificate whose key is lost is of no use.
 * @param privateKey undefined: it is there, and stays as it is
 */
async function store(
  dataDir: string,
  { certificate, key }: { readonly certificate: string; readonly key: string },
  pem: string,
  privateKey: KeyObject | undefined,
): Promise<Issued> {
  if (privateKey !== undefined) {
    const dir = path.join(dataDir, path.dirname(key));
    await makeDirectory(dir);
    await chmod(dir, 0o700);
    const text = privateKey.export({ type: 'pkcs8', format: 'pem' });
    await writeFileDurably(path.join(dataDir, key), text, { mode: 0o600 });
  }
  await writeFileDurably(path.join(dataDir, certificate), pem);
  return { certificate, key, facts: factsOf(new X509Certificate(pem)) };
}

async function readIssued(dataDir: string, file: string): Promise<CertificateFacts | undefined> {
  if (!existsSync(path.join(dataDir, file))) return undefined;
  const { all } = await readCertificates(dataDir, { key: 'keys', file });
  return factsOf(all[0]);
}

/** What a client may be called: it becomes the name of files. */
const CLIENT = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;

function newKeys() {
  return generateKeyPairSync('ec', { namedCurve: 'P-256' });
}

function endOf({ days, now }: Order): Date {
  return new Date(now.getTime() + days * DAY);
}

/** Of a common name (RFC 5280, ub-common-name). */
const MOST_NAME = 64;
const HOST = /^(?:\*\.)?(?=.{1,253}$)[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,62})(?:\.[A-Za-z0-9_][A-Za-z0-9_-]{0,62})*$/;

/** @throws usage.invalid */
function knownNames(names: readonly string[]): string[] {
  const all = names.length > 0 ? names : ownNames();
  const wrong = all.find((name) => !HOST.test(name) && isIP(name) === 0);
  if (wrong === undefined) return [...new Set(all)];
  throw new AirlockError(
    'usage.invalid',
    `${quote(wrong)} is neither a host name nor an address. Name those under which clients ask, without scheme and port: --name conductor-a --name 10.0.0.5`,
  );
}

/** @throws key.exists */
function refuseOverwriting(dataDir: string, files: readonly string[]): void {
  const there = files.filter((file) => existsSync(path.join(dataDir, file)));
  if (there.length === 0) return;
  throw new AirlockError(
    'key.exists',
    `${there.map((file) => quoteUnsafe(file)).join(' and ')} ${there.length === 1 ? 'is' : 'are'} there already. Clients may rely on that; nothing was changed. "airlock tls renew" makes a new certificate of the server, with the same authority; for a wholly new beginning, move these files away.`,
    { details: { files: there } },
  );
}
