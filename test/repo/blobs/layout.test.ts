import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Digest } from '../../../src/repo/blobs/blob-store.ts';
import * as layout from '../../../src/repo/blobs/layout.ts';

const hex = '5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03';
const digest: Digest = `sha256:${hex}`;

test('a blob lies under its digest', () => {
  assert.equal(layout.blobPath('/d', digest), `/d/blobs/sha256/58/${hex}`);
  assert.equal(layout.quarantinePath('/d', digest, 3), `/d/quarantine/${hex}.3`);
  assert.equal(layout.digestOfName('58', hex), digest);
  assert.equal(layout.digestOfName('59', hex), undefined);
  assert.equal(layout.digestOfName('58', `${hex}.tmp`), undefined);
});

test('only a digest as we write it is one', () => {
  assert.equal(layout.parseDigest(digest), digest);
  assert.equal(layout.hexOf(digest), hex);
  const wrong = [
    hex,
    `sha512:${hex}`,
    `sha256:${hex.toUpperCase()}`,
    `${digest}\n`,
    `${digest}0`,
    digest.slice(0, -1),
    '',
  ];
  for (const text of wrong) assert.equal(layout.parseDigest(text), undefined, text);
});

test('no path is made of anything else', () => {
  for (const text of [
    'sha256:../../../etc/passwd',
    `sha256:${'/'.repeat(64)}`,
    `sha256:${hex}/..`,
    'sha256:',
  ] as Digest[]) {
    assert.throws(() => layout.blobPath('/d', text), { code: 'internal' });
    assert.throws(() => layout.quarantinePath('/d', text, 1), { code: 'internal' });
  }
});

test('partial files are told from foreign ones', () => {
  const id = '0123456789abcdef'.repeat(2);
  assert.equal(layout.partPath('/o', id), `/o/${id}.part`);
  assert.deepEqual(layout.parsePartialName(`${id}.part`), { id, kind: 'part' });
  assert.deepEqual(layout.parsePartialName(`${id}.ranges`), { id, kind: 'ranges' });
  for (const name of ['lock', `${id}.parts`, `x${id}.part`, id, `${id}.ranges.tmp`]) {
    assert.equal(layout.parsePartialName(name), undefined);
  }
  assert.equal(layout.isOwnerName('suspended'), false);
});
