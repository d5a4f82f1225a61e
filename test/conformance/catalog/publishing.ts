import assert from 'node:assert/strict';
import { limits } from '../../../src/limits.ts';
import type { CatalogTransaction } from '../../../src/repo/catalog/catalog.ts';
import { testArtifact, testDigest, testStat } from '../../support/artifacts.ts';
import { type Check, collected, failsWith, publishIn, shown } from './under-test.ts';

export function publishingChecks(check: Check): void {
  repositoryChecks(check);
  revisionChecks(check);
  conflictChecks(check);
  againChecks(check);
  formerChecks(check);
  transactionChecks(check);
}

function repositoryChecks(check: Check): void {
  check('a repository is made once, and found', async ({ catalog }) => {
    assert.equal(await catalog.repository('images'), undefined);
    const made = await catalog.transaction((tx) => tx.ensureRepository('images', 'file'));
    assert.deepEqual([made.name, made.kind, made.published], ['images', 'file', 0]);

    const again = await catalog.transaction((tx) => tx.ensureRepository('images', 'file'));
    assert.deepEqual(again, made);
    assert.deepEqual(await catalog.repository('images'), made);
    assert.deepEqual(await catalog.revisions('images'), []);
  });

  check('repositories stand in byte order', async ({ catalog }) => {
    const names = ['b', 'a0', 'a-', 'a', 'a.b', 'a_b', '0'];
    await catalog.transaction(async (tx) => {
      for (const name of names) await tx.ensureRepository(name, 'rpm');
    });
    const listed = (await catalog.repositories()).map(({ name }) => name);
    assert.deepEqual(listed, ['0', 'a', 'a-', 'a.b', 'a0', 'a_b', 'b']);
  });

  check('a repository keeps its kind', async ({ catalog }) => {
    await catalog.transaction((tx) => tx.ensureRepository('images', 'file'));
    await assert.rejects(
      catalog.transaction((tx) => tx.ensureRepository('images', 'rpm')),
      failsWith('repository.kind', /kind file, not rpm/),
    );
  });

  check('a repository has a name that can be a folder and part of a URL', async ({ catalog }) => {
    const bad = ['', '.', '..', '.pending', 'a..b', 'A', 'ü', 'a/b', 'a b', '-a', '_a', 'a\n', 'a'.repeat(64), 'a\\b'];
    for (const name of bad) {
      await assert.rejects(
        catalog.transaction((tx) => tx.ensureRepository(name, 'file')),
        failsWith('path.invalid'),
        JSON.stringify(name),
      );
    }
    const good = ['a', '0', 'ssr-el7-x86_64', 'a.b', 'a'.repeat(63)];
    await catalog.transaction(async (tx) => {
      for (const name of good) await tx.ensureRepository(name, 'file');
    });
    assert.equal((await catalog.repositories()).length, good.length);
  });

  check('what is not there cannot be published', async ({ catalog }) => {
    await assert.rejects(
      catalog.transaction((tx) => tx.publish('nowhere', { reason: 'test' })),
      failsWith('repository.not-found', /nowhere/),
    );
    await assert.rejects(
      catalog.transaction((tx) => tx.publishAgain('nowhere', 1)),
      failsWith('repository.not-found'),
    );
    await catalog.transaction((tx) => tx.ensureRepository('a', 'file'));
    await assert.rejects(
      catalog.transaction((tx) => tx.publish('a', { reason: 'test', put: [{ path: 'x', artifact: testArtifact(1) }] })),
      failsWith('blob.missing', /file-1/),
    );
  });
}

function revisionChecks(check: Check): void {
  check('a revision holds what was put, since then', async (under) => {
    const artifact = testArtifact(1, { name: 'größe.iso', facts: { deep: [1, { a: null }], 'naïve \u{1f600}': 'x' } });
    const before = under.time;
    const put = [{ path: '6.3/größe.iso', artifact }];
    assert.equal(await under.publish('images', { put, reason: 'import größe.iso' }), 1);
    const entry = await under.catalog.lookup('images', '6.3/größe.iso');
    assert.ok(entry !== undefined && entry.modified.getTime() > before && entry.modified.getTime() <= under.time);
    const { modified } = entry;
    assert.deepEqual(entry, { repository: 'images', path: '6.3/größe.iso', artifact, since: 1, modified });
    assert.equal((await under.catalog.repository('images'))?.published, 1);
    assert.deepEqual(await under.catalog.revisions('images'), [
      { number: 1, createdAt: modified, reason: 'import größe.iso', put: 1, removed: 0 },
    ]);
  });

  check('the first revision may be empty, later ones not', async (under) => {
    assert.equal(await under.publish('a', {}), 1);
    assert.equal(await under.publish('a', {}), 1);
    assert.equal(await under.publish('a', { remove: ['x', 'y/z', '../..', ''] }), 1);
    assert.equal((await under.catalog.revisions('a')).length, 1);
    assert.deepEqual(await under.logFiles(), ['a/00000001.jsonl']);
  });

  check('putting what is there makes no revision', async (under) => {
    const put = [{ path: 'x', artifact: testArtifact(1) }];
    await under.publish('a', { put });
    const dump = await under.place.dump();
    assert.equal(await under.catalog.transaction((tx) => tx.publish('a', { reason: 'test', put })), 1);
    // The same facts in another order are the same facts.
    const shuffled = Object.fromEntries(Object.entries(testArtifact(1)).reverse()) as (typeof put)[0]['artifact'];
    const same = [{ path: 'x', artifact: shuffled, replace: true }];
    assert.equal(await under.catalog.transaction((tx) => tx.publish('a', { reason: 'test', put: same })), 1);
    assert.deepEqual(await under.place.dump(), dump);
  });

  check('new facts of the same bytes make a revision, but do not age them', async (under) => {
    await under.publish('a', { put: [{ path: 'x', artifact: testArtifact(1) }] });
    const before = await under.catalog.lookup('a', 'x');
    const artifact = testArtifact(1, { verification: { status: 'signature', checks: [] } });
    assert.equal(await under.publish('a', { put: [{ path: 'x', artifact }] }), 2);
    const entry = await under.catalog.lookup('a', 'x');
    assert.deepEqual(entry, { ...before, artifact, since: 2 });
  });

  check('what is removed is gone, and still in older revisions', async (under) => {
    const put = [1, 2, 3].map((n) => ({ path: `d/${n}`, artifact: testArtifact(n) }));
    await under.publish('a', { put });
    assert.equal(await under.publish('a', { remove: ['d/2', 'd/2', 'd', 'd/'] }), 2);
    assert.equal(await under.catalog.lookup('a', 'd/2'), undefined);
    assert.deepEqual(shown(await collected(under.catalog.entries('a', 2))), ['d/1=1', 'd/3=3']);
    assert.deepEqual(shown(await collected(under.catalog.entries('a', 1))), ['d/1=1', 'd/2=2', 'd/3=3']);
    const [newest] = await under.catalog.revisions('a');
    assert.deepEqual([newest?.put, newest?.removed], [0, 1]);
    // It comes back as something new.
    assert.equal(await under.publish('a', { put: [{ path: 'd/2', artifact: testArtifact(2) }] }), 3);
    assert.equal((await under.catalog.lookup('a', 'd/2'))?.since, 3);
    assert.deepEqual(shown(await collected(under.catalog.entries('a', 2))), ['d/1=1', 'd/3=3']);
  });

  check('one change may remove a path and put it anew', async (under) => {
    await under.publish('a', { put: [{ path: 'x', artifact: testArtifact(1) }] });
    await under.publish('a', { remove: ['x'], put: [{ path: 'x', artifact: testArtifact(2) }] });
    assert.deepEqual(shown(await collected(under.catalog.entries('a', 2))), ['x=2']);
    assert.deepEqual(shown(await collected(under.catalog.entries('a', 1))), ['x=1']);
  });

  check('of one path put several times in a change, the last counts', async (under) => {
    await under.publish('a', { put: [{ path: 'x', artifact: testArtifact(1) }] });
    const put = [
      ...[2, 3].map((n) => ({ path: 'x', artifact: testArtifact(n), replace: true })),
      ...[4, 5].map((n) => ({ path: 'y', artifact: testArtifact(9, { name: `name ${n}` }) })),
    ];
    assert.equal(await under.publish('a', { put }), 2);
    assert.deepEqual(shown(await collected(under.catalog.entries('a', 2))), ['x=3', 'y=9']);
    assert.equal((await under.catalog.lookup('a', 'y'))?.artifact.name, 'name 5');
    assert.deepEqual(shown(await collected(under.catalog.entries('a', 1))), ['x=1']);
    assert.equal((await under.catalog.revisions('a'))[0]?.put, 2);
    const twice = [6, 7].map((n) => ({ path: 'z', artifact: testArtifact(n) }));
    await assert.rejects(under.publish('a', { put: twice }), failsWith('path.conflict', /a\/z/));
  });

  check('a path is made of names', async (under) => {
    const long = limits.path.bytes;
    const bad = [
      '',
      '/',
      '/x',
      'x/',
      'a//b',
      '.',
      '..',
      'a/../b',
      './a',
      'a/.',
      'a\\b',
      'a\0',
      'a\nb',
      'a\u007f',
      'a\ud800',
    ];
    bad.push(
      'x'.repeat(long + 1),
      'é'.repeat(long / 2 + 1),
      Array(limits.path.depth + 1)
        .fill('a')
        .join('/'),
    );
    for (const path of bad) {
      const put = [{ path, artifact: testArtifact(1) }];
      await assert.rejects(under.publish('a', { put }), failsWith('path.invalid'), JSON.stringify(path));
    }
    assert.deepEqual(await under.logFiles(), []);
    const good = [
      'x',
      'a b',
      '...',
      '-',
      ' ',
      'x'.repeat(long),
      Array(limits.path.depth).fill('a').join('/'),
      'a/\u{10ffff}',
    ];
    const put = good.map((path) => ({ path, artifact: testArtifact(1) }));
    assert.equal(await under.publish('a', { put }), 1);
    for (const path of good) assert.equal((await under.catalog.lookup('a', path))?.path, path);
  });
}

function conflictChecks(check: Check): void {
  check('a path that holds other bytes is refused, and nothing is left of the change', async (under) => {
    const put = [1, 2, 3].map((n) => ({ path: `d/${n}`, artifact: testArtifact(n) }));
    await under.publish('a', { put });
    const dump = await under.place.dump();
    const others = [
      { path: 'd/0', artifact: testArtifact(10) },
      { path: 'd/1', artifact: testArtifact(11) },
      { path: 'd/2', artifact: testArtifact(2) },
      { path: 'd/3', artifact: testArtifact(13) },
    ];
    await assert.rejects(under.publish('a', { put: others, remove: ['d/2'] }), (error: Error) => {
      failsWith('path.conflict', /a\/d\/1 and 1 more/)(error);
      assert.deepEqual((error as Error & { details: object }).details, { repository: 'a', paths: ['d/1', 'd/3'] });
      return true;
    });
    assert.deepEqual(await under.place.dump(), dump);
    assert.deepEqual(await under.logFiles(), ['a/00000001.jsonl']);
  });

  check('a put may replace other bytes, which then are new', async (under) => {
    await under.publish('a', { put: [{ path: 'x', artifact: testArtifact(1) }] });
    const before = await under.catalog.lookup('a', 'x');
    await under.publish('a', { put: [{ path: 'x', artifact: testArtifact(2), replace: true }] });
    const entry = await under.catalog.lookup('a', 'x');
    assert.deepEqual([entry?.artifact.size, entry?.since], [2, 2]);
    assert.ok(entry !== undefined && before !== undefined && entry.modified > before.modified);
  });

  check('a failed publish fails the transaction, even if nobody looks', async (under) => {
    await under.publish('a', { put: [{ path: 'x', artifact: testArtifact(1) }] });
    const dump = await under.place.dump();
    const swallow = async (tx: CatalogTransaction) => {
      await tx.ensureRepository('b', 'file');
      const put = [2, 3].map((n) => ({ path: n === 2 ? 'fits' : 'x', artifact: testArtifact(n) }));
      await publishIn(tx, 'a', { put }).catch(() => 'never mind');
    };
    await assert.rejects(under.catalog.transaction(swallow), failsWith('path.conflict'));
    assert.deepEqual(await under.place.dump(), dump);
    // What fails before anything was written may be let pass.
    await under.catalog.transaction(async (tx) => {
      await assert.rejects(tx.publish('b', { reason: 'test' }), failsWith('repository.not-found'));
      await tx.ensureRepository('b', 'file');
      assert.equal(await tx.publish('b', { reason: 'test' }), 1);
    });
  });
}

function againChecks(check: Check): void {
  check('an older revision is published again as a new one', async (under) => {
    const put = (n: number, ...paths: string[]) =>
      paths.map((path) => ({ path, artifact: testArtifact(n), replace: true }));
    await under.publish('a', { put: put(1, 'd/x', 'y') });
    await under.publish('a', { put: put(2, 'y', 'z') });
    await under.publish('a', { remove: ['d/x'] });
    assert.equal(await under.catalog.transaction((tx) => tx.publishAgain('a', 1)), 4);
    assert.deepEqual(shown(await collected(under.catalog.entries('a', 4))), ['y=1', 'd/x=1']);
    assert.deepEqual(shown(await collected(under.catalog.entries('a', 3))), ['y=2', 'z=2']);
    const [newest] = await under.catalog.revisions('a');
    assert.deepEqual([newest?.reason, newest?.put, newest?.removed], ['publish 1', 2, 1]);
    // Equal already: nothing to do.
    for (const number of [1, 4]) {
      assert.equal(await under.catalog.transaction((tx) => tx.publishAgain('a', number)), 4);
    }
    for (const number of [0, 5, -1, 1.5, Number.NaN]) {
      await assert.rejects(
        under.catalog.transaction((tx) => tx.publishAgain('a', number)),
        failsWith('revision.not-found'),
        String(number),
      );
    }
  });

  check('a revision whose bytes are gone cannot be published again', async (under) => {
    const put = Array.from({ length: 30 }, (_, n) => ({ path: `d/${n + 10}`, artifact: testArtifact(n) }));
    await under.publish('a', { put });
    await under.publish('a', { remove: put.map(({ path }) => path) });
    await under.catalog.transaction(async (tx) => {
      for (const { artifact } of put.slice(5)) await tx.forgetBlob(artifact.digest);
    });
    const dump = await under.place.dump();
    await assert.rejects(
      under.catalog.transaction((tx) => tx.publishAgain('a', 1)),
      (error: Error & { details?: { lost?: string[] } }) => {
        failsWith('revision.incomplete', /Revision 1 of a .*d\/15, d\/16, d\/17, …/)(error);
        assert.equal(error.details?.lost?.length, 20);
        return true;
      },
    );
    assert.deepEqual(await under.place.dump(), dump);
    await under.catalog.transaction(async (tx) => {
      for (const { artifact } of put) await tx.recordBlob(testStat(artifact.size));
    });
    assert.equal(await under.catalog.transaction((tx) => tx.publishAgain('a', 1)), 3);
  });

  check('more paths than a page are published again', async (under) => {
    const count = limits.catalog.page + 3;
    const put = (n: number, first: number) =>
      Array.from({ length: count }, (_, i) => ({
        path: `${i % 7}/${first + i}`,
        artifact: testArtifact(n),
        replace: true,
      }));
    await under.publish('a', { put: put(1, 0) });
    await under.publish('a', { put: put(2, 300) });
    const [one, two] = [await collected(under.catalog.entries('a', 1)), await collected(under.catalog.entries('a', 2))];
    assert.equal(one.length, count);
    assert.equal(await under.catalog.transaction((tx) => tx.publishAgain('a', 1)), 3);
    assert.deepEqual(shown(await collected(under.catalog.entries('a', 3))), shown(one));
    assert.equal(await under.catalog.transaction((tx) => tx.publishAgain('a', 2)), 4);
    assert.deepEqual(shown(await collected(under.catalog.entries('a', 4))), shown(two));
  });
}

function formerChecks(check: Check): void {
  const long = new Date(0);

  check('what a path held last is found, until too long ago', async (under) => {
    const { catalog } = under;
    const former = async (path = 'x', since = long) => (await catalog.former('a', path, since))?.artifact.digest;
    await under.publish('a', { put: [{ path: 'x', artifact: testArtifact(1) }] });
    assert.equal(await former(), undefined, 'it is published');
    await under.publish('a', { put: [{ path: 'x', artifact: testArtifact(2), replace: true }] });
    await under.publish('a', { remove: ['x'] });
    assert.equal(await former(), testDigest(2));
    assert.equal(await former('y'), undefined);
    assert.equal(await former('x', under.later()), undefined);
    await catalog.transaction((tx) => tx.publishAgain('a', 1));
    await catalog.transaction((tx) => tx.publishAgain('a', 3));
    assert.equal(await former(), testDigest(1));
  });

  check('what was withdrawn is not what a path held', async (under) => {
    await under.publish('a', { put: [{ path: 'x', artifact: testArtifact(1) }] });
    await under.publish('a', { withdraw: ['x'] });
    assert.equal(await under.catalog.former('a', 'x', long), undefined);
    assert.equal(await under.catalog.former('b', 'x', long), undefined);
  });
}

function transactionChecks(check: Check): void {
  check('a transaction may publish several times', async (under) => {
    const numbers = await under.catalog.transaction(async (tx) => [
      await publishIn(tx, 'a', { put: [{ path: 'x', artifact: testArtifact(1) }] }),
      await publishIn(tx, 'b', { put: [{ path: 'x', artifact: testArtifact(1) }] }),
      await publishIn(tx, 'a', { remove: ['x'] }),
    ]);
    assert.deepEqual(numbers, [1, 1, 2]);
    assert.deepEqual(await under.logFiles(), ['a/00000001.jsonl', 'a/00000002.jsonl', 'b/00000001.jsonl']);
  });

  check('a transaction that fails leaves nothing', async (under) => {
    await under.publish('a', { put: [{ path: 'x', artifact: testArtifact(1) }] });
    const dump = await under.place.dump();
    const failing = under.catalog.transaction(async (tx) => {
      await publishIn(tx, 'a', { put: [{ path: 'y', artifact: testArtifact(2) }], withdraw: ['x'] });
      await publishIn(tx, 'new', {});
      await tx.forgetBlob(testDigest(1));
      throw new RangeError('on purpose');
    });
    await assert.rejects(failing, RangeError);
    assert.deepEqual(await under.place.dump(), dump);
    assert.deepEqual(await under.logFiles(), ['a/00000001.jsonl']);
    assert.equal(await under.publish('a', { remove: ['x'] }), 2);
  });

  check('readers see a transaction whole or not at all', async (under) => {
    await under.publish('a', { put: [{ path: 'x', artifact: testArtifact(1) }] });
    const seen: (number | undefined)[] = [];
    let reading: Promise<void> | undefined;
    await under.catalog.transaction(async (tx) => {
      await publishIn(tx, 'a', { put: [{ path: 'y', artifact: testArtifact(2) }] });
      // Waits for the transaction, or reads what was there before it.
      reading = under.catalog.repository('a').then((repository) => void seen.push(repository?.published));
      await publishIn(tx, 'a', { put: [{ path: 'z', artifact: testArtifact(3) }] });
    });
    await reading;
    assert.ok(seen[0] === 1 || seen[0] === 3, `${seen[0]}`);
    assert.equal((await under.catalog.repository('a'))?.published, 3);
  });

  check('a transaction cannot be used after it has ended', async (under) => {
    let kept: CatalogTransaction | undefined;
    await under.catalog.transaction(async (tx) => {
      kept = tx;
      await tx.ensureRepository('a', 'file');
    });
    await assert.rejects(async () => kept?.publish('a', { reason: 'late' }));
    assert.deepEqual(await under.catalog.revisions('a'), []);
  });
}
