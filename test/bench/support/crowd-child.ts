/**
 * Many clients that want one file: half of them at once, half of them later, one after the other; every fifth wants a
 * range. Each compares every byte. `node crowd-child.ts URL FILE CLIENTS SECONDS`: over so many seconds the late ones
 * come. Prints a Crowd.
 */
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/** Times in milliseconds since the epoch. */
export interface Crowd {
  readonly startedAt: number;
  readonly firstByteAt: number;
  readonly lastDoneAt: number;
  /** Some of what went wrong. */
  readonly faults: readonly string[];
}

interface Wanted {
  readonly start: number;
  readonly end: number;
  readonly isRange: boolean;
}

const [url = '', file = '', count = '1', seconds = '0'] = process.argv.slice(2);
const { hostname, port, pathname } = new URL(url);
const expected = readFileSync(file);
const clients = Number(count);

const startedAt = now();
let firstByteAt = Number.POSITIVE_INFINITY;
const faults: string[] = [];
await Promise.all(
  Array.from({ length: clients }, async (_, index) => {
    const isLate = index % 2 === 1;
    if (isLate) await sleep((index / clients) * Number(seconds) * 1000);
    await fetchOnce(wantedBy(index)).catch((error: unknown) => faults.push(`client ${index}: ${error}`));
  }),
);
const crowd: Crowd = { startedAt, firstByteAt, lastDoneAt: now(), faults: faults.slice(0, 3) };
process.stdout.write(`${JSON.stringify(crowd)}\n`);

/** Ranges are an eighth of the file, at places all over it; some of those who want one come late. */
function wantedBy(index: number): Wanted {
  const { length } = expected;
  if (index % 5 !== 4) return { start: 0, end: length, isRange: false };
  const start = Math.floor((length * 7 * index) / (8 * clients));
  return { start, end: Math.min(length, start + Math.ceil(length / 8)), isRange: true };
}

/** @throws Error for an early end, a wrong status or wrong bytes */
function fetchOnce({ start, end, isRange }: Wanted): Promise<void> {
  return new Promise((resolve, reject) => {
    let head = '';
    let at = -1;
    const take = (bytes: Buffer): boolean => {
      let body = bytes;
      if (at < 0) {
        head += bytes.toString('latin1');
        const headEnd = head.indexOf('\r\n\r\n');
        if (headEnd < 0) return true;
        if (!head.startsWith(`HTTP/1.1 ${isRange ? 206 : 200} `)) return fail(head.slice(0, 100));
        at = start;
        body = bytes.subarray(bytes.length - (head.length - headEnd - 4));
      }
      if (body.length > 0) firstByteAt = Math.min(firstByteAt, now());
      if (body.compare(expected, at, at + body.length) !== 0) return fail(`wrong bytes at ${at}`);
      at += body.length;
      if (at >= end) {
        socket.destroy();
        resolve();
      }
      return true;
    };
    const buffer = Buffer.allocUnsafe(128 * 1024);
    const onread = { buffer, callback: (length: number) => take(buffer.subarray(0, length)) };
    const socket = connect({ host: hostname, port: Number(port), onread });
    const fail = (why: string): false => {
      socket.destroy();
      reject(new Error(why));
      return false;
    };
    socket.on('error', (error) => fail(error.message)).on('end', () => fail(`ended at ${at} of ${end}`));
    const range = isRange ? `Range: bytes=${start}-${end - 1}\r\n` : '';
    socket.write(`GET ${pathname} HTTP/1.1\r\nHost: ${hostname}\r\n${range}\r\n`);
  });
}

function now(): number {
  return performance.timeOrigin + performance.now();
}
