/** Routers that install from a conductor which was fed package-based images: dnf, with all checks on. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readdir, readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { after, type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { gunzipSync } from 'node:zlib';
import { PACKAGE_TOOLS, PackageVendor } from '../media/package-iso.ts';
import { OLDER_PACKAGE_ISO, PACKAGE_ISO } from '../media/vendor-site.ts';
import { namedFiles, newConductor, RPM_REPOSITORY, type Served } from '../support/conductor.ts';
import { DNF, Dnf } from '../support/dnf.ts';
import { needs } from '../support/needs.ts';
import { tempDir } from '../support/temp-dir.ts';

const TOOLS = needs(...PACKAGE_TOOLS, ...DNF);

const COMPS = `<?xml version="1.0" encoding="UTF-8"?>
<comps><group><id>ssr-tools</id><name>SSR Tools</name><description>Tools</description><default>true</default>
<uservisible>true</uservisible><packagelist><packagereq type="mandatory">128T-gui</packagereq></packagelist></group></comps>
`;
const UPDATEINFO = `<?xml version="1.0" encoding="UTF-8"?>
<updates><update from="release@vendor.example" status="final" type="security" version="1"><id>SSR-2024:0626</id>
<title>A fix</title><issued date="2024-09-09 00:00:00"/><severity>Important</severity><description>Fixed</description>
<references/><pkglist><collection short="ssr"><name>ssr</name><package name="128T" version="6.2.6" release="15.sts.el7"
 epoch="0" arch="x86_64" src="x"><filename>128T-6.2.6-15.sts.el7.x86_64.rpm</filename></package></collection></pkglist>
</update></updates>
`;
const MODULES = `---
document: modulemd-defaults
version: 1
data:
  module: salt
  stream: "3005"
  profiles:
    "3005": [minion]
...
`;

/** Two releases as images, and one package by itself. */
function makeMedia() {
  const vendor = new PackageVendor();
  const shared = [
    { name: 'glibc', version: '2.17' },
    { name: 'salt-minion', version: '3005', epoch: 2, tags: ['Requires: glibc'] },
  ];
  const release = (version: string, build: string) => [
    {
      name: '128T',
      version,
      release: build,
      kilobytes: 200,
      tags: ['Requires: glibc >= 2.0', 'Requires: salt-minion >= 1:0', 'Recommends: 128T-gui'],
    },
    { name: '128T-gui', version, release: build, arch: 'noarch', tags: [`Requires: 128T = ${version}`] },
  ];
  const [glibc = '', salt = '', old = '', oldGui = '', next = '', nextGui = ''] = vendor.build([
    ...shared,
    ...release('6.2.5', '5.r2.el7'),
    ...release('6.2.6', '15.sts.el7'),
  ]);
  const older = vendor.iso(OLDER_PACKAGE_ISO, [glibc, salt, old, oldGui]);
  const newer = vendor.iso(PACKAGE_ISO, [glibc, salt, next, nextGui], {
    groups: COMPS,
    updateinfo: UPDATEINFO,
    modules: MODULES,
  });
  return { vendor, older, newer, packages: [glibc, salt, old, oldGui, next, nextGui] };
}

let made: ReturnType<typeof makeMedia> | undefined;
function media() {
  made ??= makeMedia();
  return made;
}
after(() => made?.vendor[Symbol.dispose]());

/** A router of a conductor that offers what is checked in every way. */
async function router(
  t: TestContext,
  { get }: Served,
  change: (repoFile: string) => string = (text) => text,
): Promise<Dnf> {
  const { status, body } = await get(`${RPM_REPOSITORY}.repo`);
  const text = body.toString();
  assert.equal(status, 200, text);
  assert.match(text, /^gpgcheck=1$/m);
  assert.match(text, /^repo_gpgcheck=1$/m);
  return await Dnf.with(t, change(text));
}

test('installs, upgrades, downgrades, downloads, mirrors and asks', TOOLS, async (t) => {
  const { vendor, older, newer, packages } = media();
  const conductor = await newConductor(t, vendor.keyFile, [older]);
  const dnf = await router(t, await conductor.serve());

  await dnf.run('install', '128T');
  assert.equal(await dnf.installed('128T'), '6.2.5-5.r2.el7');
  assert.equal(await dnf.installed('salt-minion'), '2:3005-1.el7');
  assert.equal(await dnf.installed('128T-gui'), '6.2.5-5.r2.el7', 'weak dependencies come too');

  await conductor.importIso(newer);
  await dnf.run('upgrade');
  assert.equal(await dnf.installed('128T'), '6.2.6-15.sts.el7');
  assert.equal(await dnf.installed('128T-gui'), '6.2.6-15.sts.el7');
  await dnf.run('downgrade', '128T', '128T-gui');
  assert.equal(await dnf.installed('128T'), '6.2.5-5.r2.el7');

  const requires = await dnf.run('repoquery', '--requires', '128T-6.2.6');
  assert.match(requires, /^glibc >= 2\.0$/m);
  assert.match(requires, /^salt-minion >= 1:0$/m);
  assert.match(await dnf.run('repoquery', '--whatrequires', '128T'), /128T-gui-0:6\.2\.6-15\.sts\.el7\.noarch/);
  assert.match(await dnf.run('repoquery', '--file', '/opt/salt-minion/data'), /salt-minion-2:3005-1\.el7\.x86_64/);
  assert.match(await dnf.run('repoquery', '--changelog', 'glibc'), /Release <release@vendor\.example>/);

  const folder = await tempDir(t);
  await dnf.run('download', '--destdir', folder, '128T', 'salt-minion');
  await sameBytes(folder, [packages[4] ?? '', packages[1] ?? '']);
  const mirror = await tempDir(t);
  await dnf.run('reposync', '--download-metadata', '--download-path', mirror);
  await sameBytes(mirror, packages);

  // One step back: what is newer is not there any more.
  await conductor.done('repo', 'publish', RPM_REPOSITORY, '1');
  assert.match(await dnf.run('repoquery', '128T'), /6\.2\.5/);
  assert.doesNotMatch(await dnf.run('repoquery', '128T'), /6\.2\.6/);
});

/** The packages below a folder are these, byte for byte. */
async function sameBytes(folder: string, expected: readonly string[]): Promise<void> {
  const found = (await readdir(folder, { recursive: true })).filter((name) => name.endsWith('.rpm'));
  assert.deepEqual(found.map((name) => path.basename(name)).sort(), expected.map((file) => path.basename(file)).sort());
  for (const name of found) {
    const original = expected.find((file) => path.basename(file) === path.basename(name)) ?? '';
    assert.ok((await readFile(path.join(folder, name))).equals(await readFile(original)), name);
  }
}

test('groups, update notices and modules of an image reach the router', TOOLS, async (t) => {
  const { vendor, newer, older } = media();
  const conductor = await newConductor(t, vendor.keyFile, [older]);
  const served = await conductor.serve();
  const dnf = await router(t, served);
  await dnf.run('install', '128T', '--setopt=install_weak_deps=0');
  await conductor.importIso(newer);
  assert.match(await dnf.run('updateinfo', 'list', '--available'), /SSR-2024:0626.*128T-6\.2\.6-15\.sts\.el7\.x86_64/);
  assert.match(await dnf.run('group', 'list'), /SSR Tools/);
  await dnf.run('group', 'install', 'ssr-tools');
  assert.equal(await dnf.installed('128T-gui'), '6.2.6-15.sts.el7');
  const modules = (await namedFiles(served)).find((name) => name.includes('-modules.yaml')) ?? '';
  assert.equal(gunzipSync((await served.get(modules)).body).toString(), MODULES);

  // Packages that come without any of them take nothing away.
  await conductor.importRpm(vendor.build([{ name: 'plugin', version: '9' }]));
  assert.match(await dnf.run('group', 'list'), /SSR Tools/);
  assert.ok((await namedFiles(served)).includes(modules));
});

/** Passes requests on to a server, but for those that `change` answers. @returns its URL */
async function tamperingProxy(
  t: TestContext,
  url: string,
  change: (path: string) => Promise<Uint8Array | undefined>,
): Promise<string> {
  const proxy = createServer((request, response) => {
    const answer = async () => {
      const changed = await change(request.url ?? '/');
      if (changed !== undefined) return response.end(changed);
      const passed = await fetch(new URL(request.url ?? '/', url));
      return response.writeHead(passed.status).end(await passed.bytes());
    };
    answer().catch((error: unknown) => response.destroy(error as Error));
  });
  proxy.listen(0, '127.0.0.1');
  await once(proxy, 'listening');
  t.after(() => proxy.close());
  return `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`;
}

test('what was exchanged on the way, or signed by others, is refused', TOOLS, async (t) => {
  const { vendor, older, newer } = media();
  const one = await newConductor(t, vendor.keyFile, [older]);
  const other = await newConductor(t, vendor.keyFile, [newer]); // with a key of its own
  const [served, { base: otherBase }] = [await one.serve(), await other.serve()];
  const { url } = served.server;
  let attack: 'none' | 'package' | 'repomd' | 'signature' = 'none';
  const proxy = await tamperingProxy(t, url, async (name) => {
    if (attack === 'package' && name.endsWith('.rpm')) {
      const bytes = await (await fetch(new URL(name, url))).bytes();
      bytes[bytes.length - 100] = (bytes.at(-100) ?? 0) ^ 1;
      return bytes;
    }
    const isExchanged = name.endsWith('repomd.xml.asc') ? attack !== 'package' : attack === 'repomd';
    if (attack === 'none' || !isExchanged || !name.includes('/repodata/')) return undefined;
    const from = new URL(name.slice(name.indexOf('repodata/')), otherBase);
    return await (await fetch(from)).bytes();
  });
  const dnf = await router(t, served, (text) => text.replaceAll(url, proxy));
  for (const kind of ['signature', 'repomd'] as const) {
    attack = kind;
    await assert.rejects(dnf.run('makecache'), /repomd\.xml GPG signature verification error/, kind);
  }
  attack = 'package';
  await assert.rejects(dnf.run('install', 'glibc'), /checksum|Cannot download/i);
  attack = 'none';
  await dnf.run('install', 'glibc');

  // Let in by an admin who looked away, and refused by the router.
  const [stray = ''] = vendor.build([{ name: 'stray', version: '1' }], 'stranger');
  await one.importRpm([stray], 'check-rpm-signature', 'disabled');
  await assert.rejects(dnf.run('install', 'stray'), /not signed|Public key|GPG check FAILED/i);
});

test('clients that ask while revisions change see a whole one', TOOLS, async (t) => {
  const { vendor, older, newer } = media();
  const conductor = await newConductor(t, vendor.keyFile, [older]);
  const served = await conductor.serve();
  const dnf = await router(t, served);
  const added = vendor.build([1, 2, 3].map((version) => ({ name: 'plugin', version: `${version}`, arch: 'noarch' })));

  let isOver = false;
  const changes = async (): Promise<void> => {
    try {
      await conductor.importIso(newer);
      for (const [index, file] of added.entries()) {
        await conductor.importRpm([file]);
        await conductor.done('repo', 'publish', RPM_REPOSITORY, '1');
        await conductor.done('repo', 'publish', RPM_REPOSITORY, String(3 + 3 * index));
      }
    } finally {
      isOver = true;
    }
  };
  const askAsDnf = async (): Promise<void> => {
    for (let round = 0; !isOver || round < 3; round += 1) {
      await dnf.forgetCache();
      // dnf asks twice, for repomd.xml and for its signature; whoever asks once before and once after a change asks again.
      await dnf.run('makecache').catch(async (error: Error) => {
        assert.match(error.message, /signature verification error/);
        await dnf.run('makecache');
      });
    }
  };
  const askSlowly = async (): Promise<void> => {
    for (let round = 0; !isOver || round < 3; round += 1) {
      const named = await namedFiles(served);
      await sleep(100);
      for (const file of named) assert.equal((await served.get(file)).status, 200, `round ${round}: ${file}`);
    }
  };
  await Promise.all([changes(), askAsDnf(), askSlowly()]);
});

test('a roll-back keeps metadata for clients that are about to ask for it', TOOLS, async (t) => {
  const { vendor, older, newer } = media();
  const conductor = await newConductor(t, vendor.keyFile, [older]);
  const served = await conductor.serve();
  const first = await namedFiles(served);
  await conductor.importIso(newer);
  const second = await namedFiles(served);
  const { entries } = await conductor.show();
  for (const file of first) {
    assert.equal((await served.get(file)).status, 200, `after an import: ${file}`);
    assert.ok(!entries.some((entry) => entry.path === file), 'it is kept, and not published any more');
  }
  await conductor.done('repo', 'publish', RPM_REPOSITORY, '1');
  assert.deepEqual(await namedFiles(served), first);
  for (const file of second) assert.equal((await served.get(file)).status, 200, `after a roll-back: ${file}`);
});
