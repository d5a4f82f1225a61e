/** Policy texts mirrored from mutable addresses: what becomes a version, what is asked, and what is never believed. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { type App, openApp } from '../../../src/app.ts';
import { approvePolicy, rejectPolicy } from '../../../src/repo/policies/approve.ts';
import { bringPolicies } from '../../../src/repo/policies/bring.ts';
import { isSameOrigin } from '../../../src/repo/policies/text-origin.ts';
import { allVersions, readVersion, requireVersion } from '../../../src/repo/policies/versions.ts';
import { silent } from '../../../src/repo/progress.ts';
import { Bandwidth } from '../../../src/repo/upstream/bandwidth.ts';
import { HttpUpstream } from '../../../src/repo/upstream/http-upstream.ts';
import { mirrorPolicies, type PoliciesReport, type PolicyRule } from '../../../src/sync/mirror/policies.ts';
import type { MirrorSite, Remembered } from '../../../src/sync/mirror/rule.ts';
import { type Held, Origin } from '../../support/origin.ts';
import { tempDir } from '../../support/temp-dir.ts';
import { coded } from '../scene.ts';

const MIB = 2 ** 20;

const aws = (...actions: string[]) =>
  JSON.stringify({ Version: '2012-10-17', Statement: { Effect: 'Allow', Action: actions, Resource: '*' } });

interface Vendor {
  readonly app: App;
  readonly origin: Origin;
  /** What the site remembers; a catalog that was made anew has none of it. */
  readonly memory: Map<string, Remembered>;
  put(path: string, content: string | Buffer, more?: Partial<Held>): void;
  sync(...rules: (Partial<PolicyRule> & { name: string })[]): Promise<PoliciesReport>;
  site(more?: Partial<MirrorSite>): Promise<MirrorSite>;
}

/** A vendor's site below `/texts/`, and a data directory. */
async function vendor(t: TestContext, options: { url?: string } = {}): Promise<Vendor> {
  const origin = await Origin.start(t);
  const app = await openApp({ dataDir: await tempDir(t) });
  t.after(() => app.close());
  const memory = new Map<string, Remembered>();
  const base = options.url ?? `${origin.url}/texts`;
  const site = async (more: Partial<MirrorSite> = {}): Promise<MirrorSite> => {
    const upstream = new HttpUpstream({ url: base });
    t.after(() => upstream.close());
    return {
      name: 'vendor',
      upstream,
      bandwidth: new Bandwidth(Number.POSITIVE_INFINITY),
      ingest: await app.ingest(),
      memory: {
        get: (path) => Promise.resolve(memory.get(path)),
        put: async (path, what) => void memory.set(path, what),
        forget: async () => memory.clear(),
      },
      progress: silent,
      signal: new AbortController().signal,
      now: () => new Date('2026-01-02T03:04:05Z'),
      dryRun: false,
      ...more,
    };
  };
  return {
    app,
    origin,
    memory,
    site,
    put: (path, content, more) => origin.files.set(`/texts/${path}`, { bytes: Buffer.from(content), ...more }),
    sync: async (...rules) => await mirrorPolicies(await site(), rules.map(rule)),
  };
}

function rule({ name, ...more }: Partial<PolicyRule> & { name: string }): PolicyRule {
  return { name, path: `${name}.txt`, holdWidening: false, ...more };
}

async function versions({ app }: Vendor): Promise<string[]> {
  return (await allVersions(app.catalog)).map(
    ({ name, version, held, rejected }) =>
      `${name}@${version}${held === null ? '' : ' held'}${rejected === null ? '' : ' rejected'}`,
  );
}

test('a text becomes a version when its bytes are new, and an unchanged one costs a conditional request', async (t) => {
  const made = await vendor(t);
  const modified = new Date('2025-12-24T10:00:00Z');
  made.put('app%20policy.txt', aws('s3:A'), { modified });
  const app = { name: 'app', path: 'app%20policy.txt', releases: ['6.8'] };
  const first = await made.sync(app);
  assert.deepEqual(first.added, ['policies/app', 'policies/app@1']);
  assert.deepEqual([first.rule, first.requests, first.bytes], ['policy app', 1, aws('s3:A').length]);
  assert.deepEqual([first.removed, first.failures, first.warnings], [[], [], []]);
  const version = await requireVersion(made.app.catalog, { name: 'app', version: 1 });
  assert.equal((await readVersion(made.app, version)).toString(), aws('s3:A'));
  const etag = version.validators.etag ?? '';
  assert.deepEqual(version, {
    ...version,
    at: '2026-01-02T03:04:05.000Z',
    origin: { url: `${made.origin.url}/texts/app%20policy.txt` },
    validators: { etag, lastModified: 'Wed, 24 Dec 2025 10:00:00 GMT' },
    releases: ['6.8'],
    fileName: 'app policy.txt',
    source: 'vendor',
    verification: { status: 'unverified', checks: [] },
  });

  const second = await made.sync(app);
  assert.deepEqual([second.added, second.policies, second.requests, second.bytes], [[], [], 1, 0]);
  const asked = made.origin.asked.at(-1)?.headers;
  assert.equal(asked?.['if-none-match'], etag);
  assert.equal(asked?.['if-modified-since'], 'Wed, 24 Dec 2025 10:00:00 GMT');

  made.put('app%20policy.txt', aws('s3:*'));
  const third = await made.sync(app);
  assert.deepEqual(third.added, ['policies/app', 'policies/app@2']);
  assert.deepEqual(third.warnings, ['app@2 makes more possible than app@1: see "airlock policy diff app@1 app@2"']);

  // Touched, with the same bytes: no version, and its new validators serve from then on.
  made.put('app%20policy.txt', aws('s3:*'), { etag: '"touched"' });
  assert.deepEqual((await made.sync(app)).added, []);
  assert.equal((await made.sync(app)).bytes, 0);
  assert.deepEqual(await versions(made), ['app@1', 'app@2']);
});

test('after a new catalog, the validators that a version keeps serve', async (t) => {
  const made = await vendor(t);
  made.put('app.txt', aws('s3:A'));
  await made.sync({ name: 'app' });
  made.memory.clear();
  assert.deepEqual(await made.sync({ name: 'app' }).then(({ bytes, added }) => [bytes, added]), [0, []]);
});

test('what somebody decided here stays until the text of the site changes', async (t) => {
  const made = await vendor(t);
  for (const action of ['s3:A', 's3:B']) {
    made.put('app.txt', aws(action));
    await made.sync({ name: 'app' });
  }
  await made.app.catalog.transaction((tx) => tx.publishAgain('policies', 1));
  assert.deepEqual((await made.sync({ name: 'app' })).added, []);
  assert.deepEqual(await versions(made), ['app@1']);
  const text = { name: 'app', bytes: Buffer.from(aws('s3:Own')), fileName: 'app', origin: { file: 'app' } };
  const by = { channel: 'downloads', source: 'downloads', at: new Date() };
  await bringPolicies(made.app, [{ ...text, ...by, verification: { status: 'unverified', checks: [] } }], 'test');
  assert.deepEqual((await made.sync({ name: 'app' })).added, []);
  made.put('app.txt', aws('s3:C'));
  assert.deepEqual((await made.sync({ name: 'app' })).added, ['policies/app', 'policies/app@4']);
});

test('what makes more possible is held where the rule says so, and is told once', async (t) => {
  const made = await vendor(t);
  const app = { name: 'app', holdWidening: true };
  made.put('app.txt', aws('s3:A'));
  await made.sync(app);
  made.put('app.txt', aws('s3:*'));
  const { added, warnings } = await made.sync(app);
  assert.deepEqual(added, []);
  assert.deepEqual(warnings, [
    'app@2 is held and not published: it makes more possible than app@1, or may do so: look at "airlock policy diff app@1 app@2", then "airlock policy approve app@2" or "airlock policy reject app@2"',
  ]);
  const again = await made.sync(app);
  assert.deepEqual([again.warnings, again.bytes], [[], 0]);
  await approvePolicy(made.app, 'app', 2);
  assert.deepEqual((await made.sync(app)).bytes, 0);
  assert.deepEqual(await versions(made), ['app@1', 'app@2']);
});

test('what a person rejected is not brought again, and another text is compared with what is published', async (t) => {
  const made = await vendor(t);
  const app = { name: 'app', holdWidening: true };
  made.put('app.txt', aws('s3:A'));
  await made.sync(app);
  made.put('app.txt', aws('s3:*'));
  await made.sync(app);
  await rejectPolicy(made.app, 'app', 2, 'too much');
  const again = await made.sync(app);
  assert.deepEqual([again.warnings, again.policies, again.bytes], [[], [], 0]);

  made.put('app.txt', aws('s3:A', 's3:B'));
  assert.match((await made.sync(app)).warnings.join(), /app@3 is held .* than app@1/);
  made.put('app.txt', aws('s3:*'));
  const back = await made.sync(app);
  assert.match(back.warnings.join(), /^app@2 was rejected on \d{4}-\d\d-\d\d \(too much\), and its site still has it/);
  assert.deepEqual(
    back.policies.map(({ outcome, version }) => [outcome, version.version]),
    [['rejected', 2]],
  );
  assert.deepEqual((await made.sync(app)).warnings, [], 'told once');
  assert.deepEqual(await versions(made), ['app@1', 'app@2 rejected', 'app@3 held']);
});

test('a release that is named later goes with what is there, without asking for its bytes', async (t) => {
  const made = await vendor(t);
  made.put('app.txt', aws('s3:A'));
  await made.sync({ name: 'app' });
  const { policies, bytes } = await made.sync({ name: 'app', releases: ['6.9'] });
  assert.deepEqual(
    [policies.map(({ outcome, version }) => [outcome, version.releases]), bytes],
    [[['completed', ['6.9']]], 0],
  );
  assert.deepEqual((await made.sync({ name: 'app', releases: ['6.9'] })).policies, []);
});

test('parts of one policy come in one revision, both or neither', async (t) => {
  const made = await vendor(t);
  const both = [{ name: 'x-expanded-1' }, { name: 'other' }, { name: 'x-expanded-2' }];
  made.put('x-expanded-1.txt', aws('s3:A'));
  made.put('other.txt', 'Allow group <YOUR GROUP NAME> to manage all\n');
  const half = await made.sync(...both);
  assert.deepEqual(half.added, ['policies/other', 'policies/other@1']);
  assert.deepEqual(
    half.failures.map(({ path, code }) => [path, code]),
    [['x-expanded-2.txt', 'path.not-found']],
  );
  assert.deepEqual(half.warnings, [
    'x-expanded-1 changed, and was not brought: parts of one policy come together or not at all',
  ]);

  made.put('x-expanded-2.txt', aws('ec2:A'));
  assert.equal((await made.sync(...both)).added.length, 4);
  assert.deepEqual(await versions(made), ['other@1', 'x-expanded-1@1', 'x-expanded-2@1']);
  const { length } = await made.app.catalog.revisions('policies');
  assert.equal(length, 2);

  // One changes: the other is not sent again, and both stand in one revision.
  made.put('x-expanded-1.txt', aws('s3:B'));
  const changed = await made.sync(...both);
  assert.deepEqual(changed.added, ['policies/x-expanded-1', 'policies/x-expanded-1@2']);
  assert.equal(changed.bytes, aws('s3:B').length);
  assert.equal((await made.app.catalog.revisions('policies')).length, length + 1);

  // Without a rule for its other part it waits, and is told of each time.
  made.put('x-expanded-1.txt', aws('s3:C'));
  for (let round = 0; round < 2; round += 1) {
    const { warnings } = await made.sync({ name: 'x-expanded-1' });
    assert.deepEqual(warnings, [
      'x-expanded-1@3 is held and not published: it is one part of a set and waits for x-expanded-2: bring these too, changed or not',
    ]);
  }
  assert.deepEqual((await made.sync(...both)).added, ['policies/x-expanded-1', 'policies/x-expanded-1@3']);
});

test('what is no policy text is refused, and what is here stays', async (t) => {
  const made = await vendor(t);
  made.put('app.txt', aws('s3:A'));
  made.put('good.txt', 'good');
  await made.sync({ name: 'app' });
  const refused = async (code: string, content: string | Buffer, more?: Partial<Held>) => {
    made.put('app.txt', content, more);
    const { failures, added } = await made.sync({ name: 'app' }, { name: 'good' });
    assert.deepEqual(
      failures.map((each) => [each.path, each.code]),
      [['app.txt', code]],
      String(content).slice(0, 20),
    );
    assert.ok(added.every((path) => path.startsWith('policies/good')));
    assert.deepEqual(
      (await versions(made)).filter((each) => each.startsWith('app')),
      ['app@1'],
    );
  };
  await refused('upstream.unusable', '<!DOCTYPE html><html><body>Log in</body></html>');
  await refused('upstream.unusable', '\ufeff\n<HTML lang="en">');
  await refused('upstream.unusable', '<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>');
  await refused('upstream.unusable', '<div>Log in</div>', { headers: { 'content-type': 'text/html; charset=utf-8' } });
  await refused('policy.empty', '');
  await refused('policy.empty', ' \r\n');
  await refused('policy.limit', Buffer.alloc(10 * MIB + 1, 'x'));
  await refused('policy.limit', Buffer.alloc(11 * MIB, 'x'), { noLength: true });
  await refused('policy.limit', '['.repeat(10_000));
  made.origin.files.set('/texts/app.txt', (_request, response) => response.writeHead(403).end());
  assert.equal((await made.sync({ name: 'app' })).failures[0]?.code, 'upstream.unauthorized');
  made.origin.files.set('/texts/app.txt', (_request, response) => {
    response.writeHead(200, { 'content-length': '0' }).end();
  });
  assert.equal((await made.sync({ name: 'app' })).failures[0]?.code, 'policy.empty');
});

test('broken JSON, and JSON that is called HTML, come as they are', async (t) => {
  const made = await vendor(t);
  const broken = '{"Version": "2012-10-17",\r\n "Statement": [,]}';
  made.put('broken.txt', broken);
  made.put('named.txt', aws('s3:A'), { headers: { 'content-type': 'text/html' } });
  const { added, failures } = await made.sync({ name: 'broken' }, { name: 'named' });
  assert.deepEqual([added.length, failures], [4, []]);
  const version = await requireVersion(made.app.catalog, { name: 'broken', version: 1 });
  assert.equal((await readVersion(made.app, version)).toString(), broken);
});

test('what fails for a moment is asked for again, and only that', async (t) => {
  const made = await vendor(t);
  made.put('good.txt', 'good');
  let failed = false;
  made.origin.files.set('/texts/app.txt', (_request, response) => {
    if (failed) response.writeHead(200).end(aws('s3:A'));
    else response.writeHead(503).end();
    failed = true;
  });
  const { added, failures, requests } = await made.sync({ name: 'app' }, { name: 'good' });
  assert.deepEqual([added.length, failures, requests], [4, [], 3]);
  assert.equal(made.origin.of('/texts/good.txt').length, 1);
});

test('a dry run tells what would come, and brings nothing', async (t) => {
  const made = await vendor(t);
  made.put('app.txt', aws('s3:A'));
  await made.sync({ name: 'app' });
  made.put('app.txt', aws('s3:*'));
  const dry = await mirrorPolicies(await made.site({ dryRun: true }), [rule({ name: 'app', holdWidening: true })]);
  assert.match(dry.warnings.join(), /^app@2 is held/);
  const open = await mirrorPolicies(await made.site({ dryRun: true }), [rule({ name: 'app' })]);
  assert.deepEqual(open.added, ['policies/app', 'policies/app@2']);
  assert.deepEqual(await versions(made), ['app@1']);
  assert.deepEqual((await made.sync({ name: 'app' })).added, ['policies/app', 'policies/app@2']);
});

test('an interruption ends it; two rules for one name are refused', async (t) => {
  const made = await vendor(t);
  made.put('app.txt', aws('s3:A'));
  const stopped = await made.site({ signal: AbortSignal.abort() });
  await assert.rejects(mirrorPolicies(stopped, [rule({ name: 'app' })]), coded('interrupted'));
  await assert.rejects(made.sync({ name: 'app' }, { name: 'app', path: 'b' }), coded('config.invalid'));
  assert.deepEqual(await versions(made), []);
});

test('the spellings of an address of S3 are one origin', async (t) => {
  const key = 'iam_assume_role_policy.txt';
  const spellings = [
    `https://s3-us-west-2.amazonaws.com/aviatrix-download/${key}`,
    `https://aviatrix-download.s3-us-west-2.amazonaws.com/${key}`,
    `https://aviatrix-download.s3.us-west-2.amazonaws.com/${key}`,
    `https://aviatrix-download.s3.amazonaws.com/${key}`,
    `http://S3.us-west-2.amazonaws.com/aviatrix-download/iam%5Fassume_role_policy.txt`,
  ];
  for (const one of spellings) for (const other of spellings) assert.ok(isSameOrigin(one, other), `${one} ${other}`);
  for (const other of [
    `https://s3-us-west-2.amazonaws.com/another/${key}`,
    `https://another.s3-us-west-2.amazonaws.com/${key}`,
    `https://s3-us-west-2.amazonaws.com.example.net/aviatrix-download/${key}`,
    `https://aviatrix-download.s3.cn-north-1.amazonaws.com.cn/${key}`,
    `https://s3-us-west-2.amazonaws.com/aviatrix-download/${key}?versionId=1`,
    'https://vendor.example/%ff',
  ])
    assert.ok(!isSameOrigin(spellings[0] ?? '', other), other);

  const made = await vendor(t);
  const [first = '', second = ''] = spellings.map((each) => each.slice(0, -key.length).replace('https', 'http'));
  const ask = async (url: string) => {
    const upstream = new HttpUpstream({ url, proxy: made.origin.url });
    t.after(() => upstream.close());
    return await mirrorPolicies(await made.site({ upstream }), [rule({ name: 'role', path: key })]);
  };
  for (const base of [first, second]) made.origin.files.set(`${base}${key}`, { bytes: Buffer.from(aws('sts:A')) });
  assert.equal((await ask(first)).added.length, 2);
  made.memory.clear();
  const again = await ask(second);
  assert.deepEqual([again.added, again.bytes, again.requests], [[], 0, 1]);
});
