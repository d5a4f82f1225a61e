import { AirlockError } from '../../errors.ts';
import { quote } from '../../repo/formats/quote.ts';

/** A folder of an SFTP server: `sftp://USER@HOST[:PORT]/ABSOLUTE/PATH`. */
export interface SftpAddress {
  readonly user: string;
  /** A name in lower case, or an address; IPv6 without brackets. */
  readonly host: string;
  readonly port: number;
  /** Absolute, without a slash at its end (but for `/` itself). */
  readonly path: string;
}

const SSH_PORT = 22;

export function isSftpUrl(text: string): boolean {
  return /^sftp:/i.test(text);
}

/** @throws usage.invalid */
export function parseSftpUrl(text: string): SftpAddress {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || url.protocol !== 'sftp:' || url.hostname === '') throw invalid(text, 'is no such address');
  // Not repeated in the message: it is a secret.
  if (url.password !== '') {
    throw new AirlockError(
      'usage.invalid',
      'A password does not belong into an address, where other users and the history see it. Use --password-file FILE, or a key: --identity FILE.',
    );
  }
  if (url.username === '') throw invalid(text, 'names no user');
  if (url.search !== '' || url.hash !== '') throw invalid(text, 'has a ? or # in it (write %3F and %23)');
  const path = decoded(url.pathname, text).replace(/\/+$/, '');
  return {
    user: decoded(url.username, text),
    host: decoded(url.hostname, text)
      .replace(/^\[(.*)\]$/, '$1')
      .toLowerCase(),
    port: url.port === '' ? SSH_PORT : Number(url.port),
    path: path === '' ? '/' : path,
  };
}

/** As `parseSftpUrl` takes it. */
export function formatSftpUrl({ user, host, port, path }: SftpAddress): string {
  const name = host.includes(':') ? `[${host}]` : host;
  const steps = path.split('/').map(encodeURIComponent).join('/');
  return `sftp://${encodeURIComponent(user)}@${name}${port === SSH_PORT ? '' : `:${port}`}${steps}`;
}

function decoded(text: string, url: string): string {
  let plain: string;
  try {
    plain = decodeURIComponent(text);
  } catch {
    throw invalid(url, 'has a % that begins no %XX');
  }
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what this is about
  if (/[\u0000-\u001f\u007f]/.test(plain)) throw invalid(url, 'has control characters in it');
  return plain;
}

function invalid(text: string, why: string): AirlockError {
  return new AirlockError(
    'usage.invalid',
    `${quote(text.replace(/\/\/[^/]*@/, '//…@'))} ${why}. Write sftp://USER@HOST[:PORT]/ABSOLUTE/PATH.`,
  );
}
