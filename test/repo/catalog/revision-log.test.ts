import assert from 'node:assert/strict';
import { appendFile, mkdir, readdir, readFile, rename, rm, stat, symlink, truncate, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import fc from 'fast-check';
import type { Catalog } from '../../../src/repo/catalog/catalog.ts';
import {
  DiskRevisionLog,
  type RevisionHeader,
  type RevisionLine,
  type RevisionLog,
} from '../../../src/repo/catalog/revision-log.ts';
import { openSqliteCatalog } from '../../../src/repo/catalog/sqlite.ts';
import { collected, failsWith, publishIn } from '../../conformance/catalog/under-test.ts';
import { testArtifact, testDigest } from '../../support/artifacts.ts';
import { tempDir } from '../../support/temp-dir.ts';
import { startChild } from './child.ts';

const header = (revision: number): RevisionHeader => ({
  format: 1,
  id: String(revision).padStart(32, '0'),
  repository: 'a',
  kind: 'file',
  revision,
  createdAt: Date.UTC(2026, 0, revision),
  reason: `revision ${revision}`,
});

const some: RevisionLine[] = [
  { put: 'd/\u{1f600}\u2028', artifact: testArtifact(1, { name: 'a "quoted"\nname' }) },
  { remove: 'x' },
  { withdraw: testDigest(2) },
];

function write(log: RevisionLog, revision: number, lines: Iterable<RevisionLine>): void {
  const file = log.begin(header(revision));
  for (const line of lines) file.add(line);
  file.close();
  file.keep();
}

async function read(log: RevisionLog): Promise<{ header: RevisionHeader; lines: RevisionLine[] }[]> {
  const all = [];
  for await (const revision of log.revisions('a')) {
    all.push({ header: revision.header, lines: await collected(revision.lines) });
  }
  return all;
}

function pending(log: RevisionLog): string[] {
  return log.pending().map(({ repository, revision }) => `${revision} ${repository}`);
}

async function newLog(t: TestContext): Promise<{ log: DiskRevisionLog; dir: string; file: (n: number) => string }> {
  const dir = await tempDir(t);
  return {
    log: new DiskRevisionLog(dir),
    dir,
    file: (n) => path.join(dir, 'a', `${String(n).padStart(8, '0')}.jsonl`),
  };
}

describe('the revision log', () => {
  test('gives what was written', async (t) => {
    const { log } = await newLog(t);
    assert.deepEqual(await log.repositories(), []);
    assert.deepEqual(await read(log), []);
    const long = Array.from({ length: 3000 }, (_, n): RevisionLine => ({ put: `${n}`, artifact: testArtifact(n) }));
    write(log, 1, some);
    write(log, 2, []);
    write(log, 3, long);
    assert.deepEqual(await read(log), [
      { header: header(1), lines: some },
      { header: header(2), lines: [] },
      { header: header(3), lines: long },
    ]);
    assert.deepEqual(await log.repositories(), ['a']);
    assert.deepEqual([log.has('a', 3), log.has('a', 4), log.has('b', 1)], [true, false, false]);
    // Of a revision that nobody reads, nothing stays open.
    for await (const revision of log.revisions('a')) if (revision.header.revision === 3) break;
  });

  test('has only what was kept', async (t) => {
    const { log, dir } = await newLog(t);
    const closed = log.begin(header(1));
    closed.add({ remove: 'x' });
    closed.close();
    assert.deepEqual([log.has('a', 1), pending(log), await read(log)], [false, ['1 a'], []]);
    closed.cancel();
    closed.cancel();
    assert.deepEqual(log.pending(), []);
    const open = log.begin(header(1));
    for (let n = 0; n < 1000; n++) open.add({ put: 'x', artifact: testArtifact(n) });
    assert.deepEqual(pending(log), ['1 a']);
    open.cancel();
    assert.deepEqual(log.pending(), []);
    const kept = log.begin(header(1));
    kept.close();
    kept.keep();
    kept.cancel();
    assert.equal((await read(log)).length, 1);
    log.begin(header(2)).cancel();
    assert.deepEqual(await readdir(path.join(dir, 'a')), ['00000001.jsonl']);
  });

  test('never takes back what it has', async (t) => {
    const { log, dir, file } = await newLog(t);
    write(log, 1, some);
    const before = await readFile(file(1));
    assert.throws(() => log.begin(header(1)), failsWith('catalog.corrupt', /older than the revision files/));
    // A copy of it that lies about is not put in its place.
    await writeFile(path.join(dir, '.pending', '00000001-a.jsonl'), 'something else');
    for (const each of log.pending()) log.end(each, true);
    assert.deepEqual(await readFile(file(1)), before);
    assert.deepEqual(log.pending(), []);
  });

  test('is not confused by what others put beside it', async (t) => {
    const { log, dir } = await newLog(t);
    write(log, 1, some);
    for (const name of ['lost+found', 'ä', 'A', '.pending/dir']) await mkdir(path.join(dir, name), { recursive: true });
    for (const name of [
      'file',
      'a/1.jsonl',
      'a/00000002.jsonl.tmp',
      'a/00000003.json',
      '.pending/x',
      '.pending/1-a.jsonl',
    ]) {
      await writeFile(path.join(dir, name), 'x');
    }
    await symlink('/nowhere', path.join(dir, 'link'));
    assert.deepEqual(await log.repositories(), ['a']);
    assert.deepEqual((await read(log)).length, 1);
    assert.deepEqual(log.pending(), []);
    assert.ok((await readdir(path.join(dir, '.pending'))).length >= 3);
  });

  test('does not overwrite what another left pending', async (t) => {
    const { log, dir } = await newLog(t);
    const dead = [1, 2, 3].map(() => log.begin(header(1)));
    for (const [index, file] of dead.entries()) {
      file.add({ remove: `${index}` });
      file.close();
    }
    assert.deepEqual(await readdir(path.join(dir, '.pending')), [
      '00000001-a.jsonl',
      '00000001-a~1.jsonl',
      '00000001-a~2.jsonl',
    ]);
    write(log, 1, some);
    const [first, second, third] = log.pending();
    assert.ok(first !== undefined && second !== undefined && third !== undefined);
    assert.equal(first.id, header(1).id);
    log.end(first, false);
    log.end(second, true);
    log.end(third, true);
    log.end(third, true);
    assert.deepEqual(log.pending(), []);
    assert.deepEqual(await read(log), [{ header: header(1), lines: some }]);
  });
});

describe('a damaged revision file', () => {
  const damages: Record<string, (file: (n: number) => string) => Promise<void>> = {
    'is torn': async (file) => truncate(file(2), (await stat(file(2))).size - 1),
    'is torn at a line': async (file) => {
      const lines = (await readFile(file(2), 'utf8')).split('\n');
      await writeFile(file(2), `${lines.slice(0, -2).join('\n')}\n`);
    },
    'is torn after its header': async (file) => {
      await writeFile(file(2), `${(await readFile(file(2), 'utf8')).split('\n')[0]}\n`);
    },
    'is empty': (file) => writeFile(file(2), ''),
    'is only its closing line': async (file) => {
      await writeFile(file(2), `${(await readFile(file(2), 'utf8')).split('\n').at(-2)}\n`);
    },
    'was preallocated, and is zeros': (file) => writeFile(file(2), Buffer.alloc(100_000)),
    'goes on after its end': (file) => appendFile(file(2), '{"remove":"y"}\n'),
    'lost a line': async (file) => {
      await writeFile(file(2), (await readFile(file(2), 'utf8')).replace(/\{"remove".*\n/, ''));
    },
    'has a changed letter': async (file) => {
      await writeFile(file(2), (await readFile(file(2), 'utf8')).replace('"remove":"x"', '"remove":"y"'));
    },
    'is not JSON': async (file) => {
      await writeFile(file(2), (await readFile(file(2), 'utf8')).replace('{"remove"', '["remove"'));
    },
    'is missing': (file) => rm(file(2)),
    'is another revision': async (file) => {
      await rename(file(3), file(2));
      await rename(file(4), file(3));
    },
    'is a folder': async (file) => {
      await rm(file(2));
      await mkdir(file(2));
    },
  };
  for (const [name, damage] of Object.entries(damages)) {
    test(`that ${name} is refused by name`, async (t) => {
      const { log, file } = await newLog(t);
      for (const n of [1, 2, 3, 4]) write(log, n, some);
      await damage(file);
      const seen: number[] = [];
      const all = (async () => {
        for await (const revision of log.revisions('a')) {
          seen.push(revision.header.revision);
          await collected(revision.lines);
        }
      })();
      await assert.rejects(all, failsWith('revision.damaged', /00000002\.jsonl is damaged.*backup/));
      assert.deepEqual(seen, [1]);
    });
  }

  test('shows, whichever byte of it changed', async (t) => {
    const { log, file } = await newLog(t);
    write(log, 1, some);
    const good = await readFile(file(1));
    await fc.assert(
      fc.asyncProperty(fc.nat(good.length - 1), fc.integer({ min: 1, max: 255 }), async (at, flip) => {
        const bad = Buffer.from(good);
        bad[at] = (bad[at] ?? 0) ^ flip;
        await writeFile(file(1), bad);
        await assert.rejects(read(log), failsWith('revision.damaged'));
      }),
      { numRuns: 200 },
    );
  });

  test('of a format to come is refused', async (t) => {
    const { log } = await newLog(t);
    const file = log.begin({ ...header(1), format: 2 as 1 });
    file.close();
    file.keep();
    await assert.rejects(read(log), failsWith('catalog.newer-format', /newer Airlock/));
    // It is not damaged, so it is not given up either.
    await assert.rejects(log.mend(header(1).repository, 'nowhere'), failsWith('catalog.newer-format'));
  });
});

describe('a process that was killed', () => {
  async function open(t: TestContext, dir: string): Promise<{ catalog: Catalog; log: DiskRevisionLog }> {
    const log = new DiskRevisionLog(path.join(dir, 'revisions'));
    const catalog = await openSqliteCatalog(path.join(dir, 'catalog.sqlite'), log);
    t.after(() => catalog.close());
    return { catalog, log };
  }

  /** A catalog with one revision of `a`, and a process killed over the next one. */
  async function killed(t: TestContext, command: string) {
    const dir = await tempDir(t);
    const { catalog, log } = await open(t, dir);
    await catalog.transaction((tx) => publishIn(tx, 'a', { put: [{ path: 'x', artifact: testArtifact(1) }] }));
    const child = startChild(t, [command, dir]);
    await child.line();
    child.process.kill('SIGKILL');
    assert.equal((await child.end()).signal, 'SIGKILL');
    return { dir, catalog, log };
  }

  test('before COMMIT published nothing, and the next opening removes its files', async (t) => {
    const { dir, catalog, log } = await killed(t, 'beforeCommit');
    assert.deepEqual(pending(log), ['1 new', '2 a', '3 a']);
    assert.equal((await catalog.repository('a'))?.published, 1);
    assert.equal(await catalog.repository('new'), undefined);
    const next = await open(t, dir);
    assert.deepEqual(log.pending(), []);
    assert.deepEqual(await log.repositories(), ['a']);
    assert.deepEqual([log.has('a', 1), log.has('a', 2), log.has('new', 1)], [true, false, false]);
    assert.equal(await next.catalog.transaction((tx) => publishIn(tx, 'a', { remove: ['x'] })), 2);
    assert.equal((await read(log)).length, 2);
  });

  test('before COMMIT does not hinder those that go on', async (t) => {
    const { dir, catalog, log } = await killed(t, 'beforeCommit');
    assert.equal(await catalog.transaction((tx) => publishIn(tx, 'a', { remove: ['x'] })), 2);
    assert.equal(await catalog.transaction((tx) => publishIn(tx, 'new', {})), 1);
    assert.deepEqual((await read(log)).at(-1)?.lines, [{ remove: 'x' }]);
    assert.deepEqual(pending(log), ['1 new', '2 a', '3 a']);
    await open(t, dir);
    assert.deepEqual(log.pending(), []);
    assert.equal((await read(log)).length, 2);
  });

  test('in the middle of a revision leaves nothing of it', async (t) => {
    const { dir, log } = await killed(t, 'inTheMiddle');
    assert.deepEqual(pending(log), ['2 a']);
    const { catalog } = await open(t, dir);
    assert.deepEqual(log.pending(), []);
    assert.equal((await collected(catalog.entries('a', 2))).length, 1);
  });

  test('after COMMIT has published, and the next opening puts its file in place', async (t) => {
    const { dir, catalog, log } = await killed(t, 'afterCommit');
    assert.equal((await catalog.lookup('a', 'committed'))?.since, 2);
    assert.deepEqual([pending(log), log.has('a', 2)], [['2 a'], false]);
    await open(t, dir);
    assert.deepEqual([log.pending(), log.has('a', 2)], [[], true]);
    assert.equal((await read(log)).length, 2);
  });

  test('after COMMIT, though others published since, loses nothing', async (t) => {
    const { dir, catalog, log } = await killed(t, 'afterCommit');
    assert.equal(await catalog.transaction((tx) => publishIn(tx, 'a', { remove: ['x'] })), 3);
    await assert.rejects(read(log), failsWith('revision.damaged', /00000002\.jsonl.*missing/));
    await open(t, dir);
    assert.equal((await read(log)).length, 3);
  });
});
