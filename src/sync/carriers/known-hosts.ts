/** Keys that SSH servers are known by: known_hosts files as sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT", describes them. */
import { createHash, createHmac, timingSafeEqual } from 'node:crypto';

/** What a file says of a server that shows a key. */
export type Verdict = 'known' | 'revoked' | 'changed' | 'unknown';

interface Line {
  readonly marker: string | undefined;
  readonly hosts: string;
  readonly type: string;
  readonly key: Buffer;
}

const SSH_PORT = 22;
/** Largest host key that OpenSSH makes (RSA, 16384 bits) has 2 KiB. */
const KEY_BYTES = 16 * 1024;

/** The lines of a known_hosts file that speak of one server. */
export class KnownHosts {
  readonly #lines: readonly Line[];

  private constructor(lines: readonly Line[]) {
    this.#lines = lines;
  }

  /** Lines that nobody understands are passed over, as OpenSSH does. */
  static of(text: string, { host, port }: { host: string; port: number }): KnownHosts {
    const name = knownName(host, port);
    const lines = text.split('\n').map(parseLine);
    return new KnownHosts(lines.filter((line) => line !== undefined).filter(({ hosts }) => speaksOf(hosts, name)));
  }

  /** There is nothing but certification authorities, which are not supported. */
  get onlyAuthorities(): boolean {
    return this.#lines.length > 0 && this.#lines.every(({ marker }) => marker === '@cert-authority');
  }

  /** Types of the keys that it is known by: to be asked for first, or a server with several keys shows another. */
  get types(): string[] {
    return [...new Set(this.#plain().map(({ type }) => type))];
  }

  /** @param key as it goes over the wire */
  judge(key: Buffer): Verdict {
    const isIt = (line: Line) => line.key.equals(key);
    if (this.#lines.some((line) => line.marker === '@revoked' && isIt(line))) return 'revoked';
    const plain = this.#plain();
    if (plain.some(isIt)) return 'known';
    return plain.length > 0 ? 'changed' : 'unknown';
  }

  #plain(): Line[] {
    return this.#lines.filter(({ marker }) => marker === undefined);
  }
}

/** As known_hosts calls a server. */
export function knownName(host: string, port: number): string {
  return port === SSH_PORT ? host : `[${host}]:${port}`;
}

/** `SHA256:…`, as ssh-keygen shows it. @param key as it goes over the wire */
export function fingerprintOf(key: Buffer): string {
  return `SHA256:${createHash('sha256').update(key).digest('base64').replace(/=+$/, '')}`;
}

/** `ssh-ed25519`, as a key calls itself; empty if it is no key. */
export function keyTypeOf(key: Buffer): string {
  if (key.length < 4) return '';
  const type = key.subarray(4, 4 + key.readUInt32BE(0)).toString('latin1');
  return /^[\w.@-]{1,64}$/.test(type) ? type : '';
}

function parseLine(text: string): Line | undefined {
  const fields = text.trim().split(/[ \t]+/);
  const marker = fields[0]?.startsWith('@') === true ? fields.shift() : undefined;
  const [hosts, type, base64] = fields;
  if (hosts === undefined || hosts.startsWith('#') || type === undefined || base64 === undefined) return undefined;
  if (base64.length > KEY_BYTES) return undefined;
  const key = Buffer.from(base64, 'base64');
  return keyTypeOf(key) === type ? { marker, hosts, type, key } : undefined;
}

function speaksOf(hosts: string, name: string): boolean {
  if (hosts.startsWith('|')) return isHashOf(hosts, name);
  let speaks = false;
  for (const pattern of hosts.toLowerCase().split(',')) {
    if (pattern.startsWith('!')) {
      if (matches(pattern.slice(1), name)) return false;
    } else if (matches(pattern, name)) speaks = true;
  }
  return speaks;
}

/** `|1|SALT|HASH`: HMAC-SHA1 of the name, keyed with the salt. */
function isHashOf(hosts: string, name: string): boolean {
  const [, version, salt = '', hash = ''] = hosts.split('|');
  if (version !== '1') return false;
  const expected = Buffer.from(hash, 'base64');
  const found = createHmac('sha1', Buffer.from(salt, 'base64')).update(name).digest();
  return expected.length === found.length && timingSafeEqual(expected, found);
}

/** `*` is any characters, `?` any one. In steps that grow with both lengths only, whatever the pattern. */
function matches(pattern: string, name: string): boolean {
  let [p, n, star, retry] = [0, 0, -1, 0];
  while (n < name.length) {
    if (pattern[p] === '*') {
      star = p++;
      retry = n;
    } else if (p < pattern.length && (pattern[p] === '?' || pattern[p] === name[n])) {
      p++;
      n++;
    } else if (star >= 0) {
      p = star + 1;
      n = ++retry;
    } else return false;
  }
  while (pattern[p] === '*') p++;
  return p === pattern.length;
}
