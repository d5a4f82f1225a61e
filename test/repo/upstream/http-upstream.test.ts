import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import https from 'node:https';
import net, { type AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type ErrorCode, isAirlockError } from '../../../src/errors.ts';
import { isInnerAddress } from '../../../src/repo/upstream/addresses.ts';
import { HttpUpstream } from '../../../src/repo/upstream/http-upstream.ts';
import type { FetchOptions, Upstream } from '../../../src/repo/upstream/upstream.ts';
import { makeCertificate } from '../../support/certificates.ts';
import { needs } from '../../support/needs.ts';
import { Origin } from '../../support/origin.ts';
import { tempDir } from '../../support/temp-dir.ts';
import { digestOf, testBytes } from '../http/support.ts';

function upstream(t: TestContext, url: string, options: Partial<ConstructorParameters<typeof HttpUpstream>[0]> = {}) {
  const made = new HttpUpstream({ url, ...options });
  t.after(() => made.close());
  return made;
}

async function read(from: Upstream, name: string, options: FetchOptions = {}) {
  const answer = await from.fetch(name, options);
  assert.equal(answer.type, 'content');
  if (answer.type !== 'content') throw new Error('no content');
  const pieces: Uint8Array[] = [];
  for await (const piece of answer.body) pieces.push(piece);
  return { ...answer, bytes: Buffer.concat(pieces) };
}

function failsWith(...codes: ErrorCode[]) {
  return (error: unknown) => isAirlockError(error, ...codes) || assert.fail(String(error));
}

test('content comes with what its head says of it', async (t) => {
  const origin = await Origin.start(t);
  const bytes = testBytes(200_000);
  const repr = `sha-256=:${Buffer.from(digestOf(bytes).slice(7), 'hex').toString('base64')}:`;
  const modified = new Date(Date.UTC(2024, 1, 2));
  const headers = { 'repr-digest': repr, 'cache-control': 'max-age=60', 'content-type': 'a/b; c' };
  origin.files.set('/base/a%20b', { bytes, headers, modified });
  const whole = await read(upstream(t, `${origin.url}/base/`), 'a%20b');
  assert.deepEqual(whole.bytes, bytes);
  assert.equal(whole.range, null);
  const etag = `"${digestOf(bytes).slice(7, 23)}"`;
  assert.deepEqual(whole.facts, {
    size: bytes.length,
    etag,
    modified,
    strongValidator: etag,
    digest: digestOf(bytes),
    mediaType: 'a/b',
    freshFor: 60_000,
    age: 0,
    isUnverified: false,
  });
  assert.deepEqual(await upstream(t, `${origin.url}/base`).head('a%20b'), whole.facts);
});

test('ranges and conditions are asked for as the standard says', async (t) => {
  const origin = await Origin.start(t);
  const bytes = testBytes(1000);
  origin.files.set('/x', { bytes, etag: '"1"' });
  const from = upstream(t, origin.url);
  const part = await read(from, 'x', { start: 10, end: 20, validator: '"1"' });
  assert.deepEqual([part.range, part.bytes], [{ start: 10, end: 20 }, bytes.subarray(10, 20)]);
  assert.equal(part.facts.size, 1000);
  const changed = await read(from, 'x', { start: 10, validator: '"0"' });
  assert.deepEqual([changed.range, changed.bytes.length], [null, 1000]);
  const unless = { etag: '"1"', modified: null };
  assert.equal((await from.fetch('x', { unless })).type, 'not-modified');
  assert.equal((await from.fetch('y')).type, 'missing');
  assert.equal(await from.head('y'), undefined);
});

test('a folder that is asked for as if it were a file is no file', async (t) => {
  const origin = await Origin.start(t);
  origin.files.set('/base/folder', (_request, response) =>
    response.writeHead(301, { location: '/base/folder/' }).end(),
  );
  origin.files.set('/base/folder/', { bytes: Buffer.from('<a href="x">') });
  const from = upstream(t, `${origin.url}/base`);
  assert.equal((await from.fetch('folder')).type, 'missing');
  assert.equal(await from.head('folder'), undefined);
  assert.equal(String((await read(from, 'folder/')).bytes), '<a href="x">');
  assert.equal((await from.head('folder/'))?.size, 12);
});

test('answers that cannot be the content are refused', async (t) => {
  const origin = await Origin.start(t);
  const from = upstream(t, origin.url);
  const wrong: [string, number, Record<string, string>, ErrorCode][] = [
    ['no range', 206, {}, 'upstream.unusable'],
    ['another range', 206, { 'content-range': 'bytes 0-4/10' }, 'upstream.unusable'],
    ['nonsense', 206, { 'content-range': 'bytes 5-99/10' }, 'upstream.unusable'],
    ['encoded', 200, { 'content-encoding': 'br' }, 'upstream.unusable'],
    ['304 without a question', 304, {}, 'upstream.failed'],
    ['redirect to nowhere', 302, {}, 'upstream.failed'],
    ['5xx', 503, {}, 'upstream.failed'],
    ['refused', 401, {}, 'upstream.unauthorized'],
    ['past the end', 416, {}, 'upstream.changed'],
  ];
  for (const [name, status, headers, code] of wrong) {
    origin.files.set('/x', (_request, response) => response.writeHead(status, headers).end());
    await assert.rejects(from.fetch('x', { start: 5 }), failsWith(code), name);
  }
  await origin.stop();
  await assert.rejects(from.fetch('x'), failsWith('upstream.unreachable'));
});

test('a body that breaks off or does not move fails', async (t) => {
  const origin = await Origin.start(t);
  const from = upstream(t, origin.url, { limits: { idleTimeout: 200 } });
  origin.files.set('/cut', { bytes: testBytes(300_000), cutAfter: 100_000, cuts: 1 });
  await assert.rejects(read(from, 'cut'), failsWith('upstream.failed'));
  origin.files.set('/stuck', (_request, response) => {
    response.writeHead(200, { 'content-length': '100' }).write('begin');
  });
  await assert.rejects(read(from, 'stuck'), failsWith('upstream.unreachable'));
});

test('redirects are followed; credentials go to their own origin only', async (t) => {
  const [origin, storage] = [await Origin.start(t), await Origin.start(t)];
  const bytes = testBytes(500);
  storage.files.set('/blob?signature=1', { bytes });
  origin.files.set('/x', (_request, response) =>
    response.writeHead(302, { location: `${storage.url}/blob?signature=1` }).end(),
  );
  origin.files.set('/y', (_request, response) => response.writeHead(307, { location: '/z' }).end());
  origin.files.set('/z', { bytes });
  const from = upstream(t, origin.url, { username: 'user', password: 'token', hosts: ['127.0.0.1'] });
  assert.deepEqual((await read(from, 'x', { start: 100, end: 200 })).bytes, bytes.subarray(100, 200));
  const authorization = `Basic ${Buffer.from('user:token').toString('base64')}`;
  assert.equal(origin.asked[0]?.headers.authorization, authorization);
  assert.equal(storage.asked[0]?.headers.authorization, undefined);
  assert.equal(storage.asked[0]?.headers.range, 'bytes=100-199');
  await read(from, 'y');
  assert.equal(origin.of('/z')[0]?.headers.authorization, authorization);
  origin.files.set('/loop', (_request, response) => response.writeHead(302, { location: '/loop' }).end());
  await assert.rejects(from.fetch('loop'), failsWith('upstream.failed'));
  assert.ok(origin.of('/loop').length <= 11);
});

test('no redirect and no name leads to an address that the configuration does not name', async (t) => {
  const [origin, inner] = [await Origin.start(t), await Origin.start(t)];
  inner.files.set('/secret', { bytes: Buffer.from('secret') });
  const from = upstream(t, origin.url.replace('127.0.0.1', 'localhost'));
  const places = ['http://127.0.0.1', 'http://[::ffff:127.0.0.1]', 'http://0x7f.1', 'http://2130706433'];
  for (const place of [...places, 'http://169.254.169.254', 'http://ip6-localhost', 'http://localhost.']) {
    origin.files.set('/x', (_request, response) =>
      response.writeHead(302, { location: `${place}:${inner.port}/secret` }).end(),
    );
    await assert.rejects(from.fetch('x'), failsWith('upstream.address-refused', 'upstream.unreachable'), place);
  }
  assert.deepEqual(inner.asked, []);
});

test('inner addresses are known in every spelling', () => {
  const inner = ['127.0.0.1', '10.1.2.3', '169.254.169.254', '::1', '::', 'fe80::1', 'fd00::1', '::ffff:10.0.0.1'];
  const more = ['::ffff:7f00:1', '64:ff9b::a00:1', '2002:7f00:1::', '100.64.0.1', '0.0.0.0', '224.0.0.1', 'x'];
  for (const address of [...inner, ...more]) assert.equal(isInnerAddress(address), true, address);
  for (const address of ['8.8.8.8', '172.32.0.1', '2606:4700::1111', '64:ff9b::808:808', '::ffff:8.8.8.8']) {
    assert.equal(isInnerAddress(address), false, address);
  }
});

test('certificates of an own authority count for the own origin', needs('openssl'), async (t) => {
  const { key, certificate } = makeCertificate(await tempDir(t), 'localhost', 'DNS:localhost');
  const server = https.createServer(
    { key: readFileSync(key), cert: readFileSync(certificate) },
    (request, response) => {
      if (request.url === '/down') response.writeHead(302, { location: 'http://localhost:1/' }).end();
      else response.end('over TLS');
    },
  );
  await new Promise<void>((resolve) => server.listen(0, 'localhost', resolve));
  t.after(() => server.close());
  const url = `https://localhost:${(server.address() as AddressInfo).port}`;
  const ca = readFileSync(certificate, 'utf8');
  assert.equal(String((await read(upstream(t, url, { ca }), 'x')).bytes), 'over TLS');
  await assert.rejects(upstream(t, url, { ca }).fetch('down'), failsWith('upstream.unusable'));
  await assert.rejects(upstream(t, url).fetch('x'), failsWith('upstream.unreachable'));
});

test('an outgoing proxy is used', async (t) => {
  const [proxy, origin] = [await Origin.start(t), await Origin.start(t)];
  proxy.files.set('http://software.example/x', { bytes: Buffer.from('through') });
  const from = upstream(t, 'http://software.example', { proxy: proxy.url });
  assert.equal(String((await read(from, 'x')).bytes), 'through');
  const tunnels: string[] = [];
  proxy.server.on('connect', (request, socket: net.Socket) => {
    tunnels.push(request.url ?? '');
    const there = net.connect(origin.port, '127.0.0.1', () => {
      socket.write('HTTP/1.1 200 OK\r\n\r\n');
      there.pipe(socket).pipe(there);
    });
    for (const each of [there, socket]) each.on('error', () => undefined);
  });
  await assert.rejects(upstream(t, 'https://software.example', { proxy: proxy.url }).fetch('x'), isAirlockError);
  assert.deepEqual(tunnels, ['software.example:443']);
});

/** Hands out bodies past the parser from 100,000 bytes on. */
const direct = { limits: { directFrom: 100_000 } };

/** Fills a buffer of so many bytes again and again. */
async function readInto(from: Upstream, name: string, room: number, least?: number) {
  const answer = await from.fetch(name);
  assert.ok(answer.type === 'content' && answer.body.read !== undefined, 'it can be read into a buffer');
  const buffer = Buffer.alloc(room);
  const pieces: Buffer[] = [];
  for (;;) {
    const length = await answer.body.read(buffer, least);
    if (length === 0) break;
    pieces.push(Buffer.from(buffer.subarray(0, length)));
  }
  answer.body.destroy();
  return pieces;
}

test('a large body comes whole, whichever way it is read', async (t) => {
  const origin = await Origin.start(t);
  const bytes = testBytes(3_000_001);
  origin.files.set('/large', { bytes, etag: '"1"' });
  origin.files.set('/small', { bytes: bytes.subarray(0, 99_999) });
  origin.files.set('/endless', { bytes, noLength: true });
  const from = upstream(t, origin.url, direct);
  for (const name of ['large', 'small', 'endless', 'large']) {
    const expected = name === 'small' ? bytes.subarray(0, 99_999) : bytes;
    assert.ok((await read(from, name)).bytes.equals(expected), name);
  }
  assert.ok((await read(from, 'large', { start: 7, validator: '"1"' })).bytes.equals(bytes.subarray(7)));
  for (const room of [1000, 65_536, 100_000, 4_000_000]) {
    assert.ok(Buffer.concat(await readInto(from, 'large', room)).equals(bytes), `${room}`);
    const whole = await readInto(from, 'large', room, room);
    assert.ok(Buffer.concat(whole).equals(bytes), `${room} at least`);
    assert.ok(whole.slice(0, -1).every((piece) => piece.length === room));
  }
  for (const name of ['small', 'endless']) {
    const answer = await from.fetch(name);
    assert.ok(answer.type === 'content');
    assert.equal(answer.body.read, undefined, name);
    answer.body.destroy();
  }
});

test('a large body that breaks off gives all that came, and then fails', async (t) => {
  const origin = await Origin.start(t);
  const bytes = testBytes(1_000_000);
  const from = upstream(t, origin.url, direct);
  for (const cutAfter of [0, 50_000, 700_000]) {
    origin.files.set('/x', { bytes, cutAfter, cuts: 1 });
    const answer = await from.fetch('x');
    assert.ok(answer.type === 'content' && answer.body.read !== undefined);
    const into = Buffer.alloc(bytes.length);
    let length = 0;
    const all = async () => {
      for (;;) length += (await answer.body.read?.(into.subarray(length), into.length)) ?? 0;
    };
    await assert.rejects(all(), failsWith('upstream.failed'));
    assert.ok(length > cutAfter - 65_536 && length <= cutAfter, `${length} of ${cutAfter}`);
    assert.ok(into.subarray(0, length).equals(bytes.subarray(0, length)));
    await assert.rejects(answer.body.read(into), failsWith('upstream.failed'));
  }
});

test('of a large body no more is read than somebody asks for', async (t) => {
  const origin = await Origin.start(t);
  origin.files.set('/x', { bytes: Buffer.alloc(64 * 2 ** 20) });
  const answer = await upstream(t, origin.url, direct).fetch('x');
  assert.ok(answer.type === 'content' && answer.body.read !== undefined);
  assert.equal(await answer.body.read(Buffer.alloc(1000), 1000), 1000);
  for (let before = -1; before !== origin.sent('/x'); ) {
    before = origin.sent('/x');
    await sleep(100);
  }
  assert.ok(origin.sent('/x') < 32 * 2 ** 20, 'what the system buffers, and no more');
  answer.body.destroy();
});

test('an idle time, and an interruption, end a large body', async (t) => {
  const origin = await Origin.start(t);
  origin.files.set('/x', (_request, response) => {
    response.writeHead(200, { 'content-length': '1000000' }).write(Buffer.alloc(200_000));
  });
  const slow = upstream(t, origin.url, { limits: { directFrom: 100_000, idleTimeout: 200 } });
  await assert.rejects(read(slow, 'x'), failsWith('upstream.unreachable'));
  const interruption = new AbortController();
  const reading = read(upstream(t, origin.url, direct), 'x', { signal: interruption.signal });
  setTimeout(() => interruption.abort(), 100);
  await assert.rejects(reading, failsWith('interrupted'));
});

test('a large body over TLS', needs('openssl'), async (t) => {
  const place = await tempDir(t);
  const { key, certificate } = makeCertificate(place, 'site', 'DNS:localhost');
  const bytes = testBytes(5_000_000);
  const server = https.createServer(
    { key: readFileSync(key), cert: readFileSync(certificate) },
    (_request, response) => void response.writeHead(200, { 'content-length': String(bytes.length) }).end(bytes),
  );
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close().closeAllConnections());
  const { port } = server.address() as AddressInfo;
  const ca = readFileSync(certificate, 'utf8');
  const from = upstream(t, `https://localhost:${port}`, { ca, ...direct });
  assert.ok((await read(from, 'x')).bytes.equals(bytes));
  assert.ok(Buffer.concat(await readInto(from, 'x', 300_000)).equals(bytes));
});
