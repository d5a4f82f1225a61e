/** RPM repositories of plain web servers: what belongs together stays together, and packages are proven. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { type TestContext, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { isAirlockError } from '../../src/errors.ts';
import { listedFiles } from '../../src/proxy/repo-digests.ts';
import { testBytes, until } from '../repo/http/support.ts';
import { Origin } from '../support/origin.ts';
import { read, scene, sourceAt } from './scene.ts';

const BASE = 'upstreams/ssr/el7/';

function hex(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** Metadata of packages, as createrepo_c would make it, small. */
function metadata(packages: Record<string, Uint8Array>) {
  const entries = Object.entries(packages).map(
    ([href, bytes]) =>
      `<package type="rpm"><name>x</name><checksum type="sha256" pkgid="YES">${hex(bytes)}</checksum><location href="${href}"/></package>`,
  );
  const primary = gzipSync(`<?xml version="1.0"?>\n<metadata>${entries.join('\n')}</metadata>`);
  const filelists = gzipSync(`<filelists><!-- ${entries.length} ${hex(primary)} --></filelists>`);
  const files = { primary, filelists };
  const data = Object.entries(files).map(
    ([type, bytes]) =>
      `<data type="${type}"><checksum type="sha256">${hex(bytes)}</checksum><location href="repodata/${hex(bytes)}-${type}.xml.gz"/></data>`,
  );
  const repomd = Buffer.from(`<?xml version="1.0"?>\n<repomd><revision>1</revision>${data.join('')}</repomd>`);
  return {
    repomd,
    ...files,
    primaryPath: `repodata/${hex(primary)}-primary.xml.gz`,
    filelistsPath: `repodata/${hex(filelists)}-filelists.xml.gz`,
  };
}

function publish(origin: Origin, made: ReturnType<typeof metadata>): void {
  origin.files.set('/el7/repodata/repomd.xml', { bytes: made.repomd, headers: { 'cache-control': 'no-cache' } });
  origin.files.set(`/el7/${made.primaryPath}`, { bytes: made.primary });
  origin.files.set(`/el7/${made.filelistsPath}`, { bytes: made.filelists });
}

async function site(t: TestContext) {
  const origin = await Origin.start(t);
  const made = await scene(t, { internet: new Map([['ssr', sourceAt(origin, 'internet')]]) });
  return { origin, ...made };
}

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
