/**
 * A source at the far end of a thin line: all that it sends together goes no faster than so many bytes a second.
 * `node thin-origin-child.ts FOLDER BYTES-PER-SECOND`; prints its URL. `/repos/images/NAME` are the files of the folder,
 * `/counts` is what was sent of each.
 */
import { createReadStream, statSync } from 'node:fs';
import { createServer, type ServerResponse } from 'node:http';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/** What was sent of a file. */
export interface Sent {
  gets: number;
  bytes: number;
  /** When the first byte of its content went, milliseconds since the epoch; 0: never. */
  firstByteAt: number;
}

const [folder = '', rate = '1'] = process.argv.slice(2);
const counts = new Map<string, Sent>();
const PIECE = 64 * 1024;
/** What a late timer may make up for, milliseconds. */
const BURST = 100;
/** When the line is free again, on the clock of `performance`. */
let freeAt = 0;

const server = createServer((request, response) => {
  const name = /^\/repos\/images\/([\w.-]+)$/.exec(request.url ?? '')?.[1];
  if (request.url === '/counts') response.end(JSON.stringify(Object.fromEntries(counts)));
  else if (name === undefined || !isThere(name)) response.writeHead(404).end();
  else send(name, request.method === 'HEAD', request.headers.range, response).catch(() => response.destroy());
});
server.listen(0, '127.0.0.1', () => {
  const address = server.address();
  if (address !== null && typeof address === 'object') process.stdout.write(`http://127.0.0.1:${address.port}\n`);
});

function isThere(name: string): boolean {
  return statSync(path.join(folder, name), { throwIfNoEntry: false })?.isFile() === true;
}

async function send(name: string, isHead: boolean, wanted: string | undefined, response: ServerResponse) {
  const file = path.join(folder, name);
  const { size, mtimeMs } = statSync(file);
  const match = /^bytes=(\d+)-(\d*)$/.exec(wanted ?? '');
  const start = Number(match?.[1] ?? 0);
  const end = match?.[2] ? Math.min(size, Number(match[2]) + 1) : size;
  response.writeHead(match === null ? 200 : 206, {
    etag: `"${size}-${mtimeMs}"`,
    'content-length': end - start,
    'accept-ranges': 'bytes',
    ...(match === null ? {} : { 'content-range': `bytes ${start}-${end - 1}/${size}` }),
  });
  if (isHead) {
    response.end();
    return;
  }
  const sent = counts.get(name) ?? { gets: 0, bytes: 0, firstByteAt: 0 };
  counts.set(name, sent);
  sent.gets += 1;
  response.flushHeaders();
  for await (const piece of createReadStream(file, { start, end: end - 1, highWaterMark: PIECE })) {
    const bytes = piece as Buffer;
    await turn(bytes.length);
    if (response.destroyed) return;
    sent.firstByteAt ||= performance.timeOrigin + performance.now();
    sent.bytes += bytes.length;
    const isTaken = response.write(bytes);
    if (!isTaken) await new Promise<void>((resolve) => response.once('drain', resolve).once('close', resolve));
    response.removeAllListeners('drain').removeAllListeners('close');
  }
  response.end();
}

/** Waits until the line has carried what goes before. */
async function turn(bytes: number): Promise<void> {
  const now = performance.now();
  freeAt = Math.max(now - BURST, freeAt) + (bytes / Number(rate)) * 1000;
  const wait = freeAt - now;
  if (wait >= 1) await sleep(wait);
}
