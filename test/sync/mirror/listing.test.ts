/** Listings as web servers write them, and as nobody should. */
import assert from 'node:assert/strict';
import { describe, type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { limits } from '../../../src/limits.ts';
import { HttpUpstream } from '../../../src/repo/upstream/http-upstream.ts';
import { HtmlIndex, type IndexLink } from '../../../src/sync/mirror/html-index.ts';
import { type Listing, listAll, listConductor, listFolder } from '../../../src/sync/mirror/listing.ts';
import { walk } from '../../../src/sync/mirror/walk.ts';
import { Origin } from '../../support/origin.ts';
import { coded } from '../scene.ts';

const JSON_TYPE = { headers: { 'content-type': 'application/json' } };
const HTML = { headers: { 'content-type': 'text/html' }, etag: null };

async function siteOf(t: TestContext) {
  const origin = await Origin.start(t);
  const upstream = new HttpUpstream({ url: `${origin.url}/base` });
  t.after(() => upstream.close());
  const put = (path: string, text: string, more: object = HTML) => {
    origin.files.set(path, { bytes: Buffer.from(text), ...more });
  };
  return { origin, put, site: { upstream, signal: new AbortController().signal } };
}

/** Lists one page. */
async function listed(t: TestContext, page: string, more: object = HTML): Promise<Listing> {
  const { put, site } = await siteOf(t);
  put('/base/a/6.3/', page, more);
  const listing = await listFolder(site, 'a/6.3');
  assert.ok(listing !== undefined);
  return listing;
}

const short = ({ items }: Listing) =>
  items.map(({ name, isFolder, size, said }) => [isFolder ? `${name}/` : name, size, said]);

const NAME = '128T-5.4.0-104.el7.OTP.v1.x86_64.iso';

describe('plain index pages', () => {
  test('of Artifactory', async (t) => {
    const listing = await listed(
      t,
      `<!DOCTYPE HTML PUBLIC "-//W3C//DTD HTML 3.2 Final//EN">
<html><head><meta name="robots" content="noindex" />
<title>Index of generic-128t-isos-release-local/5.4</title></head>
<body><h1>Index of generic-128t-isos-release-local/5.4</h1>
<pre>Name    Last modified      Size</pre><hr/>
<pre><a href="../">../</a>
<a href="old/">old/</a>   18-Nov-2021 19:54    -
<a href="${NAME}">${NAME}</a>   18-Nov-2021 19:54  1.54 GB
<a href="${NAME}.sha256sum">${NAME}.sha256sum</a>   18-Nov-2021 19:55  64 bytes
</pre><hr/><address style="font-size:small;">Artifactory/7.77.5 Server at software.example Port 443</address></body></html>`,
    );
    assert.deepEqual(short(listing), [
      ['old/', null, '18-Nov-2021 19:54 -'],
      [NAME, null, '18-Nov-2021 19:54 1.54 GB'],
      [`${NAME}.sha256sum`, 64, '18-Nov-2021 19:55 64 bytes'],
    ]);
    assert.deepEqual([listing.by, listing.isIndex, listing.passedOver], ['artifactory', true, 0]);
    assert.equal(listing.items[1]?.path, `a/6.3/${NAME}`);
  });

  test('of nginx, which cuts long names and gives bytes', async (t) => {
    const listing = await listed(
      t,
      `<html><head><title>Index of /6.3/</title></head><body><h1>Index of /6.3/</h1><hr><pre><a href="../">../</a>
<a href="old%20ones/">old ones/</a>                  18-Nov-2021 19:54                   -
<a href="${NAME}">128T-5.4.0-104.el7.OTP.v1.x86_64..&gt;</a> 18-Nov-2021 19:54          1620000000
</pre><hr></body></html>`,
    );
    assert.deepEqual(short(listing), [
      ['old ones/', null, '18-Nov-2021 19:54 -'],
      [NAME, 1_620_000_000, '18-Nov-2021 19:54 1620000000'],
    ]);
    assert.equal(listing.items[0]?.path, 'a/6.3/old%20ones');
  });

  test('of Apache, as a table with icons and sorting links', async (t) => {
    const listing = await listed(
      t,
      `<html><head><title>Index of /6.3</title></head><body><h1>Index of /6.3</h1><table>
<tr><th valign="top"><img src="/icons/blank.gif"></th><th><a href="?C=N;O=D">Name</a></th><th><a href="?C=M;O=A">Last modified</a></th></tr>
<tr><td valign="top"><img src="/icons/back.gif"></td><td><a href="/base/a/">Parent Directory</a></td><td>&nbsp;</td><td align="right">  - </td></tr>
<tr><td valign="top"><a href="${NAME}"><img src="/icons/unknown.gif" alt="[   ]"></a></td><td><a href="${NAME}">${NAME}</a></td><td align="right">2021-11-18 19:54  </td><td align="right">1.5G</td><td>&nbsp;</td></tr>
<tr><td><A HREF='a&amp;b.iso'>a</A></td><td align="right">2021-11-18 19:54  </td><td align="right">532 </td></tr>
</table><address>Apache/2.4.57 (Debian) Server at x Port 80</address></body></html>`,
    );
    assert.deepEqual(short(listing), [
      [NAME, null, '2021-11-18 19:54 1.5G'],
      ['a&b.iso', 532, '2021-11-18 19:54 532'],
    ]);
    assert.equal(listing.passedOver, 0);
  });

  test('an entry says the same whatever stands behind it on the page', async (t) => {
    const line = `<a href="${NAME}">${NAME}</a>   18-Nov-2021 19:54  1.54 GB\n`;
    const alone = await listed(t, `<title>Index of x</title><pre>${line}</pre><address>Server/1</address>`);
    const more = await listed(
      t,
      `<title>Index of x</title><pre>${line}<a href="z">z</a>  18-Nov-2021 19:54 1 KB\n</pre>`,
    );
    assert.equal(alone.items[0]?.said, more.items[0]?.said);
  });

  test('what is no link is none: comments, scripts, anchors without a target', async (t) => {
    const listing = await listed(
      t,
      '<title>Index of x</title><!-- <a href="c.iso">c</a> --><script>x = \'<a href="s.iso">\'</script><a name="n">n</a><a data-href="d.iso">d</a><a title="a > b" href=t.iso>t</a>',
    );
    assert.deepEqual(short(listing), [['t.iso', null, null]]);
  });

  test('the same links come of a page however it is cut', () => {
    const page = `<title>Index of x</title><!-- <a href="no"> --><pre><a href="../">../</a>\n<a class='x' href="a.iso">a</a>  18-Nov-2021 19:54  1 KB\n<a href=b.iso>b</a> 2\n</pre>`;
    const read = (pieces: readonly string[]) => {
      const links: IndexLink[] = [];
      const index = new HtmlIndex((link) => links.push(link));
      for (const piece of pieces) index.write(piece);
      index.end();
      return { links, isIndex: index.isIndex };
    };
    const whole = read([page]);
    assert.equal(whole.links.length, 3);
    fc.assert(
      fc.property(fc.array(fc.nat(page.length), { maxLength: 20 }), (cuts) => {
        const at = [0, ...cuts.toSorted((a, b) => a - b), page.length];
        assert.deepEqual(read(at.slice(1).map((end, index) => page.slice(at[index], end))), whole);
      }),
    );
  });
});

test('links to elsewhere, and names that are none, are passed over and counted; nothing of them becomes a path', async (t) => {
  const evil = [
    '../../etc/passwd',
    '..%2F..%2Fetc%2Fpasswd',
    '%2e%2e',
    '/etc/passwd',
    '//elsewhere.example/x.iso',
    'https://elsewhere.example/base/a/6.3/x.iso',
    'file:///etc/passwd',
    'javascript:alert(1)',
    'deeper/x.iso',
    'x%00.iso',
    'x%0a.iso',
    'a%5Cb',
    '%ff.iso',
    `${'n'.repeat(300)}.iso`,
  ];
  const good = ['./one.iso', '/base/a/6.3/two.iso', 'three.iso?download', '/base/a/6.3/four/'];
  const page = [...evil, ...good].map((href) => `<a href="${href}">x</a>\n`).join('');
  const listing = await listed(t, `<title>Index of x</title><pre>${page}</pre>`);
  assert.deepEqual(
    listing.items.map(({ path }) => path),
    ['a/6.3/one.iso', 'a/6.3/two.iso', 'a/6.3/three.iso', 'a/6.3/four'],
  );
  assert.equal(listing.passedOver, evil.length);
});

describe('JSON', () => {
  test('of a conductor, with digests', async (t) => {
    const digest = `sha256:${'a'.repeat(64)}`;
    const items = [
      { type: 'folder', name: 'old' },
      { type: 'file', name: 'x y.iso', size: 5, digest, modified: '2026-01-01T00:00:00Z', verification: 'checksum' },
      { type: 'file', name: '../x' },
    ];
    const listing = await listed(t, JSON.stringify({ path: 'images/6.3/', items }), JSON_TYPE);
    assert.deepEqual(short(listing), [
      ['old/', null, null],
      ['x y.iso', 5, digest],
    ]);
    assert.deepEqual([listing.items[1]?.digest, listing.items[1]?.path], [digest, 'a/6.3/x%20y.iso']);
    assert.equal(listing.passedOver, 1);
  });

  test('of nginx', async (t) => {
    const items = [
      { name: '6.3', type: 'directory', mtime: 'Thu, 18 Nov 2021 19:54:00 GMT' },
      { name: 'x.iso', type: 'file', mtime: 'Thu, 18 Nov 2021 19:54:00 GMT', size: 7 },
    ];
    assert.deepEqual(short(await listed(t, JSON.stringify(items), JSON_TYPE)), [
      ['6.3/', null, 'null Thu, 18 Nov 2021 19:54:00 GMT'],
      ['x.iso', 7, '7 Thu, 18 Nov 2021 19:54:00 GMT'],
    ]);
  });

  test("of Artifactory: a folder's children, and all files below", async (t) => {
    const { put, site } = await siteOf(t);
    put('/base/a/6.3/', JSON.stringify({ repo: 'a', children: [{ uri: '/x.iso', folder: false }] }), JSON_TYPE);
    const children = await listFolder(site, 'a/6.3');
    assert.deepEqual(children?.items[0]?.path, 'a/6.3/x.iso');
    const sha2 = 'b'.repeat(64);
    const files = [{ uri: '/6.3/x.iso', size: 9, lastModified: '2021-11-18', folder: false, sha1: 'c', sha2 }];
    put('/base/api/storage/a?list&deep=1&listFolders=0', JSON.stringify({ uri: 'u', files }), JSON_TYPE);
    const all = await listAll(site, 'a');
    const [item] = all?.items ?? [];
    assert.deepEqual([item?.path, item?.size, item?.digest], ['a/6.3/x.iso', 9, `sha256:${sha2}`]);
    assert.equal(await listAll(site, 'elsewhere'), undefined);
  });

  test('that is none, or nested ten thousand deep, is refused by name', async (t) => {
    for (const text of ['{"items":5}', '', 'nonsense', `${'['.repeat(10_000)}${']'.repeat(10_000)}`]) {
      await assert.rejects(listed(t, text, JSON_TYPE), coded('upstream.unusable'), text.slice(0, 20));
    }
  });
});

describe('a tree of folders', () => {
  const page = (...names: string[]) =>
    `<title>Index of x</title><pre>${names.map((name) => `<a href="${name}">${name}</a>\n`).join('')}</pre>`;

  test('is walked, but for folders that can hold nothing of interest', async (t) => {
    const { origin, put, site } = await siteOf(t);
    put('/base/a/', page('../', '6.2/', '6.3/', 'top.iso'));
    put('/base/a/6.3/', page('../', 'x.iso'));
    const tree = await walk(site, 'a', { mayHold: (name) => name !== '6.2' });
    assert.deepEqual(
      tree.files.map(({ path }) => path),
      ['a/top.iso', 'a/6.3/x.iso'],
    );
    assert.equal(tree.passedBy, 1);
    assert.equal(origin.asked.length, 2);
  });

  test('that turns in a circle comes to an end', async (t) => {
    const { origin, put, site } = await siteOf(t);
    for (let depth = 0; depth < 20; depth += 1) put(`/base/a/${'x/'.repeat(depth)}`, page('../', 'x/', 'f.iso'));
    const tree = await walk(site, 'a', { mayHold: () => true });
    assert.equal(tree.files.length, limits.mirror.depth + 1);
    assert.equal(origin.asked.length, limits.mirror.depth + 1);
  });

  test('a folder that cannot be listed is told, and the others are read', async (t) => {
    const { put, site } = await siteOf(t);
    put('/base/a/', page('6.2/', '6.3/', '6.4/', '6.5/'));
    put('/base/a/6.2/', page('x.iso'));
    put('/base/a/6.3/', '<html><title>Please log in</title><form></form></html>');
    put('/base/a/6.5/', '<title>Index of a/6.5</title><pre><a href="../">../</a></pre>');
    const tree = await walk(site, 'a', { mayHold: () => true });
    assert.deepEqual(
      tree.failures.map(({ path, code }) => [path, code]),
      [
        ['a/6.3', 'upstream.unusable'],
        ['a/6.4', 'path.not-found'],
      ],
    );
    assert.equal(tree.files.length, 1);
  });

  test('of Artifactory is one request where it lists all at once, and as many as folders where it does not', async (t) => {
    const { origin, put, site } = await siteOf(t);
    const footer = '<address>Artifactory/7 Server at x Port 443</address>';
    put('/base/a/', `${page('6.3/')}${footer}`);
    put('/base/a/6.3/', page('x.iso'));
    const plain = await walk(site, 'a', { mayHold: () => true });
    assert.deepEqual([plain.files[0]?.path, origin.asked.length], ['a/6.3/x.iso', 3]);
    const files = [{ uri: '/6.3/x.iso', size: 9, folder: false }];
    put('/base/api/storage/a?list&deep=1&listFolders=0', JSON.stringify({ files }), JSON_TYPE);
    origin.asked.length = 0;
    const deep = await walk(site, 'a', { mayHold: () => true });
    assert.deepEqual([deep.files[0]?.path, deep.files[0]?.size, origin.asked.length], ['a/6.3/x.iso', 9, 2]);
  });

  test('of a conductor is read as JSON', async (t) => {
    const { put, site } = await siteOf(t);
    const own = { ...HTML, etag: 'W/"images-mc0f2k1v-12"' };
    put('/base/a/', page('6.3/'), own);
    const digest = `sha256:${'a'.repeat(64)}`;
    put('/base/a/?format=json', JSON.stringify({ items: [{ type: 'folder', name: '6.3' }] }), {
      ...JSON_TYPE,
      etag: own.etag,
    });
    const file = { type: 'file', name: 'x.iso', size: 5, digest };
    put('/base/a/6.3/?format=json', JSON.stringify({ items: [file] }), { ...JSON_TYPE, etag: own.etag });
    const tree = await walk(site, 'a', { mayHold: () => true });
    assert.equal(tree.files[0]?.digest, digest);
    assert.equal((await listConductor(site, 'a/6.3'))?.items.length, 1);
  });

  test('that is not there, or refuses us, is named', async (t) => {
    const { origin, site } = await siteOf(t);
    await assert.rejects(walk(site, 'a', { mayHold: () => true }), coded('path.not-found'));
    origin.files.set('/base/a/', (_request, response) => response.writeHead(401).end());
    await assert.rejects(walk(site, 'a', { mayHold: () => true }), coded('upstream.unauthorized'));
    await origin.stop();
    await assert.rejects(walk(site, 'a', { mayHold: () => true }), coded('upstream.unreachable'));
  });
});

describe('limits', () => {
  test('a hundred thousand entries are read, one more is refused', async (t) => {
    const lines = Array.from({ length: limits.mirror.entries }, (_, index) => `<a href="f${index}.iso">f</a> 5\n`);
    const listing = await listed(t, `<title>Index of x</title><pre>${lines.join('')}</pre>`);
    assert.equal(listing.items.length, limits.mirror.entries);
    await assert.rejects(listed(t, `<pre>${lines.join('')}<a href="more.iso">`), coded('upstream.unusable'));
  });

  test('a page that never ends is cut, whatever is in it', async (t) => {
    for (const piece of ['<a href="x.iso">x</a> 5\n', '<a ', '<script>x']) {
      const { origin, site } = await siteOf(t);
      const body = Buffer.from(piece.repeat(Math.ceil(1_000_000 / piece.length)));
      let sent = 0;
      origin.files.set('/base/a/', async (_request, response) => {
        response.writeHead(200, { 'content-type': 'text/html' });
        while (!response.destroyed) {
          sent += body.length;
          if (!response.write(body))
            await new Promise((resolve) => response.once('drain', resolve).once('close', resolve));
          else await sleep(0);
        }
      });
      await assert.rejects(listFolder(site, 'a'), coded('upstream.unusable'), piece);
      assert.ok(sent < limits.mirror.listingBytes + 64 * 2 ** 20, `${piece}: ${sent}`);
    }
  });
});
