/** The catalog and its log under SIGKILL, failing disks, full disks and flipped bits (faults.md "Catalog/CAS"). */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { copyFile, cp, mkdir, mkdtemp, open as openFile, readFile, rm, rmdir, stat, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, type TestContext, test } from 'node:test';
import fc from 'fast-check';
import { isAirlockError } from '../../src/errors.ts';
import type { Catalog } from '../../src/repo/catalog/catalog.ts';
import { DiskRevisionLog } from '../../src/repo/catalog/revision-log.ts';
import { openSqliteCatalog, type SqliteCatalogOptions } from '../../src/repo/catalog/sqlite.ts';
import { collected, failsWith, publishIn } from '../conformance/catalog/under-test.ts';
import { startChild } from '../repo/catalog/child.ts';
import { testArtifact, testDigest, testRelease } from '../support/artifacts.ts';
import { needs, needsRoot } from '../support/needs.ts';
import { straceFor } from '../support/strace.ts';
import { tempDir } from '../support/temp-dir.ts';

const isDeep = process.env.AIRLOCK_DEEP === '1';

function logOf(dir: string): DiskRevisionLog {
  return new DiskRevisionLog(path.join(dir, 'revisions'));
}

function openIn(dir: string, options: SqliteCatalogOptions = {}): Promise<Catalog> {
  return openSqliteCatalog(path.join(dir, 'catalog.sqlite'), logOf(dir), options);
}

/** What can be told of a catalog from outside: every revision of every repository, and all blobs. */
async function described(catalog: Catalog): Promise<object> {
  const repositories = await catalog.repositories();
  const revisions = [];
  for (const { name, published } of repositories) {
    revisions.push(await catalog.revisions(name));
    for (let number = 1; number <= published; number++) revisions.push(await collected(catalog.entries(name, number)));
  }
  return { repositories, revisions, blobs: await catalog.blobs({ limit: 1000 }), releases: await catalog.releases() };
}

/** What is served: each published path and its artifact. Dates, and numbers that no index holds, have no checksum. */
async function served(catalog: Catalog): Promise<object> {
  const paths = [];
  for (const { name, published } of await catalog.repositories()) {
    for (const { path: each, artifact } of await collected(catalog.entries(name, published))) {
      const found = await catalog.lookup(name, each);
      paths.push([name, each, artifact, found?.artifact]);
    }
  }
  const releases = (await catalog.releases()).map(({ repository, path: each }) => [repository, each]);
  return { paths, releases, blobs: (await catalog.blobs({ limit: 1000 })).map(({ digest }) => digest) };
}

/**
 * What must be true after anything happened to `catalog-child.ts write DIR one …`: what was acknowledged is there, the
 * log tells the same as the catalog, and all goes on.
 */
async function assertWhole(dir: string, acknowledged: number): Promise<void> {
  const catalog = await openIn(dir);
  try {
    const published = (await catalog.repository('a'))?.published ?? 0;
    assert.ok(published === acknowledged || published === acknowledged + 1, `${published} after ${acknowledged}`);
    const log = logOf(dir);
    assert.deepEqual(log.pending(), []);
    assert.deepEqual(await catalog.check(), []);
    const rebuilt = await rebuild(dir, log);
    try {
      assert.equal((await rebuilt.repository('a'))?.published ?? 0, published);
      for (let number = 1; number <= published; number++) {
        const entries = await collected(catalog.entries('a', number));
        assert.equal(entries.length, number + 1);
        assert.deepEqual(await collected(rebuilt.entries('a', number)), entries);
      }
    } finally {
      await rebuilt.close();
    }
    assert.equal(await catalog.transaction((tx) => publishIn(tx, 'a', { remove: ['shared'] })), published + 1);
  } finally {
    await catalog.close();
  }
}

async function rebuild(dir: string, log: DiskRevisionLog): Promise<Catalog> {
  const place = path.join(dir, 'rebuilt');
  await mkdir(place, { recursive: true });
  const catalog = await openSqliteCatalog(path.join(place, 'catalog.sqlite'), log, { mayLag: true });
  for (const name of await log.repositories()) {
    for await (const { header, lines } of log.revisions(name)) await catalog.restore(header, lines);
  }
  return catalog;
}

describe('a writer', () => {
  /**
   * Lets three publishes be disturbed at the nth call of a system call, for n = first, first + stride, …, until one
   * goes undisturbed.
   */
  async function sweep(t: TestContext, injection: string, call: string, stride: number): Promise<number> {
    let count = 0;
    for (let n = 1; ; n += isDeep ? 1 : stride) {
      const dir = await tempDir(t);
      const trace = path.join(dir, 'trace');
      const inject = ['-e', `trace=${call}`, '-e', `inject=${call}:${injection}:when=${n}`];
      const child = startChild(t, ['write', dir, 'one', '3'], [...straceFor(injection), '-o', trace, ...inject]);
      const { lines, code, stderr } = await child.end();
      const isDisturbed = /INJECTED|killed by SIGKILL/.test(await readFile(trace, 'utf8'));
      assert.ok(isDisturbed || code === 0, stderr);
      const acknowledged = Number(lines.at(-1) ?? 0);
      await assertWhole(dir, acknowledged).catch((cause: unknown) => {
        throw new Error(`${call} ${n}: after ${acknowledged} acknowledged\n${stderr}`, { cause });
      });
      await rm(dir, { recursive: true });
      if (!isDisturbed) return count;
      count += 1;
    }
  }

  const strides = { fsync: 5, rename: 1, unlink: 1, write: 4, pwrite64: 37, ftruncate: 1, mkdir: 1 };
  for (const [call, stride] of Object.entries(strides)) {
    test(`killed at ${call} lost nothing and shows nothing that was not done`, needs('strace'), async (t) => {
      assert.ok((await sweep(t, 'signal=SIGKILL', call, stride)) > 0);
    });
  }

  test('killed in COMMIT does not come to life after others have settled it', needs('strace'), async (t) => {
    for (let n = 1; n <= 6; n++) {
      const dir = await tempDir(t);
      const survivor = await openIn(dir);
      try {
        const put = ['first', 'shared'].map((each) => ({ path: each, artifact: testArtifact(1) }));
        await survivor.transaction((tx) => publishIn(tx, 'a', { put }));
        const inject = ['-e', 'trace=fsync', '-e', `inject=fsync:signal=SIGKILL:when=${n}`];
        const child = startChild(t, ['write', dir, 'one', '1'], ['strace', '-f', '-qq', '-o', '/dev/null', ...inject]);
        await child.end();
        await (await openIn(dir)).close();
        // Now all others die too, and with them what they knew of the end of the write-ahead log.
        const copy = await tempDir(t);
        for (const file of ['catalog.sqlite', 'catalog.sqlite-wal']) {
          await copyFile(path.join(dir, file), path.join(copy, file));
        }
        await cp(path.join(dir, 'revisions'), path.join(copy, 'revisions'), { recursive: true });
        const { published } = (await survivor.repository('a')) ?? {};
        await assertWhole(copy, published ?? 0).catch((cause: unknown) => {
          throw new Error(`killed at fsync ${n}`, { cause });
        });
      } finally {
        await survivor.close();
      }
    }
  });

  test('whose fsync failed did not publish', needs('strace'), async (t) => {
    assert.ok((await sweep(t, 'error=EIO', 'fsync', 5)) > 0);
  });

  test('whose write failed did not publish', needs('strace'), async (t) => {
    assert.ok((await sweep(t, 'error=ENOSPC', 'pwrite64', 37)) > 0);
  });
});

describe('a full disk', () => {
  /** A file system of its own with room for little. */
  async function onTinyDisk(size: string, run: (dir: string) => Promise<void>): Promise<void> {
    const dir = await mkdtemp(path.join(os.tmpdir(), 'airlock-tiny-'));
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', dir]);
    try {
      await run(dir);
    } finally {
      execFileSync('umount', [dir]);
      await rmdir(dir);
    }
  }

  async function fillUp(file: string): Promise<void> {
    const handle = await openFile(file, 'w');
    try {
      for (;;) await handle.write(Buffer.alloc(4096));
    } catch (error) {
      assert.equal((error as NodeJS.ErrnoException).code, 'ENOSPC');
    } finally {
      await handle.close();
    }
  }

  /** @param logDir the log may lie on another file system, so that only COMMIT can fail */
  async function publishOnFullDisk(dir: string, logDir: string): Promise<void> {
    const log = new DiskRevisionLog(logDir);
    const catalog = await openSqliteCatalog(path.join(dir, 'catalog.sqlite'), log);
    try {
      await publishUntilFull(dir, log, catalog);
    } finally {
      await catalog.close();
    }
  }

  async function publishUntilFull(dir: string, log: DiskRevisionLog, catalog: Catalog): Promise<void> {
    const put = (first: number, count: number) =>
      Array.from({ length: count }, (_, n) => ({ path: `${first + n}`, artifact: testArtifact(1) }));
    await catalog.transaction((tx) => publishIn(tx, 'a', { put: put(0, 10) }));
    const before = await described(catalog);
    await fillUp(path.join(dir, 'filler'));
    for (let attempt = 0; attempt < 3; attempt++) {
      const publishing = catalog.transaction((tx) => publishIn(tx, 'a', { put: put(10, 500) }));
      await assert.rejects(publishing, failsWith('space.insufficient', /[Ff]ree some/));
      assert.deepEqual(log.pending(), []);
      assert.equal(log.has('a', 2), false);
      assert.deepEqual(await described(catalog), before);
      assert.deepEqual(await catalog.check(), []);
    }
    await rm(path.join(dir, 'filler'));
    assert.equal(await catalog.transaction((tx) => publishIn(tx, 'a', { put: put(10, 5) })), 2);
    const revisions = await collected(log.revisions('a'));
    assert.equal(revisions.length, 2);
    assert.equal((await collected(catalog.entries('a', 2))).length, 15);
  }

  test('under catalog and log: nothing is published, reading goes on', needsRoot('mount'), () =>
    onTinyDisk('2m', (dir) => publishOnFullDisk(dir, path.join(dir, 'revisions'))),
  );

  test('under the catalog alone: COMMIT fails, and leaves no revision file', needsRoot('mount'), async (t) => {
    const logDir = await tempDir(t);
    await onTinyDisk('2m', (dir) => publishOnFullDisk(dir, logDir));
  });
});

describe('a damaged database', () => {
  /** A closed catalog of some pages. */
  async function catalogFile(t: TestContext): Promise<string> {
    const dir = await tempDir(t);
    const catalog = await openIn(dir);
    const put = Array.from({ length: 60 }, (_, n) => ({
      path: `${n % 4}/file-${n}`,
      artifact: testArtifact(n + 1, { release: testRelease(n), facts: { note: 'x'.repeat(200) } }),
    }));
    await catalog.transaction((tx) => publishIn(tx, 'a', { put: put.slice(0, 40) }));
    await catalog.transaction((tx) => publishIn(tx, 'a', { put: put.slice(40), remove: ['1/file-1'] }));
    await catalog.transaction((tx) => publishIn(tx, 'b', { put: put.slice(0, 5) }));
    await catalog.close();
    return dir;
  }

  /** Everything that a reader could be told, or the error that he is told instead. */
  async function outcome(dir: string): Promise<{ told?: object; error?: unknown; findings: string[] }> {
    let catalog: Catalog | undefined;
    try {
      catalog = await openIn(dir);
    } catch (error) {
      return { error, findings: [] };
    }
    try {
      const told = await served(catalog).catch((error: unknown) => ({ error }));
      const findings = await catalog.check();
      return 'error' in told ? { ...told, findings } : { told, findings };
    } finally {
      await catalog.close();
    }
  }

  /** Right, or said to be wrong; never wrong and called right, and no error that tells a person nothing. */
  async function assertHonest(dir: string, truth: object | undefined, what: string): Promise<'right' | 'damaged'> {
    const { told, error, findings } = await outcome(dir);
    if (error !== undefined) {
      assert.ok(isAirlockError(error, 'catalog.corrupt'), `${what}: ${String(error)}`);
      assert.match(error.message, /doctor --rebuild-catalog/, what);
      return 'damaged';
    }
    if (findings.length > 0) return 'damaged';
    assert.deepEqual(told, truth, `${what}: wrong, and nobody noticed`);
    return 'right';
  }

  async function withBytes(dir: string, bytes: Buffer): Promise<void> {
    for (const suffix of ['-wal', '-shm']) await rm(path.join(dir, `catalog.sqlite${suffix}`), { force: true });
    await writeFile(path.join(dir, 'catalog.sqlite'), bytes);
  }

  test('is refused, or at least found, whichever byte of its header changed', async (t) => {
    const dir = await catalogFile(t);
    const { told: truth } = await outcome(dir);
    const good = await readFile(path.join(dir, 'catalog.sqlite'));
    let damaged = 0;
    for (let at = 0; at < 100; at++) {
      for (const flip of isDeep ? [1, 2, 4, 8, 16, 32, 64, 128, 255] : [0x41]) {
        const bad = Buffer.from(good);
        bad[at] = (bad[at] ?? 0) ^ flip;
        await withBytes(dir, bad);
        if ((await assertHonest(dir, truth, `byte ${at} ^ ${flip}`)) === 'damaged') damaged += 1;
      }
    }
    assert.ok(damaged > 20, `${damaged} of 100`);
  });

  test('is refused, or at least found, whichever bytes of its pages changed', async (t) => {
    const dir = await catalogFile(t);
    const { told: truth } = await outcome(dir);
    const good = await readFile(path.join(dir, 'catalog.sqlite'));
    const damage = fc.record({
      at: fc.nat(good.length - 1),
      length: fc.constantFrom(1, 1, 16, 4096),
      flip: fc.integer({ min: 1, max: 255 }),
    });
    await fc.assert(
      fc.asyncProperty(damage, async ({ at, length, flip }) => {
        const bad = Buffer.from(good);
        for (let i = at; i < Math.min(at + length, bad.length); i++) bad[i] = (bad[i] ?? 0) ^ flip;
        await withBytes(dir, bad);
        await assertHonest(dir, truth, `${length} bytes at ${at} ^ ${flip}`);
      }),
      { numRuns: isDeep ? 3000 : 100 },
    );
  });

  test('is refused when it was cut, emptied, swapped for something else, or lost', async (t) => {
    const dir = await catalogFile(t);
    const { told: truth } = await outcome(dir);
    const good = await readFile(path.join(dir, 'catalog.sqlite'));
    const wrong: Record<string, Buffer> = {
      empty: Buffer.alloc(0),
      'one byte': good.subarray(0, 1),
      'half a page': good.subarray(0, 2048),
      'half of it': good.subarray(0, 4096 * Math.floor(good.length / 8192)),
      'its last page is gone': good.subarray(0, -4096),
      zeros: Buffer.alloc(good.length),
      text: Buffer.from('# not a database\n'.repeat(1000)),
      'its pages in another order': Buffer.concat([
        good.subarray(0, 4096),
        good.subarray(8192),
        good.subarray(4096, 8192),
      ]),
    };
    for (const [what, bytes] of Object.entries(wrong)) {
      await withBytes(dir, bytes);
      assert.equal(await assertHonest(dir, truth, what), 'damaged', what);
    }
    await rm(path.join(dir, 'catalog.sqlite'));
    assert.equal(await assertHonest(dir, truth, 'lost'), 'damaged');
    // None of this cost a revision file: the catalog is made anew.
    const rebuilt = await rebuild(dir, logOf(dir));
    t.after(() => rebuilt.close());
    assert.equal((await rebuilt.repository('a'))?.published, 2);
  });

  test('is refused when its write-ahead log lost what was acknowledged', async (t) => {
    const dir = await tempDir(t);
    const child = startChild(t, ['write', dir, 'one', '3'], []);
    // Killed, so that the write-ahead log is not taken into the database.
    for (let n = 0; n < 2; n++) await child.line();
    child.process.kill('SIGKILL');
    await child.end();
    const kept = path.join(dir, 'kept');
    await mkdir(kept);
    const files = ['catalog.sqlite', 'catalog.sqlite-wal'];
    for (const file of files) await copyFile(path.join(dir, file), path.join(kept, file));
    await cp(path.join(dir, 'revisions'), path.join(kept, 'revisions'), { recursive: true });
    const whole = await openIn(dir);
    const published = (await whole.repository('a'))?.published ?? 0;
    await whole.close();
    const { size } = await stat(path.join(kept, 'catalog.sqlite-wal'));
    for (const keep of [0, 32, size / 2, size - 5000, size - 1].map(Math.trunc)) {
      const copy = await tempDir(t);
      await cp(kept, copy, { recursive: true });
      const wal = path.join(copy, 'catalog.sqlite-wal');
      await writeFile(wal, (await readFile(wal)).subarray(0, keep));
      const { told, error } = await outcome(copy);
      if (error !== undefined) assert.ok(isAirlockError(error, 'catalog.corrupt'), String(error));
      else assert.equal((told as { paths: object[] }).paths.length, published + 1);
    }
  });

  test('is found where the database itself sees nothing', async (t) => {
    const dir = await catalogFile(t);
    const database = new DatabaseSync(path.join(dir, 'catalog.sqlite'));
    database.exec(`update artifacts set document = replace(document, '"size":7,', '"size":8,')`);
    database.close();
    const catalog = await openIn(dir);
    t.after(() => catalog.close());
    const findings = await catalog.check();
    assert.equal(findings.length, 1);
    assert.match(findings[0] ?? '', /artifact [0-9a-f]{32} is not what was recorded/);
    assert.equal((await catalog.entriesOf(testDigest(7))).length, 1);
  });

  test('is found where a package would be listed in place of another', async (t) => {
    const dir = await catalogFile(t);
    const database = new DatabaseSync(path.join(dir, 'catalog.sqlite'));
    database.exec(`update entries set list_key = 'router 1 1 noarch ${testDigest(7)}'`);
    database.close();
    const catalog = await openIn(dir);
    t.after(() => catalog.close());
    const [finding = ''] = await catalog.check();
    assert.match(finding, /^an entry of artifact [0-9a-f]{32} is not listed where it belongs$/);
  });
});
