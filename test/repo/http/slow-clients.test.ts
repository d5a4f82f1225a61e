import assert from 'node:assert/strict';
import net from 'node:net';
import { type TestContext, test } from 'node:test';
import fc from 'fast-check';
import { limits } from '../../../src/limits.ts';
import { BufferPool } from '../../../src/repo/http/buffer-pool.ts';
import type { RunningServer } from '../../../src/repo/http/server.ts';
import { metric, TestRepository, testBytes, until } from './support.ts';

/** Connections that ask and never read what comes. */
async function stuckClients(t: TestContext, server: RunningServer, paths: readonly string[]): Promise<net.Socket[]> {
  const sockets = paths.map((path) => {
    const socket = net.connect(server.port, '127.0.0.1');
    socket.on('error', () => undefined);
    socket.pause();
    socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`);
    return socket;
  });
  t.after(() => {
    for (const socket of sockets) socket.destroy();
  });
  await until('all are being answered', async () => (await metric(server, 'airlock_http_in_flight')) > paths.length);
  return sockets;
}

test('two hundred clients that do not read cost the bound and no more, and hold up nobody', async (t) => {
  const repository = await TestRepository.make(t);
  const bytes = testBytes(30_000_000);
  await repository.put('images/x.iso', bytes);
  const buffers = 4 << 20;
  const server = await repository.serve(t, { limits: { buffers } });
  const clients = await stuckClients(t, server, Array(200).fill('/repos/images/x.iso'));
  let most = 0;
  for (let i = 0; i < 50; i += 1) {
    most = Math.max(most, await metric(server, 'airlock_http_buffer_bytes'));
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  // Each has one piece being written, and may have one more read ahead.
  assert.ok(most <= buffers + 2 * 200 * limits.http.smallBuffer, `${most} bytes`);
  const answer = await fetch(new URL('/repos/images/x.iso', server.url));
  assert.ok(Buffer.from(await answer.arrayBuffer()).equals(bytes));
  for (const client of clients) client.destroy();
  await until('no buffers in use', async () => (await metric(server, 'airlock_http_buffer_bytes')) === 0);
});

test('slow clients of many small files do not keep them all in memory', async (t) => {
  const repository = await TestRepository.make(t);
  const count = 60;
  for (let i = 0; i < count; i += 1) await repository.put(`files/f${i}`, testBytes(1 << 20, i + 1));
  const memoryCache = 8 << 20;
  const server = await repository.serve(t, { memoryCache });
  // Six answers for each client are more than the system takes on its behalf.
  const paths = Array.from({ length: count }, (_, i) => `/repos/files/f${i}`);
  const sockets = paths.map((path) => {
    const socket = net.connect(server.port, '127.0.0.1');
    socket.on('error', () => undefined);
    socket.pause();
    socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`.repeat(8));
    return socket;
  });
  t.after(() => {
    for (const socket of sockets) socket.destroy();
  });
  await until('all are stuck', async () => (await metric(server, 'airlock_http_in_flight')) >= count);
  const held = await metric(server, 'airlock_memory_cache_stranded_bytes');
  assert.ok(held <= memoryCache, `${held} bytes`);
  const other = await fetch(new URL('/repos/files/f3', server.url));
  assert.ok(Buffer.from(await other.arrayBuffer()).equals(testBytes(1 << 20, 4)));
  for (const socket of sockets) socket.destroy();
  await until('nothing is held', async () => (await metric(server, 'airlock_memory_cache_stranded_bytes')) === 0);
});

test('a pool gives less when much is in use, and always something', () => {
  const pool = new BufferPool(1024, 64, 512);
  const first = pool.take(512);
  const second = pool.take(512);
  assert.deepEqual([first.length, second.length, pool.inUse], [512, 512, 1024]);
  const beyond = pool.take(512);
  assert.deepEqual([beyond.length, pool.inUse], [64, 1088]);
  pool.give(second);
  const parts = [pool.take(256), pool.take(256), pool.take(256)];
  assert.deepEqual(
    parts.map(({ length }) => length),
    [256, 256, 64],
  );
  assert.equal(pool.take(16).length, 64, 'never less than the smallest');
  for (const buffer of [first, beyond, ...parts]) pool.give(buffer);
  assert.equal(pool.inUse, 64);
});

test('no byte of a pool is in two hands', () => {
  const size = fc.constantFrom(64, 128, 256, 512);
  fc.assert(
    fc.property(
      fc.array(
        fc.oneof(
          size,
          fc.nat(20).map((n) => -n),
        ),
      ),
      (steps) => {
        const pool = new BufferPool(2048, 64, 512);
        const held: Buffer[] = [];
        for (const step of steps) {
          if (step > 0) held.push(pool.take(step));
          else for (const buffer of held.splice(-step, 1)) pool.give(buffer);
          for (const [i, buffer] of held.entries()) buffer.fill(i);
          for (const [i, buffer] of held.entries()) assert.ok(buffer.every((byte) => byte === i % 256));
          assert.equal(
            pool.inUse,
            held.reduce((sum, { length }) => sum + length, 0),
          );
          assert.ok(pool.inUse <= 2048 + 64 * held.length);
        }
      },
    ),
  );
});
