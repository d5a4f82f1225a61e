/** Versions of policy texts: when there is a new one, what is held, and what goes together. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { App } from '../../../src/app.ts';
import { isAirlockError } from '../../../src/errors.ts';
import { approvePolicy } from '../../../src/repo/policies/approve.ts';
import { bringPolicies, type PolicyText } from '../../../src/repo/policies/bring.ts';
import { allVersions, readVersion, requireVersion } from '../../../src/repo/policies/versions.ts';
import { aws, openNew } from './scene.ts';

function text(name: string, content: string, more: Partial<PolicyText> = {}): PolicyText {
  return {
    name,
    bytes: Buffer.from(content),
    fileName: `${name}.txt`,
    origin: { url: `https://vendor.example/${name}.txt` },
    validators: { etag: '"1"' },
    at: new Date('2026-01-02T03:04:05Z'),
    verification: { status: 'unverified', checks: [] },
    channel: 'upstream',
    source: 'vendor',
    ...more,
  };
}

async function bring(app: App, ...texts: PolicyText[]): Promise<string[]> {
  const brought = await bringPolicies(app, texts, 'test');
  return brought.map(({ outcome, version, waitsFor, along }) =>
    [outcome, `${version.name}@${version.version}`, ...waitsFor.map((name) => `<${name}`), ...along].join(' '),
  );
}

/** What readers find, by path: the number of the version whose text it is. */
async function published(app: App): Promise<Record<string, unknown>> {
  const { published: revision = 0 } = (await app.catalog.repository('policies')) ?? {};
  const found: Record<string, unknown> = {};
  if (revision === 0) return found;
  for await (const { path, artifact } of app.catalog.entries('policies', revision))
    found[path] = artifact.facts.version;
  return found;
}

test('new bytes are a new version, known ones are not', async (t) => {
  const app = await openNew(t);
  assert.deepEqual(await bring(app, text('p', aws('s3:A'))), ['published p@1']);
  assert.deepEqual(await bring(app, text('p', aws('s3:A'), { at: new Date() })), ['present p@1']);
  assert.deepEqual(await bring(app, text('p', aws('s3:*'))), ['published p@2']);
  assert.deepEqual(await bring(app, text('p', aws('s3:A'))), ['published p@3']);
  assert.deepEqual(await published(app), { p: 3, 'p@1': 1, 'p@2': 2, 'p@3': 3 });
  const versions = await allVersions(app.catalog);
  assert.deepEqual(
    versions.map(({ widening, format, at, origin, validators }) => [widening, format, at, origin, validators]),
    [null, 'yes', 'no'].map((widening) => [
      widening,
      'aws',
      '2026-01-02T03:04:05.000Z',
      { url: 'https://vendor.example/p.txt' },
      { etag: '"1"' },
    ]),
  );
  const second = await requireVersion(app.catalog, { name: 'p', version: 2 });
  assert.equal((await readVersion(app, second)).toString(), aws('s3:*'));
  assert.equal((await app.catalog.revisions('policies')).length, 3);
});

test('a number that stood for other bytes is never used again', async (t) => {
  const app = await openNew(t);
  for (const action of ['s3:A', 's3:B', 's3:C']) await bring(app, text('p', aws(action)));
  await app.catalog.transaction((tx) => tx.publishAgain('policies', 1));
  assert.deepEqual(await published(app), { p: 1, 'p@1': 1 });
  assert.deepEqual(await bring(app, text('p', aws('s3:D'))), ['published p@4']);
  await app.catalog.transaction((tx) => tx.publishAgain('policies', 1));
  assert.deepEqual(await bring(app, text('p', aws('s3:B'))), ['published p@2']);
});

test('what makes more possible is held where that is wanted, until somebody approves', async (t) => {
  const app = await openNew(t);
  const held = { holdWidening: true };
  await bring(app, text('p', aws('s3:A', 's3:B'), held));
  assert.deepEqual(await bring(app, text('p', aws('s3:A'), held)), ['published p@2']);
  assert.deepEqual(await bring(app, text('p', aws('s3:*'), held)), ['held p@3']);
  const { length } = await app.catalog.revisions('policies');
  assert.deepEqual(await bring(app, text('p', aws('s3:*'))), ['held p@3']);
  assert.equal((await app.catalog.revisions('policies')).length, length, 'what is held already changes nothing');
  assert.deepEqual(await bring(app, text('p', 'no JSON at all', held)), ['held p@4']);
  assert.deepEqual(await bring(app, text('p', aws('s3:A'), held)), ['present p@2']);
  assert.deepEqual(await published(app), { p: 2, 'p@1': 1, 'p@2': 2 });
  for await (const { digest } of app.catalog.prune({ before: new Date(), remove: async () => undefined })) {
    assert.fail(`${digest} is no longer protected`);
  }
  assert.equal((await approvePolicy(app, 'p', 4)).outcome, 'published');
  assert.deepEqual(await published(app), { p: 4, 'p@1': 1, 'p@2': 2, 'p@4': 4 });
  assert.equal((await approvePolicy(app, 'p', 3)).outcome, 'published');
  assert.deepEqual(await published(app), { p: 4, 'p@1': 1, 'p@2': 2, 'p@3': 3, 'p@4': 4 });
  assert.equal((await approvePolicy(app, 'p', 3)).outcome, 'present');
  const [, , third] = await allVersions(app.catalog);
  assert.ok(third?.approvedAt);
  await assert.rejects(approvePolicy(app, 'p', 9), (error) => isAirlockError(error, 'policy.not-found'));
});

test('the parts of a set are published together or not at all', async (t) => {
  const app = await openNew(t);
  assert.deepEqual(await bring(app, text('x-expanded-1', aws('s3:A'))), ['held x-expanded-1@1 <x-expanded-2']);
  assert.deepEqual(await published(app), {});
  assert.deepEqual(await bring(app, text('x-expanded-2', aws('ec2:A'))), ['published x-expanded-2@1 x-expanded-1@1']);
  const first = { 'x-expanded-1': 1, 'x-expanded-1@1': 1, 'x-expanded-2': 1, 'x-expanded-2@1': 1 };
  assert.deepEqual(await published(app), first);
  assert.equal((await app.catalog.revisions('policies')).length, 2, 'one for the part that waited, one for both');

  assert.deepEqual(await bring(app, text('x-expanded-1', aws('s3:B'))), ['held x-expanded-1@2 <x-expanded-2']);
  assert.deepEqual(await published(app), first);
  assert.deepEqual(await bring(app, text('x-expanded-2', aws('ec2:A'))), ['present x-expanded-2@1 x-expanded-1@2']);
  assert.deepEqual(await published(app), { ...first, 'x-expanded-1': 2, 'x-expanded-1@2': 2 });

  const both = [text('x-expanded-1', aws('s3:C')), text('x-expanded-2', aws('ec2:C'), { holdWidening: true })] as const;
  assert.deepEqual(await bring(app, ...both), ['held x-expanded-1@3 <x-expanded-2', 'held x-expanded-2@2']);
  assert.deepEqual(await approvePolicy(app, 'x-expanded-1', 3).then(({ waitsFor }) => waitsFor), ['x-expanded-2@2']);
  assert.deepEqual(await approvePolicy(app, 'x-expanded-2', 2).then(({ along }) => along), ['x-expanded-1@3']);
  assert.equal((await published(app))['x-expanded-1'], 3);
  assert.equal((await published(app))['x-expanded-2'], 2);
});

test('a version goes with the releases that people name', async (t) => {
  const app = await openNew(t);
  await bring(app, text('p', aws('s3:A'), { releases: ['6.8'] }));
  assert.deepEqual(await bring(app, text('p', aws('s3:A'), { releases: ['6.9', '6.8'] })), ['completed p@1']);
  assert.deepEqual((await allVersions(app.catalog))[0]?.releases, ['6.8', '6.9']);
  assert.deepEqual(await bring(app, text('p', aws('s3:A'), { releases: ['6.9'] })), ['present p@1']);
});

test('what is no policy text is refused, and nothing is left of it', async (t) => {
  const app = await openNew(t);
  const refused = async (code: 'policy.empty' | 'policy.limit' | 'path.invalid', bad: PolicyText) => {
    const all = bringPolicies(app, [text('good', 'x'), bad], 'test');
    await assert.rejects(all, (error) => isAirlockError(error, code), code);
  };
  await refused('policy.empty', text('p', ''));
  await refused('policy.empty', text('p', ' \r\n\t'));
  await refused('policy.limit', text('p', '['.repeat(10_000)));
  await refused('policy.limit', { ...text('p', ''), bytes: Buffer.from(`\ufeff${'['.repeat(10_000)}`, 'utf16le') });
  await refused('policy.empty', { ...text('p', ''), bytes: Buffer.from('\ufeff \n', 'utf16le') });
  await refused('policy.limit', text('p', ' '.repeat(10 * 2 ** 20 + 1), { force: true }));
  await refused('path.invalid', text('../p', 'x'));
  await refused('path.invalid', text('p@1', 'x'));
  assert.deepEqual(await published(app), {});
  assert.deepEqual(await app.catalog.totals(), { blobs: 0, bytes: 0 });
  assert.deepEqual(await bring(app, text('p', '', { force: true })), ['published p@1']);
  assert.deepEqual(await bring(app, text('p', 'x'.repeat(10_000_000))), ['published p@2'], 'large, and a text');
});

test('two at a time get different numbers', async (t) => {
  const app = await openNew(t);
  const texts = ['a', 'b', 'c', 'd'].map((content) => bring(app, text('p', content)));
  const numbers = (await Promise.all(texts)).flat().sort();
  assert.deepEqual(
    numbers,
    [1, 2, 3, 4].map((number) => `published p@${number}`),
  );
});
