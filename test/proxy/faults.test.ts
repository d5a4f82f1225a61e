/** What goes wrong around a fill: disks, drips, storms, lies. */
import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { AirlockError, type ErrorCode, isAirlockError } from '../../src/errors.ts';
import type { BlobStore } from '../../src/repo/blobs/blob-store.ts';
import { partialDir } from '../../src/repo/blobs/layout.ts';
import type { Catalog } from '../../src/repo/catalog/catalog.ts';
import { digestOf, TestRepository, testBytes, until } from '../repo/http/support.ts';
import { type Answer, Origin } from '../support/origin.ts';
import { breaksOff, read, scene, sourceAt } from './scene.ts';

const MiB = 1024 * 1024;
const PATH = 'repos/images/6.3/x.iso';

function failsWith(...codes: ErrorCode[]) {
  return (error: unknown) => isAirlockError(error, ...codes) || assert.fail(String(error));
}

/** A store that is full after so many bytes, until `room` is raised. */
function tightStore(inner: BlobStore, disk: { room: number }): BlobStore {
  const wrap = (writer: Awaited<ReturnType<BlobStore['create']>>) => {
    const writeAt = writer.writeAt.bind(writer);
    writer.writeAt = async (position, bytes) => {
      if (disk.room < bytes.byteLength) throw new AirlockError('space.insufficient', 'The disk is full.');
      disk.room -= bytes.byteLength;
      await writeAt(position, bytes);
    };
    return writer;
  };
  return new Proxy(inner, {
    get(target, name) {
      if (name === 'create')
        return async (...args: Parameters<BlobStore['create']>) => wrap(await target.create(...args));
      if (name === 'resume') return async (id: string) => wrap(await target.resume(id));
      const value: unknown = Reflect.get(target, name);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

test('a disk that fills up in mid-fill fails the request; when there is room again, it goes on', async (t) => {
  const origin = await Origin.start(t);
  const bytes = testBytes(8 * MiB);
  origin.files.set(`/${PATH}`, { bytes });
  const repository = await TestRepository.make(t);
  const disk = { room: 5 * MiB };
  const source = sourceAt(origin);
  const { pull } = await scene(t, {
    repository,
    conductors: [source],
    blobs: tightStore(repository.blobs, disk),
  });
  await assert.rejects(read(pull, PATH), failsWith('space.insufficient'));
  assert.deepEqual([source.health.failed, source.health.trouble], [0, null], 'the source is not blamed');
  disk.room = 100 * MiB;
  assert.ok((await read(pull, PATH)).bytes.equals(bytes));
  assert.match(origin.of(`/${PATH}`).at(-1)?.headers.range ?? '', /^bytes=[1-9]\d{5,}-$/);
});

test('where no spool can be begun, nothing of it is left, and the source need not go on', async (t) => {
  const origin = await Origin.start(t);
  const open = new Set<unknown>();
  origin.files.set(`/${PATH}`, (_request, response) => {
    open.add(response);
    response.on('close', () => open.delete(response));
    response.writeHead(200, { etag: '"1"', 'content-length': 64 * MiB }).write(testBytes(MiB));
  });
  const repository = await TestRepository.make(t);
  const refusing = (target: object, method: string) =>
    new Proxy(target, {
      get(inner, name) {
        const value: unknown = Reflect.get(inner, name);
        if (name === method) return () => Promise.reject(new AirlockError('space.insufficient', 'The disk is full.'));
        return typeof value === 'function' ? value.bind(inner) : value;
      },
    });
  for (const parts of [
    { catalog: refusing(repository.catalog, 'setMeta') as Catalog },
    { blobs: refusing(repository.blobs, 'create') as BlobStore },
  ]) {
    const { pull } = await scene(t, { repository, conductors: [sourceAt(origin)], ...parts });
    await assert.rejects(read(pull, PATH), failsWith('space.insufficient'));
    await until('its answer is cut', () => open.size === 0);
    const names = await readdir(partialDir(repository.dir), { recursive: true });
    assert.deepEqual(
      names.filter((name) => name.endsWith('.part')),
      [],
    );
  }
});

test('a slow drip is no error, silence is', async (t) => {
  const origin = await Origin.start(t);
  const bytes = testBytes(300_000);
  origin.files.set('/repos/drip', async (_request, response) => {
    response.writeHead(200, { 'content-length': bytes.length });
    for (let at = 0; at < bytes.length; at += 50_000) {
      response.write(bytes.subarray(at, at + 50_000));
      await sleep(100);
    }
    response.end();
  });
  origin.files.set('/repos/silence', (_request, response) => {
    response.writeHead(200, { 'content-length': 10 }).write('begin');
  });
  const source = sourceAt(origin, 'conductor', { limits: { idleTimeout: 400 } });
  const { pull } = await scene(t, { conductors: [source], retry: { attempts: 1 } });
  assert.deepEqual((await read(pull, 'repos/drip')).bytes, bytes);
  await assert.rejects(read(pull, 'repos/silence'), failsWith('upstream.unreachable'));
});

test('a storm of errors ends after the attempts that are allowed, and is not remembered', async (t) => {
  const origin = await Origin.start(t);
  const bytes = testBytes(6 * MiB);
  origin.files.set(`/${PATH}`, { bytes, cutAfter: 1 * MiB, cuts: 1 });
  const { pull, log } = await scene(t, {
    conductors: [sourceAt(origin)],
    retry: { attempts: 3, firstDelay: 5, maxDelay: 5 },
  });
  const artifact = await pull.open(PATH);
  assert.ok(artifact);
  origin.broken = 500;
  await until('it is given up', () => pull.fills.size === 0);
  assert.ok(log.some(({ level, message }) => level === 'warn' && message === 'fetching a file failed'));
  await artifact.close();
  origin.broken = undefined;
  assert.ok((await read(pull, PATH)).bytes.equals(bytes));
});

test('more or fewer bytes than announced are never kept', async (t) => {
  const origin = await Origin.start(t);
  const { pull, repository } = await scene(t, { conductors: [sourceAt(origin)], retry: { attempts: 1 } });
  for (const [name, length] of [
    ['short', 100],
    ['long', 10],
  ] as const) {
    origin.files.set(`/repos/${name}`, (request, response) => {
      const { socket } = request;
      response.on('error', () => undefined);
      socket.end(`HTTP/1.1 200 OK\r\nContent-Length: ${length}\r\nConnection: close\r\n\r\n${'x'.repeat(50)}`);
    });
    const result = await read(pull, `repos/${name}`).then(
      ({ bytes }) => bytes.length,
      () => 'failed',
    );
    assert.ok(result === 'failed' || (name === 'long' && result === 10), `${name}: ${result}`);
  }
  assert.equal(await repository.catalog.pulled('repos/short'), undefined);
});

test('a part of other content is not joined to what is there', async (t) => {
  const origin = await Origin.start(t);
  const bytes = testBytes(6 * MiB);
  origin.files.set(`/${PATH}`, { bytes, etag: '"1"', cutAfter: 3 * MiB, cuts: 1, pace: 2 });
  const { pull } = await scene(t, { conductors: [sourceAt(origin)], retry: { attempts: 1 } });
  await breaksOff(origin, read(pull, PATH));
  const next = testBytes(6 * MiB, 2);
  origin.files.set(`/${PATH}`, ignoringIfRange(next));
  const { bytes: got } = await read(pull, PATH).catch(() => read(pull, PATH));
  assert.equal(digestOf(got), digestOf(next));
});

/** Something of a file is here, from a process that ended: 8 MiB in all. */
async function begun(t: TestContext, bytes: Buffer, etag?: string) {
  const origin = await Origin.start(t);
  const repository = await TestRepository.make(t);
  origin.files.set(`/${PATH}`, { bytes, ...(etag === undefined ? {} : { etag }), pace: 1 });
  const first = await scene(t, { repository, conductors: [sourceAt(origin)] });
  const reading = read(first.pull, PATH).catch(() => undefined);
  await until('some of it is there', () => first.pull.counters.fetched > 5 * MiB);
  await first.pull.close();
  await reading;
  const answers = (answer: Answer) => {
    origin.files.set(`/${PATH}`, answer);
  };
  return { origin, repository, answers };
}

/** Sends what is asked for from some position on, whatever it is of. */
function ignoringIfRange(bytes: Buffer): Answer {
  return (request, response) => {
    const start = Number(/bytes=(\d+)-/.exec(request.headers.range ?? '')?.[1] ?? 0);
    if (start >= bytes.length) return response.writeHead(416, { 'content-range': `bytes */${bytes.length}` }).end();
    const range = `bytes ${start}-${bytes.length - 1}/${bytes.length}`;
    const head = { etag: '"2"', 'content-length': bytes.length - start };
    return response
      .writeHead(start > 0 ? 206 : 200, start > 0 ? { ...head, 'content-range': range } : head)
      .end(bytes.subarray(start));
  };
}

test('a digest that was named at the beginning counts, whoever sends the rest', async (t) => {
  const bytes = testBytes(8 * MiB);
  const { repository } = await begun(t, bytes, `"${digestOf(bytes)}"`);
  const other = await Origin.start(t);
  const wrong = testBytes(8 * MiB, 9);
  other.files.set(`/${PATH}`, ignoringIfRange(wrong));
  const { pull } = await scene(t, { repository, conductors: [sourceAt(other)] });
  await assert.rejects(read(pull, PATH), failsWith('upstream.unusable'));
  assert.match(other.of(`/${PATH}`)[0]?.headers.range ?? '', /^bytes=[1-9]/, 'it was asked for the rest');
  assert.equal(await repository.catalog.pulled(PATH), undefined);
  assert.ok((await read(pull, PATH)).bytes.equals(wrong), 'all of it is another content');
});

test('where the rest cannot be had, all is fetched anew in the same request', async (t) => {
  const small = testBytes(4096, 3);
  const otherRange: Answer = (request, response) =>
    request.headers.range === undefined
      ? response.writeHead(200, { etag: '"3"', 'content-length': small.length }).end(small)
      : response.writeHead(206, { 'content-length': 5, 'content-range': 'bytes 0-4/10' }).end('other');
  for (const answer of [ignoringIfRange(small), otherRange]) {
    const { repository, origin, answers } = await begun(t, testBytes(8 * MiB));
    answers(answer);
    const { pull } = await scene(t, { repository, conductors: [sourceAt(origin)] });
    assert.deepEqual((await read(pull, PATH)).bytes, small);
    await until('it is kept', () => pull.fills.size === 0);
    assert.equal((await read(pull, PATH)).cache, 'HIT');
    assert.deepEqual(await readdir(path.join(partialDir(repository.dir), 'suspended')), [], 'what was there is gone');
  }
});

test('what is there outlasts a login page', async (t) => {
  const bytes = testBytes(8 * MiB);
  const { repository, origin, answers } = await begun(t, bytes);
  answers((_request, response) => response.writeHead(200, { 'content-type': 'text/html' }).end('<html>Log in</html>'));
  const { pull } = await scene(t, { repository, conductors: [sourceAt(origin)] });
  await assert.rejects(read(pull, PATH), failsWith('upstream.unusable'));
  origin.files.set(`/${PATH}`, { bytes });
  assert.ok((await read(pull, PATH)).bytes.equals(bytes));
  assert.match(origin.of(`/${PATH}`).at(-1)?.headers.range ?? '', /^bytes=[1-9]/);
});

test('a small file that breaks off each time: its older copy stands in', { timeout: 30_000 }, async (t) => {
  const origin = await Origin.start(t);
  const name = 'repos/policies/p';
  const put = (bytes: Buffer, more = {}) =>
    origin.files.set(`/${name}`, { bytes, headers: { 'cache-control': 'no-cache' }, ...more });
  const [old, next] = [testBytes(1000), testBytes(2000, 2)];
  put(old);
  const retry = { attempts: 10, firstDelay: 3600_000, maxDelay: 3600_000 };
  const { pull } = await scene(t, { conductors: [sourceAt(origin)], retry });
  await pull.pull(name);
  put(next, { cutAfter: 100, cuts: 1000 });
  for (const client of ['first', 'second']) {
    const { cache, bytes } = await read(pull, name);
    assert.deepEqual([cache, bytes], ['STALE', old], client);
  }
  put(next);
  assert.deepEqual((await read(pull, name)).bytes, next, 'it is well again');
});

test('a server without ranges is read once from the front', async (t) => {
  const origin = await Origin.start(t);
  const bytes = testBytes(12 * MiB);
  origin.files.set(`/${PATH}`, { bytes, noRanges: true, pace: 1 });
  const { pull } = await scene(t, { conductors: [sourceAt(origin)] });
  const whole = read(pull, PATH);
  await until('it has begun', () => origin.sent(`/${PATH}`) > 0);
  const part = await read(pull, PATH, { from: 11 * MiB, to: 11 * MiB + 5 });
  assert.deepEqual(part.bytes, bytes.subarray(11 * MiB, 11 * MiB + 5));
  assert.ok((await whole).bytes.equals(bytes));
});

test('what has no validator begins anew when it breaks off', async (t) => {
  const origin = await Origin.start(t);
  const bytes = testBytes(6 * MiB);
  origin.files.set(`/${PATH}`, { bytes, etag: null, cutAfter: 3 * MiB, cuts: 1 });
  const { pull } = await scene(t, { conductors: [sourceAt(origin)], retry: { attempts: 1 } });
  await assert.rejects(read(pull, PATH));
  assert.ok((await read(pull, PATH)).bytes.equals(bytes));
  assert.equal(origin.of(`/${PATH}`).at(-1)?.headers.range, undefined);
});

test('of a request only its Via reaches the source, and nothing of it changes what others get', async (t) => {
  const origin = await Origin.start(t);
  origin.files.set('/repos/x', (request, response) => {
    response.writeHead(200, { vary: '*', etag: '"1"' }).end(JSON.stringify(request.headers));
  });
  const { pull } = await scene(t, { conductors: [sourceAt(origin)] });
  const { bytes } = await read(pull, 'repos/x', { via: '1.1 other', cacheControl: 'no-store, max-age=0' });
  assert.doesNotMatch(String(bytes), /no-store/);
  assert.match(String(bytes), /"via":"1\.1 other"/);
  assert.equal((await read(pull, 'repos/x')).cache, 'HIT');
});
