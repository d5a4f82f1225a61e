/** One insertion feeds both conductors of an HA pair; either may die. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, test } from 'node:test';
import { PACKAGE_TOOLS, PackageVendor } from '../media/package-iso.ts';
import { OLDER_PACKAGE_ISO, PACKAGE_ISO } from '../media/vendor-site.ts';
import { airlock } from '../support/cli.ts';
import { RPM_REPOSITORY } from '../support/conductor.ts';
import { DNF, Dnf } from '../support/dnf.ts';
import { Half, startPair, until } from '../support/ha-pair.ts';
import { needs } from '../support/needs.ts';
import { startRelay } from '../support/tcp-relay.ts';
import { tempDir } from '../support/temp-dir.ts';
import { digestOf } from '../sync/replica/twins.ts';

const MiB = 2 ** 20;

interface Status {
  readonly state: string;
  readonly conflicts: readonly { repository: string; path: string; here: string; there: string }[];
  readonly keys: readonly { repository: string; here: string; there: string }[];
}

interface Shown {
  readonly file: string;
  readonly locations: readonly string[];
  readonly unknownAt?: readonly string[];
}

function makeMedia() {
  const vendor = new PackageVendor();
  const release = (version: string, build: string) => ({
    name: '128T',
    version,
    release: build,
    kilobytes: 200,
    tags: ['Requires: glibc'],
  });
  const [glibc = '', old = '', next = ''] = vendor.build([
    { name: 'glibc', version: '2.17' },
    release('6.2.5', '5.r2.el7'),
    release('6.2.6', '15.sts.el7'),
  ]);
  return {
    vendor,
    older: vendor.iso(OLDER_PACKAGE_ISO, [glibc, old]),
    newer: vendor.iso(PACKAGE_ISO, [glibc, next]),
  };
}

let made: ReturnType<typeof makeMedia> | undefined;
function media() {
  made ??= makeMedia();
  return made;
}
after(() => made?.vendor[Symbol.dispose]());

/** A vendor's key is trusted at one of them; the other only publishes it. */
async function trustAt(half: Half): Promise<void> {
  await half.done('trust', 'vendor-key', 'add', media().vendor.keyFile);
}

async function importIso(half: Half, file: string): Promise<void> {
  await half.done('import', 'iso', 'force', 'filepath', file);
}

async function shareKey(dir: string, from: Half, to: Half): Promise<void> {
  const file = path.join(dir, 'key.asc');
  await from.done('keys', 'repository', 'export', file);
  await to.done('keys', 'repository', 'import', file);
}

/** All that a client can get of the repositories, but for the two names of the server in .repo files. */
async function everything(half: Half): Promise<Record<string, string>> {
  const all: Record<string, string> = {};
  for await (const file of half.files('/repos/')) {
    const { status, body, headers } = await half.get(file);
    all[file] = `${status} ${headers.get('etag')} ${digestOf(body)}`;
  }
  for (const { name } of await half.api<{ name: string }[]>('repositories')) {
    const { status, body } = await half.get(`/repos/${name}/${name}.repo`);
    all[`${name}.repo`] = status === 200 ? body.toString().replaceAll(half.url, '') : String(status);
  }
  return all;
}

async function areAlike(a: Half, b: Half): Promise<boolean> {
  const [atA, atB] = [await everything(a), await everything(b)];
  return JSON.stringify(atA) === JSON.stringify(atB) && Object.keys(atA).length > 0;
}

test(
  'an import on one is on both, byte for byte, and so is what follows',
  needs(...PACKAGE_TOOLS, ...DNF),
  async (t) => {
    const [a, b] = [await Half.make(t), await Half.make(t)];
    await a.configure(b.url);
    await b.configure(a.url);
    await shareKey(await tempDir(t), a, b);
    await Promise.all([a.start(), b.start()]);
    await trustAt(a);
    await importIso(a, media().older);
    // Not asked for by path: what is not here yet would be pulled through.
    await until('it is on both', async () => (await b.get(`/api/v1/repositories/${RPM_REPOSITORY}`)).status === 200);
    const blobs = (await readdir(path.join(b.data, 'blobs'), { recursive: true, withFileTypes: true })).filter(
      (item) => item.isFile() && /^[0-9a-f]{64}$/.test(item.name),
    );
    const sizes = await Promise.all(
      blobs.map(async (item) => (await readFile(path.join(item.parentPath, item.name))).length),
    );
    assert.equal(sizes.filter((size) => size > 100 * 1024).length, 1, 'a package came a second time, beside its image');
    await until('both serve the same', () => areAlike(a, b));
    const names = Object.keys(await everything(b));
    for (const wanted of ['repodata/repomd.xml', 'repodata/repomd.xml.asc', 'RPM-GPG-KEY-airlock']) {
      assert.ok(names.includes(`/repos/${RPM_REPOSITORY}/${wanted}`), names.join('\n'));
    }
    const repoFile = (await b.get(`/repos/${RPM_REPOSITORY}/${RPM_REPOSITORY}.repo`)).body.toString();
    const dnf = await Dnf.with(t, repoFile);
    await dnf.run('install', '128T');
    assert.equal(await dnf.installed('128T'), '6.2.5-5.r2.el7');

    // The other way round, and then the first one dies.
    await trustAt(b);
    await importIso(b, media().newer);
    await until('both serve the same', () => areAlike(a, b));
    await a.end('SIGKILL');
    await dnf.run('upgrade');
    assert.equal(await dnf.installed('128T'), '6.2.6-15.sts.el7');
    const unknown = await b.json<Shown[]>('show', 'system', 'software', 'available');
    assert.deepEqual(
      unknown.map(({ locations, unknownAt }) => [locations, unknownAt]),
      [
        [['here'], ['peer']],
        [['here'], ['peer']],
      ],
    );
    assert.match(
      await b.done('show', 'system', 'software', 'available'),
      /here, peer unknown[\s\S]*could not be asked/,
    );

    // What was deleted while it was dead goes there, too.
    await b.done('delete', 'system', 'software', 'version', '6.2.5-5.r2.el7', '--force');
    await a.start();
    await until(
      'the deletion came',
      async () => (await a.json<Shown[]>('show', 'system', 'software', 'available')).length === 1,
    );
    await until('both serve the same', () => areAlike(a, b));
    const shown = await a.json<Shown[]>('show', 'system', 'software', 'available');
    assert.deepEqual(
      shown.map(({ file, locations }) => [file, locations]),
      [[PACKAGE_ISO, ['here', 'peer']]],
    );
    assert.match(await a.done('show', 'system', 'software', 'available'), /Where[\s\S]*both/);
    assert.equal((await a.end('SIGTERM'))?.code, 0);
    assert.equal((await b.end('SIGTERM'))?.code, 0);
  },
);

test('with different keys each signs with its own, and both say so', needs(...PACKAGE_TOOLS), async (t) => {
  const [a, b] = await startPair(t);
  await trustAt(a);
  await importIso(a, media().older);
  await until('it came', async () => (await b.get(`/api/v1/repositories/${RPM_REPOSITORY}`)).status === 200);
  const both = async () => [await a.api<Status>('peer'), await b.api<Status>('peer')] as const;
  await until('both say so', async () => (await both()).every(({ keys }) => keys.length === 1));
  const [atA, atB] = await both();
  assert.deepEqual([atA.keys[0]?.here, atA.keys[0]?.there], [atB.keys[0]?.there, atB.keys[0]?.here]);
  const get = async (half: Half, name: string) => (await half.get(`/repos/${RPM_REPOSITORY}/${name}`)).body.toString();
  assert.equal(await get(a, 'repodata/repomd.xml'), await get(b, 'repodata/repomd.xml'));
  for (const name of ['repodata/repomd.xml.asc', 'RPM-GPG-KEY-airlock']) {
    assert.notEqual(await get(a, name), await get(b, name), name);
  }
  await shareKey(await tempDir(t), a, b);
  await until('both are of one mind', async () => (await both()).every(({ keys }) => keys.length === 0));
  await until('both serve the same', () => areAlike(a, b));
});

test('other bytes on both sides are named by both, and stay until one is deleted', async (t) => {
  const [a, b] = [await Half.make(t), await Half.make(t)];
  await a.configure(b.url);
  await b.configure(a.url);
  const dir = await tempDir(t);
  for (const half of [a, b]) {
    const file = path.join(dir, 'tool');
    await writeFile(file, `of ${half.url}`);
    await half.done('import', 'file', '--repository', 'tools', '--path', 'x/tool', file);
  }
  await a.start();
  const { code, stdout } = await airlock(['--data', b.data, '--json', 'repo', 'replicate']);
  assert.equal(code, 7, stdout);
  assert.equal((JSON.parse(stdout) as Status).conflicts[0]?.path, 'x/tool');
  await b.start();
  await until('it looks', async () => (await b.api<Status>('peer')).state !== 'starting');
  const busy = await airlock(['--data', b.data, '--json', 'repo', 'replicate']);
  assert.equal(busy.code, 7);
  assert.match(busy.stdout, /data\.locked/);
  const conflictAt = async (half: Half) => (await half.api<Status>('peer')).conflicts[0];
  await until('both name it', async () => (await conflictAt(a)) !== undefined && (await conflictAt(b)) !== undefined);
  assert.deepEqual(
    [(await conflictAt(a))?.here, (await conflictAt(a))?.there],
    [(await conflictAt(b))?.there, (await conflictAt(b))?.here],
  );
  assert.equal((await a.get('/repos/tools/x/tool')).body.toString(), `of ${a.url}`);
  assert.equal((await b.get('/repos/tools/x/tool')).body.toString(), `of ${b.url}`);
  const log = (await b.end('SIGTERM'))?.stderr ?? '';
  assert.match(log, /"path":"x\/tool"[^\n]*a path holds other bytes here than at the peer/);
});

test('a large file goes on where it stood, whichever side is killed', async (t) => {
  const [a, b] = [await Half.make(t), await Half.make(t)];
  const size = 192 * MiB;
  const file = path.join(await tempDir(t), 'large');
  await writeFile(file, Buffer.concat(Array.from({ length: 8 }, () => randomBytes(size / 8))));
  await a.done('import', 'file', '--repository', 'tools', '--path', 'large', file);
  const line = await startRelay(a.port, { bytesPerSecond: 40 * MiB });
  t.after(() => line.stop());
  await b.configure(`http://127.0.0.1:${line.port}`);
  await Promise.all([a.start(), b.start()]);

  await until('a third is there', async () => line.passed() > size / 3);
  await a.end('SIGKILL');
  assert.equal((await b.get('/api/v1/repositories/tools')).status, 404);
  await a.start();
  await until('two thirds are there', async () => line.passed() > (2 * size) / 3);
  await b.end('SIGKILL');
  await b.start();
  assert.equal((await b.get('/api/v1/repositories/tools')).status, 404);
  await until('it is there', async () => (await b.get('/api/v1/repositories/tools')).status === 200);
  assert.equal(digestOf((await b.get('/repos/tools/large')).body), digestOf(await readFile(file)));
  // A killed process loses what it had not written down, up to limits.checkpointEvery; the line has some buffers.
  assert.ok(line.passed() < size + 64 * MiB + 32 * MiB, `${line.passed()} bytes went over the line`);
});
