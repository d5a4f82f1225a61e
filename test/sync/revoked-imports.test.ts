/** What was revoked is not let in by hand either, at the export station and at its sites. */
import assert from 'node:assert/strict';
import { readdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { approvePolicy } from '../../src/repo/policies/approve.ts';
import { revoke } from '../../src/sync/trust/published-revocations.ts';
import { buildIso } from '../media/iso-builder.ts';
import { buildRpm } from '../media/rpm-builder.ts';
import { imageIso } from '../media/vendor-site.ts';
import { digestOf } from '../repo/http/support.ts';
import { airlock, airlockJson } from '../support/cli.ts';
import type { Refusal } from '../support/conductor.ts';
import { coded, type Place, scene } from './scene.ts';

const IMAGE = 'SSR-6.3.0-107.r1.el7.x86_64.ibu-v1.iso';
const PACKAGES = '128T-6.2.6-15.sts.el7.OTP.v1.x86_64.iso';
const RPM_WORDS = ['check-rpm-signature', 'allow-unsigned'];

const rpm = buildRpm({ name: 'faulty' }).file;
const policy = JSON.stringify({
  Version: '2012-10-17',
  Statement: { Effect: 'Allow', Action: 's3:*', Resource: '*' },
});

/** Content by how it comes: the arguments of `import` before the file. */
const CONTENT = [
  { file: IMAGE, bytes: imageIso('bad', {}, 100), words: ['iso', 'force', 'filepath'] },
  {
    file: 'faulty-1-1.noarch.rpm',
    bytes: rpm,
    words: ['rpm', ...RPM_WORDS, 'distribution', 'el7', 'architecture', 'noarch', 'filepath'],
  },
  {
    file: 'notes.txt',
    bytes: Buffer.from('wrong advice'),
    words: ['file', '--repository', 'notes', '--path', 'x.txt'],
  },
  { file: 'app.txt', bytes: Buffer.from(policy), words: ['policy', 'app'] },
] as const;

async function made(t: TestContext) {
  const { station, site, folder } = await scene(t);
  const stick = await folder('stick');
  const at = ({ dir }: Place, ...args: string[]) => airlock(['--data', dir, ...args]);
  const bring = async (place: Place, file: string, words: readonly string[]): Promise<Refusal['error']> => {
    const before = [await place.published(), await readdir(path.join(place.dir, 'partial')).catch(() => [])];
    const args = ['--data', place.dir, 'import', ...words, path.join(stick, file)];
    const { code, json, stderr } = await airlockJson<Refusal & { failed?: [{ error: Refusal['error'] }] }>(args);
    assert.equal(code, 4, `${args.join(' ')}: ${JSON.stringify(json)}${stderr}`);
    const after = [await place.published(), await readdir(path.join(place.dir, 'partial')).catch(() => [])];
    assert.deepEqual(after, before, `${file} left something`);
    return json.failed?.[0].error ?? json.error;
  };
  for (const { file, bytes } of CONTENT) await writeFile(path.join(stick, file), bytes);
  return { station, site, stick, folder, at, bring };
}

test('an import of revoked content is refused, and tells who revoked it and why', async (t) => {
  const { station, site, folder, stick, bring } = await made(t);
  const reason = 'CVE-2026-0001';
  await revoke(
    station.dir,
    CONTENT.map(({ bytes, file: name }) => ({ digest: digestOf(bytes), name, reason })),
  );
  await station.export(await folder('bundle'));
  await site.import(await folder('bundle'));
  const { rootFingerprint } = await site.trust.facts();
  for (const { file, bytes, words } of CONTENT) {
    const { code, message, details } = await bring(site, file, words);
    assert.equal(code, 'trust.revoked', message);
    for (const part of [rootFingerprint, digestOf(bytes), reason]) assert.ok(message.includes(part), message);
    if (file !== 'faulty-1-1.noarch.rpm') assert.equal(details?.digest, digestOf(bytes));
  }
  const own = await bring(station, 'notes.txt', CONTENT[2].words);
  assert.match(own.message, /was revoked by this export station \("airlock keys revoke"\); .*"CVE-2026-0001"/);

  // A package that was revoked does not come in with an image either.
  await writeFile(path.join(stick, PACKAGES), buildIso({ Packages: { 'faulty-1-1.noarch.rpm': rpm } }, {}).image);
  const { code, message } = await bring(site, PACKAGES, ['iso', ...RPM_WORDS, 'force', 'filepath']);
  assert.equal(code, 'trust.revoked', message);
  assert.match(message, /1 of 1 packages may not come in[\s\S]*faulty-1-1\.noarch\.rpm.*CVE-2026-0001/);
});

test('of an image whose checksum file names a revoked digest nothing is read', async (t) => {
  const { station, stick, at, bring } = await made(t);
  const [{ bytes, words }] = CONTENT;
  await at(station, 'keys', 'revoke', digestOf(bytes));
  await writeFile(path.join(stick, IMAGE), 'other bytes, which nobody looks at');
  await writeFile(path.join(stick, `${IMAGE}.sha256sum`), `${digestOf(bytes).slice('sha256:'.length)}  ${IMAGE}\n`);
  assert.equal((await bring(station, IMAGE, words)).code, 'trust.revoked');
});

test('what is held when it is revoked cannot be approved', async (t) => {
  const { station, stick, at } = await made(t);
  await writeFile(path.join(stick, 'first.txt'), policy.replace('s3:*', 's3:A'));
  for (const file of ['first.txt', 'app.txt']) {
    const held = await at(station, 'import', 'policy', 'app', path.join(stick, file), '--hold-widening');
    assert.equal(held.code, 0, held.stderr);
  }
  await at(station, 'keys', 'revoke', digestOf(Buffer.from(policy)));
  const approved = await at(station, 'policy', 'approve', 'app@2');
  assert.equal(approved.code, 4, approved.stdout);
  assert.match(approved.stderr, /trust\.revoked/);
  const revoked = await station.app.revoked();
  await assert.rejects(approvePolicy(station.app, 'app', 2, { revoked }), coded('trust.revoked'));
});
