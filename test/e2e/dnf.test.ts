/** Routers that install from a conductor which was fed package-based images: dnf, with all checks on. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readdir, readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { after, type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { PACKAGE_TOOLS, PackageVendor } from '../media/package-iso.ts';
import { OLDER_PACKAGE_ISO, PACKAGE_ISO } from '../media/vendor-site.ts';
import { airlock, startServer } from '../support/cli.ts';
import { DNF, Dnf } from '../support/dnf.ts';
import { needs } from '../support/needs.ts';
import { tempDir } from '../support/temp-dir.ts';

const NAME = 'ssr-el7-x86_64';
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

/** A conductor that trusts the vendor, and its server. */
async function conductor(t: TestContext) {
  const data = path.join(await tempDir(t), 'data');
  const run = async (...args: string[]) => {
    const result = await airlock(['--data', data, ...args]);
    assert.equal(result.code, 0, `${args.join(' ')}: ${result.stdout}${result.stderr}`);
    return result;
  };
  await run('trust', 'vendor-key', 'add', media().vendor.keyFile);
  return {
    data,
    run,
    importIso: (file: string) => run('import', 'iso', 'force', 'filepath', file),
    /** Once something was imported. */
    async serve() {
      const server = await startServer(t, data);
      const base = `${server.url}/repos/${NAME}/`;
      const get = async (name: string) => {
        const response = await fetch(new URL(name, base));
        return { status: response.status, text: await response.text(), headers: response.headers };
      };
      const dnf = async () => {
        const { status, text } = await get(`${NAME}.repo`);
        assert.equal(status, 200, text);
        assert.match(text, /^gpgcheck=1$/m);
        assert.match(text, /^repo_gpgcheck=1$/m);
        return await Dnf.with(t, text);
      };
      return { server, base, get, dnf };
    },
  };
}

test('installs, upgrades, downgrades, downloads, mirrors and asks', TOOLS, async (t) => {
  const { older, newer, packages } = media();
  const { importIso, serve, run } = await conductor(t);
  await importIso(older);
  const { dnf: client } = await serve();
  const dnf = await client();

  await dnf.run('install', '128T');
  assert.equal(await dnf.installed('128T'), '6.2.5-5.r2.el7');
  assert.equal(await dnf.installed('salt-minion'), '2:3005-1.el7');
  assert.equal(await dnf.installed('128T-gui'), '6.2.5-5.r2.el7', 'weak dependencies come too');

  await importIso(newer);
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
  await run('repo', 'publish', NAME, '1');
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
  const { newer, older } = media();
  const { importIso, serve } = await conductor(t);
  await importIso(newer);
  const { dnf: client, get } = await serve();
  const dnf = await client();
  assert.match(await dnf.run('group', 'list'), /SSR Tools/);
  assert.match(await dnf.run('updateinfo', 'list', '--all'), /SSR-2024:0626/);
  const { text } = await get('repodata/repomd.xml');
  const modules = /<data type="modules">[\s\S]*?<location href="([^"]+)"/.exec(text)?.[1] ?? '';
  assert.equal((await get(modules)).status, 200);
  // An image without any of them takes nothing away.
  await importIso(older);
  await dnf.run('group', 'install', 'ssr-tools');
  assert.equal(await dnf.installed('128T-gui'), '6.2.6-15.sts.el7');
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
  const [one, other] = [await conductor(t), await conductor(t)];
  await one.importIso(older);
  await other.importIso(newer);
  const [{ server, get }, { base: otherBase }] = [await one.serve(), await other.serve()];
  let attack: 'none' | 'package' | 'repomd' | 'signature' = 'none';
  const proxy = await tamperingProxy(t, server.url, async (name) => {
    if (attack === 'package' && name.endsWith('.rpm')) {
      const bytes = await (await fetch(new URL(name, server.url))).bytes();
      bytes[bytes.length - 100] = (bytes.at(-100) ?? 0) ^ 1;
      return bytes;
    }
    const isExchanged = name.endsWith('repomd.xml.asc') ? attack !== 'package' : attack === 'repomd';
    if (attack === 'none' || !isExchanged || !name.includes('/repodata/')) return undefined;
    const from = new URL(name.slice(name.indexOf('repodata/')), otherBase);
    return await (await fetch(from)).bytes();
  });
  const dnf = await Dnf.with(t, (await get(`${NAME}.repo`)).text.replaceAll(server.url, proxy));
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
  const words = ['distribution', 'el7', 'architecture', 'x86_64', 'filepath', stray];
  await one.run('import', 'rpm', 'check-rpm-signature', 'disabled', ...words);
  await assert.rejects(dnf.run('install', 'stray'), /not signed|Public key|GPG check FAILED/i);
});

test('clients that ask while revisions change see a whole one', TOOLS, async (t) => {
  const { vendor, older, newer } = media();
  const { importIso, serve, run } = await conductor(t);
  await importIso(older);
  const { dnf: client, get } = await serve();
  const dnf = await client();
  const added = vendor.build([1, 2, 3].map((version) => ({ name: 'plugin', version: `${version}`, arch: 'noarch' })));

  let isOver = false;
  const changes = async (): Promise<void> => {
    try {
      await importIso(newer);
      for (const [index, file] of added.entries()) {
        await run('import', 'rpm', 'distribution', 'el7', 'architecture', 'x86_64', 'filepath', file);
        await run('repo', 'publish', NAME, '1');
        await run('repo', 'publish', NAME, String(2 + 2 * index));
      }
    } finally {
      isOver = true;
    }
  };
  const askAsDnf = async (): Promise<void> => {
    for (let round = 0; !isOver || round < 3; round += 1) {
      await dnf.forgetCache();
      await dnf.run('makecache');
    }
  };
  const askSlowly = async (): Promise<void> => {
    for (let round = 0; !isOver || round < 3; round += 1) {
      const named = await filesOf(get);
      await sleep(100);
      for (const file of named) assert.equal((await get(file)).status, 200, `round ${round}: ${file}`);
    }
  };
  await Promise.all([changes(), askAsDnf(), askSlowly()]);
});

type Get = Awaited<ReturnType<Awaited<ReturnType<typeof conductor>>['serve']>>['get'];

/** What repomd.xml names now. */
async function filesOf(get: Get): Promise<string[]> {
  const { text, status } = await get('repodata/repomd.xml');
  assert.equal(status, 200);
  const named = [...text.matchAll(/<location href="([^"]+)"/g)].map(([, href = '']) => href);
  assert.ok(named.length >= 3, text);
  return named;
}

test('a roll-back keeps metadata for clients that are about to ask for it', TOOLS, async (t) => {
  const { older, newer } = media();
  const { importIso, serve, run } = await conductor(t);
  await importIso(older);
  const { get } = await serve();
  const first = await filesOf(get);
  await importIso(newer);
  const second = await filesOf(get);
  for (const file of first) assert.equal((await get(file)).status, 200, `after an import: ${file}`);
  await run('repo', 'publish', NAME, '1');
  assert.deepEqual(await filesOf(get), first);
  for (const file of second) assert.equal((await get(file)).status, 200, `after a roll-back: ${file}`);
});
