import assert from 'node:assert/strict';
import { describe, type TestContext, test } from 'node:test';
import supertest from 'supertest';
import type { RunningServer } from '../../../src/repo/http/server.ts';
import { digestOf, metric, PUBLISHED, TestRepository, testBytes, until } from './support.ts';

const small = testBytes(5000);
const medium = testBytes(300_000, 2);
const big = testBytes(3_000_000, 3);
const IMAGE = '/repos/images/6.3/SSR-6.3.0.iso';
const MODIFIED = new Date(PUBLISHED).toUTCString();

async function start(t: TestContext): Promise<{ repository: TestRepository; server: RunningServer }> {
  const repository = await TestRepository.make(t);
  await repository.put('images/6.3/SSR-6.3.0.iso', big, { kind: 'image' });
  await repository.put('images/6.3/SSR-6.3.0.iso.sha256sum', Buffer.from(digestOf(big).slice(7)));
  await repository.put('files/small.bin', small);
  await repository.put('files/medium.bin', medium);
  await repository.put('files/empty', Buffer.alloc(0));
  return { repository, server: await repository.serve(t) };
}

/** Whole body as bytes, whatever its type. */
function get(server: RunningServer, path: string): supertest.Test {
  return supertest(server.url)
    .get(path)
    .buffer(true)
    .parse((response, done) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () => done(null, Buffer.concat(chunks)));
    });
}

test('content comes whole, with everything that describes it', async (t) => {
  const { server } = await start(t);
  for (const [path, bytes] of [
    [IMAGE, big],
    ['/repos/files/small.bin', small],
    ['/repos/files/medium.bin', medium],
    ['/repos/files/empty', Buffer.alloc(0)],
  ] as const) {
    for (const round of ['cold', 'warm', 'hot']) {
      const response = await get(server, path).expect(200);
      assert.deepEqual(response.body, bytes, `${path} ${round}`);
      assert.equal(response.headers['content-length'], String(bytes.length));
      assert.equal(response.headers.etag, `"${digestOf(bytes)}"`);
      const base64 = Buffer.from(digestOf(bytes).slice(7), 'hex').toString('base64');
      assert.equal(response.headers['repr-digest'], `sha-256=:${base64}:`);
      assert.equal(response.headers['last-modified'], MODIFIED);
      assert.equal(response.headers['accept-ranges'], 'bytes');
      assert.equal(response.headers['x-content-type-options'], 'nosniff');
      assert.ok(response.headers.date);
    }
  }
});

test('types and caching follow the kind of file', async (t) => {
  const { server } = await start(t);
  const image = await get(server, IMAGE);
  assert.equal(image.headers['content-type'], 'application/x-iso9660-image');
  assert.equal(image.headers['cache-control'], 'public, max-age=31536000, immutable');
  const sidecar = await get(server, `${IMAGE}.sha256sum`);
  assert.equal(sidecar.headers['content-type'], 'text/plain; charset=utf-8');
  assert.equal(sidecar.headers['cache-control'], 'no-cache');
  assert.equal(sidecar.body.toString(), digestOf(big).slice(7));
});

test('HEAD has the fields of GET, and no body', async (t) => {
  const { server } = await start(t);
  for (const path of [IMAGE, '/repos/files/small.bin', '/repos/files/', '/repos/']) {
    const { headers: ofGet } = await get(server, path).expect(200);
    const head = await supertest(server.url).head(path).expect(200);
    assert.equal(head.text, undefined);
    const { date: _date, ...fields } = ofGet;
    const { date: _other, ...sameFields } = head.headers;
    assert.deepEqual(sameFields, fields);
  }
});

test('HEAD ignores Range', async (t) => {
  const { server } = await start(t);
  const head = await supertest(server.url).head(IMAGE).set('Range', 'bytes=0-9').expect(200);
  assert.equal(head.headers['content-length'], String(big.length));
});

test('single ranges, from memory and from disk', async (t) => {
  const { server } = await start(t);
  for (const [path, bytes] of [
    [IMAGE, big],
    ['/repos/files/small.bin', small],
    ['/repos/files/medium.bin', medium],
  ] as const) {
    const size = bytes.length;
    for (const [range, start, end] of [
      ['bytes=0-0', 0, 1],
      ['bytes=100-', 100, size],
      ['bytes=-100', size - 100, size],
      [`bytes=${size - 1}-${size + 1000}`, size - 1, size],
      ['bytes=0-', 0, size],
    ] as const) {
      const response = await get(server, path).set('Range', range).expect(206);
      assert.deepEqual(response.body, bytes.subarray(start, end), `${path} ${range}`);
      assert.equal(response.headers['content-range'], `bytes ${start}-${end - 1}/${size}`);
      assert.equal(response.headers['content-length'], String(end - start));
      assert.equal(response.headers.etag, `"${digestOf(bytes)}"`);
      assert.ok(response.headers['repr-digest']);
    }
  }
});

test('several ranges are parts with exact lengths', async (t) => {
  const { server } = await start(t);
  for (const [path, bytes] of [
    [IMAGE, big],
    ['/repos/files/small.bin', small],
  ] as const) {
    const response = await get(server, path).set('Range', 'bytes=-10,0-99,1000-4000').expect(206);
    const type = response.headers['content-type'] ?? '';
    const boundary = /^multipart\/byteranges; boundary=(\S+)$/.exec(type)?.[1];
    assert.ok(boundary);
    const body = response.body as Buffer;
    assert.equal(response.headers['content-length'], String(body.length));
    const size = bytes.length;
    const parts: Buffer[] = [];
    for (const [start, end] of [
      [size - 10, size],
      [0, 100],
      [1000, 4001],
    ] as const) {
      const partType = path === IMAGE ? 'application/x-iso9660-image' : 'application/octet-stream';
      const head = `--${boundary}\r\nContent-Type: ${partType}\r\nContent-Range: bytes ${start}-${end - 1}/${size}\r\n\r\n`;
      parts.push(Buffer.from(head), bytes.subarray(start, end), Buffer.from('\r\n'));
    }
    parts.push(Buffer.from(`--${boundary}--\r\n`));
    assert.deepEqual(body, Buffer.concat(parts));
  }
});

test('bad ranges are ignored or answered 416, as the list of faults says', async (t) => {
  const { server } = await start(t);
  for (const [range, status] of [
    ['bytes=-0', 416],
    ['bytes=5-2', 200],
    ['bytes=18446744073709551616-', 416],
    ['bytes=0-18446744073709551616', 206],
    [`bytes=${big.length}-`, 416],
    ['lines=1-2', 200],
    [`bytes=${Array.from({ length: 1300 }, (_, i) => `0-${i}`).join(',')}`, 206],
    [`bytes=${Array.from({ length: 1300 }, () => '0-').join(',')}`, 200],
  ] as const) {
    const response = await get(server, IMAGE).set('Range', range);
    assert.equal(response.status, status, range.slice(0, 40));
    if (status === 416) assert.equal(response.headers['content-range'], `bytes */${big.length}`);
    if (status === 200) assert.deepEqual(response.body, big);
  }
  assert.equal(await metric(server, 'airlock_http_buffer_bytes'), 0);
});

test('a range of an empty file', async (t) => {
  const { server } = await start(t);
  const response = await get(server, '/repos/files/empty').set('Range', 'bytes=0-').expect(416);
  assert.equal(response.headers['content-range'], 'bytes */0');
});

test('conditions: 304, 412, and If-Range', async (t) => {
  const { server } = await start(t);
  const etag = `"${digestOf(big)}"`;
  const cached = await get(server, IMAGE).set('If-None-Match', etag).expect(304);
  assert.equal(cached.headers.etag, etag);
  assert.equal(cached.headers['cache-control'], 'public, max-age=31536000, immutable');
  assert.equal((cached.body as Buffer).length, 0);
  await get(server, IMAGE).set('If-Modified-Since', MODIFIED).expect(304);
  await get(server, '/repos/files/small.bin')
    .set('If-None-Match', `"${digestOf(small)}"`)
    .expect(304);
  await get(server, IMAGE).set('If-Match', '"other"').expect(412);
  await get(server, IMAGE).set('If-Unmodified-Since', 'Thu, 01 Jan 1970 00:00:00 GMT').expect(412);
  await get(server, IMAGE).set('If-None-Match', etag).set('Range', 'bytes=0-1').expect(304);

  const range = (ifRange: string) => get(server, IMAGE).set('Range', 'bytes=0-1').set('If-Range', ifRange);
  await range(etag).expect(206);
  await range(`W/${etag}`).expect(200);
  await range('"other"').expect(200);
  await range(MODIFIED).expect(206);
  await range('Thu, 01 Jan 1970 00:00:00 GMT').expect(200);
});

test('a replaced file is seen at once, also by a warm cache and from another process', async (t) => {
  const { repository, server } = await start(t);
  const path = '/repos/files/small.bin';
  assert.deepEqual((await get(server, path)).body, small);
  assert.deepEqual((await get(server, path)).body, small);
  const other = testBytes(6000, 9);
  await repository.put('files/small.bin', other);
  assert.deepEqual((await get(server, path)).body, other);

  const elsewhere = await TestRepository.openCatalog(repository.dir);
  await elsewhere.transaction((tx) => tx.publish('files', { reason: 'test', remove: ['small.bin'] }));
  await elsewhere.close();
  await get(server, path).expect(404);
  await elsewhere.close().catch(() => undefined);
});

test('queries are ignored', async (t) => {
  const { server } = await start(t);
  await get(server, `${IMAGE}?download=1&x=../..`).expect(200);
  await get(server, '/repos/files/small.bin?x').expect(200);
});

test('names with odd characters', async (t) => {
  const repository = await TestRepository.make(t);
  const names = ['a b', 'ünï', '100%', 'q?x', 'h#x', "it's <b>", 'a+b~1@c=d,e;f', '__proto__', 'a:b', '%41', '日本'];
  for (const [index, name] of names.entries()) await repository.put(`files/d/${name}`, testBytes(100 + index, index));
  const server = await repository.serve(t);
  for (const [index, name] of names.entries()) {
    for (const round of ['cold', 'warm']) {
      const response = await get(server, `/repos/files/d/${encodeURIComponent(name)}`);
      assert.equal(response.status, 200, `${name} ${round}`);
      assert.deepEqual(response.body, testBytes(100 + index, index), name);
    }
  }
  await get(server, '/repos/__proto__').expect(404);
  await get(server, '/repos/constructor').expect(404);
  await get(server, '/repos/files/constructor').expect(404);
  await get(server, '/constructor').expect(404);
});

describe('the memory cache', () => {
  test('holds small bodies only, within its bound', async (t) => {
    const repository = await TestRepository.make(t);
    const bodies = Array.from({ length: 20 }, (_, i) => testBytes(100_000, i + 1));
    for (const [i, body] of bodies.entries()) await repository.put(`files/f${i}`, body);
    await repository.put('files/big', big);
    const server = await repository.serve(t, { memoryCache: 1_000_000 });
    for (let round = 0; round < 2; round += 1) {
      for (const [i, body] of bodies.entries()) assert.deepEqual((await get(server, `/repos/files/f${i}`)).body, body);
      assert.deepEqual((await get(server, '/repos/files/big')).body, big);
    }
    assert.ok((await metric(server, 'airlock_memory_cache_bytes')) <= 1_000_000);
    assert.ok((await metric(server, 'airlock_memory_cache_misses_total')) > 20);
    await get(server, '/repos/files/f19');
    assert.equal(await metric(server, 'airlock_memory_cache_hits_total'), 1);
  });

  test('can be switched off', async (t) => {
    const repository = await TestRepository.make(t);
    await repository.put('files/small', small);
    const server = await repository.serve(t, { memoryCache: 0 });
    for (let i = 0; i < 3; i += 1) assert.deepEqual((await get(server, '/repos/files/small')).body, small);
    assert.equal(await metric(server, 'airlock_memory_cache_bytes'), 0);
  });
});

test('wrong paths are not remembered', async (t) => {
  const { repository, server } = await start(t);
  for (let i = 0; i < 50; i += 1) await get(server, `/repos/files/no-${i}`).expect(404);
  await repository.put('files/no-7', small);
  await get(server, '/repos/files/no-7').expect(200);
});

test('counters tell what happened', async (t) => {
  const { server } = await start(t);
  await get(server, '/repos/files/small.bin');
  await get(server, IMAGE);
  await get(server, '/repos/nothing').expect(404);
  await until('all counted', async () => (await metric(server, 'airlock_http_in_flight')) === 1);
  const text = (await supertest(server.url).get('/metrics')).text;
  assert.match(text, /airlock_http_requests_total\{class="content",status="200"\} 2/);
  assert.match(text, /airlock_http_requests_total\{class="content",status="404"\} 1/);
  assert.match(text, /# TYPE airlock_http_request_duration_seconds histogram/);
  assert.ok((await metric(server, 'airlock_http_sent_bytes_total')) >= small.length + big.length);
  assert.equal(await metric(server, 'airlock_blobs'), 5);
});
