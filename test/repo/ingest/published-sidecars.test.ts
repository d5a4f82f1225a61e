/** Which checksum and signature files an import publishes, keeps, mends and refuses to touch. */
import assert from 'node:assert/strict';
import { readdir, rm, utimes, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { IMAGE_ISO, IMAGE_TAR, imageTar, publishFile } from '../../media/vendor-site.ts';
import { type Entries, type Failed, isoBytes, type Report, removeSidecars, scene, sha256 } from './scene.ts';

const ISO = `6.3/${IMAGE_ISO}`;

function blobOf(data: string, digest = ''): string {
  const hex = digest.replace('sha256:', '');
  return path.join(data, 'blobs', 'sha256', hex.slice(0, 2), hex);
}

test("a checksum file for a tar that is not there does not take the place of that tar's signed one", async (t) => {
  const { stick, signer, at, trust, json, published } = await scene(t);
  await trust();
  await publishFile(stick, IMAGE_TAR, await imageTar('6.3.0-107.r1.el7'), signer);
  await json('import', 'iso', 'filepath', at(IMAGE_TAR));
  const before = await published('images');
  for (const name of await readdir(stick)) await rm(at(name));

  await writeFile(at(IMAGE_ISO), isoBytes());
  await writeFile(at(`${IMAGE_TAR}.sha256sum`), sha256('forged'));
  const { code, json: report } = await json<Report>('import', 'iso', 'filepath', at(IMAGE_ISO));
  assert.equal(code, 0);
  assert.equal(report.imported[0]?.verification.status, 'unverified');
  assert.deepEqual(await published('images'), { ...before, [ISO]: `sha256:${sha256(isoBytes())}` });
});

test("a tar's checksum file that is right but weaker, or for another tar, is not kept", async (t) => {
  const { stick, signer, at, trust, json, published } = await scene(t);
  await trust();
  const tar = await imageTar('6.3.0-107.r1.el7');
  await publishFile(stick, IMAGE_TAR, tar, signer);
  await json('import', 'iso', 'filepath', at(IMAGE_TAR));
  const before = await published('images');
  await removeSidecars(stick, IMAGE_TAR);

  await writeFile(at(IMAGE_ISO), isoBytes());
  await writeFile(at(IMAGE_TAR), 'another tar');
  await writeFile(at(`${IMAGE_TAR}.sha256sum`), sha256('another tar'));
  const other = await json<Report>('import', 'iso', 'filepath', at(IMAGE_ISO));
  assert.equal(other.code, 0);
  assert.match(other.json.imported[0]?.warnings.join() ?? '', /was not kept: 6\.3\/SSR.*\.tar holds something else/);
  const after = { ...before, [ISO]: `sha256:${sha256(isoBytes())}` };
  assert.deepEqual(await published('images'), after);
});

test("a tar's checksum file is kept with the image if it is right, and not weaker than the one that is there", async (t) => {
  const { stick, signer, at, trust, json, published } = await scene(t);
  await trust();
  const tar = await imageTar('6.3.0-107.r1.el7');
  await publishFile(stick, IMAGE_TAR, tar, signer);
  await writeFile(at(IMAGE_ISO), isoBytes());
  await json('import', 'iso', 'filepath', at(IMAGE_ISO));
  const kept = await published('images');
  assert.deepEqual(Object.keys(kept).sort(), [ISO, `6.3/${IMAGE_TAR}.sha256sum`, `6.3/${IMAGE_TAR}.sha256sum.asc`]);

  await removeSidecars(stick, IMAGE_TAR);
  await writeFile(at(`${IMAGE_TAR}.sha256sum`), `${sha256(tar)}  ${IMAGE_TAR}\n`);
  assert.equal((await json('import', 'iso', 'filepath', at(IMAGE_TAR))).code, 0);
  assert.deepEqual(await published('images'), { ...kept, [`6.3/${IMAGE_TAR}`]: `sha256:${sha256(tar)}` });
});

test('an unrelated file where a checksum file belongs is not replaced', async (t) => {
  const { at, json, published } = await scene(t);
  await writeFile(at('notes.txt'), 'mine');
  await writeFile(at('tool.bin'), 'tool');
  await writeFile(at('tool.bin.sha256sum'), sha256('tool'));
  const to = (name: string) => ['import', 'file', '--repository', 'tools', '--path', name];
  await json(...to('x/tool.bin.sha256sum'), at('notes.txt'));
  const before = await published('tools');
  for (const more of [[], ['--replace']]) {
    const refused = await json<Failed>(...to('x/tool.bin'), at('tool.bin'), ...more);
    assert.deepEqual([refused.code, refused.json.error.code], [7, 'path.conflict']);
    assert.match(refused.json.error.message, /tools\/x\/tool\.bin\.sha256sum is where .* belongs/);
  }
  assert.deepEqual(await published('tools'), before);
});

test('replacing a file replaces its checksum files, and takes out those that would lie', async (t) => {
  const { at, json, published } = await scene(t);
  const to = ['import', 'file', '--repository', 'tools', '--path', 'tool.bin', at('tool.bin')];
  await writeFile(at('tool.bin'), 'one');
  await writeFile(at('tool.bin.sha256sum'), sha256('one'));
  await json(...to);
  await writeFile(at('tool.bin'), 'two');
  await writeFile(at('tool.bin.sha256sum'), sha256('two'));
  const conflict = await json<Failed>(...to);
  assert.deepEqual([conflict.code, conflict.json.error.code], [7, 'path.conflict']);
  assert.match(conflict.json.error.message, /Add --replace/);
  assert.equal((await json(...to, '--replace')).code, 0);
  assert.deepEqual(await published('tools'), {
    'tool.bin': `sha256:${sha256('two')}`,
    'tool.bin.sha256sum': `sha256:${sha256(sha256('two'))}`,
  });
  await writeFile(at('tool.bin'), 'three');
  await rm(at('tool.bin.sha256sum'));
  assert.equal((await json(...to, '--replace')).code, 0);
  assert.deepEqual(await published('tools'), { 'tool.bin': `sha256:${sha256('three')}` });
});

test('importing again adds checksum files that came later, and mends those that were damaged or lost', async (t) => {
  const { data, stick, signer, at, trust, json, published } = await scene(t);
  await publishFile(stick, IMAGE_ISO, isoBytes(), signer);
  const again = async () => (await json<Report>('import', 'iso', 'filepath', at(IMAGE_ISO))).json.imported[0]?.outcome;
  await rm(at(`${IMAGE_ISO}.sha256sum.asc`));
  assert.equal(await again(), 'imported');
  assert.equal(await again(), 'present');
  await publishFile(stick, IMAGE_ISO, isoBytes(), signer);
  assert.equal(await again(), 'completed');
  assert.equal(await again(), 'present');
  await trust();
  assert.equal(await again(), 'upgraded');

  const all = await published('images');
  assert.equal(Object.keys(all).length, 3);
  const sum = blobOf(data, all[`${ISO}.sha256sum`]);
  await rm(sum);
  assert.equal(await again(), 'completed');
  await writeFile(sum, 'damaged');
  assert.equal(await again(), 'completed');
  assert.equal((await json('verify')).code, 0);
  assert.deepEqual(await published('images'), all);

  // One that is weaker changes nothing.
  await removeSidecars(stick);
  await writeFile(at(`${IMAGE_ISO}.sha256sum`), `${sha256(isoBytes())}  ${IMAGE_ISO}\n`);
  assert.equal(await again(), 'present');
  assert.deepEqual(await published('images'), all);
});

test('what was vouched for by a signature stays so when the same bytes come without one', async (t) => {
  const { data, stick, signer, at, trust, json, published } = await scene(t);
  await trust();
  await publishFile(stick, IMAGE_ISO, isoBytes(), signer);
  await json('import', 'iso', 'filepath', at(IMAGE_ISO));
  const before = await published('images');
  await utimes(blobOf(data, before[ISO]), 1, 1); // the stamp is lost: the bytes are no longer taken as proven
  await removeSidecars(stick);
  const again = await json<Report>('import', 'iso', 'filepath', at(IMAGE_ISO), '--require-signature');
  assert.equal(again.code, 0, again.stderr);
  assert.equal(again.json.imported[0]?.verification.status, 'signature');
  assert.deepEqual(await published('images'), before);
  const { entries } = (await json<Entries>('repo', 'show', 'images')).json;
  assert.equal(entries.find((entry) => entry.path === ISO)?.verification.status, 'signature');
});

test('importing again tells a wrong checksum file from other bytes', async (t) => {
  const { stick, at, json } = await scene(t);
  await publishFile(stick, IMAGE_ISO, isoBytes());
  const again = async () => {
    const { code, json: refused } = await json<Failed>('import', 'iso', 'filepath', at(IMAGE_ISO));
    return [code, refused.error.code];
  };
  await json('import', 'iso', 'filepath', at(IMAGE_ISO));
  await writeFile(at(`${IMAGE_ISO}.sha256sum`), sha256('something else'));
  assert.deepEqual(await again(), [4, 'checksum.mismatch']); // the same bytes
  await writeFile(at(IMAGE_ISO), isoBytes({ more: Buffer.from('more') }));
  assert.deepEqual(await again(), [4, 'checksum.mismatch']); // other bytes, of another size
  await writeFile(at(`${IMAGE_ISO}.sha256sum`), sha256(isoBytes({ more: Buffer.from('more') })));
  assert.deepEqual(await again(), [7, 'path.conflict']);
});

test('a failed import of a file makes no repository', async (t) => {
  const { at, json } = await scene(t);
  await writeFile(at('tool.bin'), 'one');
  await writeFile(at('tool.bin.sha256sum'), sha256('two'));
  const to = ['import', 'file', '--repository', 'tools', '--path', 'tool.bin'];
  assert.equal((await json(...to, at('tool.bin'))).code, 4);
  assert.equal((await json(...to, at('none'))).code, 3);
  assert.deepEqual((await json('repo', 'list')).json, []);
});
