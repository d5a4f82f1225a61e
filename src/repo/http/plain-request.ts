/**
 * Requests that can be understood at a glance: the whole head of one GET of a file below `/repos/` or `/upstreams/`, nothing
 * before or after it, and no header field that could change the answer or bring a body, but for a question whether the file is
 * still the same.
 */
import type { IncomingHttpHeaders } from 'node:http';

/** What a plain request asks for. */
export interface PlainRequest {
  /** Below `/repos/`; of `/upstreams/…` the whole of it. */
  readonly path: string;
  /** Undefined where there are none. */
  readonly conditions: PlainConditions | undefined;
}

export type PlainConditions = Pick<IncomingHttpHeaders, 'if-none-match' | 'if-modified-since'>;

/** A longer head is not plain. */
const MOST = 2048;

/** Characters that stand for themselves; everything that is encoded, or might have to be, is not plain. */
const PATH = '[A-Za-z0-9._~@=,;+$!()*:/-]+';
const VALUE = '[\\t\\x20-\\x7e]*';
const NAMES = 'User-Agent|Accept|Accept-Encoding|Accept-Language|If-None-Match|If-Modified-Since';
const FIELD = `(?i:(?:${NAMES}): ?${VALUE}|Connection: ?keep-alive)\\r\\n`;
const HEAD = new RegExp(
  `^GET (?:/repos/(${PATH})|(/upstreams/${PATH})) HTTP/1\\.1\\r\\n(?:${FIELD}){0,8}(?i:Host): ?[\\x21-\\x7e]+\\r\\n(?:${FIELD}){0,8}\\r\\n$`,
);
const CONDITION = /\r\n(if-none-match|if-modified-since): ?([^\r]*)/gi;

/** @returns undefined if this is anything but one plain request */
export function plainRequest(chunk: Buffer): PlainRequest | undefined {
  if (chunk.length > MOST || chunk[0] !== 0x47) return undefined;
  const text = chunk.toString('latin1');
  const match = HEAD.exec(text);
  const path = match?.[1] ?? match?.[2];
  if (path === undefined) return undefined;
  if (!/\r\nif-/i.test(text)) return { path, conditions: undefined };
  const conditions: Record<string, string> = {};
  for (const [, name = '', value = ''] of text.matchAll(CONDITION)) {
    const key = name.toLowerCase();
    if (key in conditions) return undefined; // what two of a kind mean is for Node to say
    conditions[key] = value.trim();
  }
  return { path, conditions };
}
