/** Keys that may sign what comes from an upstream. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { readVendorKeys, type VendorKey } from '../../src/repo/formats/openpgp/key-files.ts';
import { digestOf, testBytes, until } from '../repo/http/support.ts';
import { makeKey, sign } from '../repo/openpgp/library-keys.ts';
import { airlock } from '../support/cli.ts';
import { Origin } from '../support/origin.ts';
import { tempDir } from '../support/temp-dir.ts';
import { get, type RouterOptions, router } from './router.ts';

type PrivateKey = Awaited<ReturnType<typeof makeKey>>;

async function publicKeys(key: PrivateKey): Promise<VendorKey[]> {
  return await readVendorKeys(key.toPublic().write() as Uint8Array, new Date());
}

/** A router with a site whose content one key may sign. */
async function signedSite(t: TestContext, options: RouterOptions = {}) {
  const [origin, key] = [await Origin.start(t), await makeKey()];
  const keys = new Map([['ssr', await publicKeys(key)]]);
  const sites = [{ name: 'ssr', url: origin.url, hosts: [], bandwidth: Number.POSITIVE_INFINITY }];
  const made = await router(t, { sites, keys, ...options });
  const put = async (name: string, bytes: Uint8Array, signer?: PrivateKey, signed = bytes) => {
    origin.files.set(`/${name}`, { bytes: Buffer.from(bytes) });
    if (signer === undefined) origin.files.delete(`/${name}.asc`);
    else origin.files.set(`/${name}.asc`, { bytes: Buffer.from(await sign(signer, signed)) });
  };
  return { ...made, origin, key, put, at: (name: string) => `${made.url}/upstreams/ssr/${name}`, made };
}

function sums(bytes: Uint8Array, name: string): Buffer {
  return Buffer.from(`${digestOf(bytes).slice(7)}  ${name}\n`);
}

test('an image whose checksum file is signed by a named key is verified by signature; others are refused', async (t) => {
  const { origin, key, put, at, made } = await signedSite(t);
  const stranger = await makeKey({ name: 'stranger' });
  const bytes = testBytes(100_000);
  const image = async (name: string, signer?: PrivateKey, signed?: Uint8Array) => {
    origin.files.set(`/${name}`, { bytes });
    await put(`${name}.sha256sum`, sums(bytes, name), signer, signed);
  };
  const status = async (name: string) => {
    const answer = await get(at(name)).then(
      (each) => each.status,
      () => 'cut',
    );
    await until('it has ended', () => made.fills() === 0);
    return answer;
  };
  const kept = async (name: string) => {
    const pulled = await made.repository.catalog.pulled(`upstreams/ssr/${name}`);
    return pulled === undefined ? 'nothing' : String(pulled.facts.verification);
  };
  await image('good.iso', key);
  assert.deepEqual([await status('good.iso'), await kept('good.iso')], [200, 'signature']);
  assert.equal((await get(at('good.iso.sha256sum'))).status, 200);
  assert.equal(await kept('good.iso.sha256sum'), 'signature');

  await image('unsigned.iso');
  assert.deepEqual([await status('unsigned.iso'), await kept('unsigned.iso')], [200, 'checksum']);

  await image('bad.iso', key, Buffer.from('something else'));
  await image('stranger.iso', stranger);
  origin.files.set('/broken.iso', { bytes });
  await put('broken.iso.sha256sum', sums(bytes, 'broken.iso'));
  origin.files.set('/broken.iso.sha256sum.asc', { bytes: Buffer.from('<html>Log in</html>') });
  for (const name of ['bad.iso', 'stranger.iso', 'broken.iso']) {
    assert.ok([502, 'cut'].includes(await status(name)), name);
    assert.equal(await kept(name), 'nothing');
    const sidecar = await get(at(`${name}.sha256sum`)).catch(() => undefined);
    assert.ok(sidecar === undefined || sidecar.status === 502, 'the checksum file itself');
    assert.equal(await kept(`${name}.sha256sum`), 'nothing');
  }
  assert.ok(
    made.log.some(
      ({ facts }) => String(facts.error).includes('upstream.signature') || String(facts.error).includes('.asc'),
    ),
  );
});

test('where keys are named and verification is required, a checksum without signature does not suffice', async (t) => {
  const { origin, key, put, at } = await signedSite(t, { requireVerified: true });
  const bytes = testBytes(50_000);
  for (const [name, signer] of [
    ['signed.iso', key],
    ['unsigned.iso', undefined],
  ] as const) {
    origin.files.set(`/${name}`, { bytes });
    await put(`${name}.sha256sum`, sums(bytes, name), signer);
  }
  assert.ok((await get(at('signed.iso'))).body.equals(bytes));
  await assert.rejects(get(at('unsigned.iso')));
  origin.files.set('/hidden.iso', { bytes });
  await put('hidden.iso.sha256sum', sums(bytes, 'hidden.iso'), key);
  origin.files.set('/hidden.iso.sha256sum.asc', (_request, response) => response.writeHead(503).end());
  await assert.rejects(get(at('hidden.iso')), 'a signature that cannot be had is not one that is missing');
  await put('hidden.iso.sha256sum', sums(bytes, 'hidden.iso'), key);
  assert.ok((await get(at('hidden.iso'))).body.equals(bytes));
});

test('a conductor that names the digest itself does not do away with the vendor’s signature', async (t) => {
  const conductor = await Origin.start(t);
  const key = await makeKey();
  const made = await router(t, { conductors: [conductor], keys: new Map([['ssr', await publicKeys(key)]]) });
  const bytes = testBytes(60_000);
  const base = '/upstreams/ssr/x.iso';
  conductor.files.set(base, { bytes, etag: `"${digestOf(bytes)}"` });
  conductor.files.set(`${base}.sha256sum`, { bytes: sums(bytes, 'x.iso') });
  conductor.files.set(`${base}.sha256sum.asc`, { bytes: Buffer.from(await sign(key, Buffer.from('another'))) });
  const refused = await get(`${made.url}${base}`).catch(() => undefined);
  assert.ok(refused === undefined || refused.status === 502);
  await until('it has ended', () => made.fills() === 0);
  conductor.files.set(`${base}.sha256sum.asc`, { bytes: Buffer.from(await sign(key, sums(bytes, 'x.iso'))) });
  assert.ok((await get(`${made.url}${base}`)).body.equals(bytes));
  await until('it is kept', () => made.fills() === 0);
  assert.equal((await made.repository.catalog.pulled(base.slice(1)))?.facts.verification, 'signature');
});

function repository(packages: Record<string, Uint8Array>, revision: number) {
  const hex = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
  const entries = Object.entries(packages).map(
    ([href, bytes]) =>
      `<package type="rpm"><name>x</name><checksum type="sha256" pkgid="YES">${hex(bytes)}</checksum><location href="${href}"/></package>`,
  );
  const primary = Buffer.from(`<?xml version="1.0"?>\n<metadata>${entries.join('\n')}</metadata>`);
  const name = `repodata/${hex(primary)}-primary.xml`;
  const repomd = Buffer.from(
    `<?xml version="1.0"?>\n<repomd><revision>${revision}</revision><data type="primary"><checksum type="sha256">${hex(primary)}</checksum><location href="${name}"/></data></repomd>`,
  );
  return { primary, name, repomd };
}

test('a repository is as good as the signature of its repomd.xml; a new list with an old signature waits', async (t) => {
  const { origin, key, put, at, made } = await signedSite(t, {
    fresh: { repodata: 0, listings: null, metadata: null },
  });
  const bytes = testBytes(10_000);
  const publish = async (revision: number, signed?: Uint8Array) => {
    const { primary, name, repomd } = repository(
      { 'Packages/a.rpm': bytes, [`Packages/${revision}.rpm`]: bytes },
      revision,
    );
    origin.files.set(`/el7/${name}`, { bytes: primary });
    await put('el7/repodata/repomd.xml', repomd, key, signed ?? repomd);
    return repomd;
  };
  origin.files.set('/el7/Packages/a.rpm', { bytes });
  const list = at('el7/repodata/repomd.xml');
  const first = await publish(1);
  assert.ok((await get(list)).body.equals(first));
  await until('its files have come', () => made.fills() === 0);
  assert.equal((await get(at('el7/Packages/a.rpm'))).status, 200);
  await until('it is kept', () => made.fills() === 0);
  const verification = async (name: string) =>
    (await made.repository.catalog.pulled(`upstreams/ssr/el7/${name}`))?.facts.verification;
  assert.deepEqual(
    [await verification('repodata/repomd.xml'), await verification('Packages/a.rpm')],
    ['signature', 'signature'],
  );

  const second = await publish(2, first);
  const early = await get(list);
  assert.deepEqual([early.cache, early.body.equals(first)], ['STALE', true]);
  assert.match(early.headers.get('cache-status') ?? '', /^airlock; hit; ttl=\S+; detail=upstream\.signature$/);
  assert.equal((await get(`${list}.asc`)).status, 200);
  await publish(2);
  const late = await get(list);
  assert.ok(late.body.equals(second));
  const { body: signature } = await get(`${list}.asc`);
  assert.deepEqual(signature, (origin.files.get('/el7/repodata/repomd.xml.asc') as { bytes: Buffer }).bytes);
});

test('a key file that is none ends the start, and says which one it is', async (t) => {
  const data = await tempDir(t);
  await writeFile(path.join(data, 'vendor.asc'), 'no key');
  await writeFile(
    path.join(data, 'airlock.yaml'),
    'upstreams: { ssr: { url: "http://127.0.0.1:1", keys: [vendor.asc] } }\n',
  );
  const { code, stderr } = await airlock(['--data', data, 'proxy', '--listen', '127.0.0.1:0']);
  assert.equal(code, 2);
  assert.match(stderr, /config\.invalid.*upstreams\.ssr\.keys: vendor\.asc cannot be used/);
});
