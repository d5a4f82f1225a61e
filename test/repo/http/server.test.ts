import assert from 'node:assert/strict';
import { rm } from 'node:fs/promises';
import http from 'node:http';
import net from 'node:net';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import tls from 'node:tls';
import { isAirlockError } from '../../../src/errors.ts';
import { blobPath } from '../../../src/repo/blobs/layout.ts';
import { readTls } from '../../../src/repo/http/tls.ts';
import { makeCertificate } from '../../support/certificates.ts';
import { needs } from '../../support/needs.ts';
import { tempDir } from '../../support/temp-dir.ts';
import { exchangeRaw, metric, TestRepository, testBytes, until } from './support.ts';

test('an address in use is told with what to do', async (t) => {
  const repository = await TestRepository.make(t);
  const { port } = await repository.serve(t);
  await assert.rejects(repository.serve(t, { listen: { host: '127.0.0.1', port } }), (error) => {
    assert.ok(isAirlockError(error, 'server.address-in-use'));
    assert.match(error.message, new RegExp(`127\\.0\\.0\\.1:${port}.*--listen`, 's'));
    return true;
  });
  await assert.rejects(repository.serve(t, { listen: { host: '192.0.2.1', port: 0 } }), (error) =>
    isAirlockError(error, 'usage.invalid'),
  );
});

test('its URL can be opened', async (t) => {
  const repository = await TestRepository.make(t);
  const server = await repository.serve(t);
  assert.equal(server.url, `http://127.0.0.1:${server.port}`);
  assert.equal((await fetch(server.url)).status, 200);
  await server.close();
  const six = await repository.serve(t, { listen: { host: '::1', port: 0 } }).catch(() => undefined);
  if (six === undefined) return t.diagnostic('no IPv6 here');
  assert.match(six.url, /^http:\/\/\[::1\]:\d+$/);
  assert.equal((await fetch(six.url)).status, 200);
});

test('a refused client that says nothing does not hold up the end', {
  ...needs('openssl'),
  timeout: 30_000,
}, async (t) => {
  const { certificate, key } = makeCertificate(await tempDir(t), 'localhost', 'DNS:localhost');
  const material = await readTls('/', { certificate, key, clients: certificate });
  const repository = await TestRepository.make(t);
  const hours = { headersTimeout: 3600_000, requestTimeout: 3600_000, drainTimeout: 3600_000 };
  const server = await repository.serve(t, { tls: material, limits: hours });
  const client = tls.connect({ port: server.port, host: '127.0.0.1', rejectUnauthorized: false });
  client.on('error', () => undefined).resume();
  const isClosed = new Promise((resolve) => client.once('close', resolve));
  await until('it is refused', () => server.log.some(({ message }) => message.includes('refused for its certificate')));
  await server.close();
  await isClosed;
});

test('the log of failures says no more of a target than its path', async (t) => {
  const repository = await TestRepository.make(t);
  const digest = await repository.put('files/a', testBytes(10));
  await rm(blobPath(repository.dir, digest));
  const server = await repository.serve(t);
  assert.equal((await fetch(new URL('/repos/files/a?token=secret', server.url))).status, 500);
  const line = server.log.find(({ message }) => message === 'a request failed');
  assert.equal(line?.facts.path, '/repos/files/a');
  assert.doesNotMatch(JSON.stringify(server.log), /secret/);
});

test('closing lets answers under way finish, refuses new ones, and closes idle connections', async (t) => {
  const repository = await TestRepository.make(t);
  const bytes = testBytes(20_000_000);
  await repository.put('files/big', bytes);
  const server = await repository.serve(t, { limits: { drainTimeout: 20_000 } });
  const idle = net.connect(server.port, '127.0.0.1');
  idle.resume();
  idle.write('GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n');
  await new Promise((resolve) => idle.once('data', resolve));
  const idleClosed = new Promise((resolve) => idle.once('close', resolve));

  const busy = net.connect(server.port, '127.0.0.1');
  busy.write('GET /repos/files/big HTTP/1.1\r\nHost: x\r\n\r\n');
  await new Promise((resolve) => busy.once('readable', resolve));
  const closing = server.close();
  assert.equal(server.close() instanceof Promise, true);
  await idleClosed;
  await assert.rejects(fetch(server.url));

  // What is already connected learns that this server is about to stop, and that its connection ends.
  busy.write('GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n');
  let received = 0;
  let tail = '';
  busy.on('data', (chunk: Buffer) => {
    received += chunk.length;
    tail = (tail + chunk.toString('latin1')).slice(-1000);
  });
  await new Promise((resolve) => busy.once('close', resolve));
  await closing;
  assert.ok(received > bytes.length);
  assert.match(tail, /HTTP\/1\.1 503 Service Unavailable[\s\S]*Connection: close[\s\S]*http\.draining/);
});

test('what does not finish in time is cut', async (t) => {
  const repository = await TestRepository.make(t);
  await repository.put('files/big', testBytes(20_000_000));
  const server = await repository.serve(t, { limits: { drainTimeout: 200 } });
  const stuck = net.connect(server.port, '127.0.0.1');
  stuck.on('error', () => undefined);
  stuck.pause();
  stuck.write('GET /repos/files/big HTTP/1.1\r\nHost: x\r\n\r\n');
  await until('it is being answered', async () => (await metric(server, 'airlock_http_in_flight')) === 2);
  await server.close();
  stuck.destroy();
});

test('it is not ready when its catalog is gone', async (t) => {
  const repository = await TestRepository.make(t);
  const catalog = await TestRepository.openCatalog(repository.dir);
  const server = await repository.serve(t, { catalog });
  assert.equal((await fetch(new URL('/readyz', server.url))).status, 200);
  await catalog.close();
  const answer = await fetch(new URL('/readyz', server.url));
  assert.equal(answer.status, 500);
  assert.doesNotMatch(await answer.text(), /database|sqlite|\.ts/i);
  assert.equal((await fetch(new URL('/healthz', server.url))).status, 200);
  assert.ok(server.log.some(({ level }) => level === 'error'));
});

test('each request is one line of the access log', async (t) => {
  const repository = await TestRepository.make(t);
  await repository.put('files/a b', testBytes(100));
  await repository.put('files/big', testBytes(20_000_000));
  let text = '';
  const accessLog = {
    write: (lines: string) => {
      text += lines;
    },
  };
  const server = await repository.serve(t, { accessLog });
  const get = async (path: string, headers = {}) => {
    await (await fetch(new URL(path, server.url), { headers })).arrayBuffer();
  };
  await get('/repos/files/a%20b?token=secret');
  await get('/repos/files/a%20b', { range: 'bytes=0-9' });
  await get('/repos/none');
  await get('/healthz');
  await exchangeRaw(server.port, 'GET /repos/"x\\ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
  const aborted = http.get(new URL('/repos/files/big', server.url), (response) => response.destroy());
  aborted.on('error', () => undefined);
  await until('all are logged', () => text.trimEnd().split('\n').length === 6);
  assert.doesNotMatch(text, /secret/);
  const lines = text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
  for (const line of lines) {
    assert.equal(line.msg, 'request');
    assert.equal(line.remote, '127.0.0.1');
    assert.equal(typeof line.ms, 'number');
  }
  const short = lines.map(({ method, path, status, bytes, range, aborted: isAborted }) => [
    method,
    path,
    status,
    ...(isAborted ? ['aborted'] : [bytes]),
    ...(range === undefined ? [] : [range]),
  ]);
  assert.deepEqual(short, [
    ['GET', '/repos/files/a%20b', 200, 100],
    ['GET', '/repos/files/a%20b', 206, 10, 'bytes=0-9'],
    ['GET', '/repos/none', 404, lines[2].bytes],
    ['GET', '/healthz', 200, 18],
    ['GET', '/repos/"x\\', 400, lines[4].bytes],
    ['GET', '/repos/files/big', 200, 'aborted'],
  ]);
});

test('a connection kept alive serves one request after the other', async (t) => {
  const repository = await TestRepository.make(t);
  await repository.put('files/a', testBytes(100));
  const server = await repository.serve(t);
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  t.after(() => agent.destroy());
  const sockets = new Set<unknown>();
  for (let i = 0; i < 10; i += 1) {
    await new Promise<void>((resolve, reject) => {
      const request = http.get(new URL('/repos/files/a', server.url), { agent }, (response) => {
        sockets.add(response.socket);
        assert.equal(response.headers.connection, 'keep-alive');
        response.resume().on('end', resolve);
      });
      request.on('error', reject);
    });
    await sleep(1);
  }
  assert.equal(sockets.size, 1);
});

test('a connection that asks nothing more is closed, one that is busy is not', async (t) => {
  const repository = await TestRepository.make(t);
  await repository.put('files/a', testBytes(100));
  await repository.put('files/big', testBytes(20_000_000));
  const server = await repository.serve(t, { limits: { keepAliveTimeout: 200 } });
  const ask = (path: string) => {
    const socket = net.connect(server.port, '127.0.0.1');
    socket.on('error', () => undefined);
    socket.write(`GET /repos/files/${path} HTTP/1.1\r\nHost: x\r\n\r\n`);
    return socket;
  };
  const busy = ask('big').pause();
  const idle = ask('a').resume();
  await new Promise((resolve) => idle.once('close', resolve));
  assert.equal(busy.closed, false);
  let received = 0;
  busy.on('data', (chunk: Buffer) => {
    received += chunk.length;
  });
  busy.resume();
  await new Promise((resolve) => busy.once('close', resolve));
  assert.ok(received > 20_000_000);
});
