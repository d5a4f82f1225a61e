/**
 * Whether a server's answers are right: a fast answer with wrong bytes is worth nothing.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import type { Bench } from './bench.ts';
import { ON_CLIENT_CORE, run } from './processes.ts';

export interface Expected {
  readonly status: number;
  /** Undefined: any that is not empty. */
  readonly body: { readonly size: number; readonly digest: string } | undefined;
}

/**
 * Fetches once, with curl.
 * @returns bytes of the body
 * @throws Error if status or body is not what it must be
 */
export async function mustAnswer(
  bench: Bench,
  url: string,
  headers: readonly string[],
  expected: Expected,
): Promise<number> {
  const { status, size, digest } = await fetchOnce(bench, url, headers);
  const { body } = expected;
  const isRight = status === expected.status && (body === undefined ? size > 0 : digest === body.digest);
  if (isRight) return size;
  const wanted = body === undefined ? 'a body' : `${body.size} bytes with ${body.digest}`;
  throw new Error(
    `Wrong answer. ${url} ${headers.join(' ')}: status ${status}, ${size} bytes with ${digest}; it must be ${expected.status}, ${wanted}.`,
  );
}

async function fetchOnce(
  bench: Bench,
  url: string,
  headers: readonly string[],
): Promise<{ status: number; size: number; digest: string }> {
  const [command, ...pinned] = ON_CLIENT_CORE;
  const options = ['--silent', '--show-error', '--max-time', '120', '--write-out', '%{stderr}%{http_code}'];
  const child = spawn(command, [...pinned, 'curl', ...options, ...asOptions(headers), url], {
    stdio: ['ignore', 'pipe', 'pipe'],
    signal: bench.signal,
  });
  const closed = once(child, 'close');
  const hash = createHash('sha256');
  let size = 0;
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  child.stdout.on('data', (bytes: Buffer) => {
    size += bytes.length;
    hash.update(bytes);
  });
  await closed;
  if (child.exitCode !== 0) throw new Error(`curl ${url}: ${said}`);
  return { status: Number(said), size, digest: `sha256:${hash.digest('hex')}` };
}

/** The entity tag that a server gives to what lies at a URL. */
export async function etagAt(bench: Bench, url: string): Promise<string> {
  const head = await run(bench, ['curl', '--silent', '--show-error', '--max-time', '10', '--head', url]);
  const etag = /^etag: (.*?)\r?$/im.exec(head)?.[1];
  if (etag === undefined) throw new Error(`${url} has no ETag`);
  return etag;
}

/** Header fields as curl and wrk take them. */
export function asOptions(headers: readonly string[]): string[] {
  return headers.flatMap((header) => ['-H', header]);
}
