/**
 * `/repos/<name>/<name>.repo`: what a router needs to use an RPM repository, with the address under which it asked.
 */

import type { IncomingMessage } from 'node:http';
import { TLSSocket } from 'node:tls';
import { AirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import type { Catalog } from '../catalog/catalog.ts';
import { repoFile } from '../formats/repodata/repo-file.ts';
import { VENDOR_KEY_PREFIX } from '../packages/prepare-change.ts';
import { type Exchange, sendText } from './exchange.ts';

/**
 * @param key a path in the repository
 * @returns false if it is no such file, and nothing was done
 * @throws http.bad-request if the request's host is none
 */
export async function answerRepoFile(
  catalog: Catalog,
  repository: string,
  key: string,
  exchange: Exchange,
): Promise<boolean> {
  if (key !== `${repository}.repo` || (await catalog.repository(repository))?.kind !== 'rpm') return false;
  const top = await catalog.folder(repository, '', { limit: limits.http.pageSize });
  const packageKeys = top.filter((item) => item.name.startsWith(VENDOR_KEY_PREFIX)).map((item) => item.name);
  const text = repoFile({
    name: repository,
    baseUrl: `${originOf(exchange.request)}/repos/${repository}/`,
    packageKeys,
  });
  sendText(exchange, 200, text, [
    'Content-Type',
    'text/plain; charset=utf-8',
    'Cache-Control',
    'no-cache',
    'Vary',
    'Host',
  ]);
  return true;
}

/** Scheme and authority under which the client asked. @throws http.bad-request */
export function originOf({ socket, headers }: IncomingMessage): string {
  const scheme = socket instanceof TLSSocket ? 'https' : 'http';
  const address = socket.localAddress ?? 'localhost';
  const host = headers.host ?? `${address.includes(':') ? `[${address}]` : address}:${socket.localPort}`;
  const url = URL.parse(`${scheme}://${host}/`);
  if (url !== null && /^[A-Za-z0-9._:[\]-]+$/.test(host)) return url.origin;
  throw new AirlockError('http.bad-request', 'The Host field of the request is no host. Ask under the server’s name.');
}
