/**
 * Requests that can be understood at a glance: the whole head of one GET of a file below `/repos/`, nothing before
 * or after it, and no header field that could change the answer or bring a body.
 */

/** A longer head is not plain. */
const MOST = 2048;

/** Characters that stand for themselves; everything that is encoded, or might have to be, is not plain. */
const PATH = '[A-Za-z0-9._~@=,;+$!()*:/-]+';
const VALUE = '[\\t\\x20-\\x7e]*';
const FIELD = `(?i:(?:User-Agent|Accept|Accept-Encoding|Accept-Language): ?${VALUE}|Connection: ?keep-alive)\\r\\n`;
const HEAD = new RegExp(
  `^GET /repos/(${PATH}) HTTP/1\\.1\\r\\n(?:${FIELD}){0,8}(?i:Host): ?[\\x21-\\x7e]+\\r\\n(?:${FIELD}){0,8}\\r\\n$`,
);

/** @returns the path below `/repos/`, undefined if this is anything but one plain request */
export function plainPath(chunk: Buffer): string | undefined {
  if (chunk.length > MOST || chunk[0] !== 0x47) return undefined;
  return HEAD.exec(chunk.toString('latin1'))?.[1];
}
