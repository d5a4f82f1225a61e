/** What clients and the access log are told of how content came: X-Cache, Cache-Status (RFC 9211), Age (RFC 9111, 5.1). */
import assert from 'node:assert/strict';
import http from 'node:http';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { digestOf, metric, testBytes, until } from '../repo/http/support.ts';
import { Origin } from '../support/origin.ts';
import { type Answer, get, type Router, type RouterOptions, router } from './router.ts';

async function site(t: TestContext, options: RouterOptions = {}) {
  const origin = await Origin.start(t);
  return { origin, made: await router(t, { conductors: [origin], ...options }) };
}

function told({ headers, status }: Answer): unknown[] {
  return [status, headers.get('x-cache'), headers.get('cache-status'), headers.get('age')];
}

/** Of the last request for a path. */
async function logged(made: Router, path: string): Promise<string | undefined> {
  return (await made.access()).findLast((line) => line.path === path)?.cache;
}

test('miss, hit, still the same, replaced, stale: each says what it is', async (t) => {
  const { origin, made } = await site(t);
  const path = '/repos/x/metadata';
  const url = `${made.url}${path}`;
  const put = (seed: number) =>
    origin.files.set(path, {
      bytes: testBytes(5000, seed),
      etag: `"${seed}"`,
      headers: { 'cache-control': 'max-age=60' },
    });
  put(1);
  const later = (seconds: number) => {
    made.clock += seconds * 1000;
  };
  const replaced = () => {
    put(2);
    later(61);
  };
  const broken = () => {
    origin.broken = 500;
    later(100);
  };
  const stale = 'airlock; hit; ttl=-40; detail=upstream.failed';
  const steps: [string, () => void, unknown[]][] = [
    ['miss', () => later(0), [200, 'MISS', 'airlock; fwd=miss; stored', null]],
    ['hit', () => later(0), [200, 'HIT', 'airlock; hit', '0']],
    ['older', () => later(30), [200, 'HIT', 'airlock; hit', '30']],
    ['still the same', () => later(31), [200, 'HIT', 'airlock; fwd=stale; fwd-status=304', '0']],
    ['replaced', replaced, [200, 'MISS', 'airlock; fwd=stale; stored', '0']], // given when it was kept
    ['unreachable', broken, [200, 'STALE', stale, '100']],
  ];
  for (const [what, change, expected] of steps) {
    change();
    assert.deepEqual(told(await get(url)), expected, what);
    assert.equal(await logged(made, path), expected[2], what);
    await until('it is kept', () => made.fills() === 0);
  }
});

test('ranges, conditions and HEAD of what is kept say it, too', async (t) => {
  const { origin, made } = await site(t);
  const path = '/repos/x/a.iso';
  const bytes = testBytes(5000);
  origin.files.set(path, { bytes, etag: `"${digestOf(bytes)}"` });
  const url = `${made.url}${path}`;
  await get(url);
  await until('it is kept', () => made.fills() === 0);
  made.clock += 5000;
  const hit = ['HIT', 'airlock; hit', '5'];
  assert.deepEqual(told(await get(url, { headers: { range: 'bytes=1-2' } })), [206, ...hit]);
  assert.deepEqual(told(await get(url, { headers: { 'if-none-match': `"${digestOf(bytes)}"` } })), [304, ...hit]);
  assert.deepEqual(told(await get(url, { method: 'HEAD' })), [200, ...hit]);
});

test('who joins is told so, and counted', async (t) => {
  const { origin, made } = await site(t);
  const path = '/repos/x/a.iso';
  const bytes = testBytes(3_000_000);
  origin.files.set(path, { bytes, etag: '"1"', pace: 5 });
  const first = get(`${made.url}${path}`);
  await until('it has begun', () => origin.sent(path) > 0);
  const second = await get(`${made.url}${path}`);
  assert.deepEqual(told(second), [200, 'MISS', 'airlock; fwd=miss; collapsed', null]);
  assert.deepEqual(told(await first), [200, 'MISS', 'airlock; fwd=miss; stored', null]);
  const server = { url: made.url, port: 0, close: async () => undefined };
  assert.equal(await metric(server, 'airlock_proxy_joined_total'), 1);
  const lines = (await made.access()).filter((line) => line.path === path).map(({ cache }) => cache);
  assert.deepEqual(lines.sort(), ['airlock; fwd=miss; collapsed', 'airlock; fwd=miss; stored']);
});

test('content that comes out of another cache is as old as that says, and then older', async (t) => {
  const { origin, made } = await site(t);
  const path = '/repos/x/metadata';
  origin.files.set(path, { bytes: testBytes(10), headers: { age: '20', 'cache-control': 'max-age=60' } });
  assert.deepEqual(told(await get(`${made.url}${path}`)), [200, 'MISS', 'airlock; fwd=miss; stored', '20']);
  await until('it is kept', () => made.fills() === 0);
  made.clock += 10_000;
  assert.deepEqual(told(await get(`${made.url}${path}`)), [200, 'HIT', 'airlock; hit', '30']);
  made.clock += 31_000;
  const same = await get(`${made.url}${path}`);
  assert.deepEqual(told(same), [200, 'HIT', 'airlock; fwd=stale; fwd-status=304', '20'], 'it was the same 20 s ago');
});

test('the access log says why nothing was served', async (t) => {
  const { origin, made } = await site(t, { retry: { attempts: 1 } });
  origin.files.set('/repos/x/page.rpm', {
    bytes: Buffer.from('<!DOCTYPE html>'),
    headers: { 'content-type': 'text/html' },
  });
  origin.files.set('/repos/x/locked', (_request, response) => response.writeHead(401).end());
  const bytes = testBytes(50_000);
  origin.files.set('/repos/x/wrong.iso', { bytes, etag: `"${digestOf(testBytes(1))}"` });
  const cases: [path: string, init: RequestInit, status: number | 'cut', cache: string][] = [
    ['/repos/none/x', {}, 404, 'airlock; detail=missing'],
    ['/repos/x/page.rpm', {}, 502, 'airlock; detail=upstream.unusable'],
    ['/repos/x/locked', {}, 502, 'airlock; detail=upstream.unauthorized'],
    ['/repos/x/other', { headers: { 'cache-control': 'only-if-cached' } }, 504, 'airlock; detail=proxy.not-cached'],
    ['/repos/x/wrong.iso', {}, 'cut', 'airlock; fwd=miss; stored; detail=upstream.unusable'],
  ];
  for (const [path, init, status, cache] of cases) {
    const answer = await get(`${made.url}${path}`, init).then(
      (each) => each.status,
      () => 'cut',
    );
    assert.equal(answer, status, path);
    assert.equal(await logged(made, path), cache, path);
  }
  await origin.stop();
  assert.equal((await get(`${made.url}/repos/x/gone`)).status, 504);
  assert.equal(await logged(made, '/repos/x/gone'), 'airlock; detail=upstream.unreachable');
});

test('a request for a host that is not configured is refused, and the log says so', async (t) => {
  const { made } = await site(t);
  const { hostname, port } = new URL(made.url);
  const target = 'http://elsewhere.example/x';
  const response = await new Promise<http.IncomingMessage>((resolve) => {
    http.get({ hostname, port, path: target, agent: false }, resolve);
  });
  response.resume();
  assert.equal(response.statusCode, 403);
  await sleep(50);
  assert.equal(await logged(made, target), 'airlock; detail=proxy.refused');
});
