/** Routers that pull through: real processes, real clients. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import http from 'node:http';
import net from 'node:net';
import path from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { PACKAGE_TOOLS, PackageVendor } from '../media/package-iso.ts';
import { OLDER_PACKAGE_ISO, PACKAGE_ISO } from '../media/vendor-site.ts';
import { digestOf, testBytes, until } from '../repo/http/support.ts';
import { airlock } from '../support/cli.ts';
import { newConductor, RPM_REPOSITORY } from '../support/conductor.ts';
import { DNF, Dnf } from '../support/dnf.ts';
import { needs } from '../support/needs.ts';
import { Origin } from '../support/origin.ts';
import { startRouter } from '../support/router.ts';
import { tempDir } from '../support/temp-dir.ts';

const exec = promisify(execFile);
const MiB = 1024 * 1024;

async function get(url: string, headers: Record<string, string> = {}) {
  const response = await fetch(url, { headers });
  const body = Buffer.from(await response.arrayBuffer());
  return { status: response.status, headers: response.headers, body };
}

/** Reads an answer without keeping it. */
async function digestAt(url: string): Promise<string> {
  const hash = createHash('sha256');
  const response = await fetch(url, { headers: { connection: 'close' } });
  assert.equal(response.status, 200);
  for await (const piece of response.body ?? []) hash.update(piece);
  return `sha256:${hash.digest('hex')}`;
}

/** A request to a proxy. @param target as it stands in the request line */
async function through(proxy: string, target: string, method = 'GET'): Promise<{ status: number; body: string }> {
  const { hostname, port } = new URL(proxy);
  const request = http.request({ host: hostname, port, method, path: target, agent: false }).end();
  const [response] = (await once(request, 'response')) as [http.IncomingMessage];
  let body = '';
  for await (const piece of response) body += piece;
  return { status: response.statusCode ?? 0, body };
}

test('a hundred clients of one cold file cost one read, and none when the conductor is gone', async (t) => {
  const origin = await Origin.start(t);
  const bytes = testBytes(10 * MiB);
  const digest = digestOf(bytes);
  origin.files.set('/repos/images/6.3/x.iso', { bytes, etag: `"${digest}"` });
  const router = await startRouter(t, ['--upstream', origin.url]);
  const url = `${router.url}/repos/images/6.3/x.iso`;
  const all = await Promise.all(Array.from({ length: 100 }, () => digestAt(url)));
  assert.deepEqual([...new Set(all)], [digest]);
  assert.deepEqual(
    [origin.of('/repos/images/6.3/x.iso').length, origin.sent('/repos/images/6.3/x.iso')],
    [1, bytes.length],
  );
  await origin.stop();
  assert.equal(await digestAt(url), digest);
  const { headers } = await get(url, { range: 'bytes=5-9' });
  assert.deepEqual([headers.get('x-cache'), headers.get('cache-status')], ['HIT', 'airlock; hit']);
  assert.equal(headers.get('etag'), `"${digest}"`);
});

test(
  'aria2c, curl and wget pull through, in pieces and after an interruption',
  needs('aria2c', 'curl', 'wget'),
  async (t) => {
    const origin = await Origin.start(t);
    const bytes = testBytes(40 * MiB);
    for (const name of ['a', 'b', 'c']) origin.files.set(`/repos/images/${name}.iso`, { bytes, pace: 1 });
    const router = await startRouter(t, ['--upstream', origin.url]);
    const dir = await tempDir(t);
    const url = (name: string) => `${router.url}/repos/images/${name}.iso`;
    const same = async (name: string) => assert.ok((await readFile(path.join(dir, name))).equals(bytes), name);
    await exec('aria2c', ['-q', '-x8', '-s8', '-k1M', '-d', dir, '-o', 'a', url('a')]);
    await same('a');
    assert.ok(origin.sent('/repos/images/a.iso') < bytes.length + 8 * MiB);
    await exec('curl', ['-sS', '-r', '0-20000000', '-o', path.join(dir, 'b'), url('b')]);
    await exec('curl', ['-sS', '-C', '-', '-o', path.join(dir, 'b'), url('b')]);
    await same('b');
    await writeFile(path.join(dir, 'c'), bytes.subarray(0, 30_000_000));
    await exec('wget', ['-q', '-c', '-O', path.join(dir, 'c'), url('c')]);
    await same('c');
  },
);

test('a killed router goes on where it was', async (t) => {
  const origin = await Origin.start(t);
  const bytes = testBytes(160 * MiB);
  const digest = digestOf(bytes);
  origin.files.set('/repos/images/x.iso', { bytes, etag: `"${digest}"`, pace: 1 });
  const first = await startRouter(t, ['--upstream', origin.url]);
  const reading = get(`${first.url}/repos/images/x.iso`).catch(() => undefined);
  await until('much has come', () => origin.sent('/repos/images/x.iso') > 110 * MiB);
  first.child.kill('SIGKILL');
  await Promise.all([reading, once(first.child, 'exit')]);
  const second = await startRouter(t, ['--upstream', origin.url], '', { data: first.data });
  assert.equal(await digestAt(`${second.url}/repos/images/x.iso`), digest);
  const [, again] = origin.of('/repos/images/x.iso');
  const from = Number(/^bytes=(\d+)-$/.exec(again?.headers.range ?? '')?.[1]);
  assert.ok(from >= 32 * MiB, `it went on at ${from}`);
});

test('forward-proxy requests reach configured hosts and conductors, and no other', async (t) => {
  const [conductor, site, trap] = [await Origin.start(t), await Origin.start(t), await Origin.start(t)];
  site.files.set('/artifactory/6.3/x.iso', { bytes: Buffer.from('image') });
  conductor.files.set('/repos/images/y.iso', { bytes: Buffer.from('other') });
  trap.files.set('/', { bytes: Buffer.from('secret') });
  const config = `upstreams:\n  ssr:\n    url: ${site.url}/artifactory\n    hosts: [software.example]\n    username: u\n    password: { env: TOKEN }\n`;
  const router = await startRouter(t, ['--upstream', conductor.url], config, { env: { TOKEN: 'secret-token' } });
  assert.deepEqual(await through(router.url, 'http://software.example/artifactory/6.3/x.iso'), {
    status: 200,
    body: 'image',
  });
  assert.equal((await get(`${router.url}/upstreams/ssr/6.3/x.iso`)).headers.get('x-cache'), 'HIT');
  const expected = `Basic ${Buffer.from('u:secret-token').toString('base64')}`;
  assert.deepEqual([...new Set(site.asked.map(({ headers }) => headers.authorization))], [expected]);
  assert.equal((await through(router.url, `${conductor.url}/repos/images/y.iso`)).body, 'other');
  assert.equal((await through(router.url, `${router.url}/healthz`)).status, 200, 'itself');
  const refused = [
    'http://software.example/elsewhere/x',
    'http://other.example/x',
    `${trap.url}/`,
    `${conductor.url}/api/v1/x`,
  ];
  for (const target of [...refused, 'http://169.254.169.254/latest/meta-data/']) {
    assert.equal((await through(router.url, target)).status, 403, target);
  }
  assert.equal((await through(router.url, 'ftp://software.example/x')).status, 400);
  assert.deepEqual(trap.asked, []);
  const sources = await get(`${router.url}/api/v1/sources`);
  assert.deepEqual(
    (JSON.parse(sources.body.toString()) as { kind: string }[]).map(({ kind }) => kind),
    ['conductor', 'internet'],
  );
  assert.doesNotMatch(sources.body.toString(), /secret-token/);
  const { stderr } = await router.stop();
  assert.doesNotMatch(stderr, /secret-token/);
});

/** @returns the status line of the answer to CONNECT, and what came through the tunnel */
async function tunnel(proxy: string, target: string, say = ''): Promise<string> {
  const { hostname, port } = new URL(proxy);
  const socket = net.connect(Number(port), hostname);
  socket.write(`CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n\r\n`);
  let seen = '';
  for await (const piece of socket) {
    seen += piece;
    if (say !== '' && seen.includes('\r\n\r\n')) {
      socket.write(say);
      say = '';
    }
  }
  return seen;
}

test('CONNECT is a blind tunnel to configured hosts, but not offline and not with conductor-only', async (t) => {
  const site = await Origin.start(t);
  site.files.set('/x', { bytes: Buffer.from('through the tunnel') });
  const config = `upstreams: { ssr: { url: "http://localhost:${site.port}" } }\n`;
  const say = 'GET /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n';
  const open = await startRouter(t, [], config);
  const idle = net.connect(Number(new URL(open.url).port), '127.0.0.1').on('error', () => undefined);
  idle.write(`CONNECT localhost:${site.port} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
  assert.match(await tunnel(open.url, `localhost:${site.port}`, say), /^HTTP\/1\.1 200 [\s\S]*through the tunnel/);
  assert.match(await tunnel(open.url, 'other.example:443'), /^HTTP\/1\.1 403 /);
  assert.match(await tunnel(open.url, 'nonsense'), /^HTTP\/1\.1 403 /);
  assert.equal((await open.stop()).code, 0, 'an idle tunnel does not keep it from stopping');
  for (const words of [['--offline-mode'], ['--source-type', 'conductor-only']]) {
    const closed = await startRouter(t, words, config);
    assert.match(await tunnel(closed.url, `localhost:${site.port}`, say), /^HTTP\/1\.1 403 [\s\S]*http:\/\//);
  }
});

test('offline, no site is dialled; conductors and peer are', async (t) => {
  const [conductor, peer] = [await Origin.start(t), await Origin.start(t)];
  const trap = net.createServer(() => assert.fail('the internet was dialled')).listen(0, '127.0.0.1');
  await once(trap, 'listening');
  t.after(() => trap.close());
  const { port } = trap.address() as net.AddressInfo;
  const config = `offlineMode: true\nupstreams: { ssr: { url: "http://127.0.0.1:${port}" } }\n`;
  conductor.files.set('/upstreams/ssr/a.iso', { bytes: Buffer.from('a') });
  peer.files.set('/upstreams/ssr/b.iso', { bytes: Buffer.from('b') });
  const router = await startRouter(t, ['--upstream', conductor.url, '--peer', peer.url], config);
  assert.equal(String((await get(`${router.url}/upstreams/ssr/a.iso`)).body), 'a');
  assert.equal(String((await get(`${router.url}/upstreams/ssr/b.iso`)).body), 'b');
  assert.equal(peer.of('/upstreams/ssr/b.iso')[0]?.headers['cache-control'], 'only-if-cached');
  assert.equal((await get(`${router.url}/upstreams/ssr/c.iso`)).status, 404);
  const alone = await startRouter(t, [], config);
  assert.equal((await get(`${alone.url}/upstreams/ssr/c.iso`)).status, 504);
});

test('a second conductor takes over in mid-file', async (t) => {
  const [a, b] = [await Origin.start(t), await Origin.start(t)];
  const bytes = testBytes(30 * MiB);
  for (const each of [a, b]) each.files.set('/repos/images/x.iso', { bytes, etag: `"${digestOf(bytes)}"`, pace: 2 });
  const router = await startRouter(t, ['--upstream', a.url, '--upstream', b.url]);
  const reading = digestAt(`${router.url}/repos/images/x.iso`);
  await until('it has begun', () => a.sent('/repos/images/x.iso') > 5 * MiB);
  await a.stop();
  assert.equal(await reading, digestOf(bytes));
  assert.equal(b.of('/repos/images/x.iso').length, 1);
  assert.ok(b.of('/repos/images/x.iso')[0]?.headers.range);
});

test('prefetch finds a release, can be paused, and goes on; status tells of it', async (t) => {
  const origin = await Origin.start(t);
  const bytes = testBytes(24 * MiB);
  const file = 'SSR-6.3.0-107.r1.el7.x86_64.ibu-v1.iso';
  const release = { release: '6.3', version: '6.3.0-107.r1.el7', file, repository: 'images', path: `6.3/${file}` };
  const second = { ...release, version: '6.3.1-1.r1.el7', file: 'other.iso', path: '6.3/other.iso' };
  origin.files.set('/api/v1/releases', { bytes: Buffer.from(JSON.stringify([release, second])), etag: null });
  const held = { bytes, etag: `"${digestOf(bytes)}"`, pace: 25 };
  origin.files.set(`/repos/images/6.3/${file}`, held);
  const data = path.join(await tempDir(t), 'router');
  const run = (...words: string[]) => airlock(['--data', data, 'proxy', ...words]);
  const from = ['--upstream', origin.url];
  assert.equal((await run('prefetch', ...from, '9.9')).code, 3);
  const several = await run('prefetch', ...from, '6.3');
  assert.deepEqual([several.code, several.stderr.includes('/repos/images/6.3/other.iso')], [2, true]);
  const running = run('prefetch', ...from, '6.3.0-107.r1.el7');
  await until('it has begun', () => origin.sent(`/repos/images/6.3/${file}`) > 5 * MiB);
  assert.equal((await run('pause', '6.3.0-107.r1.el7')).code, 0);
  const paused = await running;
  assert.deepEqual([paused.code, paused.stderr.includes('proxy resume')], [5, true], paused.stderr);
  held.pace = 0;
  const resumed = await run('resume', ...from, '6.3.0-107.r1.el7');
  assert.equal(resumed.code, 0, resumed.stderr);
  assert.match(origin.of(`/repos/images/6.3/${file}`).at(-1)?.headers.range ?? '', /^bytes=[1-9]\d+-$/);
  const router = await startRouter(t, from, '', { data });
  await origin.stop();
  assert.equal(await digestAt(`${router.url}/repos/images/6.3/${file}`), digestOf(bytes));
  const status = await run('status', '--url', router.url);
  assert.match(status.stdout, /conductor http:.*used[\s\S]*1 hits, 0 misses/);
  assert.equal((await run('status', '--url', 'http://127.0.0.1:1')).code, 8);
});

test('routers in a circle hang nobody', async (t) => {
  const relay = await Origin.start(t);
  const a = await startRouter(t, ['--upstream', relay.url]);
  const b = await startRouter(t, ['--upstream', a.url]);
  relay.files.set('/repos/images/x.iso', (request, response) => {
    http.get(`${b.url}${request.url}`, { headers: request.headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 0);
      answer.pipe(response);
    });
  });
  assert.equal((await get(`${a.url}/repos/images/x.iso`)).status, 502);
  assert.equal(relay.asked.length, 1);
  assert.match(relay.asked[0]?.headers.via ?? '', /^1\.1 airlock-[0-9a-f]{8}$/);
});

const PACKAGES = needs(...PACKAGE_TOOLS, ...DNF);

test(
  'dnf upgrades through a router, with baseurl and with proxy, and when the conductor is gone',
  PACKAGES,
  async (t) => {
    const vendor = new PackageVendor();
    t.after(() => vendor[Symbol.dispose]());
    const [old = '', next = ''] = vendor.build([
      { name: '128T', version: '6.2.5', release: '5.r2.el7', kilobytes: 500 },
      { name: '128T', version: '6.2.6', release: '15.sts.el7', kilobytes: 500 },
    ]);
    const conductor = await newConductor(t, vendor.keyFile);
    await conductor.importIso(vendor.iso(OLDER_PACKAGE_ISO, [old]));
    const served = await conductor.serve();
    const router = await startRouter(t, ['--upstream', served.server.url]);
    const { body } = await get(`${router.url}/repos/${RPM_REPOSITORY}/${RPM_REPOSITORY}.repo`);
    assert.match(String(body), new RegExp(`^baseurl=${router.url}/repos/`, 'm'));
    const viaBase = await Dnf.with(t, String(body));
    await viaBase.run('install', '128T');
    const direct = (await served.get(`${RPM_REPOSITORY}.repo`)).body.toString();
    const viaProxy = await Dnf.with(t, `${direct}\nproxy=${router.url}\n`);
    await viaProxy.run('install', '128T');
    await conductor.importIso(vendor.iso(PACKAGE_ISO, [next]));
    await viaBase.run('upgrade');
    assert.equal(await viaBase.installed('128T'), '6.2.6-15.sts.el7', 'an import is seen at once');
    await until('all of it is kept', async () => {
      const { fills } = JSON.parse(String((await get(`${router.url}/api/v1/cache`)).body)) as { fills: unknown[] };
      return fills.length === 0;
    });
    await served.server.stop();
    await viaProxy.run('upgrade');
    assert.equal(await viaProxy.installed('128T'), '6.2.6-15.sts.el7');
    const late = await Dnf.with(t, String(body));
    await late.run('install', '128T');
    assert.equal(await late.installed('128T'), '6.2.6-15.sts.el7');
    const { headers } = await get(`${router.url}/repos/${RPM_REPOSITORY}/repodata/repomd.xml`);
    assert.equal(headers.get('x-cache'), 'STALE');
  },
);
