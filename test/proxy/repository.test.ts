/** RPM repositories of plain web servers: what belongs together stays together, and packages are proven. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { type TestContext, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { isAirlockError } from '../../src/errors.ts';
import { limits } from '../../src/limits.ts';
import { listedFiles } from '../../src/proxy/repo-digests.ts';
import { testBytes, until } from '../repo/http/support.ts';
import { type Held, Origin } from '../support/origin.ts';
import { read, type SceneOptions, scene, sourceAt } from './scene.ts';

const BASE = 'upstreams/ssr/el7/';

function hex(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

interface MetadataOptions {
  /** Names without digests, as `createrepo_c --simple-md-filenames` makes them. */
  readonly isPlain?: boolean;
  /** Of the first element of the primary file. */
  readonly attributes?: number;
}

/** Metadata of packages, as createrepo_c would make it, small. */
function metadata(packages: Record<string, Uint8Array>, { isPlain = false, attributes = 0 }: MetadataOptions = {}) {
  const entries = Object.entries(packages).map(
    ([href, bytes]) =>
      `<package type="rpm"><name>x</name><checksum type="sha256" pkgid="YES">${hex(bytes)}</checksum><location href="${href}"/></package>`,
  );
  const more = Array.from({ length: attributes }, (_, i) => ` a${i}=""`).join('');
  const primary = gzipSync(`<?xml version="1.0"?>\n<metadata${more}>${entries.join('\n')}</metadata>`);
  const filelists = gzipSync(`<filelists><!-- ${entries.length} ${hex(primary)} --></filelists>`);
  const files = { primary, filelists };
  const pathOf = (type: string, bytes: Uint8Array) => `repodata/${isPlain ? '' : `${hex(bytes)}-`}${type}.xml.gz`;
  const data = Object.entries(files).map(
    ([type, bytes]) =>
      `<data type="${type}"><checksum type="sha256">${hex(bytes)}</checksum><location href="${pathOf(type, bytes)}"/></data>`,
  );
  const repomd = Buffer.from(`<?xml version="1.0"?>\n<repomd><revision>1</revision>${data.join('')}</repomd>`);
  return {
    repomd,
    ...files,
    primaryPath: pathOf('primary', primary),
    filelistsPath: pathOf('filelists', filelists),
  };
}

function publish(origin: Origin, made: ReturnType<typeof metadata>): void {
  origin.files.set('/el7/repodata/repomd.xml', { bytes: made.repomd, headers: { 'cache-control': 'no-cache' } });
  origin.files.set(`/el7/${made.primaryPath}`, { bytes: made.primary });
  origin.files.set(`/el7/${made.filelistsPath}`, { bytes: made.filelists });
}

async function site(t: TestContext, options: SceneOptions = {}) {
  const origin = await Origin.start(t);
  const made = await scene(t, { internet: new Map([['ssr', sourceAt(origin, 'internet')]]), ...options });
  return { origin, ...made };
}

/** Longer than any test: whoever waits for a second round waits for ever. */
const HOURS = { attempts: 10, firstDelay: 3600_000, maxDelay: 3600_000 };

test('packages are compared with what the repository says of them', async (t) => {
  const { origin, pull } = await site(t);
  const bytes = testBytes(10_000);
  publish(origin, metadata({ 'Packages/good.rpm': bytes, 'Packages/bad.rpm': testBytes(10_000, 2) }));
  origin.files.set('/el7/Packages/good.rpm', { bytes });
  origin.files.set('/el7/Packages/bad.rpm', { bytes });
  origin.files.set('/el7/Packages/unlisted.rpm', { bytes });
  await read(pull, `${BASE}repodata/repomd.xml`);
  await until('its files have come', () => pull.fills.size === 0);
  await read(pull, `${BASE}Packages/good.rpm`);
  assert.equal((await read(pull, `${BASE}Packages/good.rpm`)).artifact.facts.verification, 'checksum');
  await assert.rejects(read(pull, `${BASE}Packages/bad.rpm`), (error) => isAirlockError(error, 'upstream.unusable'));
  await read(pull, `${BASE}Packages/unlisted.rpm`);
  assert.equal((await read(pull, `${BASE}Packages/unlisted.rpm`)).artifact.facts.verification, 'unverified');
});

test('a new repomd.xml is shown when what it names can be had; until then the old one and its files are', async (t) => {
  const { origin, pull } = await site(t);
  const [old, next] = [metadata({ 'a.rpm': testBytes(10) }), metadata({ 'a.rpm': testBytes(20) })];
  publish(origin, old);
  await read(pull, `${BASE}repodata/repomd.xml`);
  await until('its files have come', () => pull.fills.size === 0);
  for (const name of [old.primaryPath, old.filelistsPath]) origin.files.delete(`/el7/${name}`);
  publish(origin, next);
  origin.files.delete(`/el7/${next.filelistsPath}`);
  const early = await read(pull, `${BASE}repodata/repomd.xml`);
  assert.deepEqual([early.cache, early.bytes], ['STALE', old.repomd]);
  for (const name of [old.primaryPath, old.filelistsPath]) assert.equal((await read(pull, BASE + name)).cache, 'HIT');
  publish(origin, next);
  pull.forgetMissing();
  const shown = await read(pull, `${BASE}repodata/repomd.xml`);
  assert.deepEqual(shown.bytes, next.repomd);
  for (const name of [next.primaryPath, next.filelistsPath]) assert.equal((await read(pull, BASE + name)).cache, 'HIT');
  origin.files.set(`/el7/repodata/repomd.xml`, { bytes: Buffer.from('<!DOCTYPE html><p>Log in</p>') });
  assert.deepEqual((await read(pull, `${BASE}repodata/repomd.xml`)).bytes, next.repomd, 'a portal changes nothing');
});

for (const what of ['repomd.xml', 'filelists']) {
  test(`while a new ${what} breaks off each time, the old repository is given at once`, {
    timeout: 30_000,
  }, async (t) => {
    const { origin, pull } = await site(t, { retry: HOURS });
    const [old, next] = [metadata({ 'a.rpm': testBytes(10) }), metadata({ 'a.rpm': testBytes(20) })];
    publish(origin, old);
    await read(pull, `${BASE}repodata/repomd.xml`);
    await until('its files have come', () => pull.fills.size === 0);
    publish(origin, next);
    const path = `/el7/${what === 'filelists' ? next.filelistsPath : 'repodata/repomd.xml'}`;
    const whole = origin.files.get(path);
    origin.files.set(path, { ...whole, cutAfter: 10, cuts: 1000 } as Held);
    for (const client of ['first', 'second']) {
      const early = await read(pull, `${BASE}repodata/repomd.xml`);
      assert.deepEqual([early.cache, early.bytes], ['STALE', old.repomd], client);
    }
    if (whole !== undefined) origin.files.set(path, whole);
    assert.deepEqual((await read(pull, `${BASE}repodata/repomd.xml`)).bytes, next.repomd, 'it is well again');
  });
}

test('files that keep their names come anew with a new repomd.xml', async (t) => {
  const { origin, pull } = await site(t);
  const [old, next, last] = [10, 20, 30].map((size) => metadata({ 'a.rpm': testBytes(size) }, { isPlain: true }));
  assert.ok(old && next && last);
  const put = (made: typeof old) => {
    publish(origin, made);
    for (const name of [made.primaryPath, made.filelistsPath]) {
      const held = origin.files.get(`/el7/${name}`);
      origin.files.set(`/el7/${name}`, { ...held, headers: { 'cache-control': 'max-age=3600' } } as Held);
    }
  };
  put(old);
  await read(pull, `${BASE}repodata/repomd.xml`);
  await until('its files have come', () => pull.fills.size === 0);
  put(next);
  assert.deepEqual((await read(pull, `${BASE}repodata/repomd.xml`)).bytes, next.repomd);
  const shown = [await read(pull, BASE + next.primaryPath), await read(pull, BASE + next.filelistsPath)];
  assert.deepEqual(
    shown.map(({ cache, bytes }) => [cache, bytes]),
    [next.primary, next.filelists].map((bytes) => ['HIT', bytes]),
  );
  // Where the site shows the new list before its files, the old ones stay together.
  origin.files.set('/el7/repodata/repomd.xml', { bytes: last.repomd, headers: { 'cache-control': 'no-cache' } });
  const early = await read(pull, `${BASE}repodata/repomd.xml`);
  assert.deepEqual([early.cache, early.bytes], ['STALE', next.repomd]);
  assert.deepEqual((await read(pull, BASE + next.primaryPath)).bytes, next.primary);
});

test('a name with a digest is believed when the bytes have that digest', async (t) => {
  const { origin, pull } = await site(t);
  const bytes = testBytes(1000);
  const name = `repodata/${hex(bytes)}-filelists.xml.gz`;
  origin.files.set(`/el7/${name}`, { bytes: Buffer.from('Sorry, we are at work on this site.') });
  await assert.rejects(read(pull, BASE + name), (error) => isAirlockError(error, 'upstream.unusable'));
  origin.files.set(`/el7/${name}`, { bytes });
  assert.deepEqual((await read(pull, BASE + name)).bytes, bytes);
  const { artifact } = await read(pull, BASE + name);
  assert.deepEqual([artifact.facts.freshness, artifact.facts.verification], ['immutable', 'checksum']);
});

test('a list of packages beyond the limits of XML proves nothing', async (t) => {
  const { origin, pull } = await site(t);
  const bytes = testBytes(100);
  for (const [attributes, verification] of [
    [limits.repodata.attributes, 'checksum'],
    [limits.repodata.attributes + 1, 'unverified'],
  ] as const) {
    const name = `${attributes}.rpm`;
    publish(origin, metadata({ [name]: bytes }, { attributes }));
    origin.files.set(`/el7/${name}`, { bytes });
    await read(pull, `${BASE}repodata/repomd.xml`);
    await until('its files have come', () => pull.fills.size === 0);
    await read(pull, BASE + name);
    assert.equal((await read(pull, BASE + name)).artifact.facts.verification, verification, name);
  }
});

test('a metadata file that is not what repomd.xml says is not kept', async (t) => {
  const { origin, pull } = await site(t);
  const made = metadata({});
  publish(origin, made);
  origin.files.set(`/el7/${made.primaryPath}`, { bytes: made.filelists });
  await read(pull, `${BASE}repodata/repomd.xml`);
  await assert.rejects(read(pull, BASE + made.primaryPath), (error) => isAirlockError(error, 'upstream.unusable'));
});

test('a repomd.xml that names files elsewhere is refused', () => {
  const naming = (href: string) =>
    Buffer.from(
      `<repomd><data type="primary"><checksum type="sha256">${'0'.repeat(64)}</checksum><location href="${href}"/></data></repomd>`,
    );
  const path = `${BASE}repodata/repomd.xml`;
  assert.equal(listedFiles(path, naming('repodata/x.xml'))[0]?.path, `${BASE}repodata/x.xml`);
  for (const href of ['../x', '/x', 'http://other/x', 'a/../../x', 'a//b', 'a\\b', './x', 'x/']) {
    assert.throws(
      () => listedFiles(path, naming(href)),
      (error) => isAirlockError(error, 'repodata.invalid'),
      href,
    );
  }
});
