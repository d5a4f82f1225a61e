/** Certificates for tests, from the real openssl. */
import { execFileSync } from 'node:child_process';
import path from 'node:path';

export interface Certificate {
  /** Files in PEM. The certificate vouches for itself: it is its own authority. */
  readonly key: string;
  readonly certificate: string;
}

/** Makes one in a folder. @param names such as `DNS:localhost` or `IP:127.0.0.1` */
export function makeCertificate(dir: string, name: string, ...names: readonly string[]): Certificate {
  const [key, certificate] = [path.join(dir, `${name}-key.pem`), path.join(dir, `${name}.pem`)];
  const words = `req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=${name}`;
  const rest = ['-addext', `subjectAltName=${names.join()}`, '-keyout', key, '-out', certificate];
  execFileSync('openssl', [...words.split(' '), ...rest], { stdio: 'ignore' });
  return { key, certificate };
}
