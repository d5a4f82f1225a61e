import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import supertest from 'supertest';
import { limits } from '../../../src/limits.ts';
import type { Digest } from '../../../src/repo/blobs/blob-store.ts';
import { listingDate, listingSize } from '../../../src/repo/http/listing.ts';
import { TestRepository, testBytes } from './support.ts';

const links = (html: string) =>
  [...html.matchAll(/<a href="([^"]*)">([^<]*)<\/a>/g)].map(([, href, name]) => [href, name]);

test('a folder looks as in Artifactory', async (t) => {
  const repository = await TestRepository.make(t);
  const iso = '128T-5.4.0-104.el7.OTP.v1.x86_64.iso';
  await repository.put(`images/5.4/${iso}`, testBytes(1_700_000), { kind: 'image' });
  await repository.put(`images/5.4/${iso}.sha256sum`, testBytes(64));
  await repository.put('images/5.4/old/x', testBytes(4));
  const server = await repository.serve(t);
  const { text } = await supertest(server.url)
    .get('/repos/images/5.4/')
    .expect(200)
    .expect('Content-Type', 'text/html; charset=utf-8');
  assert.match(text, /<title>Index of images\/5\.4<\/title>/);
  assert.deepEqual(links(text), [
    ['../', '../'],
    ['old/', 'old/'],
    [iso, iso],
    [`${iso}.sha256sum`, `${iso}.sha256sum`],
  ]);
  const lines = text.split('\n');
  assert.match(lines.find((line) => line.includes('.sha256sum"')) ?? '', /<\/a> {3,}18-Nov-2021 19:54 {2}64 bytes$/);
  assert.match(lines.find((line) => line.includes('.iso"')) ?? '', /<\/a> {3,}18-Nov-2021 19:54 {2}1\.62 MB$/);
});

test('the top lists the repositories, a repository its folders', async (t) => {
  const repository = await TestRepository.make(t);
  await repository.put('images/6.3/x', testBytes(4));
  await repository.put('images/6.10/x', testBytes(4));
  await repository.put('policies/p', testBytes(4), { kind: 'policy' }, 'policy');
  const server = await repository.serve(t);
  const top = await supertest(server.url).get('/repos/').expect(200);
  assert.deepEqual(links(top.text), [
    ['../', '../'],
    ['images/', 'images/'],
    ['policies/', 'policies/'],
  ]);
  const images = await supertest(server.url).get('/repos/images/').expect(200);
  assert.deepEqual(
    links(images.text).map(([href]) => href),
    ['../', '6.10/', '6.3/'],
  );
});

test('names are escaped, and links lead to what they name', async (t) => {
  const repository = await TestRepository.make(t);
  const names = ['<script>alert(1)</script>.txt'.replace('/', '_'), 'a"b\'c&d', 'a b', '100%', 'ü?#', 'a+b=c', 'x:y'];
  for (const [i, name] of names.entries()) await repository.put(`files/d&<d>/${name}`, testBytes(10 + i));
  const server = await repository.serve(t);
  const base = new URL(`/repos/files/${encodeURIComponent('d&<d>')}/`, server.url);
  const html = await (await fetch(base)).text();
  assert.doesNotMatch(html, /<script|<d>/);
  const found = links(html).slice(1);
  assert.equal(found.length, names.length);
  for (const [href = ''] of found) {
    const response = await fetch(new URL(href, base));
    assert.equal(response.status, 200, href);
    await response.arrayBuffer();
  }
  assert.ok(html.includes('<a href="a+b=c">'));
});

test('JSON for whoever asks for it', async (t) => {
  const repository = await TestRepository.make(t);
  const digest = await repository.put('images/6.3/a"b.iso', testBytes(100), { kind: 'image' });
  await repository.put('images/6.3/sub/x', testBytes(10));
  const server = await repository.serve(t);
  const request = () => supertest(server.url);
  const expected = {
    path: 'images/6.3/',
    repository: 'images',
    revision: 2,
    items: [
      { type: 'folder', name: 'sub' },
      {
        type: 'file',
        name: 'a"b.iso',
        size: 100,
        digest,
        modified: '2021-11-18T19:54:30.000Z',
        verification: 'unverified',
      },
    ],
  };
  const byAccept = await request().get('/repos/images/6.3/').set('Accept', 'application/json').expect(200);
  assert.deepEqual(byAccept.body, expected);
  const byQuery = await request().get('/repos/images/6.3/?format=json').expect(200);
  assert.deepEqual(byQuery.body, expected);
  assert.equal(byQuery.headers.vary, 'Accept');
  const browser = 'text/html,application/xhtml+xml,application/json;q=0.5,*/*;q=0.1';
  await request()
    .get('/repos/images/6.3/')
    .set('Accept', browser)
    .expect('Content-Type', /text\/html/);
  const top = await request().get('/repos/?format=json').expect(200);
  assert.deepEqual(top.body.items, [{ type: 'repository', name: 'images', kind: 'file', revision: 2 }]);
  const empty = await request().get('/repos/images/none/?format=json').expect(404);
  assert.equal(empty.body.error.code, 'path.not-found');
});

test('listings are revalidated by a weak tag', async (t) => {
  const repository = await TestRepository.make(t);
  await repository.put('files/a', testBytes(4));
  const server = await repository.serve(t);
  for (const path of ['/repos/', '/repos/files/']) {
    const first = await supertest(server.url).get(path).expect(200);
    const etag = first.headers.etag ?? '';
    assert.match(etag, /^W\//);
    assert.equal(first.headers['cache-control'], 'no-cache');
    await supertest(server.url).get(path).set('If-None-Match', etag).expect(304);
    await repository.put(`files/${path.length}`, testBytes(4));
    await supertest(server.url).get(path).set('If-None-Match', etag).expect(200);
  }
});

/** Publishes `count` names that hold the same bytes. */
async function publishMany(repository: TestRepository, count: number, suffix = ''): Promise<void> {
  const bytes = testBytes(8, 5);
  const digest = await repository.store(bytes);
  const files = Array.from({ length: count }, (_, i) => {
    return { path: `d/${String(i).padStart(6, '0')}${suffix}`, digest, size: bytes.length };
  });
  await repository.publish('many', files);
}

test('a large folder comes in pages, whole', async (t) => {
  const repository = await TestRepository.make(t);
  const count = 2 * limits.http.pageSize + 1;
  await publishMany(repository, count);
  const server = await repository.serve(t);
  const { text } = await supertest(server.url).get('/repos/many/d/').expect(200);
  assert.equal(links(text).length, count + 1);
  const { body } = await supertest(server.url).get('/repos/many/d/?format=json').expect(200);
  assert.equal(body.items.length, count);
  assert.equal(new Set(body.items.map((item: { name: string }) => item.name)).size, count);
  await supertest(server.url).head('/repos/many/d/').expect(200);
});

test('a listing never mixes two revisions: it is one, or it is cut', async (t) => {
  const repository = await TestRepository.make(t);
  const count = 3 * limits.http.pageSize;
  await publishMany(repository, count);
  const server = await repository.serve(t);
  const ends = ['d/000000', `d/${String(count - 1).padStart(6, '0')}`];
  const bodies = [testBytes(8, 5), testBytes(16, 6)];
  const digests = await Promise.all(bodies.map((bytes) => repository.store(bytes)));
  let isDone = false;
  const publishing = (async () => {
    for (let turn = 1; !isDone; turn += 1) {
      const [digest, size] = [digests[turn % 2] as Digest, bodies[turn % 2]?.length ?? 0];
      await repository.publish(
        'many',
        ends.map((path) => ({ path, digest, size })),
      );
      await sleep(5);
    }
  })();
  for (let i = 0; i < 20; i += 1) {
    const items = await fetch(new URL('/repos/many/d/?format=json', server.url))
      .then(async (answer) => ((await answer.json()) as { items: { size: number }[] }).items)
      .catch(() => undefined);
    if (items === undefined) continue; // cut, or too busy
    assert.equal(items.length, count);
    assert.equal(items[0]?.size, items.at(-1)?.size);
  }
  isDone = true;
  await publishing;
  await supertest(server.url).get('/repos/many/d/').expect(200);
});

test('sizes and dates as Artifactory writes them', () => {
  assert.equal(listingSize(64), '64 bytes');
  assert.equal(listingSize(1023), '1023 bytes');
  assert.equal(listingSize(1024), '1.00 KB');
  assert.equal(listingSize(Math.round(1.54 * 1024 ** 3)), '1.54 GB');
  assert.equal(listingSize(5 * 1024 ** 5), '5120.00 TB');
  assert.equal(listingDate(new Date('2021-11-18T19:54:59Z')), '18-Nov-2021 19:54');
});
