import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type ErrorCode, isAirlockError } from '../../src/errors.ts';
import { digestOf, testBytes, until } from '../repo/http/support.ts';
import { Origin } from '../support/origin.ts';
import { breaksOff, read, readFrom, scene, sourceAt } from './scene.ts';

const MiB = 1024 * 1024;
const PATH = 'repos/images/6.3/x.iso';

function failsWith(...codes: ErrorCode[]) {
  return (error: unknown) => isAirlockError(error, ...codes) || assert.fail(String(error));
}

test('the first one fills, the rest are served from here, also when the source is gone', async (t) => {
  const origin = await Origin.start(t);
  const bytes = testBytes(3 * MiB + 5);
  origin.files.set(`/${PATH}`, { bytes, etag: `"${digestOf(bytes)}"` });
  const { pull } = await scene(t, { conductors: [sourceAt(origin)] });
  const first = await read(pull, PATH);
  assert.deepEqual([first.cache, first.artifact.facts.digest], ['MISS', digestOf(bytes)]);
  assert.deepEqual(first.bytes, bytes);
  assert.equal(first.artifact.facts.verification, 'checksum');
  await origin.stop();
  const second = await read(pull, PATH);
  assert.equal(second.cache, 'HIT');
  assert.deepEqual(second.bytes, bytes);
  assert.deepEqual((await read(pull, PATH, { from: 100, to: 200 })).bytes, bytes.subarray(100, 200));
  assert.equal(origin.of(`/${PATH}`).length, 1);
});

test('however many ask, whenever they join, each byte is read once', async (t) => {
  const origin = await Origin.start(t);
  const bytes = testBytes(8 * MiB);
  origin.files.set(`/${PATH}`, { bytes, pace: 1 });
  const { pull } = await scene(t, { conductors: [sourceAt(origin)] });
  const readers = Array.from({ length: 50 }, async (_, index) => {
    await sleep(index * 3);
    return await read(pull, PATH);
  });
  for (const reader of readers) assert.ok((await reader).bytes.equals(bytes));
  assert.equal(origin.sent(`/${PATH}`), bytes.length);
  assert.equal(pull.counters.fetched, bytes.length);
});

test('a reader far ahead does not wait, and what it gets is not read again', async (t) => {
  const origin = await Origin.start(t);
  const bytes = testBytes(24 * MiB);
  origin.files.set(`/${PATH}`, { bytes, pace: 2 });
  const { pull, repository } = await scene(t, { conductors: [sourceAt(origin)] });
  const whole = read(pull, PATH);
  await until('it has begun', () => origin.sent(`/${PATH}`) > 0);
  const ends = [];
  for (const from of [23 * MiB + 7, 16 * MiB + 1, 9 * MiB]) {
    ends.push(
      read(pull, PATH, { from, to: from + 1000 }).then(({ bytes: part }) => {
        assert.deepEqual(part, bytes.subarray(from, from + 1000));
        assert.ok(origin.sent(`/${PATH}`) < 20 * MiB, 'it waited for what lies before');
      }),
    );
  }
  await Promise.all(ends);
  assert.ok((await whole).bytes.equals(bytes));
  const over = origin.sent(`/${PATH}`) - bytes.length;
  assert.equal(pull.counters.fetched, bytes.length);
  assert.ok(over < 8 * MiB, `${over} bytes were sent twice`);
  assert.equal((await repository.catalog.pulled(PATH))?.digest, digestOf(bytes));
});

test('a cold range begins where it is wanted', async (t) => {
  const origin = await Origin.start(t);
  const bytes = testBytes(12 * MiB);
  origin.files.set(`/${PATH}`, { bytes, pace: 1 });
  const { pull } = await scene(t, { conductors: [sourceAt(origin)] });
  const { bytes: part } = await read(pull, PATH, { from: 11 * MiB, to: 11 * MiB + 10 });
  assert.deepEqual(part, bytes.subarray(11 * MiB, 11 * MiB + 10));
  assert.equal(pull.counters.unproven, 1);
  await pull.pull(PATH);
  assert.equal(pull.counters.fetched, bytes.length);
  assert.deepEqual((await read(pull, PATH)).bytes, bytes);
});

test('a fill does not end with the client that caused it', async (t) => {
  const origin = await Origin.start(t);
  const bytes = testBytes(4 * MiB);
  origin.files.set(`/${PATH}`, { bytes, pace: 2 });
  const { pull } = await scene(t, { conductors: [sourceAt(origin)] });
  const gone = new AbortController();
  const artifact = await pull.open(PATH, { signal: gone.signal });
  assert.ok(artifact);
  const reading = readFrom(artifact);
  gone.abort();
  await assert.rejects(reading);
  await artifact.close();
  await until('it is kept', async () => pull.counters.stored === 1);
  assert.equal((await read(pull, PATH)).cache, 'HIT');
});

test('the last byte comes only when the digest is proven', async (t) => {
  const origin = await Origin.start(t);
  const bytes = testBytes(2 * MiB);
  origin.files.set(`/${PATH}`, { bytes, etag: `"${digestOf(testBytes(5))}"` });
  const { pull, repository } = await scene(t, { conductors: [sourceAt(origin)] });
  const artifact = await pull.open(PATH);
  assert.ok(artifact);
  const inner = Buffer.alloc(1000);
  assert.ok((await artifact.readAt(inner, 0)) > 0);
  await assert.rejects(artifact.readAt(Buffer.alloc(1), bytes.length - 1), failsWith('upstream.unusable'));
  assert.equal(pull.counters.mismatches, 1);
  assert.equal(await repository.catalog.pulled(PATH), undefined);
  origin.files.set(`/${PATH}`, { bytes });
  assert.deepEqual((await read(pull, PATH)).bytes, bytes);
});

test('an image is compared with the checksum file beside it', async (t) => {
  const origin = await Origin.start(t);
  const bytes = testBytes(100_000);
  const internet = new Map([['ssr', sourceAt(origin, 'internet')]]);
  const { pull } = await scene(t, { internet });
  origin.files.set('/6.3/x.iso', { bytes });
  origin.files.set('/6.3/x.iso.sha256sum', { bytes: Buffer.from(`${digestOf(testBytes(1)).slice(7)}  x.iso\n`) });
  await assert.rejects(read(pull, 'upstreams/ssr/6.3/x.iso'), failsWith('upstream.unusable'));
  origin.files.set('/6.3/y.iso', { bytes });
  origin.files.set('/6.3/y.iso.sha256sum', { bytes: Buffer.from(digestOf(bytes).slice(7)) });
  await read(pull, 'upstreams/ssr/6.3/y.iso');
  const kept = await read(pull, 'upstreams/ssr/6.3/y.iso');
  assert.deepEqual([kept.cache, kept.artifact.facts.verification], ['HIT', 'checksum']);
  assert.equal(kept.artifact.facts.etag, `"${digestOf(bytes).slice(7, 23)}"`, 'as clients got it before');
  origin.files.set('/6.3/z.iso', { bytes });
  await read(pull, 'upstreams/ssr/6.3/z.iso');
  assert.equal((await read(pull, 'upstreams/ssr/6.3/z.iso')).artifact.facts.verification, 'unverified');
  const strict = await scene(t, { internet, requireVerified: true });
  await assert.rejects(read(strict.pull, 'upstreams/ssr/6.3/z.iso'), failsWith('upstream.unusable'));
  await read(strict.pull, 'upstreams/ssr/6.3/y.iso');
});

test('what breaks off is gone on with, at the next source if need be', async (t) => {
  const [a, b] = [await Origin.start(t), await Origin.start(t)];
  const bytes = testBytes(6 * MiB);
  const etag = `"${digestOf(bytes)}"`;
  a.files.set(`/${PATH}`, { bytes, etag, cutAfter: 2 * MiB, cuts: 1 });
  b.files.set(`/${PATH}`, { bytes, etag });
  const { pull } = await scene(t, { conductors: [sourceAt(a), sourceAt(b)] });
  assert.ok((await read(pull, PATH)).bytes.equals(bytes));
  assert.equal(a.of(`/${PATH}`).length, 1);
  assert.match(b.of(`/${PATH}`)[0]?.headers.range ?? '', /^bytes=\d{6,}-$/);
  assert.equal(pull.counters.fetched, bytes.length);
});

test('when the only source dies all who wait are told, and asking again goes on', async (t) => {
  const origin = await Origin.start(t);
  const bytes = testBytes(6 * MiB);
  origin.files.set(`/${PATH}`, { bytes, cutAfter: 3 * MiB, cuts: 1, pace: 1 });
  const { pull } = await scene(t, { conductors: [sourceAt(origin)], retry: { firstDelay: 60_000, maxDelay: 60_000 } });
  const readers = Array.from({ length: 20 }, () => read(pull, PATH));
  const ends = Promise.all(readers.map((reader) => assert.rejects(reader, failsWith('upstream.failed'))));
  await until('it has begun', () => origin.sent(`/${PATH}`) > 0);
  origin.broken = 503;
  await ends;
  origin.broken = undefined;
  assert.ok((await read(pull, PATH)).bytes.equals(bytes));
  const second = origin.of(`/${PATH}`).at(-1);
  assert.match(second?.headers.range ?? '', /^bytes=\d{7}-$/);
  assert.ok(second?.headers['if-range']);
  assert.equal(pull.counters.fetched, bytes.length);
});

test('content that changed in between is fetched anew', async (t) => {
  const origin = await Origin.start(t);
  origin.files.set(`/${PATH}`, { bytes: testBytes(6 * MiB), etag: '"old"', cutAfter: 3 * MiB, cuts: 1, pace: 2 });
  const { pull } = await scene(t, { conductors: [sourceAt(origin)], retry: { attempts: 1 } });
  await breaksOff(origin, read(pull, PATH));
  const bytes = testBytes(6 * MiB, 2);
  origin.files.set(`/${PATH}`, { bytes, etag: '"new"' });
  assert.ok((await read(pull, PATH)).bytes.equals(bytes));
});

test('another process goes on with what one has begun', async (t) => {
  const origin = await Origin.start(t);
  const bytes = testBytes(6 * MiB);
  origin.files.set(`/${PATH}`, { bytes, pace: 5 });
  const first = await scene(t, { conductors: [sourceAt(origin)] });
  const artifact = await first.pull.open(PATH);
  assert.ok(artifact);
  await artifact.readAt(Buffer.alloc(1), 3 * MiB);
  await first.pull.close();
  await assert.rejects(artifact.readAt(Buffer.alloc(1), 5 * MiB), failsWith('http.draining'));
  const before = first.pull.counters.fetched;
  const second = await scene(t, { conductors: [sourceAt(origin)], repository: first.repository });
  assert.ok((await read(second.pull, PATH)).bytes.equals(bytes));
  assert.equal(second.pull.counters.fetched, bytes.length - before);
});

test('what nobody has is remembered for a moment; a source that fails is no such answer', async (t) => {
  const [a, b] = [await Origin.start(t), await Origin.start(t)];
  const { pull } = await scene(t, { conductors: [sourceAt(a), sourceAt(b)] });
  assert.equal(await pull.open(PATH), undefined);
  assert.equal(await pull.open(PATH), undefined);
  assert.deepEqual([a.asked.length, b.asked.length], [1, 1]);
  [a.broken, b.broken] = [503, 503];
  await assert.rejects(pull.open('repos/y'), failsWith('upstream.failed'));
  await assert.rejects(pull.open('repos/y'), failsWith('upstream.failed'));
  [a.broken, b.broken] = [undefined, 503];
  assert.equal(await pull.open('repos/y'), undefined);
});

test('metadata is asked for again, once for all who want it, and stale when nobody answers', async (t) => {
  const origin = await Origin.start(t);
  const name = 'repos/policies/p';
  origin.files.set(`/${name}`, { bytes: Buffer.from('one'), etag: '"1"', headers: { 'cache-control': 'no-cache' } });
  const made = await scene(t, { conductors: [sourceAt(origin)] });
  const { pull } = made;
  await read(pull, name);
  const again = await Promise.all(Array.from({ length: 10 }, () => read(pull, name)));
  assert.deepEqual([...new Set(again.map(({ cache, bytes }) => `${cache} ${bytes}`))], ['HIT one']);
  assert.equal(origin.asked.length, 2);
  assert.equal(origin.asked[1]?.headers['if-none-match'], '"1"');
  origin.files.set(`/${name}`, { bytes: Buffer.from('two'), etag: '"2"', headers: { 'cache-control': 'max-age=60' } });
  assert.deepEqual(await read(pull, name).then(({ cache, bytes }) => `${cache} ${bytes}`), 'MISS two');
  await until('it is kept', () => pull.fills.size === 0);
  origin.files.set(`/${name}`, { bytes: Buffer.from('three'), etag: '"3"' });
  assert.equal(String((await read(pull, name)).bytes), 'two', 'it is fresh');
  made.clock += 59_000;
  assert.deepEqual((await read(pull, name)).artifact.headers?.slice(-2), ['Age', '59']);
  made.clock += 2000;
  origin.broken = 503;
  const stale = await read(pull, name);
  assert.deepEqual([stale.cache, String(stale.bytes)], ['STALE', 'two']);
  made.clock += 40 * 24 * 3600_000;
  await assert.rejects(read(pull, name), failsWith('upstream.failed'));
  origin.broken = undefined;
  origin.files.delete(`/${name}`);
  assert.equal(await pull.open(name), undefined, 'it is gone');
});

test('web pages, endless and wrong bodies are refused and not kept', async (t) => {
  const origin = await Origin.start(t);
  const { pull, repository } = await scene(t, { conductors: [sourceAt(origin)] });
  const page = Buffer.from('<!DOCTYPE html><title>Log in</title>');
  const wrong: [string, Parameters<typeof origin.files.set>[1], ErrorCode][] = [
    ['typed.rpm', { bytes: page, headers: { 'content-type': 'text/html; charset=utf-8' } }, 'upstream.unusable'],
    ['page.rpm', { bytes: page }, 'upstream.unusable'],
    ['endless', { bytes: Buffer.alloc(65 * MiB), noLength: true }, 'upstream.unusable'],
    ['redirect', (_request, response) => response.writeHead(302, { location: 'redirect' }).end(), 'upstream.failed'],
  ];
  for (const [name, held, code] of wrong) {
    origin.files.set(`/repos/${name}`, held);
    await assert.rejects(read(pull, `repos/${name}`), failsWith(code), name);
    await until('it has ended', () => pull.fills.size === 0);
    assert.equal(await repository.catalog.pulled(`repos/${name}`), undefined);
  }
});

test('a body of unknown length is kept when it ends as it should', async (t) => {
  const origin = await Origin.start(t);
  origin.files.set('/repos/a', { bytes: testBytes(200_000), noLength: true });
  origin.files.set('/repos/b', { bytes: testBytes(200_000), noLength: true, etag: null, cutAfter: 100_000, cuts: 9 });
  origin.files.set('/repos/empty', { bytes: Buffer.alloc(0) });
  const { pull } = await scene(t, { conductors: [sourceAt(origin)] });
  const { bytes, artifact } = await read(pull, 'repos/a');
  assert.deepEqual([bytes, artifact.facts.size], [testBytes(200_000), null]);
  assert.equal((await read(pull, 'repos/a')).artifact.facts.size, 200_000);
  await assert.rejects(read(pull, 'repos/b'));
  await pull.pull('repos/empty');
  assert.equal((await read(pull, 'repos/empty')).cache, 'HIT');
});

test('HEAD asks, and keeps nothing', async (t) => {
  const origin = await Origin.start(t);
  origin.files.set(`/${PATH}`, { bytes: testBytes(1000) });
  const { pull } = await scene(t, { conductors: [sourceAt(origin)] });
  const artifact = await pull.open(PATH, { factsOnly: true });
  assert.equal(artifact?.facts.size, 1000);
  assert.deepEqual([origin.of(`/${PATH}`).length, pull.fills.size], [0, 0]);
});

test('who must not ask anybody gets what is kept, or hears that there is nothing', async (t) => {
  const origin = await Origin.start(t);
  origin.files.set(`/${PATH}`, { bytes: testBytes(1000) });
  const { pull } = await scene(t, { conductors: [sourceAt(origin)], name: 'airlock-1' });
  await assert.rejects(pull.open(PATH, { cacheControl: 'only-if-cached' }), failsWith('proxy.not-cached'));
  await assert.rejects(pull.open(PATH, { via: '1.1 other, 1.1 airlock-1' }), failsWith('proxy.not-cached'));
  await pull.pull(PATH);
  assert.equal((await read(pull, PATH, { cacheControl: 'only-if-cached' })).cache, 'HIT');
});

test('a stored copy that is damaged is fetched again', async (t) => {
  const origin = await Origin.start(t);
  const bytes = testBytes(1000);
  origin.files.set(`/${PATH}`, { bytes });
  const { pull, repository } = await scene(t, { conductors: [sourceAt(origin)] });
  await pull.pull(PATH);
  await repository.blobs.delete(digestOf(bytes));
  assert.deepEqual((await read(pull, PATH)).bytes, bytes);
  assert.equal(origin.of(`/${PATH}`).length, 2);
});
