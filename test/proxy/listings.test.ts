/** Folders of a router: what is published there, what its conductors show, and what was fetched, as one list. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { TestRepository, testBytes, until } from '../repo/http/support.ts';
import { Origin } from '../support/origin.ts';
import { get, type RouterOptions, router } from './router.ts';

interface Listing {
  readonly path: string;
  readonly items: readonly { type: string; name: string; size?: number; digest?: string; modified?: string }[];
}

/** A real server with these files in its repositories. */
async function conductor(t: TestContext, ...paths: string[]) {
  const repository = await TestRepository.make(t);
  for (const [index, path] of paths.entries()) await repository.put(path, testBytes(100 + index));
  return { repository, ...(await repository.serve(t)) };
}

async function names(url: string): Promise<string[]> {
  const { status, body } = await get(url, { headers: { accept: 'application/json' } });
  assert.equal(status, 200, `${url}: ${body}`);
  return (JSON.parse(String(body)) as Listing).items.map(({ type, name }) => (type === 'file' ? name : `${name}/`));
}

async function routerOf(t: TestContext, options: RouterOptions) {
  const made = await router(t, options);
  return Object.assign(made, { list: (folder: string) => names(`${made.url}/repos/${folder}`) });
}

test('a folder shows what is here and what all conductors show, each name once, in one order', async (t) => {
  const a = await conductor(t, 'images/6.3/b.iso', 'images/6.3/c.iso', 'images/6.2/x.iso', 'only-a/x');
  const b = await conductor(t, 'images/6.3/a.iso', 'images/6.3/c.iso', 'images/6.3-x/y.iso', 'only-b/x');
  const repository = await TestRepository.make(t);
  const own = testBytes(5000);
  await repository.put('images/6.3/c.iso', own);
  await repository.put('images/6.3/d.iso', own);
  await repository.put('mine/x', own);
  const { url, list } = await routerOf(t, { conductors: [a, b], repository });
  assert.deepEqual(await list('images/6.3/'), ['a.iso', 'b.iso', 'c.iso', 'd.iso']);
  assert.deepEqual(await list('images/'), ['6.2/', '6.3-x/', '6.3/']);
  assert.deepEqual(await list(''), ['images/', 'mine/', 'only-a/', 'only-b/']);
  assert.deepEqual(await list('only-b/'), ['x']);
  assert.equal((await get(`${url}/repos/nowhere/`)).status, 404);
  const html = String((await get(`${url}/repos/images/6.3/`)).body);
  assert.match(html, /^<!DOCTYPE html>\n.*<title>Index of images\/6\.3<\/title>/);
  assert.deepEqual(
    [...html.matchAll(/<a href="([^"]*)">/g)].map(([, href]) => href),
    ['../', 'a.iso', 'b.iso', 'c.iso', 'd.iso'],
  );
  const json = JSON.parse(String((await get(`${url}/repos/images/6.3/?format=json`)).body)) as Listing;
  const { items, path } = json;
  assert.deepEqual([path, items[2]?.size], ['images/6.3/', 5000], 'what is here comes first');
  assert.deepEqual(Object.keys(items[0] ?? {}), ['type', 'name', 'size', 'digest', 'modified', 'verification']);
  for (const { name } of items) assert.equal((await get(`${url}/repos/images/6.3/${name}`)).status, 200, name);
});

test('it says how it came: fetched, still the same, stale when a conductor is gone', async (t) => {
  const [a, b] = [await conductor(t, 'images/6.3/a.iso'), await conductor(t, 'images/6.3/b.iso')];
  const made = await routerOf(t, { conductors: [a, b] });
  const url = `${made.url}/repos/images/6.3/`;
  const first = await get(url);
  assert.equal(first.cache, 'MISS');
  const second = await get(url);
  assert.deepEqual([second.cache, second.headers.get('age')], ['HIT', '0']);
  assert.match(second.headers.get('cache-status') ?? '', /^airlock; fwd=stale; fwd-status=304/);
  const etag = second.headers.get('etag') ?? '';
  assert.equal((await get(url, { headers: { 'if-none-match': etag } })).status, 304);
  const head = await get(url, { method: 'HEAD' });
  assert.deepEqual([head.status, head.cache, head.headers.get('etag')], [200, 'HIT', etag]);

  await b.repository.put('images/6.3/new.iso', testBytes(77));
  const third = await get(url, { headers: { 'if-none-match': etag } });
  assert.deepEqual([third.status, third.cache], [200, 'MISS']);
  await b.close();
  made.clock += 60_000;
  const stale = await get(url);
  assert.deepEqual([stale.cache, stale.headers.get('age')], ['STALE', '60']);
  assert.match(stale.headers.get('cache-status') ?? '', /^airlock; hit; ttl=-60; detail=upstream\.unreachable$/);
  assert.deepEqual(await made.list('images/6.3/'), ['a.iso', 'b.iso', 'new.iso']);
  await a.close();
  assert.deepEqual(await made.list('images/6.3/'), ['a.iso', 'b.iso', 'new.iso']);
  made.clock += 31 * 24 * 3600_000;
  assert.equal((await get(url)).status, 504, 'nobody knows any more');
});

test('what was fetched is shown when nobody tells what there is', async (t) => {
  const origin = await Origin.start(t);
  for (const name of ['6.3/a.iso', '6.3/deep/b.iso', '6.3/deep/c.iso', '6.2/d.iso']) {
    origin.files.set(`/repos/images/${name}`, { bytes: testBytes(2000, name.length), etag: '"1"' });
  }
  const made = await routerOf(t, { conductors: [origin], retry: { attempts: 1 } });
  for (const path of origin.files.keys()) await get(`${made.url}${path}`);
  await until('all are kept', () => made.fills() === 0);
  await origin.stop();
  assert.deepEqual(await made.list('images/6.3/'), ['deep/', 'a.iso']);
  assert.deepEqual(await made.list('images/'), ['6.2/', '6.3/']);
  const { cache, headers } = await get(`${made.url}/repos/images/`);
  assert.deepEqual([cache, headers.get('cache-status')], ['STALE', 'airlock; hit; detail=upstream.unreachable']);
  assert.equal((await get(`${made.url}/repos/images/6.4/`)).status, 504);
});

test('lists of others are data: what is no list, or leads elsewhere, is refused; thousands of names pass through', async (t) => {
  const origin = await Origin.start(t);
  const { url, list } = await routerOf(t, { conductors: [origin] });
  const item = (name: string) => JSON.stringify({ type: 'folder', name });
  const put = (folder: string, text: string) => {
    origin.files.set(`/repos/${folder}/?format=json`, { bytes: Buffer.from(text) });
  };
  const wrong = [
    '<html>',
    '{"items":[]}',
    `{"path":"x","items":[\n${item('../x')}\n]}`,
    `{"path":"x","items":[\n${item('a/b')}\n]}`,
    `{"items":[\n${'x'.repeat(100_000)}`,
  ];
  for (const [index, text] of wrong.entries()) {
    put(`w${index}`, text);
    assert.equal((await get(`${url}/repos/w${index}/`)).status, 502, text.slice(0, 50));
  }
  const many = Array.from({ length: 20_000 }, (_, index) => `n${String(index).padStart(5, '0')}`);
  put('many', `{"path":"many/","items":[\n${many.map(item).join(',\n')}\n]}\n`);
  assert.deepEqual(
    await list('many/'),
    many.map((name) => `${name}/`),
  );
});

test('two routers that are each other’s peer do not ask in circles', async (t) => {
  const a = await conductor(t, 'images/a.iso');
  const trap = { url: '' };
  const twin = await Origin.start(t);
  twin.files.set('/repos/images/?format=json', (request, response) => {
    assert.equal(request.headers['cache-control'], 'only-if-cached');
    fetch(`${trap.url}/repos/images/?format=json`, {
      headers: { 'cache-control': 'only-if-cached', via: String(request.headers.via) },
    }).then(
      async (answer) => response.writeHead(answer.status).end(await answer.text()),
      () => response.destroy(),
    );
  });
  const made = await routerOf(t, { conductors: [a], peer: { url: twin.url } });
  trap.url = made.url;
  assert.deepEqual(await made.list('images/'), ['a.iso']);
  assert.equal(twin.asked.length, 1);
});
