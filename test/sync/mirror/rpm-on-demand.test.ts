/** Repositories whose packages come when somebody asks for them: real servers, real dnf with all checks on. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import type { Digest } from '../../../src/repo/blobs/blob-store.ts';
import { airlock, airlockJson, startServer } from '../../support/cli.ts';
import { Dnf } from '../../support/dnf.ts';
import { Repository } from './rpm-scene.ts';
import { router, type SignedScene, signedScene, TOOLS } from './signed-scene.ts';

interface Rule {
  readonly added: readonly string[];
  readonly removed: readonly string[];
  readonly waiting?: number;
  readonly requests: number;
  readonly warnings: readonly string[];
  readonly failures: readonly { readonly code: string }[];
}

interface OnDemandScene extends SignedScene {
  configure(...lines: readonly string[]): void;
  run(): Promise<Rule>;
  /** Requests for packages that came to the vendor. */
  fetched(): string[];
}

const PACKAGE = (name: string, version = '1.0') => `Packages/${name}-${version}-1.el7.x86_64.rpm`;

/** `tool`, which requires `tool-lib`, and `other`; mirrored by the command line. */
async function onDemand(t: TestContext): Promise<OnDemandScene> {
  const made = await signedScene(t);
  writeFileSync(path.join(made.data, 'vendor.asc'), made.gpg.export(made.key));
  made.build({ name: 'tool', version: '1.0', tags: ['Requires: tool-lib'] }, { name: 'tool-lib', version: '1.0' });
  made.build({ name: 'other', version: '1.0' });
  made.release();
  const configure = (...lines: readonly string[]) => {
    const rule = '{ kind: rpm, path: el9, repository: tools, policy: on-demand }';
    const upstream = `upstreams:\n  vendor:\n    url: ${made.origin.url}\n    keys: [vendor.asc]\n    mirror:\n      - ${rule}\n`;
    writeFileSync(path.join(made.data, 'airlock.yaml'), [upstream, ...lines].join('\n'));
  };
  configure();
  return {
    ...made,
    configure,
    fetched: () => made.origin.asked.filter(({ url }) => url.endsWith('.rpm')).map(({ url }) => url),
    async run() {
      const args = ['--data', made.data, 'upstream', 'sync', 'vendor'];
      const { json } = await airlockJson<{ rules: Rule[] }>(args);
      const [rule] = json.rules;
      assert.ok(rule);
      return rule;
    },
  };
}

async function status(url: string): Promise<[status: number, message: string]> {
  const response = await fetch(url);
  return [response.status, await response.text()];
}

test('a package comes with the first request, stays, and is the repository’s with the next sync', TOOLS, async (t) => {
  const made = await onDemand(t);
  const first = await made.run();
  assert.deepEqual([first.added, first.failures, first.warnings, first.waiting], [[], [], [], 3]);
  assert.deepEqual(made.fetched(), []);
  const { dnf, url } = await router(t, made);
  assert.deepEqual(
    Buffer.from(await (await fetch(`${url}repodata/repomd.xml`)).arrayBuffer()),
    made.repository.read('repodata/repomd.xml'),
  );
  assert.equal((await fetch(`${url}Packages/`)).status, 404, 'nothing of it is here');
  await dnf.run('install', 'tool');
  assert.equal(await dnf.installed('tool-lib'), '1.0-1.el7');
  const both = [`/el9/${PACKAGE('tool')}`, `/el9/${PACKAGE('tool-lib')}`];
  assert.deepEqual(made.fetched().sort(), both);
  assert.match(await (await fetch(`${url}Packages/`)).text(), /tool-lib-1\.0.*\n/, 'the listing shows what is here');
  assert.equal((await fetch(url + PACKAGE('tool'))).headers.get('x-cache'), 'HIT');

  await made.origin.stop();
  const second = await Dnf.with(t, await (await fetch(`${url}tools.repo`)).text());
  await second.run('install', 'tool');
  assert.equal(await second.installed('tool'), '1.0-1.el7');
  await assert.rejects(second.run('install', 'other'));
  assert.equal((await status(url + PACKAGE('other')))[0], 504);
  await made.origin.listen();
  await second.run('install', 'other');
  assert.equal(made.fetched().length, 3);

  const next = await made.run();
  assert.deepEqual([next.added.length, next.removed, next.waiting, made.fetched().length], [3, [], undefined, 3]);
  const entries = await made.published();
  assert.equal(entries.get(PACKAGE('tool'))?.artifact.verification.status, 'signature');
  assert.equal((await made.app.catalog.pulledTotals()).files, 0, 'it is counted once');
  const revision = await made.revision();
  const last = await made.run();
  assert.deepEqual([last.requests, last.added, await made.revision()], [1, [], revision]);
  assert.equal((await fetch(url + PACKAGE('tool'))).headers.get('x-cache'), null);
});

test('what is not what the metadata says never lands, and what it does not list is not asked for', TOOLS, async (t) => {
  const made = await onDemand(t);
  await made.run();
  const at = `/el9/${PACKAGE('other')}`;
  const right = made.repository.read(PACKAGE('other'));
  const wrong = Buffer.from(right);
  wrong[right.length - 100] = (wrong[right.length - 100] ?? 0) ^ 1;
  made.origin.files.set(at, { bytes: wrong });
  made.origin.files.set('/el9/Packages/unlisted.rpm', { bytes: right });
  const { dnf, url } = await router(t, made);
  await assert.rejects(
    async () => await (await fetch(url + PACKAGE('other'))).arrayBuffer(),
    'the last byte does not come',
  );
  await assert.rejects(dnf.run('install', 'other'));
  assert.equal((await made.app.catalog.pulledTotals()).files, 0);
  made.origin.files.delete(at);
  assert.equal((await status(url + PACKAGE('other')))[0], 404);
  made.origin.asked.length = 0;
  const [code, message] = await status(`${url}Packages/unlisted.rpm`);
  assert.deepEqual([code, made.origin.asked.length], [404, 0]);
  assert.match(message, /tools does not list/);
});

test('in offline mode what is here is served, and nobody is asked for what is not', TOOLS, async (t) => {
  const made = await onDemand(t);
  await made.run();
  const before = await startServer(t, made.data);
  const repos = '/repos/tools/';
  await (await fetch(before.url + repos + PACKAGE('tool-lib'))).arrayBuffer();
  await before.stop();
  made.configure('offlineMode: true');
  made.origin.asked.length = 0;
  const { url } = await startServer(t, made.data);
  assert.equal((await fetch(url + repos + PACKAGE('tool-lib'))).status, 200);
  const [code, message] = await status(url + repos + PACKAGE('tool'));
  assert.equal(code, 504);
  assert.match(message, /not kept here, .*the configuration of this server, forbids to fetch it/);
  assert.equal((await status(`${url}${repos}Packages/unlisted.rpm`))[0], 404);
  assert.equal(made.origin.asked.length, 0);
});

test('a package that the vendor made anew under its old name is not served from what is kept', TOOLS, async (t) => {
  const made = await onDemand(t);
  await made.run();
  const { url } = await router(t, made);
  const get = async () => Buffer.from(await (await fetch(url + PACKAGE('other'))).arrayBuffer());
  const old = await get();
  await made.run(); // now the repository has it
  made.build({ name: 'other', version: '1.0', tags: ['Provides: remade'] });
  made.release();
  assert.deepEqual(await get(), old);
  const { removed, waiting } = await made.run();
  assert.deepEqual([removed, waiting], [[], 3]);
  const remade = made.repository.read(PACKAGE('other'));
  assert.notDeepEqual(remade, old);
  assert.deepEqual(await get(), remade);
  made.build({ name: 'other', version: '1.0', tags: ['Provides: remade-again'] });
  made.release();
  await made.run(); // what is kept, and not the repository's yet, is let go of
  const newest = made.repository.read(PACKAGE('other'));
  assert.deepEqual(await get(), newest);

  // as if the one before had been on its way for long, and was kept only now
  const late = await made.app.catalog.pulled(`repos/tools/${PACKAGE('other')}`);
  assert.ok(late);
  const digest: Digest = `sha256:${createHash('sha256').update(old).digest('hex')}`;
  await made.app.catalog.transaction((tx) => tx.keepPulled({ ...late, digest, size: old.length }));
  assert.deepEqual(await get(), newest);
});

test('through a router that knows the conductor only', TOOLS, async (t) => {
  const made = await onDemand(t);
  await made.run();
  const conductor = await startServer(t, made.data);
  const data = path.join(made.dir, 'router');
  const { url } = await startServer(t, data, { command: ['proxy', '--upstream', conductor.url] });
  const dnf = await Dnf.with(t, await (await fetch(`${url}/repos/tools/tools.repo`)).text());
  await dnf.run('install', 'tool');
  assert.equal(await dnf.installed('tool-lib'), '1.0-1.el7');
  assert.equal(made.fetched().length, 2);
  assert.equal((await fetch(`${url}/repos/tools/${PACKAGE('tool')}`)).headers.get('x-cache'), 'HIT');
});

test('an export brings what is missing first, or says that it cannot', TOOLS, async (t) => {
  const made = await onDemand(t);
  await made.run();
  const [root, bundle, far] = ['root.json', 'bundle', 'far'].map((name) => path.join(made.dir, name)) as [
    string,
    string,
    string,
  ];
  mkdirSync(bundle);
  const run = (data: string, ...args: string[]) => airlock(['--data', data, ...args]);
  const done = async (data: string, ...args: string[]) => {
    const { code, stdout, stderr } = await run(data, ...args);
    assert.equal(code, 0, `${args.join(' ')}: ${stdout}${stderr}`);
    return stdout + stderr;
  };
  await done(made.data, 'keys', 'init');
  await done(made.data, 'keys', 'export-root', root);
  await done(far, 'trust', 'add', root, '--site', 'north');
  const words = ['export', '--site', 'north', '--to', bundle];
  assert.match(await done(made.data, ...words, '--dry-run'), /tools lacks 3 packages/);
  assert.deepEqual(made.fetched(), []);
  await made.origin.stop();
  const unreachable = await run(made.data, ...words);
  assert.equal(unreachable.code, 8);
  assert.match(unreachable.stderr, /tools has to be whole before it is exported/);
  await made.origin.listen();
  made.configure('offlineMode: true');
  const offline = await run(made.data, ...words);
  assert.deepEqual([offline.code, /offlineMode is true/.test(offline.stderr)], [7, true]);
  writeFileSync(path.join(made.data, 'airlock.yaml'), '');
  const alone = await run(made.data, ...words);
  assert.deepEqual([alone.code, /tools lists 3 packages that were not fetched/.test(alone.stderr)], [4, true]);
  made.configure();
  await done(made.data, ...words);
  assert.equal(made.fetched().length, 3);
  await done(far, 'import', 'bundle', bundle);
  assert.ok(!existsSync(path.join(far, 'airlock.yaml')));
  const { dnf } = await router(t, { data: far });
  await dnf.run('install', 'tool', 'other');
  assert.equal(await dnf.installed('tool'), '1.0-1.el7');
  const { requests, added } = await made.run();
  assert.deepEqual([requests, added], [1, []]);
});

test('where packages could not be proven by published metadata alone, they come at once', TOOLS, async (t) => {
  const made = await onDemand(t);
  const sync = (rule: Parameters<SignedScene['sync']>[0]) => made.sync({ policy: 'on-demand', ...rule });
  const filtered = await sync({ repository: 'filtered', include: ['tool'] });
  assert.deepEqual([filtered.added.length, filtered.waiting], [2, undefined]);
  assert.match(filtered.warnings.join(), /treated as "immediate": where packages are left out/);
  new Repository(made.repository.dir, '--no-database', '--checksum=sha512').describe();
  const signature = made.gpg.sign([made.key], made.repository.read('repodata/repomd.xml'), ['--armor']);
  made.repository.write('repodata/repomd.xml.asc', signature);
  made.repository.publish(made.origin);
  const strange = await sync({ repository: 'strange' });
  assert.deepEqual([strange.added.length, strange.waiting], [3, undefined]);
  assert.match(strange.warnings.join(), /treated as "immediate": its metadata gives other checksums/);
  for (const name of [...made.origin.files.keys()]) if (name.endsWith('.asc')) made.origin.files.delete(name);
  const unsigned = await sync({ repository: 'unsigned' });
  assert.deepEqual([unsigned.added.length, unsigned.waiting], [3, undefined]);
  assert.match(unsigned.warnings.join(), /treated as "immediate": nobody signed the metadata/);
});

test('a repository that lists nothing any more changes nothing, though no package is here', TOOLS, async (t) => {
  const made = await onDemand(t);
  await made.run();
  for (const name of made.repository.files()) if (name.endsWith('.rpm')) made.repository.remove(name);
  made.release();
  const { failures } = await made.run();
  assert.deepEqual(
    failures.map(({ code }) => code),
    ['upstream.unusable'],
  );
  assert.equal(await made.revision(), 1);
});
