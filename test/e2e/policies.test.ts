/** Policy texts from a stick: imported, compared, served. */
import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { startServer } from '../support/cli.ts';
import { newConductor } from '../support/conductor.ts';
import { Origin } from '../support/origin.ts';
import { tempDir } from '../support/temp-dir.ts';

interface Listed {
  readonly name: string;
  readonly version: number;
  readonly widening: string | null;
  readonly releases: readonly string[];
  readonly held: { readonly widens: boolean } | null;
}

const policy = (...actions: string[]) =>
  `${JSON.stringify({ Version: '2012-10-17', Statement: [{ Effect: 'Allow', Action: actions, Resource: '*' }] })}`;

test('a policy text becomes versions that are compared, approved and served', async (t) => {
  const conductor = await newConductor(t);
  const stick = await tempDir(t);
  const file = async (name: string, content: string) => {
    await writeFile(path.join(stick, name), content);
    return path.join(stick, name);
  };
  const first = await file('app.txt', policy('ec2:RunInstances'));
  await conductor.done('import', 'policy', 'app', first, 'release', '6.8');
  const second = await file('app.txt', policy('ec2:*'));
  const held = await conductor.done('import', 'policy', 'app', second, '--release', '6.9', '--hold-widening');
  assert.match(held.stdout, /app@2 is held and not published/);
  await conductor.done('import', 'policy', 'page', await file('page', '<script>alert(1)</script>\n'));

  const { server } = await conductor.serve();
  const get = (name: string) => fetch(`${server.url}/repos/policies/${name}`);
  const before = await get('app');
  assert.equal(await before.text(), policy('ec2:RunInstances'));
  assert.equal(before.headers.get('content-type'), 'application/json');
  assert.equal(before.headers.get('cache-control'), 'no-cache');
  assert.equal((await get('app@2')).status, 404);

  const { widening, granted } = await conductor.json<{ widening: string; granted: string[] }>(
    'policy',
    'diff',
    'app',
    'app@2',
  );
  assert.deepEqual([widening, granted], ['yes', ['ec2:*']]);
  await conductor.done('policy', 'approve', 'app@2');
  assert.equal(await (await get('app')).text(), policy('ec2:*'));
  const version = await get('app@1');
  assert.equal(await version.text(), policy('ec2:RunInstances'));
  assert.match(version.headers.get('cache-control') ?? '', /immutable/);
  const page = await get('page');
  assert.equal(page.headers.get('content-type'), 'text/plain; charset=utf-8');
  assert.equal(page.headers.get('x-content-type-options'), 'nosniff');
  await server.stop();

  const listed = await conductor.json<Listed[]>('policy', 'list', '--release', '6.9');
  assert.deepEqual(
    listed.map(({ name, version: number, widening: wider, held: hold }) => [name, number, wider, hold]),
    [['app', 2, 'yes', null]],
  );
  assert.match((await conductor.done('policy', 'list')).stdout, /app@1 .* 6\.8/);
  assert.equal((await conductor.done('policy', 'show', 'app@1')).stdout, `${policy('ec2:RunInstances')}\n`);
  assert.equal((await conductor.refuses(3, 'policy', 'show', 'other')).code, 'policy.not-found');
  assert.equal((await conductor.refuses(3, 'policy', 'approve', 'app@7')).code, 'policy.not-found');
  assert.equal((await conductor.refuses(2, 'policy', 'show', 'app@x')).code, 'usage.invalid');
});

test('a held version is rejected: it is kept as that, and its text is not taken again', async (t) => {
  const conductor = await newConductor(t);
  const file = path.join(await tempDir(t), 'app.txt');
  const put = async (content: string) => {
    await writeFile(file, content);
    return file;
  };
  await conductor.done('import', 'policy', 'app', await put(policy('ec2:RunInstances')));
  await conductor.done('import', 'policy', 'app', await put(policy('ec2:*')), '--hold-widening');
  assert.equal((await conductor.refuses(2, 'policy', 'reject', 'app')).code, 'usage.invalid');
  assert.equal(
    (await conductor.refuses(2, 'policy', 'reject', 'app@2', '--reason', 'x'.repeat(1001))).code,
    'usage.invalid',
  );
  const published = await conductor.refuses(7, 'policy', 'reject', 'app@1');
  assert.equal(published.code, 'policy.published');
  assert.match(published.message, /repo publish policies/);
  const said = await conductor.done('policy', 'reject', 'app@2', '--reason', 'too \u001b[1mmuch');
  assert.match(
    said.stdout,
    /^✋ app@2 was rejected on \d{4}-\d\d-\d\d \("too \\u001b\[1mmuch"\), and is not published\.\n$/,
  );
  await conductor.done('policy', 'reject', 'app@2', '--reason', 'too much');

  const again = await conductor.refuses(7, 'import', 'policy', 'app', file);
  assert.equal(again.code, 'policy.rejected');
  assert.match(again.message, /app@2 .*\(too much\).*policy approve app@2 --rejected/);
  assert.equal((await conductor.refuses(7, 'policy', 'approve', 'app@2')).code, 'policy.rejected');

  await conductor.done('doctor', '--rebuild-catalog');
  assert.match((await conductor.done('policy', 'list')).stdout, /app@2 .* rejected: too much/);
  const shown = await conductor.done('policy', 'show', 'app@2');
  assert.equal(shown.stdout, `${policy('ec2:*')}\n`);
  assert.match(shown.stderr, /^app@2 was rejected on .* \(too much\), and is not published\n$/);
  const { rejected, held } = await conductor.json<{ rejected: Record<string, string>; held: null }>(
    'policy',
    'show',
    'app@2',
  );
  assert.deepEqual([rejected.reason, held], ['too much', null]);
  assert.ok(Math.abs(Date.now() - Date.parse(rejected.at ?? '')) < 3_600_000, rejected.at);
  const { server } = await conductor.serve();
  const served = await fetch(`${server.url}/repos/policies/app@2`);
  assert.equal(served.status, 404);
  await server.stop();

  await conductor.done('import', 'policy', 'app', await put(policy('ec2:Run*')), '--hold-widening');
  assert.equal((await conductor.json<{ before: string }>('policy', 'approve', 'app@3')).before, 'app@1');
  await conductor.done('policy', 'approve', 'app@2', '--rejected');
  assert.deepEqual(
    (await conductor.json<Listed[]>('policy', 'list')).map(({ version, held: waits }) => [version, waits]),
    [1, 2, 3].map((version) => [version, null]),
  );
});

test('lint tells what AWS would refuse, of files and of what is here', async (t) => {
  const conductor = await newConductor(t);
  const stick = await tempDir(t);
  const bad = path.join(stick, 'bad.json');
  await writeFile(bad, policy('ec2RunInstances'));
  const { code, stdout } = await conductor.run('policy', 'lint', bad);
  assert.equal(code, 4);
  assert.match(stdout, /error \(action\).*"ec2RunInstances" can match no action/);
  assert.match((await conductor.done('import', 'policy', 'bad', bad)).stdout, /published[\s\S]*error \(action\)/);
  assert.equal((await conductor.run('policy', 'lint', 'bad@1')).code, 4);
  const empty = path.join(stick, 'empty.json');
  await writeFile(empty, '');
  assert.equal((await conductor.refuses(4, 'import', 'policy', 'empty', empty)).code, 'policy.empty');
  await conductor.done('import', 'policy', 'empty', empty, 'force');
  await writeFile(`${bad}.sha256sum`, `${'0'.repeat(64)}  bad.json\n`);
  assert.equal((await conductor.refuses(4, 'import', 'policy', 'other', bad)).code, 'checksum.mismatch');
});

test('policies come back when the catalog is made anew', async (t) => {
  const conductor = await newConductor(t);
  const file = path.join(await tempDir(t), 'app.txt');
  await writeFile(file, policy('ec2:RunInstances'));
  await conductor.done('import', 'policy', 'app', file, 'release', '6.8');
  await writeFile(file, policy('ec2:*'));
  await conductor.done('import', 'policy', 'app', file, '--hold-widening');
  const before = await conductor.json<Listed[]>('policy', 'list');
  assert.deepEqual(
    before.map(({ version, held }) => [version, held]),
    [
      [1, null],
      [2, { widens: true, waits: false }],
    ],
  );
  await conductor.done('doctor', '--rebuild-catalog');
  assert.deepEqual(await conductor.json('policy', 'list'), before);
  assert.equal((await conductor.done('policy', 'show', 'app@2')).stdout, `${policy('ec2:*')}\n`);
  await conductor.done('policy', 'approve', 'app@2');
  await conductor.done('doctor', '--rebuild-catalog');
  const after = await conductor.json<Listed[]>('policy', 'list');
  assert.deepEqual(
    after.map(({ held }) => held),
    [null, null],
  );
  const server = await startServer(t, conductor.data);
  assert.equal((await fetch(`${server.url}/repos/policies/app`)).headers.get('content-type'), 'application/json');
});

test('a text is fetched from its site, held where the rule says so, and not again while it does not change', async (t) => {
  const origin = await Origin.start(t);
  const conductor = await newConductor(t);
  await mkdir(conductor.data, { recursive: true });
  const rules = [
    '{ kind: policy, path: texts/app.txt, name: app, holdWidening: true, releases: [6.9.161] }',
    '{ kind: policy, path: x-1.json, name: x-expanded-1 }',
    '{ kind: policy, path: x-2.json, name: x-expanded-2 }',
  ];
  const config = (...mirror: string[]) =>
    writeFile(
      path.join(conductor.data, 'airlock.yaml'),
      `upstreams:\n  vendor:\n    url: ${origin.url}\n    mirror:\n${mirror.map((rule) => `      - ${rule}\n`).join('')}`,
    );
  await config(...rules);
  const put = (at: string, content: string) => origin.files.set(at, { bytes: Buffer.from(content) });
  put('/texts/app.txt', policy('ec2:RunInstances'));
  const dry = await conductor.done('policy', 'fetch', 'app', '--dry-run');
  assert.match(dry.stdout, /^Would be done:\n✔ app@1 published, unverified\.\n$/);
  assert.equal((await conductor.done('policy', 'fetch', 'app')).stdout, '✔ app@1 published, unverified.\n');
  const again = await conductor.done('policy', 'fetch', 'app');
  assert.equal(again.stdout, '✔ The text of app is what its site held when it was last asked: nothing new.\n');
  put('/texts/app.txt', policy('ec2:*'));
  const { policies, warnings } = await conductor.json<{
    policies: (Listed & { outcome: string; before: string })[];
    warnings: string[];
  }>('policy', 'fetch', 'app');
  assert.deepEqual(
    policies.map(({ outcome, before, version, releases }) => [outcome, before, version, releases]),
    [['held', 'app@1', 2, ['6.9.161']]],
  );
  assert.match(warnings.join(), /policy approve app@2/);

  put('/x-1.json', policy('s3:A'));
  assert.equal((await conductor.refuses(3, 'policy', 'fetch', 'x-expanded-1')).code, 'path.not-found');
  put('/x-2.json', policy('s3:B'));
  assert.match((await conductor.done('policy', 'fetch', 'x-expanded-1')).stdout, /x-expanded-1@1.*\n.*x-expanded-2@1/);

  const table = (await conductor.done('policy', 'list')).stdout.split('\n').slice(3, -1);
  assert.deepEqual(
    table.map((line) => line.trim().split(/ {2,}\d{4}-\d\d-\d\d {2,}| {2,}/)),
    [
      ['app@1', 'vendor', '102 B', 'aws', 'first', 'newest', '6.9.161'],
      ['app@2', 'vendor', '91 B', 'aws', 'yes', 'held: look at it, and approve it or reject it', '6.9.161'],
      ['x-expanded-1@1', 'vendor', '90 B', 'aws', 'first', 'newest'],
      ['x-expanded-2@1', 'vendor', '90 B', 'aws', 'first', 'newest'],
    ],
  );
  const [listed = {}] = await conductor.json<object[]>('policy', 'list');
  const keys =
    'name version digest size at format widening releases held rejected approvedAt origin source fileName validators verification newest';
  assert.deepEqual(Object.keys(listed), keys.split(' '));

  put('/texts/app.txt', '<html>Log in</html>');
  assert.equal((await conductor.refuses(4, 'policy', 'fetch', 'app')).code, 'upstream.unusable');
  const unknown = await conductor.refuses(3, 'policy', 'fetch', 'other');
  assert.equal(unknown.code, 'policy.not-found');
  assert.match(unknown.message, /kind: policy/);
});

test('a fetch stands in the history of its upstream, and is no sync of all its rules', async (t) => {
  const origin = await Origin.start(t);
  const conductor = await newConductor(t);
  await mkdir(conductor.data, { recursive: true });
  const rules = ['app', 'other'].map((name) => `      - { kind: policy, path: ${name}.txt, name: ${name} }\n`);
  const site = `upstreams:\n  vendor:\n    url: ${origin.url}\n    mirror:\n${rules.join('')}`;
  await writeFile(path.join(conductor.data, 'airlock.yaml'), site);
  origin.files.set('/app.txt', { bytes: Buffer.from(policy('s3:A')) });
  interface Past {
    readonly only: string | null;
    readonly outcome: string;
    readonly added: readonly string[];
    readonly failures: readonly { readonly path: string; readonly code: string }[];
  }
  const history = async () => {
    const past = await conductor.json<Past[]>('upstream', 'history', 'vendor');
    return past.map(({ only, outcome, added, failures }) => [only, outcome, added, failures.map(({ code }) => code)]);
  };
  const fetched = ['policy app', 'done', ['policies/app', 'policies/app@1'], []];
  const failed = ['policy other', 'incomplete', [], ['path.not-found']];
  await conductor.done('policy', 'fetch', 'app', '--dry-run');
  assert.deepEqual(await history(), []);
  await conductor.done('policy', 'fetch', 'app');
  assert.deepEqual(await history(), [fetched]);
  await conductor.refuses(3, 'policy', 'fetch', 'other');
  assert.deepEqual(await history(), [failed, fetched]);
  assert.match(
    (await conductor.done('upstream', 'history', 'vendor')).stdout,
    / UTC: policy other only: incomplete, .*\n {2}✖ other\.txt: .*\n.* UTC: policy app only: done, .* 2 brought/,
  );
  assert.match((await conductor.done('upstream', 'list')).stdout, /vendor .* never\n/);
  assert.equal((await conductor.run('upstream', 'sync', 'vendor')).code, 5);
  assert.deepEqual(await history(), [[null, 'incomplete', [], ['path.not-found']], failed, fetched]);
  assert.match((await conductor.done('upstream', 'list')).stdout, /UTC: incomplete/);
});

test('texts in other encodings and with other line ends are shown, compared and served as they came', async (t) => {
  const conductor = await newConductor(t);
  const file = path.join(await tempDir(t), 'app.txt');
  const text = JSON.stringify(JSON.parse(policy('ec2:A')), null, 1).replaceAll('\n', '\r\n');
  const versions = [
    Buffer.from(text),
    Buffer.from(`\ufeff${text}`),
    Buffer.from(`\ufeff${text}`, 'utf16le'),
    Buffer.from(`\ufeff${text}`, 'utf16le').swap16(),
  ];
  for (const bytes of versions) {
    await writeFile(file, bytes);
    await conductor.done('import', 'policy', 'app', file, '--hold-widening');
  }
  const { server } = await conductor.serve();
  for (const [index, bytes] of versions.entries()) {
    const name = `app@${index + 1}`;
    const served = await fetch(`${server.url}/repos/policies/${name}`);
    assert.deepEqual(Buffer.from(await served.arrayBuffer()), bytes, name);
    assert.equal((await conductor.done('policy', 'show', name)).stdout, `${text.replaceAll('\r\n', '\n')}\n`, name);
    const { code, stdout } = await conductor.run('policy', 'lint', name);
    const found = [
      /nothing found/,
      /1 warning\n.*byte order mark/,
      /1 error\n.*It is UTF-16/,
      /1 error\n.*It is UTF-16/,
    ][index];
    assert.match(stdout, found ?? /never/);
    assert.equal(code, index < 2 ? 0 : 4, name);
  }
  assert.match((await conductor.done('policy', 'diff', 'app@1', 'app@4')).stdout, /what it allows and denies does not/);
});
