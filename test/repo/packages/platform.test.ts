/** Lists of what base systems provide, line by line. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { limits } from '../../../src/limits.ts';
import type { ByteSource } from '../../../src/repo/blobs/blob-store.ts';
import { linesOf } from '../../../src/repo/packages/platform.ts';
import { testBytes } from '../http/support.ts';

const LIMIT = limits.packages.platformLine;

function sourceOf(bytes: Buffer): ByteSource {
  return { size: bytes.length, readAt: async (into, position) => bytes.copy(into, 0, position) };
}

async function linesIn(source: ByteSource): Promise<string[]> {
  const lines: string[] = [];
  for await (const line of linesOf(source, (number) => new RangeError(`line ${number}`))) lines.push(line);
  return lines;
}

test('lines come as they stand, wherever pieces of the file begin and end', async () => {
  const words = Array.from({ length: 5 }, (_, n) =>
    testBytes(LIMIT / 2 - n, n)
      .toString('hex')
      .slice(0, LIMIT - n),
  );
  for (const lines of [[], ['a'], ['', '', 'a', ''], ['ü'.repeat(LIMIT / 2), 'ä'], words]) {
    const text = lines.map((line) => `${line}\n`).join('');
    assert.deepEqual(await linesIn(sourceOf(Buffer.from(text))), lines);
  }
  assert.deepEqual(await linesIn(sourceOf(Buffer.from('a\r\n\r\nb'))), ['a', '', 'b']);
});

test('a line without end is refused when it is too long, not when it is read', async () => {
  let read = 0;
  const endless: ByteSource = {
    size: 2 ** 40,
    readAt: async (into, position) => {
      into.fill(position === 0 ? 0x0a : 0);
      read += into.byteLength;
      return into.byteLength;
    },
  };
  await assert.rejects(linesIn(endless), { name: 'RangeError', message: `line ${limits.packages.platformPiece + 1}` });
  assert.ok(read <= LIMIT + 2 * limits.packages.platformPiece, `${read} bytes were read`);
  const long = Buffer.from(`a\n${'x'.repeat(LIMIT + 1)}\nb`);
  await assert.rejects(linesIn(sourceOf(long)), { message: 'line 2' });
});
