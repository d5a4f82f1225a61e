/** A conductor that is fed by `upstream sync` only: real sites, real clients. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { PACKAGE_TOOLS, PackageVendor } from '../media/package-iso.ts';
import {
  IMAGE_ISO,
  imageIso,
  makeSigner,
  OLDER_PACKAGE_ISO,
  PACKAGE_ISO,
  publishFile,
  type VendorSigner,
} from '../media/vendor-site.ts';
import { digestOf } from '../repo/http/support.ts';
import { makeCertificate } from '../support/certificates.ts';
import { airlock, airlockJson, ended, startCli, startServer } from '../support/cli.ts';
import { RPM_REPOSITORY } from '../support/conductor.ts';
import { DNF, Dnf } from '../support/dnf.ts';
import { needs } from '../support/needs.ts';
import { type Nginx, startNginx } from '../support/nginx.ts';
import { type Held, Origin } from '../support/origin.ts';
import { tempDir } from '../support/temp-dir.ts';

interface SyncJson {
  readonly outcome: string;
  readonly requests: number;
  readonly bytes: number;
  readonly forecast: { readonly files: number; readonly bytes: number; readonly free: number };
  readonly rules: readonly {
    readonly rule: string;
    readonly added: readonly string[];
    readonly removed: readonly string[];
    readonly failures: readonly { readonly path: string; readonly code: string }[];
  }[];
}

interface Past {
  readonly outcome: string;
  readonly endedAt: string | null;
  readonly counts: { readonly added: number; readonly removed: number; readonly failures: number };
  readonly added: readonly string[];
  readonly failures: readonly { readonly path: string; readonly code: string; readonly message: string }[];
}

const ISOS = 'generic-128t-isos-release-local';
const IMAGES = 'generic-128t-install-images-release-local';
const TOKEN = 'a-secret-token';

/** A vendor's Artifactory: nginx with listings, behind a password and TLS by an authority of its own. */
async function vendorSite(t: TestContext): Promise<{ nginx: Nginx; signer: VendorSigner; dir: string; ca: string }> {
  const place = await tempDir(t);
  const { key, certificate } = makeCertificate(place, 'vendor', 'DNS:localhost', 'IP:127.0.0.1');
  const users = path.join(place, 'users');
  const hash = execFileSync('openssl', ['passwd', '-apr1', TOKEN], { encoding: 'utf8' }).trim();
  await writeFile(users, `fleet:${hash}\n`);
  const nginx = await startNginx(t, 1, () => ({
    ssl: true,
    lines: [
      `ssl_certificate ${certificate}; ssl_certificate_key ${key};`,
      `location /artifactory/ { autoindex on; auth_basic vendor; auth_basic_user_file ${users}; }`,
    ],
  }));
  const dir = path.join(nginx.dir, 'artifactory');
  for (const folder of [`${ISOS}/6.2`, `${ISOS}/6.1`, `${IMAGES}/6.3`])
    await mkdir(path.join(dir, folder), { recursive: true });
  return { nginx, signer: await makeSigner(), dir, ca: certificate };
}

/** @param rules lines of `mirror:` */
async function conductor(t: TestContext, url: string, rules: readonly string[], more: readonly string[] = []) {
  const data = path.join(await tempDir(t), 'data');
  await mkdir(data);
  const write = async (list: readonly string[], end = '') => {
    const site = ['upstreams:', '  ssr:', `    url: ${url}`, ...more.map((line) => `    ${line}`), '    mirror:'];
    const text = [...site, ...list.map((rule) => `      - { ${rule} }`), end].join('\n');
    await writeFile(path.join(data, 'airlock.yaml'), `${text}\n`);
  };
  await write(rules);
  const env = { SSR_USER: 'fleet', SSR_TOKEN: TOKEN };
  const run = (...words: string[]) => airlock(['--data', data, ...words], { env });
  const sync = async (...words: string[]) => {
    const result = await airlockJson<SyncJson>(['--data', data, 'upstream', 'sync', 'ssr', ...words], { env });
    return { ...result, added: (result.json.rules ?? []).flatMap((rule) => rule.added) };
  };
  const history = async () => (await airlockJson<Past[]>(['--data', data, 'upstream', 'history', 'ssr'], { env })).json;
  return { data, env, write, run, sync, history };
}

const RULES = [
  `kind: releases, path: ${ISOS}, select: ">=6.2 <6.3", newest: 1, arch: [x86_64]`,
  `kind: releases, path: ${IMAGES}, select: ">=6.3", formats: [iso]`,
];

/** Patient: processes are started in between. */
async function eventually(what: string, condition: () => boolean): Promise<void> {
  for (let count = 0; count < 2000; count += 1) {
    if (condition()) return;
    await sleep(50);
  }
  throw new Error(`never came true: ${what}`);
}

const vendors: PackageVendor[] = [];
after(() => {
  for (const vendor of vendors) vendor[Symbol.dispose]();
});

test(
  'a conductor fed by nothing else serves images and dnf; what the site then publishes is all that comes',
  needs(...PACKAGE_TOOLS, ...DNF, 'nginx', 'openssl'),
  async (t) => {
    const vendor = new PackageVendor();
    vendors.push(vendor);
    const [base = '', older = '', newer = ''] = vendor.build([
      { name: 'glibc', version: '2.17', kilobytes: 300 },
      { name: '128T', version: '6.2.5', release: '5.r2.el7', tags: ['Requires: glibc >= 2'] },
      { name: '128T', version: '6.2.6', release: '15.sts.el7', tags: ['Requires: glibc >= 2'] },
    ]);
    const { nginx, signer, dir, ca } = await vendorSite(t);
    const publish = async (folder: string, name: string, bytes: Buffer) =>
      await publishFile(path.join(dir, folder), name, bytes, signer);
    const image = imageIso('6.3.0-107.r1.el7');
    await publish(`${ISOS}/6.2`, OLDER_PACKAGE_ISO, await readFile(vendor.iso(OLDER_PACKAGE_ISO, [base, older])));
    await publish(`${IMAGES}/6.3`, IMAGE_ISO, image);
    const site = await conductor(t, `https://localhost:${nginx.ports[0]}/artifactory`, RULES, [
      'username: { env: SSR_USER }',
      'password: { env: SSR_TOKEN }',
      'ca: vendor-ca.pem',
      'keys: [sidecars.asc, packages.asc]',
    ]);
    await copyFile(ca, path.join(site.data, 'vendor-ca.pem'));
    await copyFile(vendor.keyFile, path.join(site.data, 'packages.asc'));
    await writeFile(path.join(site.data, 'sidecars.asc'), signer.publicKey);
    const server = await startServer(t, site.data, { env: site.env });

    const dry = await site.sync('--dry-run');
    assert.deepEqual([dry.code, dry.added.length, dry.json.forecast.files], [0, 2, 2]);
    assert.notEqual((await fetch(`${server.url}/repos/images/6.3/${IMAGE_ISO}`)).status, 200);
    const first = await site.sync();
    assert.equal(first.code, 0, first.stdout + first.stderr);
    assert.deepEqual(first.added, [`images/6.2/${OLDER_PACKAGE_ISO}`, `images/6.3/${IMAGE_ISO}`]);
    const served = await fetch(`${server.url}/repos/images/6.3/${IMAGE_ISO}`);
    assert.equal(digestOf(Buffer.from(await served.arrayBuffer())), digestOf(image));
    assert.equal(served.headers.get('etag'), `"${digestOf(image)}"`);
    for (const suffix of ['.sha256sum', '.sha256sum.asc']) {
      assert.equal((await fetch(`${server.url}/repos/images/6.3/${IMAGE_ISO}${suffix}`)).status, 200, suffix);
    }
    const repoFile = await (await fetch(`${server.url}/repos/${RPM_REPOSITORY}/${RPM_REPOSITORY}.repo`)).text();
    const dnf = await Dnf.with(t, repoFile);
    await dnf.run('install', '128T');
    assert.equal(await dnf.installed('128T'), '6.2.5-5.r2.el7');

    const before = (await nginx.requests()).length;
    const second = await site.sync();
    assert.deepEqual([second.code, second.added, second.json.requests], [0, [], 4]);
    assert.equal((await nginx.requests()).length - before, 4);

    await publish(`${ISOS}/6.2`, PACKAGE_ISO, await readFile(vendor.iso(PACKAGE_ISO, [base, newer])));
    const third = await site.sync();
    assert.deepEqual([third.code, third.added], [0, [`images/6.2/${PACKAGE_ISO}`]]);
    const asked = (await nginx.requests()).slice(before + 4).map(({ uri }) => uri);
    assert.ok(!asked.some((uri) => uri.endsWith(IMAGE_ISO)), asked.join());
    assert.ok(third.json.rules[0]?.removed.includes(`images/6.2/${OLDER_PACKAGE_ISO}`));
    await dnf.run('upgrade', '--refresh');
    assert.equal(await dnf.installed('128T'), '6.2.6-15.sts.el7');

    // An import by hand keeps the keys of what was mirrored.
    const [plugin = ''] = vendor.build([{ name: '128T-plugin', version: '1' }]);
    await site.run('trust', 'vendor-key', 'add', vendor.keyFile);
    const words = ['import', 'rpm', 'distribution', 'el7', 'architecture', 'x86_64', 'force', 'filepath', plugin];
    assert.equal((await site.run(...words)).code, 0);
    await dnf.run('install', '--refresh', '128T-plugin');

    const past = await site.history();
    assert.deepEqual(
      past.map(({ outcome, counts }) => [outcome, counts.added, counts.removed > 0, counts.failures]),
      [
        ['done', 1, true, 0],
        ['done', 0, false, 0],
        ['done', 2, false, 0],
      ],
    );
    const everything = first.stdout + first.stderr + JSON.stringify(past) + (await server.stop()).stderr;
    assert.ok(!everything.includes(TOKEN));
  },
);

test(
  'a site that is not there, refuses us, or has a certificate of nobody: exit code 8, and nothing is harmed',
  needs('nginx', 'openssl'),
  async (t) => {
    const { nginx, signer, dir, ca } = await vendorSite(t);
    await publishFile(path.join(dir, IMAGES, '6.3'), IMAGE_ISO, imageIso('6.3.0-107.r1.el7'), signer);
    const login = ['username: { env: SSR_USER }', 'password: { env: SSR_TOKEN }'];
    const url = `https://localhost:${nginx.ports[0]}/artifactory`;
    const codes = async (more: readonly string[], at = url) => {
      const site = await conductor(t, at, [RULES[1] ?? ''], more);
      await copyFile(ca, path.join(site.data, 'vendor-ca.pem'));
      const { code, json } = await site.sync();
      const [last] = await site.history();
      return [code, (json as unknown as { error?: { code: string } }).error?.code, last?.outcome];
    };
    assert.deepEqual(await codes(login), [8, 'upstream.unreachable', 'unreachable']);
    assert.deepEqual(await codes(['ca: vendor-ca.pem']), [8, 'upstream.unauthorized', 'unreachable']);
    assert.deepEqual(await codes([], 'http://127.0.0.1:1'), [8, 'upstream.unreachable', 'unreachable']);
  },
);

test('what does not come is named, the rest comes, and the exit code is 5', async (t) => {
  const origin = await Origin.start(t);
  const bytes = imageIso('6.3.0-107.r1.el7');
  const names = [IMAGE_ISO, 'SSR-6.3.3-40.r2.el7.x86_64.ibu-v1.iso'];
  const links = names.map((name) => `<a href="${name}">x</a> 18-Nov-2021 19:54 ${bytes.length}\n`).join('');
  const html = { headers: { 'content-type': 'text/html' } };
  origin.files.set('/a/6.3/', { bytes: Buffer.from(`<title>Index of x</title><pre>${links}</pre>`), ...html });
  origin.files.set(`/a/6.3/${IMAGE_ISO}`, { bytes });
  const site = await conductor(t, origin.url, ['kind: releases, path: a/6.3']);
  const { code, json, added } = await site.sync();
  assert.deepEqual([code, json.outcome, added], [5, 'incomplete', [`images/6.3/${IMAGE_ISO}`]]);
  assert.deepEqual(
    json.rules[0]?.failures.map(({ path, code }) => [path, code]),
    [[`a/6.3/${names[1]}`, 'path.not-found']],
  );
  const text = await site.run('upstream', 'sync', 'ssr');
  assert.equal(text.code, 5);
  assert.match(text.stdout, /✖ a\/6\.3\/SSR-6\.3\.3.*\n.*path\.not-found[\s\S]*1 did not come/);
});

test('a sync that is stopped, or killed, is gone on with; meanwhile no other one of that upstream runs', async (t) => {
  const origin = await Origin.start(t);
  const bytes = imageIso('6.3.0-107.r1.el7', { pad: randomBytes(100 * 2 ** 20) });
  const link = `<a href="${IMAGE_ISO}">x</a> 18-Nov-2021 19:54 ${bytes.length}\n`;
  const html = { headers: { 'content-type': 'text/html' } };
  origin.files.set('/a/', { bytes: Buffer.from(`<title>Index of x</title><pre>${link}</pre>`), ...html });
  const file = `/a/${IMAGE_ISO}`;
  const held: Held = { bytes, pace: 1 };
  origin.files.set(file, held);
  const site = await conductor(t, origin.url, ['kind: releases, path: a']);
  const start = () => startCli(['--data', site.data, 'upstream', 'sync', 'ssr']);
  const MiB = 2 ** 20;

  const killed = start();
  await eventually('much has come', () => origin.sent(file) > 80 * MiB);
  held.pace = 200; // so that it does not end meanwhile
  const other = await airlockJson<{ error: { code: string } }>(['--data', site.data, 'upstream', 'sync', 'ssr']);
  assert.deepEqual([other.code, other.json.error.code], [7, 'upstream.busy']);
  assert.equal((await site.history())[0]?.outcome, 'running');
  killed.kill('SIGKILL');
  await once(killed, 'exit');
  assert.equal((await site.history())[0]?.outcome, 'interrupted');

  const stopped = start();
  const end = ended(stopped);
  await eventually('it goes on', () => origin.of(file).length === 2);
  stopped.kill('SIGTERM');
  const { code, stderr } = await end;
  assert.equal(code, 5, stderr);
  assert.match(stderr, /interrupted/);
  held.pace = 0;
  const last = await site.sync();
  assert.deepEqual([last.code, last.added], [0, [`images/6.3/${IMAGE_ISO}`]]);
  const ranges = origin.of(file).map(({ headers }) => headers.range ?? '');
  assert.equal(ranges[0], '');
  for (const range of ranges.slice(1)) assert.ok(Number(/^bytes=(\d+)-$/.exec(range)?.[1]) >= 64 * MiB, range);
});

test('offline nothing is dialled; upstreams that are not there are told with those that are', async (t) => {
  const origin = await Origin.start(t);
  const site = await conductor(t, origin.url, ['kind: releases, path: a']);
  await site.write(['kind: releases, path: a'], 'offlineMode: true');
  for (const words of [[], ['--dry-run']]) {
    const { code, json } = await site.sync(...words);
    assert.deepEqual([code, (json as unknown as { error: { code: string } }).error.code], [7, 'upstream.offline']);
  }
  assert.equal(origin.asked.length, 0);
  for (const command of ['sync', 'history']) {
    const { code, stderr } = await site.run('upstream', command, 'moon');
    assert.equal(code, 3);
    assert.match(stderr, /upstream\.not-found.*"moon".*There are: ssr/);
  }
  assert.match((await site.run('upstream', 'list')).stdout, /ssr .*releases a .*never/);
  assert.match((await site.run('upstream', 'history', 'ssr')).stdout, /never mirrored/);
  await writeFile(path.join(site.data, 'airlock.yaml'), `upstreams: { ssr: { url: "${origin.url}" } }\n`);
  const empty = await site.run('upstream', 'sync', 'ssr');
  assert.equal(empty.code, 2);
  assert.match(empty.stderr, /config\.invalid.*has no "mirror:" list/);
  for (const command of ['list', 'sync', 'history']) {
    assert.match((await site.run('upstream', command, '--help')).stdout, /Example/);
  }
});

test('of a site that did not change, no listing comes again: nginx with index pages', needs('nginx'), async (t) => {
  const nginx = await startNginx(t, 1, () => ({ lines: ['index index.html;'] }));
  const bytes = imageIso('6.3.0-107.r1.el7');
  const dir = path.join(nginx.dir, 'isos', '6.3');
  await mkdir(dir, { recursive: true });
  await publishFile(dir, IMAGE_ISO, bytes);
  const link = (name: string, behind: string) => `<a href="${name}">${name}</a>  18-Nov-2021 19:54  ${behind}\n`;
  const index = async (folder: string, ...links: string[]) =>
    await writeFile(
      path.join(nginx.dir, folder, 'index.html'),
      `<title>Index of x</title><pre>${links.join('')}</pre>`,
    );
  const files = [link(IMAGE_ISO, `${bytes.length}`), link(`${IMAGE_ISO}.sha256sum`, '105')];
  await index('isos', link('6.3/', '-'));
  await index('isos/6.3', ...files);
  const site = await conductor(t, `http://127.0.0.1:${nginx.ports[0]}`, ['kind: releases, path: isos']);
  assert.deepEqual((await site.sync()).added, [`images/6.3/${IMAGE_ISO}`]);
  const before = (await nginx.requests()).length;
  const again = await site.sync();
  assert.deepEqual([again.added, again.json.requests, again.json.bytes], [[], 2, 0]);
  const asked = (await nginx.requests()).slice(before);
  assert.deepEqual(
    asked.map(({ uri, status, bytes: sent }) => [uri, status, sent]),
    [
      ['/isos/', '304', '0'],
      ['/isos/6.3/', '304', '0'],
    ],
  );
  const newer = 'SSR-6.3.3-40.r2.el7.x86_64.ibu-v1.iso';
  await publishFile(dir, newer, imageIso('6.3.3-40.r2.el7'));
  await index('isos/6.3', ...files, link(newer, '-'));
  assert.deepEqual((await site.sync()).added, [`images/6.3/${newer}`]);
});

test('of an Artifactory that did not change, neither page nor list comes again', async (t) => {
  const origin = await Origin.start(t);
  const bytes = imageIso('6.3.0-107.r1.el7');
  const page = `<title>Index of isos</title><pre><a href="6.3/">6.3/</a></pre><address>Artifactory/7.77.5 Server</address>`;
  const list = (names: readonly string[]) => {
    const files = names.map((name) => ({ uri: `/6.3/${name}`, size: bytes.length, sha2: digestOf(bytes).slice(7) }));
    return { bytes: Buffer.from(JSON.stringify({ files })), headers: { 'content-type': 'application/json' } };
  };
  const deep = '/api/storage/isos?list&deep=1&listFolders=0';
  origin.files.set('/isos/', { bytes: Buffer.from(page), headers: { 'content-type': 'text/html' } });
  origin.files.set(deep, list([IMAGE_ISO]));
  origin.files.set(`/isos/6.3/${IMAGE_ISO}`, { bytes });
  const site = await conductor(t, origin.url, ['kind: releases, path: isos']);
  assert.equal((await site.sync('--dry-run')).json.forecast.files, 1);
  assert.deepEqual((await site.sync()).added, [`images/6.3/${IMAGE_ISO}`]);
  const sent = [origin.sent('/isos/'), origin.sent(deep)];
  assert.ok(sent.every((each) => each > 0));
  const again = await site.sync();
  assert.deepEqual([again.code, again.added, again.json.requests, again.json.bytes], [0, [], 2, 0]);
  assert.deepEqual([origin.sent('/isos/'), origin.sent(deep)], sent);
  origin.files.set(deep, list([]));
  const empty = await site.sync();
  assert.equal(empty.json.rules[0]?.removed.length, 0, 'what shrinks to nothing removes nothing');
});

test('a conductor mirrors another one, by digest', async (t) => {
  const origin = await conductor(t, 'http://127.0.0.1:1', ['kind: releases, path: a']);
  const stick = await tempDir(t);
  await publishFile(stick, IMAGE_ISO, imageIso('6.3.0-107.r1.el7'));
  assert.equal((await origin.run('import', 'iso', 'force', 'filepath', path.join(stick, IMAGE_ISO))).code, 0);
  const server = await startServer(t, origin.data);
  const copy = await conductor(t, `${server.url}/repos`, ['kind: releases, path: images']);
  const first = await copy.sync();
  assert.deepEqual([first.code, first.added], [0, [`images/6.3/${IMAGE_ISO}`]]);
  const second = await copy.sync();
  assert.deepEqual([second.added, second.json.bytes < 10_000], [[], true]);
});

test('the server mirrors by the clock, in a process of its own, and ends it when it ends', async (t) => {
  const origin = await Origin.start(t);
  const bytes = imageIso('6.3.0-107.r1.el7', {}, 20 * 1024);
  const link = `<a href="${IMAGE_ISO}">x</a> 18-Nov-2021 19:54 ${bytes.length}\n`;
  const html = { headers: { 'content-type': 'text/html' } };
  origin.files.set('/a/', { bytes: Buffer.from(`<title>Index of x</title><pre>${link}</pre>`), ...html });
  origin.files.set(`/a/${IMAGE_ISO}`, { bytes, pace: 20 });
  const site = await conductor(t, origin.url, ['kind: releases, path: a']);
  await site.write(['kind: releases, path: a'], 'schedule: { upstreams: every 1min }');
  const server = await startServer(t, site.data);
  await eventually('it begins by itself', () => origin.sent(`/a/${IMAGE_ISO}`) > 5_000_000);
  assert.equal((await fetch(`${server.url}/healthz`)).status, 200);
  const { code, stderr } = await server.stop();
  assert.equal(code, 0);
  assert.match(stderr, /a scheduled sync did not bring everything/);
  assert.equal((await site.history())[0]?.outcome, 'failed');
  const { added } = await site.sync();
  assert.deepEqual(added, [`images/6.3/${IMAGE_ISO}`]);
});
