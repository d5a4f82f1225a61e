/** Certificates for tests. */
import { execFileSync } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { makeCertificate as makeOurs } from '../../src/repo/http/tls-certificate.ts';

export interface Certificate {
  /** Files in PEM. The certificate vouches for itself: it is its own authority. */
  readonly key: string;
  readonly certificate: string;
}

/** Makes one in a folder. @param names such as `DNS:localhost` or `IP:127.0.0.1` */
export function makeCertificate(dir: string, name: string, ...names: readonly string[]): Certificate {
  const { key, certificate } = filesOf(dir, name);
  const words = `req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=${name}`;
  const rest = ['-addext', `subjectAltName=${names.join()}`, '-keyout', key, '-out', certificate];
  execFileSync('openssl', [...words.split(' '), ...rest], { stdio: 'ignore' });
  return { key, certificate };
}

/** As ours, one that was valid on the first of January 2020; its owner alone may read the key. */
export function makeExpired(dir: string, name: string): Certificate {
  const { key, certificate } = filesOf(dir, name);
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const [from, until] = [new Date('2020-01-01T00:00:00Z'), new Date('2020-01-02T00:00:00Z')];
  const order = { subject: name, publicKey, use: 'authority', names: [], from, until } as const;
  writeFileSync(certificate, makeOurs(order, { key: privateKey }));
  writeFileSync(key, privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
  return { key, certificate };
}

function filesOf(dir: string, name: string): Certificate {
  return { key: path.join(dir, `${name}-key.pem`), certificate: path.join(dir, `${name}.pem`) };
}
