/** Routers and conductors on networks of their own: what goes over which cable, and what does not. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { testBytes, until } from '../repo/http/support.ts';
import { accessLogOf, LOG_TO_FILE, type Logged } from '../support/access-log.ts';
import { type RunningServer, startServer } from '../support/cli.ts';
import { type Namespace, Network, needsNamespaces } from '../support/netns.ts';
import { type Router, startRouter } from '../support/router.ts';
import { tempDir } from '../support/temp-dir.ts';
import { putFile } from '../support/with-app.ts';

const MiB = 2 ** 20;
const TOOLS = needsNamespaces('curl');
const IMAGE = '/repos/files/6.3/x.iso';

interface Conductor {
  readonly data: string;
  start(): Promise<RunningServer>;
}

/** A conductor in a namespace, with one image. @param words of its command line, default `serve` */
async function newConductor(t: TestContext, at: Namespace, address: string, image: Uint8Array): Promise<Conductor> {
  const dir = await tempDir(t);
  const [data, file] = [path.join(dir, 'conductor'), path.join(dir, 'x.iso')];
  await writeFile(file, image);
  await putFile(data, 'files', '6.3/x.iso', file);
  await writeFile(path.join(data, 'airlock.yaml'), LOG_TO_FILE);
  return { data, start: () => startServer(t, data, { wrapper: at.wrapper, listen: `${address}:8480` }) };
}

function readsOf(log: readonly Logged[]): Logged[] {
  return log.filter(({ method, path: at }) => method === 'GET' && at === IMAGE);
}

/** How far the router is with the image. */
async function fetched(site: Namespace, router: Router): Promise<number> {
  const cache = JSON.parse(await site.run('curl', '-sS', `${router.url}/api/v1/cache`)) as { fetchedBytes: number };
  return cache.fetchedBytes;
}

/** A site on the internet that answers, in a namespace. */
async function startTrap(t: TestContext, at: Namespace, port: number): Promise<() => number> {
  const script = path.join(import.meta.dirname, '..', 'support', 'trap-child.ts');
  const [command = '', ...args] = [...at.wrapper, process.execPath, script, String(port)];
  const trap: ChildProcess = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => trap.kill());
  let seen = '';
  trap.stdout?.setEncoding('utf8').on('data', (text: string) => {
    seen += text;
  });
  await until('the trap listens', () => seen.includes('listening'));
  return () => seen.split('connection').length - 1;
}

test('offline, no packet leaves for the internet, though it is there; conductors are asked', TOOLS, async (t) => {
  const network = new Network(t);
  const internet = network.namespace();
  const resolver = (address: string) => ({
    'resolv.conf': `nameserver ${address}\noptions timeout:1 attempts:1\n`,
  });
  const [site, hq] = [network.namespace(resolver('10.213.2.2')), network.namespace(resolver('10.213.3.2'))];
  const [siteEnd, hqEnd] = network.link(site, hq);
  const [siteOut, far] = network.link(site, internet);
  const [hqOut, farFromHq] = network.link(hq, internet);
  assert.deepEqual([far.address, farFromHq.address], ['10.213.2.2', '10.213.3.2'], 'the name servers of both');
  const connections = await startTrap(t, internet, 80);

  const dir = await tempDir(t);
  const upstreams = (at: string) =>
    `upstreams: { ssr: { url: "http://${at}/list" }, named: { url: "https://software.example/list" } }\n`;
  const start = (where: Namespace, address: string, words: readonly string[], config: string, name: string) =>
    startRouter(t, words, config, { wrapper: where.wrapper, listen: `${address}:8480`, data: path.join(dir, name) });
  const status = (url: string, ...options: string[]) =>
    site.run('curl', '-sS', '-o', path.join(dir, 'body'), '-w', '%{http_code} ', ...options, url).then(
      async (code) => code + (code.startsWith('200') ? await readFile(path.join(dir, 'body'), 'utf8') : ''),
      (error: { stdout: string }) => error.stdout,
    );

  const connected = await start(hq, hqEnd.address, [], upstreams(farFromHq.address), 'hq');
  const conductor = connected.url;
  assert.equal(await status(`${conductor}/upstreams/ssr/kept.bin`), '200 the internet has /list/kept.bin');
  assert.equal(connections(), 1, 'it can be reached');
  assert.match(await status(`${conductor}/upstreams/named/x`), /^50[24] $/);
  const before = await internet.packets();
  assert.ok(before > 5, 'a connection, and questions to its name server');
  await connected.stop();
  await start(hq, hqEnd.address, ['--offline-mode'], upstreams(farFromHq.address) + LOG_TO_FILE, 'hq');
  const sources = ['--upstream', conductor];
  const router = await start(site, siteEnd.address, ['--offline-mode', ...sources], upstreams(far.address), 'site');
  const only = ['--source-type', 'conductor-only', ...sources];

  const quiet = await internet.packets();
  const kept = `${router.url}/upstreams/ssr/kept.bin`;
  assert.equal(await status(kept), '200 the internet has /list/kept.bin');
  for (const name of ['ssr', 'named']) {
    assert.match(await status(`${router.url}/upstreams/${name}/new.bin`), /^(?:404|50[24]) $/);
    assert.equal(await status(`${conductor}/upstreams/${name}/new.bin`), '504 ');
  }
  assert.match(await status('http://software.example/list/new.bin', '-x', router.url), /^(?:404|50[24]) $/);
  assert.equal(await status(`http://${farFromHq.address}/list/new.bin`, '-x', conductor), '504 ');
  assert.match(await status('https://software.example/list/x', '-x', router.url, '-w', '%{http_connect} '), /^403/);
  await router.stop();
  const second = await start(site, siteEnd.address, only, upstreams(far.address), 'second');
  assert.equal(await status(`${second.url}/upstreams/ssr/kept.bin`), '200 the internet has /list/kept.bin');
  assert.match(await status(`${second.url}/upstreams/named/new.bin`), /^(?:404|50[24]) $/);
  await second.stop();
  assert.deepEqual([await internet.packets(), connections()], [quiet, 1]);
  const asked = (await accessLogOf(path.join(dir, 'hq'))).map(({ path: at }) => at);
  assert.ok(asked.includes('/upstreams/named/new.bin'), 'the router asked its conductor');

  // The same without any way out, and without being told that there is none.
  for (const cable of [siteOut, hqOut]) cable.pull();
  const third = await start(site, siteEnd.address, sources, upstreams(far.address), 'third');
  assert.equal(await status(`${third.url}/upstreams/ssr/kept.bin`), '200 the internet has /list/kept.bin');
  assert.match(await status(`${third.url}/upstreams/ssr/new.bin`), /^50[24] $/);
});

test('a conductor that is killed in mid-image is left for the other, and nothing is read twice', TOOLS, async (t) => {
  const network = new Network(t);
  const [site, a, b] = [network.namespace(), network.namespace(), network.namespace()];
  const [siteEnd, endA] = network.link(site, a);
  const [, endB] = network.link(site, b);
  for (const end of [endA, endB]) end.shape(160e6);
  const image = testBytes(48 * MiB);
  const first = await newConductor(t, a, endA.address, image);
  const second = await newConductor(t, b, endB.address, image);
  const [serverA, serverB] = [await first.start(), await second.start()];
  const router = await startRouter(t, ['--upstream', serverA.url, '--upstream', serverB.url], '', {
    wrapper: site.wrapper,
    listen: `${siteEnd.address}:8480`,
  });

  const file = path.join(await tempDir(t), 'x.iso');
  const reading = site.run('curl', '-sS', '--fail', '-o', file, `${router.url}${IMAGE}`);
  await until('a part of it has come', async () => (await fetched(site, router)) > 12 * MiB);
  serverA.child.kill('SIGKILL');
  await once(serverA.child, 'exit');
  await first.start();
  await reading;

  assert.ok((await readFile(file)).equals(image));
  assert.equal(await fetched(site, router), image.length, 'no byte twice');
  await until('it is written down', async () => readsOf(await accessLogOf(second.data)).length > 0);
  const [only, ...more] = readsOf(await accessLogOf(second.data));
  assert.deepEqual(more, []);
  const from = Number(/^bytes=(\d+)-$/.exec(only?.range ?? '')?.[1]);
  assert.ok(from > 12 * MiB, `the other one was asked from ${from} on`);
  assert.equal(only?.bytes, image.length - from);
  assert.deepEqual(readsOf(await accessLogOf(first.data)), [], 'the first one is not gone back to in mid-file');
});

test('over a thin link an image comes once, for all who want it', TOOLS, async (t) => {
  const network = new Network(t);
  const [lan, site, hq] = [network.namespace(), network.namespace(), network.namespace()];
  const [, siteEnd] = network.link(lan, site);
  const [, hqEnd] = network.link(site, hq);
  const image = testBytes(12 * MiB);
  const conductor = await newConductor(t, hq, hqEnd.address, image);
  const { url } = await conductor.start();
  const router = await startRouter(t, ['--upstream', url], '', {
    wrapper: site.wrapper,
    listen: `${siteEnd.address}:8480`,
  });
  hqEnd.shape(40e6);
  const before = await hqEnd.sent();
  const dir = await tempDir(t);
  const get = async (name: string) => {
    const file = path.join(dir, name);
    await lan.run('curl', '-sS', '--fail', '-o', file, `${router.url}${IMAGE}`);
    assert.ok((await readFile(file)).equals(image), name);
  };
  const early = ['a', 'b', 'c', 'd'].map(get);
  await until('a part of it has come', async () => (await fetched(site, router)) > 4 * MiB);
  await Promise.all([...early, get('e'), get('f')]);

  const over = (await hqEnd.sent()) - before;
  assert.ok(over > image.length && over < 1.1 * image.length, `${over} bytes went over the link`);
  await until('it is written down', async () => readsOf(await accessLogOf(conductor.data)).length > 0);
  const reads = readsOf(await accessLogOf(conductor.data)).map(({ bytes, status }) => [status, bytes]);
  assert.deepEqual(reads, [[200, image.length]]);
});

test('a conductor that moves to another address is found there, without a restart', TOOLS, async (t) => {
  const network = new Network(t);
  const [site, a, b] = [network.namespace({ hosts: '' }), network.namespace(), network.namespace()];
  const [siteEnd, endA] = network.link(site, a);
  const [, endB] = network.link(site, b);
  const image = testBytes(1 * MiB);
  const before = await (await newConductor(t, a, endA.address, image)).start();
  await (await newConductor(t, b, endB.address, image)).start();
  const named = (address: string) => `127.0.0.1 localhost\n${address} conductor.example\n`;
  site.write('hosts', named(endA.address));
  const options = { wrapper: site.wrapper, listen: `${siteEnd.address}:8480` };
  const router = await startRouter(t, ['--upstream', 'http://conductor.example:8480'], '', options);
  const file = path.join(await tempDir(t), 'x.iso');
  const get = async (at: string) => {
    await site.run('curl', '-sS', '--fail', '-o', file, `${router.url}${at}`);
    return await readFile(file);
  };
  assert.ok((await get(IMAGE)).equals(image));
  await before.stop();
  site.write('hosts', named(endB.address));
  assert.match(String(await get('/repos/files/6.3/')), /x\.iso/);
});
