/** Small copies that are asked for often come from the server's memory. */
import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { test } from 'node:test';
import { Counters } from '../../src/proxy/counters.ts';
import { HotCopies } from '../../src/proxy/hot-copies.ts';
import { readKept } from '../../src/proxy/kept.ts';
import { digestOf, exchangeRaw, metric, testBytes, until } from '../repo/http/support.ts';
import { Origin } from '../support/origin.ts';
import { get, type Router, type RouterOptions, router } from './router.ts';

const HOUR = { 'cache-control': 'max-age=3600' };

/** A router that has fetched a small file. */
async function warmed(t: TestContext, path: string, options: RouterOptions = {}) {
  const origin = await Origin.start(t);
  const bytes = testBytes(4096);
  origin.files.set(path, { bytes, etag: '"1"', headers: HOUR });
  const made = await router(t, { conductors: [origin], ...options });
  const url = `${made.url}${path}`;
  await get(url);
  await until('it is kept', () => made.fills() === 0);
  return { origin, made, url, bytes };
}

/** One plain request, byte for byte. */
function raw(made: Router, path: string, fields = ''): Promise<string> {
  const { host, port } = new URL(made.url);
  return exchangeRaw(Number(port), `GET ${path} HTTP/1.1\r\nHost: ${host}\r\n${fields}\r\n`, { end: true });
}

for (const path of ['/repos/x/small', '/upstreams/s/small']) {
  test(`${path}: from memory as from the store, with its age, counted and logged`, async (t) => {
    const { made, url, bytes } = await warmed(t, path);
    for (const seconds of [0, 5, 5, 70]) {
      made.clock += seconds * 1000;
      const hit = await get(url);
      assert.deepEqual([hit.status, hit.cache, hit.headers.get('cache-status')], [200, 'HIT', 'airlock; hit']);
      assert.ok(hit.body.equals(bytes));
    }
    const answer = await raw(made, path);
    assert.match(answer, /^HTTP\/1\.1 200 OK\r\n/);
    assert.match(answer, /\r\nX-Cache: HIT\r\nCache-Status: airlock; hit\r\nAge: 80\r\n/);
    assert.match(await raw(made, path, 'If-None-Match: "1"\r\n'), /^HTTP\/1\.1 304 [\s\S]*\r\nX-Cache: HIT\r\n/);
    const lines = (await made.access()).filter((line) => line.cache === 'airlock; hit');
    assert.deepEqual([...new Set(lines.map((line) => line.path))], [path]);
    assert.equal(lines.length, 6);
    const { url: base } = made;
    const server = { url: base, port: 0, close: async () => undefined };
    assert.equal(await metric(server, 'airlock_proxy_hits_total'), 6);
    assert.equal(await metric(server, 'airlock_memory_cache_misses_total'), 1, 'it was loaded, and hashed, once');
  });
}

test('memory answers no longer than the copy is current, and not who asks for what is current', async (t) => {
  const { origin, made, url } = await warmed(t, '/repos/x/small');
  await get(url);
  const next = testBytes(4096, 2);
  origin.files.set('/repos/x/small', { bytes: next, etag: '"2"', headers: HOUR });
  assert.ok((await get(url, { headers: { 'cache-control': 'no-cache' } })).body.equals(next));
  await until('it is kept', () => made.fills() === 0);
  assert.ok((await get(url)).body.equals(next), 'the copy that took its place');
  made.clock += 3601_000;
  origin.files.set('/repos/x/small', { bytes: testBytes(4096, 3), etag: '"3"', headers: HOUR });
  assert.ok((await get(url)).body.equals(testBytes(4096, 3)));
});

test('a copy that another process drops is not served from memory', async (t) => {
  const { origin, made, url } = await warmed(t, '/repos/x/small');
  await get(url);
  await made.repository.catalog.transaction((tx) => tx.dropPulled('repos/x/small'));
  await new Promise((resolve) => setTimeout(resolve, 5));
  assert.equal((await get(url)).cache, 'MISS');
  assert.equal(origin.of('/repos/x/small').length, 2);
});

test('what a repository here holds comes first, also when the copy is in memory', async (t) => {
  const { made, url, bytes } = await warmed(t, '/repos/x/small');
  for (let i = 0; i < 2; i += 1) assert.ok((await get(url)).body.equals(bytes));
  const own = testBytes(1000, 7);
  await made.repository.put('x/small', own);
  await new Promise((resolve) => setTimeout(resolve, 5));
  for (let i = 0; i < 3; i += 1) {
    const answer = await get(url);
    assert.deepEqual([answer.cache, answer.body.equals(own)], [null, true]);
  }
});

test('bytes that rotted on disk do not come into memory: they are fetched again', async (t) => {
  const { origin, made, url, bytes } = await warmed(t, '/repos/x/small');
  await made.repository.blobs.delete(digestOf(bytes));
  const again = await get(url);
  assert.deepEqual([again.cache, again.body.equals(bytes)], ['MISS', true]);
  assert.equal(origin.of('/repos/x/small').length, 2);
});

test('without room in memory, hits come from the store', async (t) => {
  const { url, bytes } = await warmed(t, '/repos/x/small', { memoryCache: 0 });
  for (let i = 0; i < 3; i += 1) {
    const hit = await get(url);
    assert.deepEqual([hit.cache, hit.body.equals(bytes)], ['HIT', true]);
  }
});

test('a copy that was replaced while somebody was about to bring it into memory stays outside', async (t) => {
  const { made, bytes } = await warmed(t, '/repos/x/small');
  const { catalog } = made.repository;
  const pulled = await catalog.pulled('repos/x/small');
  const facts = pulled && readKept(pulled);
  assert.ok(pulled && facts);
  const digest = await made.repository.store(testBytes(10));
  await catalog.transaction((tx) => tx.keepPulled({ ...pulled, digest, size: 10 }));
  const touch = () => undefined;
  const hot = new HotCopies({ catalog, copies: { touch }, counters: new Counters(), now: Date.now });
  const body = { bytes, text: null, hold: () => () => undefined };
  hot.keepIn({ get: () => body, delete: () => undefined, load: async () => body });
  assert.equal(await hot.warm('repos/x/small', { pulled, facts }, Number.POSITIVE_INFINITY), undefined);
  assert.equal(hot.peek('repos/x/small'), undefined);
});
