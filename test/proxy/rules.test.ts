/** What can be set of a router: how long things are believed, how patient it is, and who gets how much. */
import assert from 'node:assert/strict';
import http from 'node:http';
import { test } from 'node:test';
import { retryDelay } from '../../src/proxy/rules.ts';
import { testBytes, until } from '../repo/http/support.ts';
import { Origin } from '../support/origin.ts';
import { get, router } from './router.ts';
import { QUICK, read, scene, sourceAt } from './scene.ts';

const MiB = 1024 * 1024;
const MINUTE = 60_000;

test('each class of content is current for as long as is configured, whatever its source says', async (t) => {
  const origin = await Origin.start(t);
  const paths = {
    metadata: '/upstreams/s/x.sha256sum',
    listings: '/upstreams/s/folder/',
    repodata: '/upstreams/s/repodata/repomd.xml',
  };
  for (const path of Object.values(paths)) {
    origin.files.set(path, { bytes: Buffer.from('<repomd></repomd>'), headers: { 'cache-control': 'no-cache' } });
  }
  const fresh = { metadata: 5 * MINUTE, listings: 10 * MINUTE, repodata: 20 * MINUTE };
  const made = await router(t, { conductors: [origin], fresh });
  for (const [kind, path] of Object.entries(paths)) {
    const ask = async () => (await get(`${made.url}${path}`)).cache;
    assert.equal(await ask(), 'MISS', kind);
    await until('it is kept', () => made.fills() === 0);
    const time = fresh[kind as keyof typeof fresh];
    made.clock += time - 1000;
    assert.equal(await ask(), 'HIT');
    assert.equal(origin.of(path).length, 1, `${kind} is current`);
    made.clock += 2000;
    assert.equal(await ask(), 'HIT');
    assert.equal(origin.of(path).length, 2, `${kind} is asked for again`);
  }
});

test('stale content is served for as long as is configured', async (t) => {
  const origin = await Origin.start(t);
  const path = '/repos/x/a';
  origin.files.set(path, { bytes: testBytes(100), headers: { 'cache-control': 'max-age=600' } });
  const made = await router(t, { conductors: [origin], stale: 60 * MINUTE });
  const url = `${made.url}${path}`;
  await get(url);
  await until('it is kept', () => made.fills() === 0);
  origin.broken = 503;
  made.clock += 69 * MINUTE;
  const stale = await get(url);
  assert.deepEqual([stale.status, stale.cache, stale.headers.get('age')], [200, 'STALE', String(69 * 60)]);
  assert.match(stale.headers.get('cache-status') ?? '', /^airlock; hit; ttl=-3540; detail=upstream\.failed$/);
  made.clock += 2 * MINUTE;
  assert.equal((await get(url)).status, 502);
  origin.broken = undefined;
  assert.equal((await get(url)).status, 200, 'it was not forgotten, and is current again');
});

test('how long it is believed that there is nothing can be set, to nothing at all', async (t) => {
  const origin = await Origin.start(t);
  for (const [missing, asked] of [
    [60_000, 1],
    [0, 3],
  ] as const) {
    const path = `/repos/x/${missing}`;
    const { url } = await router(t, { conductors: [origin], missing });
    for (let i = 0; i < 3; i += 1) assert.equal((await get(`${url}${path}`)).status, 404);
    assert.equal(origin.of(path).length, asked);
  }
});

test('delays between rounds grow, with jitter, up to the longest', () => {
  const rules = { attempts: 0, timeout: 0, firstDelay: 30_000, maxDelay: 3_600_000, abandonBelow: 0, abandonAfter: 0 };
  for (const [attempt, most] of [
    [1, 30_000],
    [2, 60_000],
    [5, 480_000],
    [9, 3_600_000],
    [200, 3_600_000],
  ] as const) {
    const delays = Array.from({ length: 50 }, () => retryDelay(rules, attempt));
    for (const delay of delays) assert.ok(delay >= most / 2 && delay <= most, `${attempt}: ${delay}`);
    assert.ok(new Set(delays).size > 10);
  }
});

test('a file is given up after so many attempts, and after so much time', async (t) => {
  const origin = await Origin.start(t);
  const bytes = testBytes(2 * MiB);
  for (const [name, retry, least] of [
    ['attempts.iso', { attempts: 2, timeout: 60_000 }, 1],
    ['time.iso', { attempts: 0, timeout: 300 }, 3],
  ] as const) {
    origin.files.set(`/repos/${name}`, { bytes, etag: '"1"', cutAfter: MiB, cuts: 1 });
    const { pull, log } = await scene(t, { conductors: [sourceAt(origin)], retry });
    const artifact = await pull.open(`repos/${name}`);
    origin.broken = 500;
    await until('it is given up', () => pull.fills.size === 0);
    await artifact?.close();
    origin.broken = undefined;
    assert.ok(origin.of(`/repos/${name}`).length > least, 'it was asked for again');
    assert.ok(log.some(({ message }) => message === 'fetching a file failed'));
  }
});

test('what nobody waits for is finished, or given up where little is done, and then gone on with', async (t) => {
  const origin = await Origin.start(t);
  const bytes = testBytes(24 * MiB);
  const start = async (path: string, abandonBelow: number) => {
    origin.files.set(`/${path}`, { bytes, etag: '"1"', pace: 2 });
    const made = await scene(t, { conductors: [sourceAt(origin)], retry: { ...QUICK, abandonBelow } });
    const artifact = await made.pull.open(path);
    await artifact?.readAt(Buffer.alloc(1), 5 * MiB);
    return { ...made, artifact };
  };
  const finished = await start('repos/finished.iso', 0);
  const abandoned = await start('repos/abandoned.iso', 0.9);
  const waited = await start('repos/waited.iso', 0.9);
  const rest = waited.pull.pull('repos/waited.iso');
  for (const { artifact } of [finished, abandoned, waited]) await artifact?.close();
  await until('it is given up', () => abandoned.pull.counters.abandoned === 1);
  assert.equal(abandoned.pull.counters.failedFills, 0);
  assert.ok(origin.sent('/repos/abandoned.iso') < bytes.length);
  assert.ok((await read(abandoned.pull, 'repos/abandoned.iso')).bytes.equals(bytes));
  assert.match(origin.of('/repos/abandoned.iso').at(-1)?.headers.range ?? '', /^bytes=[1-9]\d{5,}-$/);
  assert.equal(abandoned.pull.counters.fetched, bytes.length, 'no byte was fetched twice');
  await until('it is finished', () => finished.pull.counters.stored === 1);
  assert.ok(await rest, 'somebody waited without reading');
});

/** Bytes that a client at an address of its own gets within a time. */
function receive(url: string, localAddress: string, milliseconds: number): Promise<number> {
  return new Promise((resolve, reject) => {
    let bytes = 0;
    const request = http.get(url, { localAddress, agent: false }, (response) => {
      response.on('data', (piece: Buffer) => {
        bytes += piece.length;
      });
      response.on('error', () => undefined);
    });
    request.on('error', reject);
    setTimeout(() => {
      request.off('error', reject).on('error', () => undefined);
      request.destroy();
      resolve(bytes);
    }, milliseconds);
  });
}

test('each client address has its own share, which its requests divide', async (t) => {
  const origin = await Origin.start(t);
  const bytes = testBytes(8 * MiB);
  origin.files.set('/repos/x/a.iso', { bytes, etag: '"1"' });
  origin.files.set('/repos/x/small', { bytes: testBytes(4096), headers: { 'cache-control': 'max-age=600' } });
  const rate = 400_000;
  const made = await router(t, { conductors: [origin], clientBandwidth: rate });
  const url = `${made.url}/repos/x/a.iso`;
  const [one, two, other] = await Promise.all([
    receive(url, '127.0.0.1', 3000),
    receive(url, '127.0.0.1', 3000),
    receive(url, '127.0.0.2', 3000),
  ]);
  const share = rate * 3.5; // half a second may be taken ahead
  assert.ok(one + two <= share * 1.1, `${one} and ${two}`);
  assert.ok(other <= share * 1.1 && one + two + other > share * 1.1, `${other}, beside ${one} and ${two}`);
  assert.ok(Math.min(one, two) > 0, 'neither is starved');
  for (let i = 0; i < 3; i += 1) assert.equal((await get(`${made.url}/repos/x/small`)).body.length, 4096);
});
