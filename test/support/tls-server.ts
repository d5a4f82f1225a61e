/** A server over TLS with an authority of its own, and clients that are no part of Airlock. */
import { execFile } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { promisify } from 'node:util';
import { DEFAULT_DAYS, initAuthority } from '../../src/repo/http/tls-authority.ts';
import { airlock, type RunningServer, startServer } from './cli.ts';
import { tempDir } from './temp-dir.ts';
import { putFile } from './with-app.ts';

const exec = promisify(execFile);

/** For `airlock.yaml`: what `tls init` made. */
export const OWN_TLS = 'certificate: keys/tls/server.pem, key: keys/tls/server.key';

export interface TlsSite extends RunningServer {
  readonly data: string;
  /** The authority's certificate. */
  readonly ca: string;
}

/**
 * Makes certificates, puts files into `images`, and serves.
 * @param tls of the configuration, beside certificate and key
 * @param more lines of airlock.yaml
 */
export async function startTlsSite(
  t: TestContext,
  { tls = '', more = '', files = {} }: { tls?: string; more?: string; files?: Readonly<Record<string, Buffer>> } = {},
): Promise<TlsSite> {
  const data = path.join(await tempDir(t), 'data');
  await mkdir(data);
  await initAuthority(data, { days: DEFAULT_DAYS, now: new Date(), names: ['localhost', '127.0.0.1'] });
  await writeFile(path.join(data, 'airlock.yaml'), `tls: { ${OWN_TLS}${tls} }\nlog: { file: server.log }\n${more}`);
  for (const [name, bytes] of Object.entries(files)) {
    const file = path.join(data, 'to-import');
    await writeFile(file, bytes);
    await putFile(data, 'images', name, file);
  }
  const server = await startServer(t, data);
  return { ...server, data, ca: path.join(data, 'keys/tls/ca.pem') };
}

/** Runs a command that must succeed. @returns what it printed */
export async function done(data: string, ...words: string[]): Promise<string> {
  const { code, stdout, stderr } = await airlock(['--data', data, ...words]);
  if (code !== 0) throw new Error(`${words.join(' ')} ended with ${code}: ${stdout}${stderr}`);
  return stdout;
}

export interface Ran {
  readonly code: number;
  readonly stdout: Buffer;
  readonly stderr: string;
}

/** Runs a program to its end, whatever that is; its standard input is at its end already. */
export async function run(command: string, ...words: readonly string[]): Promise<Ran> {
  const child = exec(command, words, { encoding: 'buffer', maxBuffer: 2 ** 28, timeout: 120_000 });
  child.child.stdin?.end();
  try {
    const { stdout, stderr } = await child;
    return { code: 0, stdout, stderr: stderr.toString() };
  } catch (error) {
    const { code, stdout, stderr } = error as { code?: number; stdout: Buffer; stderr: Buffer };
    return { code: code ?? -1, stdout, stderr: stderr.toString() };
  }
}

/** As a router would: `curl --silent --show-error`, with the authority. */
export function curl({ ca }: Pick<TlsSite, 'ca'>, ...words: readonly string[]): Promise<Ran> {
  return run('curl', '--silent', '--show-error', '--max-time', '100', '--cacert', ca, ...words);
}

export function portOf({ url }: Pick<RunningServer, 'url'>): number {
  return Number(new URL(url).port);
}

/** All that the server has said so far. */
export function logOf({ data }: Pick<TlsSite, 'data'>): Promise<string> {
  return readFile(path.join(data, 'server.log'), 'utf8');
}
