import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { isAirlockError } from '../../../src/errors.ts';
import type { Digest } from '../../../src/repo/blobs/blob-store.ts';
import { repoFile } from '../../../src/repo/formats/repodata/repo-file.ts';
import { metadataPath, type RepomdRecord, repomd } from '../../../src/repo/formats/repodata/repomd.ts';
import { buildRpm } from '../../media/rpm-builder.ts';
import { needs } from '../../support/needs.ts';
import { tempDir } from '../../support/temp-dir.ts';
import { CREATEREPO_PYTHON, createrepoReads } from './createrepo.ts';
import { describePackage, writeRepodata } from './support.ts';

function digest(digit: string): Digest {
  return `sha256:${digit.repeat(64)}`;
}

const THREE: readonly RepomdRecord[] = [
  { type: 'primary', extension: 'gz', size: 1, digest: digest('1'), openSize: 10, openDigest: digest('a') },
  { type: 'filelists', extension: 'gz', size: 2, digest: digest('2'), openSize: 20, openDigest: digest('b') },
  { type: 'other', extension: 'gz', size: 3, digest: digest('3'), openSize: 30, openDigest: digest('c') },
];
const CARRIED: readonly RepomdRecord[] = [
  { type: 'modules', extension: 'gz', size: 4, digest: digest('4'), openSize: 40, openDigest: digest('d') },
  { type: 'group', extension: null, size: 5, digest: digest('5') },
];

describe('repomd.xml', () => {
  test('createrepo_c reads what was written', needs(CREATEREPO_PYTHON), async (t) => {
    const dir = await tempDir(t);
    await writeRepodata(dir, [await describePackage(buildRpm().file)], 'gzip');
    const [found] = createrepoReads(dir);
    assert.deepEqual(Object.keys(found?.records ?? {}), ['primary', 'filelists', 'other']);
    for (const [type, record] of Object.entries(found?.records ?? {})) {
      assert.equal(record.checksum_type, 'sha256');
      assert.equal(record.checksum_open_type, 'sha256');
      assert.equal(record.location_href, `repodata/${record.checksum}-${type}.xml.gz`);
    }
  });

  test('lists what is carried along, in an order of its own', () => {
    const text = repomd([...CARRIED, ...THREE]);
    assert.equal(text, repomd([...THREE].reverse().concat([...CARRIED].reverse())));
    assert.deepEqual(
      [...text.matchAll(/<data type="(\w+)">/g)].map(([, type]) => type),
      ['primary', 'filelists', 'other', 'group', 'modules'],
    );
    assert.match(text, new RegExp(`<location href="repodata/${'5'.repeat(64)}-comps.xml"/>`));
    assert.match(text, new RegExp(`<location href="repodata/${'4'.repeat(64)}-modules.yaml.gz"/>`));
  });

  test('says nothing of when', () => {
    const [primary, ...rest] = THREE;
    assert.ok(primary);
    const other = repomd([{ ...primary, digest: digest('9') }, ...rest]);
    const times = (text: string) => [...text.matchAll(/<timestamp>(.*)<\/timestamp>/g)].map(([, time]) => time);
    assert.deepEqual(times(other), ['1', '1', '1']);
    assert.deepEqual(times(repomd(THREE)), ['1', '1', '1']);
    assert.notEqual(/<revision>.*/.exec(other)?.[0], /<revision>.*/.exec(repomd(THREE))?.[0]);
  });

  test('is not written without what every repository has, or with something twice', () => {
    for (const records of [THREE.slice(1), [...THREE, ...THREE.slice(0, 1)]]) {
      assert.throws(
        () => repomd(records),
        (error) => isAirlockError(error, 'internal'),
      );
    }
  });

  test('names are by content', () => {
    const [primary] = THREE;
    assert.equal(primary && metadataPath(primary), `repodata/${'1'.repeat(64)}-primary.xml.gz`);
  });
});

describe('a .repo file', () => {
  const name = 'ssr-el7-x86_64';

  test('has all checks on', () => {
    assert.equal(
      repoFile({ name, baseUrl: 'http://conductor:8480/repos/ssr-el7-x86_64', packageKeys: ['RPM-GPG-KEY-vendor'] }),
      `[ssr-el7-x86_64]
name=Airlock: ssr-el7-x86_64
baseurl=http://conductor:8480/repos/ssr-el7-x86_64/
enabled=1
gpgcheck=1
repo_gpgcheck=1
gpgkey=http://conductor:8480/repos/ssr-el7-x86_64/RPM-GPG-KEY-airlock
       http://conductor:8480/repos/ssr-el7-x86_64/RPM-GPG-KEY-vendor
metadata_expire=0
skip_if_unavailable=0
`,
    );
  });

  test('says so where packages need no signature', () => {
    const text = repoFile({ name, baseUrl: 'https://[::1]:8480/repos/x/', gpgCheck: false });
    assert.match(text, /^gpgcheck=0$/m);
    assert.match(text, /^repo_gpgcheck=1$/m);
    assert.match(text, /^baseurl=https:\/\/\[::1\]:8480\/repos\/x\/$/m);
  });

  test('takes no line, variable or other scheme', () => {
    const hostile = [
      ...['file:///etc', 'ftp://a/', 'a', '', 'http://a/$releasever/', 'http://a/?b', 'http://a/#b', 'http://a/%(x)s'],
      ...['http://a/\ngpgcheck=0', 'http://a/x y'],
    ];
    for (const baseUrl of hostile) {
      let text = '';
      try {
        text = repoFile({ name, baseUrl });
      } catch (error) {
        assert.ok(isAirlockError(error, 'usage.invalid'), String(error));
        continue;
      }
      assert.equal(text.split('\n').length, 10);
      assert.doesNotMatch(text, /[$%]/);
    }
    assert.throws(
      () => repoFile({ name: 'a]\n[b', baseUrl: 'http://a/' }),
      (error) => isAirlockError(error, 'usage.invalid'),
    );
  });
});
