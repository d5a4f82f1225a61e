/** Fills that are cut short by what is around them: a full disk, a killed process, a source that never ends. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { cp, readdir, readFile, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { isAirlockError } from '../../src/errors.ts';
import { limits } from '../../src/limits.ts';
import { read, scene, sourceAt } from '../proxy/scene.ts';
import { digestOf, testBytes, until } from '../repo/http/support.ts';
import { airlock } from '../support/cli.ts';
import { needsRoot } from '../support/needs.ts';
import { Origin } from '../support/origin.ts';
import { startRouter } from '../support/router.ts';
import { needsTracing, runTraced } from '../support/strace.ts';
import { tempDir } from '../support/temp-dir.ts';
import { makeTinyDisk } from '../support/tiny-disk.ts';
import { soundState } from './aftermath.ts';
import { describePoint, injectAt, isIn, pointsOf, some } from './points.ts';

const MiB = 2 ** 20;
const IMAGE = '/repos/images/6.3/x.iso';
/** Bytes that lie in the buffers of both systems when a process dies. */
const ON_THE_WAY = 12 * MiB;

/** @returns bytes of the answer's body that came, and whether it came to its end */
async function download(url: string): Promise<{ status: number; bytes: Buffer; isWhole: boolean }> {
  const pieces: Uint8Array[] = [];
  try {
    const response = await fetch(url, { headers: { connection: 'close' } });
    try {
      for await (const piece of response.body ?? []) pieces.push(piece);
      return { status: response.status, bytes: Buffer.concat(pieces), isWhole: true };
    } catch {
      return { status: response.status, bytes: Buffer.concat(pieces), isWhole: false };
    }
  } catch {
    return { status: 0, bytes: Buffer.concat(pieces), isWhole: false };
  }
}

async function sizeOf(dir: string): Promise<number> {
  const items = await readdir(dir, { recursive: true, withFileTypes: true });
  const sizes = items.map(async (item) =>
    item.isFile() ? ((await stat(path.join(item.parentPath, item.name)).catch(() => undefined))?.size ?? 0) : 0,
  );
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
}

test('a real disk that fills up in mid-fill cuts the client, and nobody else', needsRoot('mount'), async (t) => {
  const disk = makeTinyDisk(t, 96);
  const origin = await Origin.start(t);
  const [small, image] = [testBytes(2 * MiB, 1), testBytes(40 * MiB, 2)];
  origin.files.set('/repos/images/small', { bytes: small });
  origin.files.set(IMAGE, { bytes: image });
  const router = await startRouter(t, ['--upstream', origin.url], '', { data: path.join(disk.dir, 'data') });
  assert.ok((await download(`${router.url}/repos/images/small`)).bytes.equals(small));
  disk.fill(20 * MiB);
  for (let round = 0; round < 2; round += 1) {
    const cut = await download(`${router.url}${IMAGE}`);
    assert.equal(cut.isWhole && cut.status === 200, false, 'it was told that this is all');
    assert.ok(image.subarray(0, cut.bytes.length).equals(cut.bytes) || cut.status >= 500, 'other bytes');
    assert.ok((await download(`${router.url}/repos/images/small`)).bytes.equals(small), 'what is here is served');
  }
  disk.relieve();
  const before = origin.sent(IMAGE);
  assert.ok((await download(`${router.url}${IMAGE}`)).bytes.equals(image));
  const again = origin.sent(IMAGE) - before;
  assert.ok(again < image.length - 10 * MiB, `${again} bytes were read again`);
  const { code, stderr } = await router.stop();
  assert.equal(code, 0, stderr);
  assert.match(stderr, /space\.insufficient|No space left/);
  await soundState(router.data);
});

test('a router that is killed again and again reads each byte once, but for what no checkpoint holds', async (t) => {
  const origin = await Origin.start(t);
  const image = testBytes(220 * MiB);
  origin.files.set(IMAGE, { bytes: image, pace: 1 });
  const data = path.join(await tempDir(t), 'router');
  let before = 0;
  for (const [round, goal] of [80 * MiB, 120 * MiB, 200 * MiB].entries()) {
    const router = await startRouter(t, ['--upstream', origin.url], '', { data });
    const reading = download(`${router.url}${IMAGE}`);
    await until('it is fetched again', () => origin.of(IMAGE).length > round);
    const asked = origin.of(IMAGE).at(-1);
    const from = Number(/^bytes=(\d+)-$/.exec(asked?.headers.range ?? '')?.[1] ?? 0);
    assert.ok(from >= before - limits.checkpointEvery - ON_THE_WAY, `gone on at ${from}, ${before} had been sent`);
    await until('more has come', () => from + (asked?.sent ?? 0) >= goal);
    router.child.kill('SIGKILL');
    await once(router.child, 'exit');
    const { bytes, isWhole } = await reading;
    assert.equal(isWhole, false);
    assert.ok(image.subarray(0, bytes.length).equals(bytes));
    before = from + (asked?.sent ?? 0);
  }
  const last = await startRouter(t, ['--upstream', origin.url], '', { data });
  const whole = await download(`${last.url}${IMAGE}`);
  assert.ok(whole.isWhole && whole.bytes.equals(image));
  const over = origin.sent(IMAGE) - image.length;
  assert.ok(over <= 3 * (limits.checkpointEvery + ON_THE_WAY), `${over} bytes were read twice`);
  await last.stop();
  await soundState(data);
});

test(
  'killed before any call that makes a fill durable, the next one goes on and leaves nothing',
  needsTracing(),
  async (t) => {
    const origin = await Origin.start(t);
    const image = testBytes(6 * MiB);
    const digest = digestOf(image);
    origin.files.set(IMAGE, { bytes: image, etag: `"${digest}"` });
    const dir = await tempDir(t);
    const [base, data, log] = ['base', 'data', 'trace'].map((name) => path.join(dir, name)) as [string, string, string];
    assert.equal((await airlock(['--data', base, 'repo', 'list'])).code, 0);
    const fresh = async () => {
      await rm(data, { recursive: true, force: true });
      await cp(base, data, { recursive: true });
    };
    const command = ['--data', data, 'proxy', 'prefetch', '--upstream', origin.url, IMAGE];
    await fresh();
    const points = (await pointsOf(command, log, 'fsync,fdatasync,rename,unlink')).filter((point) => isIn(data, point));
    const chosen = some(points, 8);
    t.diagnostic(`${points.length} kill points, ${chosen.length} taken`);
    for (const point of chosen) {
      await fresh();
      const { signal, stdout } = await runTraced(command, log, injectAt(point, 'signal=SIGKILL'), point.thread);
      assert.deepEqual([signal, stdout], ['SIGKILL', ''], describePoint(point));
      const again = await airlock(['--json', ...command]);
      assert.equal(again.code, 0, `after a kill before ${describePoint(point)}: ${again.stderr}`);
      assert.deepEqual(JSON.parse(again.stdout), { path: IMAGE, digest, size: image.length });
      const { blobs } = await soundState(data);
      assert.deepEqual(blobs, [digest], describePoint(point));
    }
  },
);

test('a body without end is cut, and takes neither disk nor memory', async (t) => {
  const origin = await Origin.start(t);
  const piece = testBytes(256 * 1024);
  origin.files.set('/repos/images/endless', async (_request, response) => {
    response.writeHead(200, { etag: '"1"' });
    while (!response.destroyed) {
      if (!response.write(piece)) await Promise.race([once(response, 'drain'), once(response, 'close')]);
    }
  });
  origin.files.set('/repos/images/small', { bytes: piece });
  const router = await startRouter(t, ['--upstream', origin.url]);
  const endless = await Promise.all(Array.from({ length: 5 }, () => download(`${router.url}/repos/images/endless`)));
  for (const { bytes, isWhole } of endless) {
    assert.equal(isWhole, false);
    assert.ok(bytes.length <= limits.proxy.unknownSize + piece.length);
  }
  assert.ok((await download(`${router.url}/repos/images/small`)).bytes.equals(piece));
  await until('its spool is gone', async () => (await sizeOf(router.data)) < 8 * MiB);
  const status = await readFile(`/proc/${router.child.pid}/status`, 'utf8');
  const peak = Number(/^VmHWM:\s+(\d+) kB/m.exec(status)?.[1]) * 1024;
  assert.ok(peak < 400 * MiB, `${peak} bytes were resident`);
});

test('a body that stops without an end is given up', async (t) => {
  const origin = await Origin.start(t);
  origin.files.set(IMAGE, (_request, response) => response.writeHead(200, { etag: '"1"' }).write('begin'));
  const source = sourceAt(origin, 'conductor', { limits: { idleTimeout: 300 } });
  const { pull, repository } = await scene(t, { conductors: [source], retry: { attempts: 1 } });
  await assert.rejects(read(pull, IMAGE.slice(1)), (error) => isAirlockError(error, 'upstream.unreachable'));
  assert.equal(await repository.catalog.pulled(IMAGE.slice(1)), undefined);
});

test('a source that breaks off each time is gone on with, as long as something comes', async (t) => {
  const origin = await Origin.start(t);
  const bytes = testBytes(6 * MiB);
  const held = { bytes, cutAfter: MiB, cuts: 5 };
  origin.files.set(IMAGE, held);
  const { pull } = await scene(t, {
    conductors: [sourceAt(origin)],
    retry: { attempts: 2, firstDelay: 5, maxDelay: 5 },
  });
  await pull.pull(IMAGE.slice(1));
  assert.equal(held.cuts, 0);
  assert.ok((await read(pull, IMAGE.slice(1))).bytes.equals(bytes));
  assert.equal(pull.counters.fetched, bytes.length);
});

test('a client at the edge of a fill does not notice that the only source broke off once', async (t) => {
  const origin = await Origin.start(t);
  const bytes = testBytes(6 * MiB);
  origin.files.set(IMAGE, { bytes, cutAfter: 3 * MiB, cuts: 1, pace: 2 });
  const { pull } = await scene(t, { conductors: [sourceAt(origin)] });
  assert.ok((await read(pull, IMAGE.slice(1))).bytes.equals(bytes));
});

test('a source that only ever begins is asked as often as is allowed', async (t) => {
  const origin = await Origin.start(t);
  origin.files.set(IMAGE, async (_request, response) => {
    response.writeHead(200, { etag: '"1"', 'content-length': 6 * MiB }).flushHeaders();
    await sleep(20);
    response.destroy();
  });
  const retry = { attempts: 3, firstDelay: 5, maxDelay: 5 };
  const { pull, log } = await scene(t, { conductors: [sourceAt(origin)], retry });
  const pulling = pull.pull(IMAGE.slice(1), { isPatient: true });
  await assert.rejects(pulling, (error) => isAirlockError(error, 'upstream.failed'));
  assert.equal(origin.of(IMAGE).length, 3);
  assert.ok(log.some(({ level, message }) => level === 'warn' && message === 'fetching a file failed'));
});

test('a hundred who ask in a storm of errors are one question, and all are answered', async (t) => {
  const origin = await Origin.start(t);
  origin.files.set(IMAGE, async (_request, response) => {
    await sleep(200);
    response.writeHead(503, { 'content-type': 'text/html' }).end('<html>busy</html>');
  });
  const { pull } = await scene(t, { conductors: [sourceAt(origin)] });
  const answers = await Promise.allSettled(Array.from({ length: 100 }, () => pull.open(IMAGE.slice(1))));
  const refused = answers.filter(({ status }) => status === 'rejected');
  assert.deepEqual([refused.length, origin.of(IMAGE).length], [100, 1]);
  origin.files.set(IMAGE, { bytes: testBytes(1000) });
  assert.deepEqual((await read(pull, IMAGE.slice(1))).bytes, testBytes(1000));
});

test('a source that says "not modified" of what is not here is passed by', async (t) => {
  const [odd, good] = [await Origin.start(t), await Origin.start(t)];
  odd.files.set(IMAGE, (_request, response) => response.writeHead(304, { etag: '"1"' }).end());
  good.files.set(IMAGE, { bytes: testBytes(1000) });
  const { pull } = await scene(t, { conductors: [sourceAt(odd), sourceAt(good)] });
  assert.deepEqual((await read(pull, IMAGE.slice(1))).bytes, testBytes(1000));
});

test('a copy whose bytes are lost is fetched anew, though the source says that it is the same', async (t) => {
  const origin = await Origin.start(t);
  const name = 'repos/policies/p';
  const bytes = testBytes(1000);
  origin.files.set(`/${name}`, { bytes, headers: { 'cache-control': 'no-cache' } });
  const { pull, repository } = await scene(t, { conductors: [sourceAt(origin)] });
  await pull.pull(name);
  await repository.blobs.delete(digestOf(bytes));
  assert.deepEqual((await read(pull, name)).bytes, bytes);
  assert.ok(
    origin.of(`/${name}`).some(({ headers }) => headers['if-none-match'] !== undefined),
    'it was asked',
  );
  assert.equal(origin.of(`/${name}`).at(-1)?.headers['if-none-match'], undefined, 'and then fetched');
});
