import assert from 'node:assert/strict';
import fc from 'fast-check';
import { limits } from '../../../src/limits.ts';
import type { Artifact } from '../../../src/repo/catalog/artifact.ts';
import type { Catalog, FolderItem } from '../../../src/repo/catalog/catalog.ts';
import { listedDigest, listKey } from '../../../src/repo/catalog/list-key.ts';
import { testArtifact, testDigest, testRelease } from '../../support/artifacts.ts';
import { byBytes, type Check, collected, shown } from './under-test.ts';

export function listingChecks(check: Check): void {
  folderChecks(check);
  entryChecks(check);
  releaseChecks(check);
}

/** Folders with their slash, files without, read in pages. */
async function pages(catalog: Catalog, repository: string, folder: string, limit: number): Promise<string[]> {
  const names: string[] = [];
  let after: FolderItem | undefined;
  for (;;) {
    const items = await catalog.folder(repository, folder, { limit, ...(after === undefined ? {} : { after }) });
    assert.ok(items.length <= limit);
    for (const item of items) {
      if (item.type === 'file') assert.equal(item.entry.path, folder + item.name);
      names.push(item.type === 'folder' ? `${item.name}/` : item.name);
    }
    after = items.at(-1);
    if (after === undefined) return names;
  }
}

/** What `pages` shall give, from nothing but the paths. */
function expected(paths: Iterable<string>, folder: string): string[] {
  const rests = [...paths].filter((path) => path.startsWith(folder)).map((path) => path.slice(folder.length));
  const folders = rests.filter((rest) => rest.includes('/')).map((rest) => `${rest.split('/')[0]}/`);
  const files = rests.filter((rest) => !rest.includes('/'));
  return [...[...new Set(folders)].sort(byBytes), ...files.sort(byBytes)];
}

/** Characters before, at and after the slash, and those that UTF-8 and UTF-16 sort differently. */
const CHARACTERS = [
  '-',
  '.',
  '0',
  '1',
  'a',
  'Z',
  ' ',
  '~',
  'é',
  '\ue000',
  '\uff5e',
  '\u{1f600}',
  '\u{10ffff}',
  '%',
  '*',
];
const segment = fc
  .string({ unit: fc.constantFrom(...CHARACTERS), minLength: 1, maxLength: 3 })
  .filter((name) => name !== '.' && name !== '..');
const path = fc.array(segment, { minLength: 1, maxLength: 4 }).map((segments) => segments.join('/'));

function folderChecks(check: Check): void {
  check('a folder lists folders, then files, by their bytes', async (under) => {
    const paths = [
      '6.3/a',
      '6.3/b',
      '6.3-beta/a',
      '6.3.1/a',
      '6.30/a',
      '6/a',
      'z',
      'é',
      '\uff5e',
      '\u{1f600}',
      'A',
      '6.3',
    ];
    await under.publish('a', { put: paths.map((path) => ({ path, artifact: testArtifact(1) })) });
    await under.publish('b', { put: [{ path: 'other/x', artifact: testArtifact(1) }] });
    for (const limit of [1, 2, 5, 100]) {
      assert.deepEqual(
        await pages(under.catalog, 'a', '', limit),
        ['6.3-beta/', '6.3.1/', '6.3/', '6.30/', '6/', '6.3', 'A', 'z', 'é', '\uff5e', '\u{1f600}'],
        `limit ${limit}`,
      );
      assert.deepEqual(await pages(under.catalog, 'a', '6.3/', limit), ['a', 'b']);
    }
    for (const folder of ['6.3', 'none/', '6.3/a/', '/', '\0/'])
      assert.deepEqual(await pages(under.catalog, 'a', folder, 9), []);
    assert.deepEqual(await pages(under.catalog, 'nowhere', '', 9), []);
    assert.deepEqual(await under.catalog.folder('a', '', { limit: 0 }), []);
  });

  check('a folder lists what is published, and no older revision', async (under) => {
    const put = ['d/x', 'd/y', 'e/x', 'f/g/h'].map((path) => ({ path, artifact: testArtifact(1) }));
    await under.publish('a', { put });
    await under.publish('a', { remove: ['d/x', 'e/x'] });
    assert.deepEqual(await pages(under.catalog, 'a', '', 1), ['d/', 'f/']);
    assert.deepEqual(await pages(under.catalog, 'a', 'd/', 1), ['y']);
    assert.deepEqual(await pages(under.catalog, 'a', 'e/', 1), []);
    await under.publish('a', { remove: ['d/y', 'f/g/h'] });
    assert.deepEqual(await pages(under.catalog, 'a', '', 1), []);
  });

  check('paging goes on where it was, though the last item is gone', async (under) => {
    const put = ['a/x', 'b/x', 'c/x', 'd', 'e', 'f'].map((path) => ({ path, artifact: testArtifact(1) }));
    await under.publish('a', { put });
    const first = await under.catalog.folder('a', '', { limit: 2 });
    await under.publish('a', { remove: ['b/x'] });
    const second = await under.catalog.folder('a', '', { limit: 2, ...after(first) });
    assert.deepEqual(
      second.map(({ name }) => name),
      ['c', 'd'],
    );
    await under.publish('a', { remove: ['d'] });
    const third = await under.catalog.folder('a', '', { limit: 2, ...after(second) });
    assert.deepEqual(
      third.map(({ name }) => name),
      ['e', 'f'],
    );
    assert.deepEqual(await under.catalog.folder('a', '', { limit: 2, ...after(third) }), []);
  });

  check('any folder of any repository is listed as a naive listing of its paths is', async (under) => {
    let count = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.uniqueArray(path, { maxLength: 25 }),
        fc.integer({ min: 1, max: 4 }),
        async (paths, limit) => {
          const repository = `r${count++}`;
          await under.publish(repository, { put: paths.map((each) => ({ path: each, artifact: testArtifact(1) })) });
          const folders = new Set(['']);
          for (const each of paths) {
            const segments = each.split('/').slice(0, -1);
            for (let depth = 1; depth <= segments.length; depth++)
              folders.add(`${segments.slice(0, depth).join('/')}/`);
          }
          for (const folder of folders) {
            assert.deepEqual(await pages(under.catalog, repository, folder, limit), expected(paths, folder), folder);
          }
          const entries = await collected(under.catalog.entries(repository, 1));
          assert.deepEqual(
            entries.map((entry) => entry.path),
            [...paths].sort(byFolder),
          );
        },
      ),
      { numRuns: 25 },
    );
  });
}

function after(items: FolderItem[]): { after: FolderItem } | Record<never, never> {
  const last = items.at(-1);
  return last === undefined ? {} : { after: last };
}

/** Path order: by folder, then by name. */
function byFolder(a: string, b: string): number {
  const cut = (each: string) => each.lastIndexOf('/') + 1;
  const folders = byBytes(a.slice(0, cut(a)), b.slice(0, cut(b)));
  return folders === 0 ? byBytes(a.slice(cut(a)), b.slice(cut(b))) : folders;
}

function entryChecks(check: Check): void {
  check('a path is looked up as it is written', async (under) => {
    await under.publish('a', { put: ['d/x', 'x', 'é'].map((each) => ({ path: each, artifact: testArtifact(1) })) });
    for (const found of ['d/x', 'x', 'é']) assert.equal((await under.catalog.lookup('a', found))?.path, found);
    const missing = ['', 'd', 'd/', '/x', 'd//x', 'D/x', './x', 'e\u0301', 'x\0', '%', '_'];
    for (const each of missing) assert.equal(await under.catalog.lookup('a', each), undefined, each);
    assert.equal(await under.catalog.lookup('nowhere', 'x'), undefined);
  });

  check('entries of a revision come in pages, each once', async (under) => {
    const paths = Array.from({ length: limits.catalog.page + 1 }, (_, n) => `${n % 3}/${n}`);
    await under.publish('a', { put: paths.map((each) => ({ path: each, artifact: testArtifact(1) })) });
    const found = (await collected(under.catalog.entries('a', 1))).map((entry) => entry.path);
    assert.deepEqual(found, paths.sort(byFolder));
    assert.deepEqual(await collected(under.catalog.entries('a', 0)), []);
    assert.equal((await collected(under.catalog.entries('a', 2))).length, paths.length);
    assert.deepEqual(await collected(under.catalog.entries('nowhere', 1)), []);
  });

  check(
    'packages are listed in order, whatever brought them in or back, and the others apart from them',
    async (under) => {
      const rpm = (n: number, name: string, version: string): Artifact =>
        testArtifact(n, { kind: 'rpm', facts: { name, epoch: 0, version, release: '1', arch: 'noarch' } });
      const listed = async (...packages: Artifact[]) => {
        const published = (await under.catalog.repository('a'))?.published ?? 0;
        assert.deepEqual(await under.catalog.listedPackages('a'), packages.map(listKey));
        const unlisted = await collected(under.catalog.entries('a', published, 'unlisted'));
        assert.deepEqual(
          unlisted.map(({ path }) => path),
          ['repodata/x'],
        );
      };
      const [old, next, other] = [rpm(1, 'router', '9'), rpm(2, 'router', '10'), rpm(3, 'agent', '1')];
      const put = (path: string, artifact: Artifact) => ({ path, artifact, replace: true });
      await under.publish('a', {
        put: [put('Packages/r', old), put('Packages/a', other), put('repodata/x', testArtifact(4))],
      });
      await listed(other, old);
      await under.publish('a', { put: [put('Packages/r10', next)] });
      await listed(other, old, next);
      await under.publish('a', { put: [put('Packages/r', next)], remove: ['Packages/a', 'Packages/r10'] });
      await listed(next);
      await under.catalog.transaction((tx) => tx.publishAgain('a', 2));
      await listed(other, old, next);
      assert.deepEqual(
        [old, next, other].map((each) => listedDigest(listKey(each) ?? '')),
        [1, 2, 3].map(testDigest),
      );
      assert.deepEqual(await under.catalog.listedPackages('nowhere'), []);
    },
  );

  check('entries are found by their digest, where they are published', async (under) => {
    const put = [
      { path: 'd/x', artifact: testArtifact(1) },
      { path: 'a', artifact: testArtifact(1, { name: 'another' }) },
      { path: 'y', artifact: testArtifact(2) },
      { path: 'z', artifact: testArtifact(1) },
    ];
    await under.publish('b', { put });
    await under.publish('a', { put: put.slice(0, 1) });
    await under.publish('b', { remove: ['z'] });
    const found = await under.catalog.entriesOf(testDigest(1));
    assert.deepEqual(
      found.map((entry) => `${entry.repository}/${entry.path}`),
      ['a/d/x', 'b/a', 'b/d/x'],
    );
    assert.deepEqual(await under.catalog.entriesOf(testDigest(3)), []);
  });
}

function releaseChecks(check: Check): void {
  const image = (n: number, patch: number, facts = {}) =>
    testArtifact(n, { name: `SSR-6.3.${patch}-${n}.iso`, release: testRelease(patch, facts) });

  check('releases stand newest first, without their sidecars', async (under) => {
    const put = [
      { path: '6.3/1', artifact: image(1, 1) },
      { path: '6.3/1.sha256sum', artifact: image(2, 1, { kind: null }) },
      { path: '6.3/10', artifact: image(10, 10) },
      { path: '6.3/9', artifact: image(9, 9) },
      { path: '6.2/99', artifact: image(99, 0, { release: '6.2', version: '6.2.99', orderKey: '6.2.000099' }) },
      { path: 'aviatrix', artifact: image(7, 5, { vendor: 'aviatrix' }) },
      { path: 'plain', artifact: testArtifact(8) },
    ];
    await under.publish('images', { put });
    await under.publish('copies', { put: put.slice(2, 3) });
    const list = async (filter?: Parameters<Catalog['releases']>[0]) =>
      (await under.catalog.releases(filter)).map((entry) => `${entry.repository}/${entry.path}`);
    const ssr = ['copies/6.3/10', 'images/6.3/10', 'images/6.3/9', 'images/6.3/1', 'images/6.2/99'];
    assert.deepEqual(await list(), [...ssr.slice(0, 3), 'images/aviatrix', ...ssr.slice(3)]);
    assert.deepEqual(await list({ vendor: 'juniper' }), ssr);
    assert.deepEqual(await list({ vendor: 'juniper', release: '6.3' }), ssr.slice(0, 4));
    assert.deepEqual(await list({ release: '6.2' }), ['images/6.2/99']);
    assert.deepEqual(await list({ vendor: 'nobody' }), []);
    await under.publish('images', { remove: ['6.3/10', '6.3/1'] });
    assert.deepEqual(await list({ vendor: 'juniper' }), ['copies/6.3/10', 'images/6.3/9', 'images/6.2/99']);
  });

  check('the newest of a release is the newest that is published', async (under) => {
    const put = [3, 12, 7].map((n) => ({ path: `${n}`, artifact: image(n, n) }));
    put.push({ path: 'twin', artifact: image(1, 12) });
    put.push({ path: 'aid', artifact: image(20, 20, { kind: null }) });
    await under.publish('images', { put });
    const newest = async (vendor = 'juniper', release = '6.3') =>
      (await under.catalog.newestRelease(vendor, release))?.path;
    // Of the two 6.3.12 the one that is first by file name.
    assert.equal(await newest(), 'twin');
    assert.equal((await under.catalog.releases())[0]?.path, 'twin');
    await under.publish('images', { remove: ['twin'] });
    assert.equal(await newest(), '12');
    await under.publish('images', { remove: ['12'] });
    assert.equal(await newest(), '7');
    assert.equal(await newest('juniper', '6.2'), undefined);
    assert.equal(await newest('aviatrix'), undefined);
    await under.publish('images', { remove: ['3', '7'] });
    assert.equal(await newest(), undefined);
  });

  check('a version is found with its sidecars, in all repositories', async (under) => {
    const put = [
      { path: '6.3/b.iso', artifact: image(1, 1) },
      { path: '6.3/b.iso.asc', artifact: image(2, 1, { kind: null }) },
      { path: '6.3/c.iso', artifact: image(3, 2) },
      { path: 'old.iso', artifact: image(4, 1) },
    ];
    await under.publish('images', { put });
    await under.publish('copies', { put: put.slice(0, 1) });
    await under.publish('images', { remove: ['old.iso'] });
    const found = await under.catalog.entriesOfVersion('juniper', '6.3.1');
    assert.deepEqual(shown(found), ['6.3/b.iso=1', '6.3/b.iso=1', '6.3/b.iso.asc=2']);
    assert.deepEqual(
      found.map((entry) => entry.repository),
      ['copies', 'images', 'images'],
    );
    assert.deepEqual(await under.catalog.entriesOfVersion('juniper', '6.3'), []);
    assert.deepEqual(await under.catalog.entriesOfVersion('aviatrix', '6.3.1'), []);
  });
}
