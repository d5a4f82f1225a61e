/** The rule `releases`, against a site that behaves, breaks off, changes and lies. */
import assert from 'node:assert/strict';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, test } from 'node:test';
import { AirlockError } from '../../../src/errors.ts';
import { importImage } from '../../../src/repo/ingest/import-image.ts';
import { type Progress, silent } from '../../../src/repo/progress.ts';
import type { SyncReport } from '../../../src/sync/mirror/mirror.ts';
import { revoke } from '../../../src/sync/trust/published-revocations.ts';
import { filler, imageIso, makeSigner, packageIso } from '../../media/vendor-site.ts';
import { digestOf } from '../../repo/http/support.ts';
import { coded } from '../scene.ts';
import { mirrorScene, ROOT, SIZE_DATE } from './scene.ts';

const iso = (version: string) => `SSR-${version}.el7.x86_64.ibu-v1.iso`;
const [OLD, MID, NEW] = [iso('6.3.0-107.r1'), iso('6.3.3-40.r2'), iso('6.3.5-37.sts')];
const bytesOf = (name: string, kilobytes = 100) => imageIso(name.slice(4), {}, kilobytes);

const added = ({ rules }: SyncReport) => rules.flatMap((rule) => rule.added);
const removed = ({ rules }: SyncReport) => rules.flatMap((rule) => rule.removed);
const failed = ({ rules }: SyncReport) =>
  rules.flatMap(({ failures }) => failures.map(({ path, code }) => [path, code]));

/** Interrupts a sync once so many bytes came. */
function stopAfter(bytes: number): { signal: AbortSignal; progress: Progress } {
  const stop = new AbortController();
  let got = 0;
  const advance = (count: number) => {
    got += count;
    if (got > bytes) stop.abort(new AirlockError('interrupted', 'Stopped.'));
  };
  return { signal: stop.signal, progress: { ...silent, advance } };
}

describe('a sync', () => {
  test('passes over what was revoked, without fetching it, and brings the rest', async (t) => {
    const scene = await mirrorScene(t);
    await scene.publish(`6.3/${OLD}`, bytesOf(OLD));
    await scene.publish(`6.3/${MID}`, bytesOf(MID));
    await scene.configure(['select: ">=6.3"']);
    await revoke(scene.data, [{ digest: digestOf(bytesOf(OLD)), name: OLD, reason: 'faulty' }]);
    const report = await scene.sync();
    assert.deepEqual([report.outcome, added(report)], ['done', [`images/6.3/${MID}`]]);
    assert.match(report.rules[0]?.warnings.join() ?? '', /107\.r1.*was revoked by this export station.*"faulty"/);
    assert.equal(scene.sent(`6.3/${OLD}`), 0);
  });

  test('brings what its rule means; unchanged it costs a listing; a new release is all that comes next', async (t) => {
    const scene = await mirrorScene(t);
    await scene.publish(`6.2/${iso('6.2.0-1.r1')}`, bytesOf('a'));
    await scene.publish(`6.3/${OLD}`, bytesOf(OLD));
    await scene.configure(['select: ">=6.3"']);
    const first = await scene.sync();
    assert.deepEqual(added(first), [`images/6.3/${OLD}`]);
    assert.equal(first.outcome, 'done');
    assert.deepEqual(await scene.published('images'), [
      `6.3/${OLD}`,
      `6.3/${OLD}.sha256sum`,
      `6.3/${OLD}.sha256sum.asc`,
    ]);
    const [entry] = await scene.app.catalog.releases();
    assert.deepEqual([entry?.artifact.verification.status, entry?.artifact.source], ['signature', 'site']);
    scene.origin.asked.length = 0;
    const second = await scene.sync();
    assert.deepEqual([added(second), second.outcome, second.rules[0]?.requests], [[], 'done', 2]);
    assert.deepEqual(
      scene.origin.asked.map(({ url }) => url),
      [`${ROOT}/`, `${ROOT}/6.3/`],
    );
    await scene.publish(`6.3/${MID}`, bytesOf(MID));
    const third = await scene.sync();
    assert.deepEqual(added(third), [`images/6.3/${MID}`]);
    assert.equal(scene.origin.of(`${ROOT}/6.3/${OLD}`).length, 0);
  });

  test('tells what would come and go, and brings nothing, when it is dry', async (t) => {
    const scene = await mirrorScene(t);
    await scene.publish(`6.3/${OLD}`, bytesOf(OLD));
    await scene.configure(['select: "*", newest: 1']);
    await scene.sync();
    await scene.publish(`6.3/${NEW}`, bytesOf(NEW));
    const dry = await scene.sync({ dryRun: true });
    assert.deepEqual(added(dry), [`images/6.3/${NEW}`]);
    assert.ok(removed(dry).includes(`images/6.3/${OLD}`));
    assert.deepEqual([dry.forecast.files, dry.forecast.bytes], [1, bytesOf(NEW).length]);
    assert.equal(scene.origin.of(`${ROOT}/6.3/${NEW}`).length, 0);
    assert.equal((await scene.published('images')).length, 3);
  });

  test('goes on after single failures, and brings what failed the next time', async (t) => {
    const scene = await mirrorScene(t);
    for (const name of [OLD, MID, NEW]) await scene.publish(`6.3/${name}`, bytesOf(name));
    scene.origin.files.set(`${ROOT}/6.3/${MID}.sha256sum`, { bytes: Buffer.from('0'.repeat(64)) });
    await scene.configure(['select: "*"']);
    const first = await scene.sync();
    assert.deepEqual(failed(first), [[`isos/6.3/${MID}`, 'signature.bad']]);
    assert.deepEqual([first.outcome, added(first).length], ['incomplete', 2]);
    assert.equal(scene.sent(`6.3/${MID}`), 0); // refused before the image was read
    await scene.publish(`6.3/${MID}`, bytesOf(MID));
    scene.origin.asked.length = 0;
    assert.deepEqual(added(await scene.sync()), [`images/6.3/${MID}`]);
    assert.equal(scene.origin.of(`${ROOT}/6.3/${NEW}`).length, 0);
  });

  test('asks again for what failed in a way that may pass', async (t) => {
    const scene = await mirrorScene(t);
    await scene.publish(`6.3/${OLD}`, bytesOf(OLD));
    const good = scene.origin.files.get(`${ROOT}/6.3/${OLD}`);
    let asked = 0;
    scene.origin.files.set(`${ROOT}/6.3/${OLD}`, (_request, response) => {
      asked += 1;
      response.writeHead(503).end();
      if (good !== undefined) scene.origin.files.set(`${ROOT}/6.3/${OLD}`, good);
    });
    await scene.configure(['select: "*"']);
    const report = await scene.sync();
    assert.deepEqual([report.outcome, added(report).length, asked], ['done', 1, 1]);
  });

  test('is refused, before the first byte, where there is no room', async (t) => {
    const scene = await mirrorScene(t);
    await scene.publish(`6.3/${OLD}`, bytesOf(OLD));
    scene.origin.files.set(`${ROOT}/6.3/`, (_request, response) => {
      const line = `<a href="${OLD}">x</a>   ${SIZE_DATE}   900000000000000\n`;
      response.writeHead(200, { 'content-type': 'text/html' }).end(`<title>Index of x</title><pre>${line}</pre>`);
    });
    await scene.configure(['select: "*"', 'select: "~6.3.0"'], '');
    await writeFile(path.join(scene.data, 'vendor.asc'), scene.signer.publicKey);
    await assert.rejects(scene.sync(), coded('space.insufficient'));
    assert.equal(scene.origin.of(`${ROOT}/6.3/${OLD}`).length, 0);
  });
});

describe('who vouches', () => {
  test('with keys of the site: a signature by one of them, and nothing less', async (t) => {
    const scene = await mirrorScene(t);
    await scene.publish(`6.3/${OLD}`, bytesOf(OLD), { signer: null });
    await scene.publish(`6.3/${MID}`, bytesOf(MID), { signer: await makeSigner('Somebody Else') });
    await scene.configure(['select: "*"']);
    assert.deepEqual(failed(await scene.sync()).toSorted(), [
      [`isos/6.3/${OLD}`, 'signature.missing'],
      [`isos/6.3/${MID}`, 'signature.unknown-key'],
    ]);
    assert.deepEqual(await scene.published('images'), []);
  });

  test('without keys: a checksum suffices', async (t) => {
    const scene = await mirrorScene(t, false);
    await scene.publish(`6.3/${OLD}`, bytesOf(OLD), { signer: null });
    const name = '128T-6.2.6-15.sts.el7.OTP.v1.x86_64.iso';
    await scene.publish(`6.2/${name}`, await packageIso('6.2.6', '15.sts.el7', scene.signer));
    await scene.configure(['select: "*"']);
    assert.equal((await scene.sync()).outcome, 'done');
    const releases = await scene.app.catalog.releases();
    assert.deepEqual(
      releases.map(({ artifact }) => artifact.verification.status),
      ['checksum', 'checksum'],
    );
  });

  test('a checksum that is wrong keeps the image out', async (t) => {
    const scene = await mirrorScene(t, false);
    await scene.publish(`6.3/${OLD}`, bytesOf(OLD), { signer: null });
    scene.origin.files.set(`${ROOT}/6.3/${OLD}.sha256sum`, { bytes: Buffer.from('0'.repeat(64)) });
    await scene.configure(['select: "*"']);
    assert.deepEqual(failed(await scene.sync()), [[`isos/6.3/${OLD}`, 'checksum.mismatch']]);
    assert.deepEqual(await scene.published('images'), []);
  });

  test('a signature that comes later, or a key, makes an image worth more without reading it again', async (t) => {
    const scene = await mirrorScene(t, false);
    await scene.publish(`6.3/${OLD}`, bytesOf(OLD), { signer: null });
    await scene.configure(['select: "*"']);
    await scene.sync();
    await scene.publish(`6.3/${OLD}`, bytesOf(OLD));
    const config = `upstreams: { site: { url: "${scene.origin.url}/base", keys: [vendor.asc], mirror: [{ kind: releases, path: isos }] } }`;
    await scene.configure([]);
    await writeFile(path.join(scene.data, 'airlock.yaml'), config);
    await scene.app.close();
    const { openApp } = await import('../../../src/app.ts');
    scene.app = await openApp({ dataDir: scene.data });
    scene.origin.asked.length = 0;
    assert.equal((await scene.sync()).outcome, 'done');
    const [entry] = await scene.app.catalog.releases();
    assert.equal(entry?.artifact.verification.status, 'signature');
    assert.equal(scene.origin.of(`${ROOT}/6.3/${OLD}`).length, 0);
  });

  test('other bytes under a published name are refused, and ours stay', async (t) => {
    const scene = await mirrorScene(t);
    await scene.publish(`6.3/${OLD}`, bytesOf(OLD));
    await scene.configure(['select: "*"']);
    await scene.sync();
    const [before] = await scene.app.catalog.releases();
    await scene.publish(`6.3/${OLD}`, bytesOf(OLD, 120));
    assert.deepEqual(failed(await scene.sync()), [[`isos/6.3/${OLD}`, 'path.conflict']]);
    const [after] = await scene.app.catalog.releases();
    assert.equal(after?.artifact.digest, before?.artifact.digest);
  });
});

describe('a download', () => {
  test('that breaks off is gone on with where it broke off', async (t) => {
    const scene = await mirrorScene(t);
    const bytes = bytesOf(OLD, 3000);
    await scene.publish(`6.3/${OLD}`, bytes, { cutAfter: 700_000, cuts: 3 });
    await scene.configure(['select: "*"']);
    assert.equal((await scene.sync()).outcome, 'done');
    const asked = scene.origin.of(`${ROOT}/6.3/${OLD}`).map(({ headers }) => headers.range ?? 'bytes=0-');
    const starts = asked.map((range) => Number(/^bytes=(\d+)-$/.exec(range)?.[1]));
    assert.equal(starts.length, 4);
    // What was on its way when the connection broke may be lost.
    for (const [index, start] of starts.slice(1).entries()) assert.ok(start > (starts[index] ?? 0), starts.join());
    assert.ok(scene.sent(`6.3/${OLD}`) < 2 * bytes.length);
  });

  test('that is interrupted is gone on with by the next sync', async (t) => {
    const scene = await mirrorScene(t);
    const bytes = bytesOf(OLD, 6000);
    await scene.publish(`6.3/${OLD}`, bytes, { pace: 5 });
    await scene.configure(['select: "*"']);
    const { signal, progress } = stopAfter(2_000_000);
    await assert.rejects(scene.sync({ signal, progress }), coded('interrupted'));
    assert.deepEqual(await scene.published('images'), []);
    const before = scene.sent(`6.3/${OLD}`);
    const dry = await scene.sync({ dryRun: true });
    assert.ok(dry.forecast.bytes < bytes.length - 1_000_000, 'what is here already need not come');
    assert.equal((await scene.sync()).outcome, 'done');
    assert.ok(before + scene.sent(`6.3/${OLD}`) < 2 * bytes.length);
    const [last] = scene.origin.of(`${ROOT}/6.3/${OLD}`).slice(-1);
    assert.match(last?.headers.range ?? '', /^bytes=\d{7}-$/);
    assert.ok(last?.headers['if-range'] !== undefined);
  });

  for (const code of ['interrupted', 'catalog.busy', 'revision.moved'] as const) {
    test(`that is whole when its check ends with ${code} need not come again`, async (t) => {
      const scene = await mirrorScene(t);
      const bytes = bytesOf(OLD);
      await scene.publish(`6.3/${OLD}`, bytes);
      await scene.configure(['select: "*"']);
      // The first look into the whole image.
      const { blobs } = scene.app;
      const create = blobs.create.bind(blobs);
      blobs.create = async (options) => {
        const writer = await create(options);
        if (options?.resumable === true) writer.readAt = () => Promise.reject(new AirlockError(code, 'Not now.'));
        return writer;
      };
      await scene.sync().catch((error: unknown) => assert.ok(coded('interrupted')(error)));
      blobs.create = create;
      assert.deepEqual(await scene.published('images'), []);
      assert.equal(scene.sent(`6.3/${OLD}`), bytes.length);
      assert.deepEqual(added(await scene.sync()), [`images/6.3/${OLD}`]);
      assert.equal(scene.sent(`6.3/${OLD}`), bytes.length);
    });
  }

  test('that is whole and no good is not kept', async (t) => {
    const scene = await mirrorScene(t);
    const bytes = bytesOf(OLD);
    await scene.publish(`6.3/${OLD}`, bytes);
    scene.origin.files.set(`${ROOT}/6.3/${OLD}`, { bytes: Buffer.from(bytes.toReversed()) });
    await scene.configure(['select: "*"']);
    assert.deepEqual(failed(await scene.sync()), [[`isos/6.3/${OLD}`, 'checksum.mismatch']]);
    assert.deepEqual(await readdir(path.join(scene.data, 'partial', 'suspended')).catch(() => []), []);
  });

  test('of a file that changed meanwhile begins anew', async (t) => {
    const scene = await mirrorScene(t, false);
    const [first, second] = [bytesOf(OLD, 6000), bytesOf(MID, 6000)];
    await scene.publish(`6.3/${OLD}`, first, { pace: 5 });
    // Nobody says what its digest is: only the site's validator tells one content from another.
    for (const suffix of ['.sha256sum', '.sha256sum.asc']) scene.origin.files.delete(`${ROOT}/6.3/${OLD}${suffix}`);
    await scene.configure(['select: "*"']);
    const { signal, progress } = stopAfter(2_000_000);
    await assert.rejects(scene.sync({ signal, progress }), coded('interrupted'));
    scene.origin.files.set(`${ROOT}/6.3/${OLD}`, { bytes: second });
    assert.equal((await scene.sync()).outcome, 'done');
    const [entry] = await scene.app.catalog.releases();
    assert.equal(entry?.artifact.digest, digestOf(second));
    assert.deepEqual([entry?.artifact.verification.status, second.length], ['unverified', first.length]);
    assert.match(String(scene.origin.of(`${ROOT}/6.3/${OLD}`).at(-1)?.headers.range), /^bytes=\d{7}-$/);
  });

  test('from a site without ranges, or without lengths, comes whole', async (t) => {
    const scene = await mirrorScene(t);
    const bytes = bytesOf(OLD, 2000);
    await scene.publish(`6.3/${OLD}`, bytes, { noRanges: true, cutAfter: 300_000, cuts: 1, etag: null });
    await scene.publish(`6.3/${MID}`, bytesOf(MID), { noLength: true });
    await scene.configure(['select: "*"']);
    assert.deepEqual(failed(await scene.sync()), []);
    assert.equal(scene.sent(`6.3/${OLD}`), bytes.length + 300_000);
  });

  test('of a web page in place of an image keeps nothing', async (t) => {
    const scene = await mirrorScene(t);
    await scene.publish(`6.3/${OLD}`, bytesOf(OLD));
    scene.origin.files.set(`${ROOT}/6.3/${OLD}`, { bytes: Buffer.from('<!DOCTYPE html><title>Log in</title>') });
    await scene.configure(['select: "*"']);
    assert.deepEqual(failed(await scene.sync()), [[`isos/6.3/${OLD}`, 'upstream.unusable']]);
  });

  test('that does not end is cut at what was announced', async (t) => {
    const scene = await mirrorScene(t);
    await scene.publish(`6.3/${OLD}`, bytesOf(OLD));
    scene.origin.files.set(`${ROOT}/6.3/${OLD}`, async ({ method }, response) => {
      const piece = filler('x', 65_536);
      response.writeHead(200);
      if (method === 'HEAD') {
        response.end();
        return;
      }
      while (!response.destroyed) {
        if (!response.write(piece)) await new Promise((done) => response.once('drain', done).once('close', done));
      }
    });
    await scene.configure(['select: "*"']);
    assert.deepEqual(failed(await scene.sync()), [[`isos/6.3/${OLD}`, 'upstream.unusable']]);
  });
});

describe('a listing that shrinks', () => {
  const pages: [what: string, page: string][] = [
    [
      'to a login page',
      '<!DOCTYPE html><html><title>Please log in</title><form></form><a href="help.html">Help</a></html>',
    ],
    ['to nothing', '<title>Index of isos</title><pre><a href="../">../</a></pre>'],
    ['to an empty answer', ''],
  ];
  for (const [what, page] of pages) {
    test(`${what} is a failure by name, and what is here stays`, async (t) => {
      const scene = await mirrorScene(t);
      for (const name of [OLD, MID]) await scene.publish(`6.3/${name}`, bytesOf(name));
      await scene.configure(['select: "*", newest: 2']);
      await scene.sync();
      const before = await scene.published('images');
      scene.origin.files.set(`${ROOT}/`, { bytes: Buffer.from(page), headers: { 'content-type': 'text/html' } });
      const report = await scene.sync();
      assert.deepEqual(failed(report), [['isos', 'upstream.unusable']]);
      assert.equal(report.outcome, 'incomplete');
      assert.deepEqual(await scene.published('images'), before);
    });
  }
});

describe('what is kept', () => {
  test('of each train the newest, and packages go with their image', async (t) => {
    const scene = await mirrorScene(t);
    const package_ = (version: string, release: string) => [
      `6.2/128T-${version}-${release}.OTP.v1.x86_64.iso`,
      packageIso(version, release, scene.signer, 50),
    ];
    for (const [name, bytes] of [package_('6.2.5', '5.r2.el7'), package_('6.2.6', '15.sts.el7')]) {
      await scene.publish(String(name), (await bytes) as Buffer);
    }
    await scene.publish(`6.3/${OLD}`, bytesOf(OLD));
    await scene.configure(['select: "*", newest: 2']);
    await scene.sync();
    const [name, bytes] = package_('6.2.7', '1.sts.el7');
    await scene.publish(String(name), (await bytes) as Buffer);
    const report = await scene.sync();
    assert.deepEqual(added(report), ['images/6.2/128T-6.2.7-1.sts.el7.OTP.v1.x86_64.iso']);
    const gone = removed(report);
    assert.ok(gone.includes('images/6.2/128T-6.2.5-5.r2.el7.OTP.v1.x86_64.iso'));
    assert.ok(gone.includes('images/6.2/128T-6.2.5-5.r2.el7.OTP.v1.x86_64.iso.sha256sum'));
    assert.ok(
      gone.some((each) => each.endsWith('/128T-6.2.5-5.r2.el7.x86_64.rpm')),
      gone.join(),
    );
    const images = (await scene.published('images')).filter((each) => each.endsWith('.iso'));
    assert.deepEqual(images, [
      '6.2/128T-6.2.6-15.sts.el7.OTP.v1.x86_64.iso',
      '6.2/128T-6.2.7-1.sts.el7.OTP.v1.x86_64.iso',
      `6.3/${OLD}`,
    ]);
  });

  test('more than is fetched, where "keep" says so; and what is pinned', async (t) => {
    const scene = await mirrorScene(t);
    await scene.configure(['select: "*", newest: 1, keep: 2, pinned: ["6.3.0-107"]']);
    for (const name of [OLD, MID, NEW, iso('6.3.6-6.sts')]) {
      await scene.publish(`6.3/${name}`, bytesOf(name));
      await scene.sync();
    }
    const images = (await scene.published('images')).filter((each) => each.endsWith('.iso'));
    assert.deepEqual(images, [`6.3/${OLD}`, `6.3/${NEW}`, `6.3/${iso('6.3.6-6.sts')}`]);
  });

  test('what a person imported, before the sync or after it', async (t) => {
    const scene = await mirrorScene(t);
    const stick = path.join(path.dirname(scene.data), 'stick');
    await mkdir(stick);
    const byHand = async (name: string) => {
      await writeFile(path.join(stick, name), bytesOf(name));
      await importImage(await scene.app.ingest(), path.join(stick, name), {
        progress: silent,
        signal: new AbortController().signal,
        policy: { signatures: 'required', acceptWeakDigests: false, isExplicit: false },
      });
    };
    for (const name of [OLD, MID]) await scene.publish(`6.3/${name}`, bytesOf(name));
    await byHand(OLD);
    await scene.configure(['select: "*"']);
    const first = await scene.sync();
    assert.deepEqual(added(first), [`images/6.3/${MID}`]);
    assert.equal(scene.sent(`6.3/${OLD}`), 0); // its checksum file says that it is here
    await byHand(MID);
    await scene.publish(`6.3/${NEW}`, bytesOf(NEW));
    await scene.configure(['select: "*", newest: 1']);
    assert.deepEqual(removed(await scene.sync()), []);
    assert.equal((await scene.published('images')).filter((each) => each.endsWith('.iso')).length, 3);
  });
});
