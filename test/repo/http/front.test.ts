/** What the front answers by itself must be what Node's HTTP server would have answered. */
import assert from 'node:assert/strict';
import diagnostics from 'node:diagnostics_channel';
import net from 'node:net';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { plainRequest } from '../../../src/repo/http/plain-request.ts';
import type { RunningServer } from '../../../src/repo/http/server.ts';
import { exchangeRaw, metric, TestRepository, testBytes, until } from './support.ts';

const sizes = [0, 1, 4096, 100_000, 1_000_000, 3_000_000];

async function start(t: TestContext): Promise<{ repository: TestRepository; server: RunningServer }> {
  const repository = await TestRepository.make(t);
  for (const size of sizes) await repository.put(`files/d/${size}.bin`, testBytes(size, size + 1));
  return { repository, server: await repository.serve(t, { limits: { keepAliveTimeout: 3000 } }) };
}

/** A connection on which one request follows the other. */
class Client {
  readonly socket: net.Socket;
  #received = Buffer.alloc(0);

  constructor(t: TestContext, server: RunningServer) {
    this.socket = net.connect({ port: server.port, host: '127.0.0.1', noDelay: true });
    this.socket.on('data', (chunk) => {
      this.#received = Buffer.concat([this.#received, chunk]);
    });
    t.after(() => this.socket.destroy());
  }

  /** @returns head (without what differs each time) and body of the next answer */
  async answer(): Promise<{ head: string; body: Buffer }> {
    await until('a head', () => this.#received.includes('\r\n\r\n'));
    const end = this.#received.indexOf('\r\n\r\n') + 4;
    const head = this.#received.subarray(0, end).toString('latin1');
    const length = Number(/^content-length: (\d+)/im.exec(head)?.[1] ?? 0);
    await until('a body', () => this.#received.length >= end + length);
    const body = this.#received.subarray(end, end + length);
    this.#received = this.#received.subarray(end + length);
    return { head: head.replace(/^Date: .*\r\n/m, ''), body };
  }
}

const request = (path: string, more = '') => `GET /repos/files/d/${path} HTTP/1.1\r\nHost: x\r\n${more}\r\n`;

test('front and server give the same answers, to the byte', async (t) => {
  const { server } = await start(t);
  const plain = new Client(t, server);
  const cut = new Client(t, server);
  for (const size of sizes) {
    const text = request(`${size}.bin`);
    plain.socket.write(text);
    cut.socket.write(text.slice(0, 10));
    await sleep(20);
    cut.socket.write(text.slice(10));
    const one = await plain.answer();
    const other = await cut.answer();
    assert.ok(one.body.equals(testBytes(size, size + 1)));
    assert.ok(other.body.equals(one.body));
    assert.equal(one.head, other.head);
  }
});

test('any other request on a connection is the server’s, and so is what follows', async (t) => {
  const { server } = await start(t);
  const client = new Client(t, server);
  const ask = async (text: string) => {
    client.socket.write(text);
    return await client.answer();
  };
  for (let i = 0; i < 3; i += 1) assert.match((await ask(request('4096.bin'))).head, /^HTTP\/1\.1 200/);
  const part = await ask(request('4096.bin', 'Range: bytes=1-3\r\n'));
  assert.match(part.head, /^HTTP\/1\.1 206/);
  assert.ok(part.body.equals(testBytes(4096, 4097).subarray(1, 4)));
  assert.match((await ask(request('none'))).head, /^HTTP\/1\.1 404/);
  assert.match((await ask(request('4096.bin'))).head, /^HTTP\/1\.1 200/);
});

test('many requests in one piece are answered in order', async (t) => {
  const { server } = await start(t);
  const client = new Client(t, server);
  client.socket.write(request('4096.bin'));
  await client.answer();
  client.socket.write([...sizes, ...sizes].map((size) => request(`${size}.bin`)).join(''));
  for (const size of [...sizes, ...sizes]) assert.ok((await client.answer()).body.equals(testBytes(size, size + 1)));
});

test('requests that come before the last answer was taken do not pile up', async (t) => {
  const { server } = await start(t);
  const client = new Client(t, server);
  client.socket.write(request('1000000.bin'));
  await client.answer();
  client.socket.pause();
  for (let i = 0; i < 60; i += 1) {
    client.socket.write(request('1000000.bin'));
    await sleep(1);
  }
  assert.ok((await metric(server, 'airlock_http_in_flight')) < 10);
  client.socket.resume();
  for (let i = 0; i < 60; i += 1) assert.equal((await client.answer()).body.length, 1_000_000);
});

test('clients may close their side after asking', async (t) => {
  const { server } = await start(t);
  for (let i = 0; i < 2; i += 1) {
    const answer = await exchangeRaw(server.port, request('4096.bin'), { end: true });
    assert.ok(answer.endsWith(testBytes(4096, 4097).toString('latin1')));
  }
});

test('a connection that asks nothing more is closed in time', async (t) => {
  const repository = await TestRepository.make(t);
  await repository.put('files/d/a', testBytes(10));
  const server = await repository.serve(t, { limits: { keepAliveTimeout: 200, headersTimeout: 200 } });
  for (const text of [request('a'), '']) {
    const begun = performance.now();
    await exchangeRaw(server.port, text);
    assert.ok(performance.now() - begun >= 150, 'closed too early');
  }
});

test('a client that takes its last answers late is cut all the same when it is stuck in the next one', {
  timeout: 60_000,
}, async (t) => {
  const repository = await TestRepository.make(t);
  await repository.put('files/d/hot', testBytes(1_000_000));
  await repository.put('files/d/big', testBytes(32 << 20));
  const server = await repository.serve(t, { limits: { idleTimeout: 1500 } });
  await (await fetch(new URL('/repos/files/d/hot', server.url))).arrayBuffer();
  const peers: net.Socket[] = [];
  const note = (message: unknown) => peers.push((message as { socket: net.Socket }).socket);
  diagnostics.subscribe('net.server.socket', note);
  t.after(() => diagnostics.unsubscribe('net.server.socket', note));
  const client = net.connect(server.port, '127.0.0.1').on('error', () => undefined);
  t.after(() => client.destroy());
  await until('it is there', () => peers.length > 0);
  let received = 0;
  client.on('data', (piece: Buffer) => {
    received += piece.length;
  });
  client.pause();
  const [peer] = peers;
  const isWaiting = () => (peer?.writableLength ?? 0) > 0;
  let asked = 0;
  for (let looks = 0; looks < 3; looks = isWaiting() ? looks + 1 : 0) {
    if (!isWaiting()) {
      client.write(request('hot'));
      asked += 1;
      await until('it is answered', () => (peer?.bytesWritten ?? 0) > asked * 1_000_000);
    }
    await sleep(20);
  }
  client.write(request('big', 'Range: bytes=0-\r\n'));
  await until('the server has it', async () => (await metric(server, 'airlock_http_in_flight')) > 1);
  client.resume();
  await until('the first are taken', () => received > asked * 1_000_000 + 2_000_000);
  client.pause();
  // The system may take some more of it now and then, which counts as a client that moves.
  while (peer?.destroyed === false) await sleep(20);
});

test('a stuck client is cut, and its body is let go', async (t) => {
  const repository = await TestRepository.make(t);
  for (let i = 0; i < 12; i += 1) await repository.put(`files/d/${i}`, testBytes(1 << 20, i + 1));
  const server = await repository.serve(t, { memoryCache: 6 << 20, limits: { idleTimeout: 400 } });
  const stuck = Array.from({ length: 4 }, (_, i) => {
    const socket = net.connect(server.port, '127.0.0.1');
    socket.on('error', () => undefined);
    socket.pause();
    // One at a time, so that all of them are the front's, until the system takes no more.
    const timer = setInterval(() => socket.write(request(String(i))), 20);
    t.after(() => {
      clearInterval(timer);
      socket.destroy();
    });
    return new Promise((resolve) => socket.once('close', resolve));
  });
  for (let i = 4; i < 12; i += 1) {
    const answer = await exchangeRaw(server.port, request(String(i), 'Connection: close\r\n'));
    assert.ok(answer.endsWith(testBytes(1 << 20, i + 1).toString('latin1')));
  }
  await until('nothing is stranded', async () => (await metric(server, 'airlock_memory_cache_stranded_bytes')) === 0);
  await Promise.race([Promise.all(stuck), sleep(5000)]);
});

test('front and server answer questions whether a file is still the same alike', async (t) => {
  const { server } = await start(t);
  const [plain, cut] = [new Client(t, server), new Client(t, server)];
  plain.socket.write(request('4096.bin'));
  const { head: first } = await plain.answer();
  const etag = /^ETag: (.*)\r$/m.exec(first)?.[1] ?? '';
  const modified = /^Last-Modified: (.*)\r$/m.exec(first)?.[1] ?? '';
  const questions: [string, number][] = [
    [`If-None-Match: ${etag}`, 304],
    [`if-none-match:W/${etag} `, 304],
    [`If-None-Match: "x", ${etag}`, 304],
    ['If-None-Match: *', 304],
    ['If-None-Match: "x"', 200],
    ['If-None-Match:', 200],
    [`If-Modified-Since: ${modified}`, 304],
    ['If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT', 200],
    ['If-Modified-Since: yesterday', 200],
    [`If-None-Match: "x"\r\nIf-Modified-Since: ${modified}`, 200],
    [`If-Modified-Since: ${modified}\r\nIf-None-Match: ${etag}`, 304],
  ];
  for (const [question, status] of questions) {
    const text = request('4096.bin', `${question}\r\n`);
    plain.socket.write(text);
    cut.socket.write(text.slice(0, 10));
    await sleep(20);
    cut.socket.write(text.slice(10));
    const [one, other] = [await plain.answer(), await cut.answer()];
    assert.ok(one.head.startsWith(`HTTP/1.1 ${status} `), question);
    assert.equal(one.head, other.head);
    assert.ok(one.body.equals(other.body));
  }
});

test('only whole requests without surprises are recognised', () => {
  const plain = (text: string) => plainRequest(Buffer.from(text, 'latin1'))?.path;
  assert.equal(plain('GET /repos/a/b.iso HTTP/1.1\r\nHost: x\r\n\r\n'), 'a/b.iso');
  assert.equal(
    plain(
      'GET /repos/a/b HTTP/1.1\r\nUser-Agent: curl/8\r\nhost: [::1]:80\r\nAccept: */*\r\nconnection: keep-alive\r\n\r\n',
    ),
    'a/b',
  );
  for (const text of [
    '',
    'G',
    'GET /repos/a/b HTTP/1.1\r\nHost: x\r\n',
    'GET /repos/a/b HTTP/1.1\r\nHost: x\r\n\r\nG',
    'GET /repos/a/b HTTP/1.1\r\nHost: x\r\n\r\nGET /repos/a/b HTTP/1.1\r\nHost: x\r\n\r\n',
    'GET /repos/a/b HTTP/1.1\r\n\r\n',
    'GET /repos/a/b HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n',
    'GET /repos/a/b HTTP/1.1\r\nHost:\r\n\r\n',
    'GET /repos/a/b HTTP/1.1\r\nHost : x\r\n\r\n',
    'GET /repos/a/b HTTP/1.1\nHost: x\n\n',
    'GET /repos/a/b HTTP/1.1\r\nHost: x\r\n Folded: 1\r\n\r\n',
    'GET /repos/a/b HTTP/1.1\r\nHost: x\r\nAccept: a\rb\r\n\r\n',
    'GET /repos/a/b HTTP/1.1\r\nHost: x\r\nAccept: a\0\r\n\r\n',
    'GET /repos/a/b HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n',
    'GET /repos/a/b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n',
    'GET /repos/a/b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n',
    'GET /repos/a/b HTTP/1.1\r\nHost: x\r\nRange: bytes=0-1\r\n\r\n',
    'GET /repos/a/b HTTP/1.1\r\nHost: x\r\nIf-Match: *\r\n\r\n',
    'GET /repos/a/b HTTP/1.1\r\nHost: x\r\nIf-None-Match: "a"\r\nif-none-match: "b"\r\n\r\n',
    'GET /repos/a/b HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\r\n',
    'GET /repos/a/b HTTP/1.1\r\nHost: x\r\nX-Other: 1\r\n\r\n',
    'GET /repos/a/b HTTP/1.0\r\nHost: x\r\n\r\n',
    'GET  /repos/a/b HTTP/1.1\r\nHost: x\r\n\r\n',
    'GET http://x/repos/a/b HTTP/1.1\r\nHost: x\r\n\r\n',
    'HEAD /repos/a/b HTTP/1.1\r\nHost: x\r\n\r\n',
    'get /repos/a/b HTTP/1.1\r\nHost: x\r\n\r\n',
    'GET /Repos/a/b HTTP/1.1\r\nHost: x\r\n\r\n',
    'GET /repos/a/b http/1.1\r\nHost: x\r\n\r\n',
    'GET /repos/ HTTP/1.1\r\nHost: x\r\n\r\n',
    'GET /repos/a%2fb HTTP/1.1\r\nHost: x\r\n\r\n',
    'GET /repos/a?b HTTP/1.1\r\nHost: x\r\n\r\n',
    'GET /repos/a#b HTTP/1.1\r\nHost: x\r\n\r\n',
    'GET /repos/a\\b HTTP/1.1\r\nHost: x\r\n\r\n',
    'GET /api HTTP/1.1\r\nHost: x\r\n\r\n',
    `GET /repos/a HTTP/1.1\r\nHost: x\r\nAccept: ${'a'.repeat(5000)}\r\n\r\n`,
  ]) {
    assert.equal(plain(text), undefined, JSON.stringify(text));
  }
});

test('a request that was changed anywhere is still understood as Node understands it', () => {
  const text = 'GET /repos/a/b.iso HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n';
  fc.assert(
    fc.property(fc.nat(text.length - 1), fc.nat(255), fc.nat(3), (at, byte, remove) => {
      const changed = Buffer.concat([
        Buffer.from(text.slice(0, at)),
        Buffer.from([byte]),
        Buffer.from(text.slice(at + remove)),
      ]);
      if (plainRequest(changed) === undefined) return;
      const lines = changed.toString('latin1').split('\r\n');
      assert.match(lines[0] ?? '', /^GET \/repos\/[^ %?#\\]+ HTTP\/1\.1$/);
      assert.deepEqual(lines.slice(-2), ['', '']);
      assert.equal(lines.slice(1, -2).filter((line) => /^host:/i.test(line)).length, 1);
      for (const line of lines.slice(1, -2)) assert.match(line, /^(host|accept): ?[\t\x20-\x7e]*$/i);
    }),
    { numRuns: 5000 },
  );
});
