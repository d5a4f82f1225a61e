/** Repositories on many mirrors: a list of them, hashes of what they should have, and one that is behind. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { HttpUpstream } from '../../../src/repo/upstream/http-upstream.ts';
import { needs } from '../../support/needs.ts';
import { Origin } from '../../support/origin.ts';
import { Repository, type Scene, scene } from './rpm-scene.ts';

const TOOLS = needs('createrepo_c');

interface Mirrored extends Scene {
  readonly repository: Repository;
  readonly mirrors: readonly Origin[];
  /** As the configuration has it that names the loopback, and no other host. */
  readonly mirrorAt: (url: URL) => HttpUpstream | undefined;
}

async function mirrored(t: TestContext): Promise<Mirrored> {
  const made = await scene(t);
  const mirrors = [await Origin.start(t), await Origin.start(t)];
  const repository = new Repository(path.join(made.dir, 'site'), '--no-database');
  repository.add({ name: 'alpha', version: '1.0' }, { name: 'beta', version: '1.0' });
  repository.describe();
  const mirrorAt = (url: URL) => (url.hostname === '127.0.0.1' ? new HttpUpstream({ url: url.href }) : undefined);
  return { ...made, repository, mirrors, mirrorAt };
}

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}

function metalink(urls: readonly string[], repomd: Buffer, former: readonly string[] = []): Buffer {
  const all = urls.map(
    (url, index) => `<url protocol="http" type="http" preference="${100 - index}">${url}repodata/repomd.xml</url>`,
  );
  const hashes = (value: string) => `<verification><hash type="sha256">${value}</hash></verification>`;
  return Buffer.from(
    `<?xml version="1.0"?><metalink version="3.0" xmlns="http://www.metalinker.org/" xmlns:mm0="http://fedorahosted.org/mirrormanager"><files><file name="repomd.xml"><mm0:timestamp>1</mm0:timestamp><size>${repomd.length}</size>${hashes(sha256(repomd))}<mm0:alternates>${former.map((value) => `<mm0:alternate>${hashes(value)}</mm0:alternate>`).join('')}</mm0:alternates><resources maxconnections="1">${all.join('')}<url protocol="rsync">rsync://x.example/y/repodata/repomd.xml</url></resources></file></files></metalink>`,
  );
}

test('mirrors are asked one after the other, file by file', TOOLS, async (t) => {
  const { sync, origin, mirrors, repository, mirrorAt } = await mirrored(t);
  const [first, second] = mirrors;
  assert.ok(first && second);
  const list = [
    '# mirrors',
    'https://elsewhere.example/el9/',
    'http://$host/el9',
    `${first.url}/a/el9`,
    `${second.url}/b/el9/`,
  ];
  origin.files.set('/mirrorlist', { bytes: Buffer.from(list.join('\n')) });
  repository.publish(first, 'a/el9');
  repository.publish(second, 'b/el9');
  first.files.delete('/a/el9/Packages/beta-1.0-1.el9.x86_64.rpm');
  first.files.set('/a/el9/Packages/alpha-1.0-1.el9.x86_64.rpm', { bytes: Buffer.from('<html>') });
  const report = await sync({ mirrorlist: 'mirrorlist' }, { mirrorAt });
  assert.deepEqual([report.failures, report.added.length], [[], 2]);
  assert.match(report.warnings.join(), /"elsewhere\.example"/);
  assert.equal(second.asked.filter(({ url }) => url.endsWith('.rpm')).length, 2);
  assert.equal(second.asked.filter(({ url }) => url.includes('repodata')).length, 0);
  const again = await sync({ mirrorlist: 'mirrorlist' }, { mirrorAt });
  assert.deepEqual([again.requests, again.failures], [2, []]);
});

test('a mirror that is not what the metalink says is passed over', TOOLS, async (t) => {
  const { sync, origin, mirrors, repository, mirrorAt, bytes } = await mirrored(t);
  const [first, second] = mirrors;
  assert.ok(first && second);
  repository.publish(first, 'el9');
  const old = sha256(repository.read('repodata/repomd.xml'));
  repository.add({ name: 'alpha', version: '2.0' });
  repository.describe();
  repository.publish(second, 'el9');
  const repomd = repository.read('repodata/repomd.xml');
  const urls = [`${first.url}/el9/`, `${second.url}/el9/`];
  origin.files.set('/metalink?repo=el9', { bytes: metalink(urls, repomd) });
  const rule = { metalink: 'metalink?repo=el9' };
  assert.deepEqual((await sync(rule, { mirrorAt })).failures, []);
  assert.deepEqual(await bytes('repodata/repomd.xml'), repomd);

  // none is left that has it; the one that is behind is of no use, though the metalink may still know of its state
  second.files.clear();
  const { failures } = await sync({ ...rule, exclude: ['none'] }, { mirrorAt });
  assert.deepEqual(
    failures.map(({ code }) => code),
    ['checksum.mismatch'],
  );
  origin.files.set('/metalink?repo=el9', { bytes: metalink(urls, repomd, [old]) });
  assert.equal((await sync({ ...rule, metalink: `${origin.url}/metalink?repo=el9` }, { mirrorAt })).failures.length, 0);
});

test('a list that cannot be used is told of', TOOLS, async (t) => {
  const { sync, origin, mirrorAt, revision } = await mirrored(t);
  const refused = async (bytes: Buffer, code: string) => {
    origin.files.set('/list', { bytes });
    const { failures } = await sync({ metalink: 'list' }, { mirrorAt });
    assert.deepEqual(
      failures.map((failure) => failure.code),
      [code],
    );
  };
  await refused(Buffer.from('<html>'), 'repodata.invalid');
  await refused(Buffer.from('<metalink><files/></metalink>'), 'repodata.invalid');
  await refused(Buffer.from('<!DOCTYPE m><metalink/>'), 'repodata.invalid');
  await refused(Buffer.alloc(2 ** 21, ' '), 'upstream.unusable');
  const far = await sync({ mirrorlist: 'https://elsewhere.example/list' }, { mirrorAt });
  assert.deepEqual(
    far.failures.map(({ code }) => code),
    ['upstream.address-refused'],
  );
  assert.equal(await revision(), 0);
});
