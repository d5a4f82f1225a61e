import assert from 'node:assert/strict';
import { copyFile, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { Catalog } from '../../../src/repo/catalog/catalog.ts';
import type { RevisionLog } from '../../../src/repo/catalog/revision-log.ts';
import { testArtifact, testDigest, testRelease, testStat } from '../../support/artifacts.ts';
import { type CatalogUnderTest, type Check, collected, type Dump, failsWith, shown } from './under-test.ts';

/** As `doctor --rebuild-catalog` does it, for what is still missing. */
async function rebuild(catalog: Catalog, log: RevisionLog): Promise<void> {
  for (const name of await log.repositories()) {
    const known = (await catalog.repository(name))?.published ?? 0;
    for await (const { header, lines } of log.revisions(name)) {
      if (header.revision > known) await catalog.restore(header, lines);
    }
  }
}

/** What a log brings back: all but blobs, which the store knows, and small facts. */
function restorable({ repositories, revisions, artifacts, entries }: Dump): Dump {
  return { repositories, revisions, artifacts, entries } as Dump;
}

/** A catalog in which most of what can happen has happened. */
async function eventful(under: CatalogUnderTest): Promise<void> {
  const put = (n: number, ...paths: string[]) =>
    paths.map((each) => ({ path: each, artifact: testArtifact(n), replace: true }));
  await under.publish('empty', {});
  await under.publish('images', { put: put(1, '6.3/x', '6.3/é\u{1f600}', 'y'), reason: 'import "x"\n\u2028' });
  await under.publish('images', { put: [{ path: '6.3/x', artifact: testArtifact(1, { release: testRelease(3) }) }] });
  await under.publish('images', { put: put(2, 'y', 'z') });
  await under.publish('images', { withdraw: ['y', '6.3/x'] });
  await under.catalog.transaction((tx) => tx.publishAgain('images', 2));
  await under.publish('images', { remove: ['z'], put: put(3, 'z') });
  await under.publish('images', { put: [...put(4, 'twice'), ...put(5, 'twice')] });
  await under.publish('other', { put: put(1, '6.3/x') });
  await under.publish('other', {
    put: [{ path: 'p.rpm', artifact: testArtifact(1, { kind: 'rpm', facts: { name: 'p' } }) }],
  });
  await under.catalog.transaction((tx) => tx.withdrawFormer([testDigest(2)], 'faulty'));
  await assert.rejects(under.publish('other', { put: [{ path: '6.3/x', artifact: testArtifact(2) }] }));
}

export function rebuildingChecks(check: Check): void {
  check('a log with damage is mended: what could be read comes back, what could not is told', async (under) => {
    for (const n of [1, 2, 3, 4, 5]) {
      await under.publish('images', { put: [{ path: `f${n}`, artifact: testArtifact(n) }] });
    }
    await under.publish('whole', { put: [{ path: 'x', artifact: testArtifact(1) }] });
    const file = (n: number) => path.join(under.logDir, 'images', `0000000${n}.jsonl`);
    const text = await readFile(file(2), 'utf8');
    await writeFile(file(2), text.replace('"reason":"test"', '"reason":"rest"'));
    await rm(file(4));
    const kept = path.join(under.logDir, '..', 'kept');
    const lost = [...(await under.log.mend('images', kept)), ...(await under.log.mend('whole', kept))];
    assert.deepEqual(
      lost.map((each) => ({ ...each, kept: each.kept && path.basename(each.kept) })),
      [
        {
          repository: 'images',
          revision: 2,
          why: 'its content was changed',
          kept: 'images-00000002.jsonl',
          paths: ['f2'],
        },
        { repository: 'images', revision: 4, why: 'it is missing', kept: null, paths: [] },
      ],
    );
    assert.equal(await readFile(lost[0]?.kept ?? '', 'utf8'), text.replace('"reason":"test"', '"reason":"rest"'));
    const { catalog } = await under.elsewhere();
    await catalog.restoreBlobs([1, 2, 3, 4, 5].map((n) => ({ digest: testDigest(n), size: n })));
    await rebuild(catalog, under.log);
    assert.equal((await catalog.repository('images'))?.published, 5);
    assert.deepEqual(shown(await collected(catalog.entries('images', 5))), ['f1=1', 'f3=3', 'f5=5']);
    assert.deepEqual(
      (await catalog.revisions('images')).map(({ reason }) => reason),
      ['test', 'lost: it is missing', 'test', 'lost: its content was changed', 'test'],
    );
    assert.deepEqual(await catalog.check(), []);
    assert.deepEqual(await under.log.mend('images', kept), []);
  });

  check('the log gives the same catalog again', async (under) => {
    await eventful(under);
    const dump = await under.place.dump();
    const { catalog, place } = await under.elsewhere();
    await catalog.restoreBlobs([1, 2, 3, 4, 5].map((n) => ({ digest: testDigest(n), size: n })));
    await rebuild(catalog, under.log);
    const rebuilt = await place.dump();
    assert.deepEqual(restorable(rebuilt), restorable(dump));
    assert.deepEqual(
      rebuilt.blobs?.map((row) => ({ ...row, added_at: 0 })),
      dump.blobs?.map((row) => ({ ...row, added_at: 0, stamp: null, verified_at: null })),
    );
    for (const [name, options] of [
      ['before', { before: new Date(0) }],
      ['after', { before: under.later() }],
    ] as const) {
      const prune = async (each: Catalog) => {
        const told = await collected(each.prune({ ...options, dryRun: true, remove: () => Promise.reject() }));
        return told.map(({ digest, size }) => ({ digest, size }));
      };
      assert.deepEqual(await prune(catalog), await prune(under.catalog), name);
    }
    assert.deepEqual(await catalog.check(), []);
    // It is a whole catalog: it goes on where the other one stopped.
    assert.equal(await catalog.transaction((tx) => tx.publishAgain('images', 1)), 9);
  });

  check('what is held and not published comes back from the log', async (under) => {
    const held = (n: number, facts = {}) => ({
      path: `held-a/x@${n}`,
      digest: testDigest(n),
      size: n,
      usedAt: new Date(n),
      facts,
    });
    await under.catalog.transaction(async (tx) => {
      for (const n of [1, 2, 3]) await tx.recordBlob(testStat(n));
      await tx.keepPulled({ ...held(3), path: 'upstreams/fetched' });
    });
    assert.equal(await under.publish('a', { hold: [held(1), held(2)] }), 1);
    assert.equal(await under.publish('a', { hold: [held(1, { more: 'said' })] }), 2);
    assert.equal(await under.publish('a', { hold: [held(1, { more: 'said' })] }), 2, 'nothing new is no revision');
    const out = { unhold: [held(2).path, 'held-a/never'], put: [{ path: 'x', artifact: testArtifact(2) }] };
    assert.equal(await under.publish('a', out), 3);
    await assert.rejects(under.publish('a', { hold: [held(9)] }), failsWith('blob.missing'));
    assert.equal(await under.publish('a', { hold: [held(3)] }), 4);

    const { catalog } = await under.elsewhere();
    await catalog.restoreBlobs([1, 2].map((n) => ({ digest: testDigest(n), size: n })));
    await rebuild(catalog, under.log);
    assert.deepEqual(await catalog.pulledPage({ limit: 10 }), [held(1, { more: 'said' })], 'where its bytes are there');
    assert.deepEqual(shown(await collected(catalog.entries('a', 4))), ['x=2']);
    assert.deepEqual(await catalog.check(), []);
    assert.deepEqual(await catalog.leastUsed(10), []);
    assert.deepEqual(await catalog.pulledTotals(), { files: 0, bytes: 0 });
    assert.deepEqual(await under.catalog.pulledTotals(), { files: 1, bytes: 3 });
    assert.equal(await under.publish('a', { unhold: [held(1).path] }), 5);
  });

  check('an older catalog catches up', async (under) => {
    const { catalog, place } = await under.elsewhere();
    await under.publish('a', { put: [{ path: 'x', artifact: testArtifact(1) }] });
    await rebuild(catalog, under.log);
    await under.publish('a', { put: [{ path: 'y', artifact: testArtifact(2) }] });
    await under.publish('b', {});
    assert.deepEqual(shown(await collected(catalog.entries('a', 1))), ['x=1']);
    await rebuild(catalog, under.log);
    await rebuild(catalog, under.log);
    assert.deepEqual(restorable(await place.dump()), restorable(await under.place.dump()));
  });

  check('revisions are restored in their order only', async (under) => {
    await under.publish('a', { put: [{ path: 'x', artifact: testArtifact(1) }] });
    await under.publish('a', { put: [{ path: 'y', artifact: testArtifact(2) }] });
    const { catalog, place } = await under.elsewhere();
    const dump = await place.dump();
    for await (const { header, lines } of under.log.revisions('a')) {
      if (header.revision === 2) {
        await assert.rejects(
          catalog.restore(header, lines),
          failsWith('revision.damaged', /2 of a does not follow on 0/),
        );
      }
    }
    assert.deepEqual(await place.dump(), dump);
    await rebuild(catalog, under.log);
    for await (const { header, lines } of under.log.revisions('a')) {
      await assert.rejects(catalog.restore(header, lines), failsWith('revision.damaged'));
    }
  });

  check('a revision that breaks off while it is restored leaves nothing', async (under) => {
    await under.publish('a', { put: [{ path: 'x', artifact: testArtifact(1) }] });
    const { catalog, place } = await under.elsewhere();
    const dump = await place.dump();
    for await (const { header, lines } of under.log.revisions('a')) {
      const broken = (async function* () {
        yield* lines;
        throw new RangeError('on purpose');
      })();
      await assert.rejects(catalog.restore(header, broken), RangeError);
    }
    assert.deepEqual(await place.dump(), dump);
  });

  check('a catalog that knows less than its log is not used', async (under) => {
    await under.publish('a', { put: [{ path: 'x', artifact: testArtifact(1) }] });
    await under.publish('a', { put: [{ path: 'y', artifact: testArtifact(2) }] });
    const files = await under.logFiles();
    const advice = /older than the revision files.* a .*doctor --rebuild-catalog/;
    // Lost, and half rebuilt.
    await assert.rejects(under.elsewhere({ mayLag: false }), failsWith('catalog.corrupt', advice));
    const { catalog, place } = await under.elsewhere();
    for await (const { header, lines } of under.log.revisions('a')) {
      if (header.revision === 1) await catalog.restore(header, lines);
    }
    await assert.rejects(
      place.open(under.log, { now: () => 0 }).then((opened) => opened.close()),
      failsWith('catalog.corrupt', /go on to revision 2/),
    );
    // Were it used all the same, nothing in the log is overwritten.
    await assert.rejects(
      catalog.transaction((tx) => tx.publish('a', { reason: 'test', remove: ['x'] })),
      failsWith('catalog.corrupt', advice),
    );
    assert.deepEqual(await under.logFiles(), files);
    await rebuild(catalog, under.log);
    await place.open(under.log, { now: () => 0 }).then((opened) => opened.close());
    assert.deepEqual(restorable(await place.dump()), restorable(await under.place.dump()));
  });

  check('what a killed process left in the log is ended at the next opening', async (under) => {
    await under.publish('a', { put: [{ path: 'x', artifact: testArtifact(1) }] });
    await under.publish('a', { remove: ['x'] });
    const pending = path.join(under.logDir, '.pending');
    // Killed after COMMIT, before the rename; before COMMIT of the same; before COMMIT; in the middle of writing; over
    // a new repository.
    const second = path.join(under.logDir, 'a', '00000002.jsonl');
    const content = await readFile(second, 'utf8');
    await mkdir(pending, { recursive: true });
    await copyFile(second, path.join(pending, '00000002-a.jsonl'));
    await rm(second);
    await writeFile(
      path.join(pending, '00000002-a~1.jsonl'),
      content.replace(/"id":"./, '"id":"0').replace('"x"', '"y"'),
    );
    await writeFile(path.join(pending, '00000003-a.jsonl'), content);
    await writeFile(path.join(pending, '00000004-a.jsonl'), content.slice(0, 20));
    await writeFile(path.join(pending, '00000001-never-made.jsonl'), content);
    assert.equal(under.log.pending().length, 5);
    await under.another();
    assert.deepEqual(await under.logFiles(), ['a/00000001.jsonl', 'a/00000002.jsonl']);
    assert.equal(await readFile(second, 'utf8'), content);
    assert.equal(await under.publish('a', { put: [{ path: 'x', artifact: testArtifact(1) }] }), 3);
  });
}
