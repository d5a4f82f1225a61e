/** Sidecars that are no files, say nothing of the image, or cannot be read; and named files that are none. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdir, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import { limits } from '../../../src/limits.ts';
import { IMAGE_ISO, IMAGE_TAR, imageTar, publishFile } from '../../media/vendor-site.ts';
import { type Failed, isoBytes, type Report, removeSidecars, scene, sha256 } from './scene.ts';

const SUM = `${IMAGE_ISO}.sha256sum`;
const ASC = `${SUM}.asc`;

/** Ways of being no file that can be read. */
const KINDS: Readonly<Record<string, (file: string) => Promise<unknown>>> = {
  'a folder': (file) => mkdir(file),
  'a named pipe': async (file) => execFileSync('mkfifo', [file]),
  'a symbolic link': (file) => symlink('/dev/zero', file),
  'of 2097152 bytes': async (file) => {
    await writeFile(file, '');
    await truncate(file, 2 * limits.checksumFile);
  },
};

for (const [kind, make] of Object.entries(KINDS)) {
  test(`a sidecar that is ${kind} is named`, async (t) => {
    const { stick, at, json } = await scene(t);
    await publishFile(stick, IMAGE_ISO, isoBytes());
    for (const [name, code] of [
      [ASC, 'signature.invalid'],
      [SUM, 'checksum.invalid'],
    ] as const) {
      await rm(at(name), { force: true });
      await make(at(name));
      const { code: exit, json: refused } = await json<Failed>('import', 'iso', 'filepath', at(IMAGE_ISO));
      assert.deepEqual([exit, refused.error.code], [4, code]);
      assert.ok(refused.error.message.includes(name), refused.error.message);
      await rm(at(name), { recursive: true });
    }
    await make(at('sha256sum')); // it need not be meant for the image
    const { code, json: report } = await json<Report>('import', 'iso', 'filepath', at(IMAGE_ISO));
    assert.equal(code, 0);
    assert.match(report.imported[0]?.warnings.join() ?? '', /not used as a checksum file: .*sha256sum/);
  });

  test(`a key that is ${kind} is refused`, async (t) => {
    const { at, json } = await scene(t);
    await make(at('key'));
    const { code, json: refused } = await json<Failed>('trust', 'vendor-key', 'add', at('key'));
    assert.deepEqual([code, refused.error.code], [4, 'key.invalid']);
    assert.ok(refused.error.message.includes(at('key')), refused.error.message);
  });
}

test('a checksum file for the whole folder that cannot be understood only warns', async (t) => {
  const { at, json } = await scene(t);
  await writeFile(at(IMAGE_ISO), isoBytes());
  await writeFile(at('sha256sum.txt'), 'see our web site\n');
  const { code, json: report } = await json<Report>('import', 'iso', 'filepath', at(IMAGE_ISO));
  assert.equal(code, 0);
  assert.match(
    report.imported[0]?.warnings.join() ?? '',
    /sha256sum\.txt: The checksum file line 1 is "see our web site"/,
  );
});

test('a named file that is a pipe, a device or a folder is refused at once', async (t) => {
  const { stick, at, json } = await scene(t);
  execFileSync('mkfifo', [at(IMAGE_ISO)]);
  for (const file of [at(IMAGE_ISO), '/dev/zero', stick]) {
    for (const args of [
      ['import', 'iso', 'filepath', file],
      ['import', 'file', '--repository', 'tools', '--path', 'x', file],
    ]) {
      const { code, json: refused } = await json<Failed>(...args);
      assert.deepEqual([code, refused.error.code], [2, 'usage.invalid'], args.join(' '));
    }
  }
});

test('a tar beside the image that is a pipe is refused at once, and not looked at if the image has a checksum file', async (t) => {
  const { at, json } = await scene(t);
  await writeFile(at(IMAGE_ISO), isoBytes());
  await writeFile(at(`${IMAGE_TAR}.sha256sum`), sha256('tar'));
  execFileSync('mkfifo', [at(IMAGE_TAR)]);
  const refused = await json<Failed>('import', 'iso', 'filepath', at(IMAGE_ISO));
  assert.deepEqual([refused.code, refused.json.error.code], [4, 'tar.invalid']);
  await writeFile(at(SUM), sha256(isoBytes()));
  assert.equal((await json('import', 'iso', 'filepath', at(IMAGE_ISO))).code, 0);
});

test('a damaged tar, or a bad signature of its checksum file, does not keep out an image with its own', async (t) => {
  const { stick, signer, at, trust, json } = await scene(t);
  await trust();
  await publishFile(stick, IMAGE_ISO, isoBytes(), signer);
  await publishFile(stick, IMAGE_TAR, await imageTar('6.3.0-107.r1.el7'), signer);
  await truncate(at(IMAGE_TAR), 5000);
  await writeFile(at(`${IMAGE_TAR}.sha256sum.asc`), await signer.sign(Buffer.from('else')));
  const { code, json: report } = await json<Report>('import', 'iso', 'filepath', at(IMAGE_ISO));
  assert.equal(code, 0);
  assert.equal(report.imported[0]?.verification.status, 'signature');
});

test('a checksum file that names another file says so', async (t) => {
  const { stick, at, json } = await scene(t);
  await publishFile(stick, IMAGE_ISO, isoBytes());
  await writeFile(at(SUM), `${sha256(isoBytes())}  renamed.iso\n`);
  const required = await json<Failed>('import', 'iso', 'filepath', at(IMAGE_ISO), '--require-checksum');
  assert.deepEqual([required.code, required.json.error.code], [4, 'checksum.missing']);
  assert.match(required.json.error.message, /\.sha256sum does not apply: it names "renamed\.iso", not SSR-/);
  const { code, json: report } = await json<Report>('import', 'iso', 'filepath', at(IMAGE_ISO));
  assert.equal(code, 0);
  const [outcome] = report.imported;
  assert.equal(outcome?.verification.status, 'unverified');
  assert.match(outcome?.warnings.join() ?? '', /\.sha256sum does not apply: it names "renamed\.iso", not SSR-/);
  assert.doesNotMatch(outcome?.warnings.join() ?? '', /no checksum file/);
  await removeSidecars(stick);
});

test('an image that is not there, or a folder, is told before its name is looked at', async (t) => {
  const { stick, at, json } = await scene(t);
  const missing = await json<Failed>('import', 'iso', 'filepath', at('foo.iso'));
  assert.deepEqual([missing.code, missing.json.error.code], [3, 'file.not-found']);
  const folder = await json<Failed>('import', 'iso', 'filepath', stick);
  assert.deepEqual([folder.code, folder.json.error.code], [2, 'usage.invalid']);
});

test('a file whose name leaves no room for that of a checksum file has none', async (t) => {
  const { at, json } = await scene(t);
  const name = 'n'.repeat(255);
  await writeFile(at(name), 'bytes');
  const to = ['import', 'file', '--repository', 'tools', '--path', 'x'];
  const done = await json<{ verification: { status: string } }>(...to, at(name));
  assert.deepEqual([done.code, done.json.verification.status], [0, 'unverified']);
  const absent = await json<Failed>(...to, at('n'.repeat(300)));
  assert.deepEqual([absent.code, absent.json.error.code], [3, 'file.not-found']);
});
