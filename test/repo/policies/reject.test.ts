/** Versions that a person refused: never published, known again, and open to a change of mind. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { App } from '../../../src/app.ts';
import { type ErrorCode, isAirlockError } from '../../../src/errors.ts';
import { approvePolicy, rejectPolicy } from '../../../src/repo/policies/approve.ts';
import { bringPolicies } from '../../../src/repo/policies/bring.ts';
import { allVersions, artifactOf } from '../../../src/repo/policies/versions.ts';
import { aws, openNew } from './scene.ts';

async function bring(app: App, texts: Record<string, string>, holdWidening = true): Promise<string[]> {
  const all = Object.entries(texts).map(([name, content]) => ({
    name,
    bytes: Buffer.from(content),
    fileName: `${name}.txt`,
    origin: { file: `${name}.txt` },
    at: new Date('2026-01-02T03:04:05Z'),
    verification: { status: 'unverified' as const, checks: [] },
    channel: 'downloads',
    source: 'downloads',
    holdWidening,
  }));
  const brought = await bringPolicies(app, all, 'test');
  return brought.map(({ outcome, version, waitsFor }) =>
    [outcome, `${version.name}@${version.version}`, ...waitsFor.map((name) => `<${name}`)].join(' '),
  );
}

async function states(app: App): Promise<string[]> {
  return (await allVersions(app.catalog)).map(({ name, version, held, rejected }) => {
    const state = rejected === null ? (held === null ? 'published' : 'held') : `rejected: ${rejected.reason}`;
    return `${name}@${version} ${state}`;
  });
}

const coded =
  (...codes: ErrorCode[]) =>
  (error: unknown) =>
    isAirlockError(error, ...codes);

test('a rejected version is never published, whoever brings its bytes again', async (t) => {
  const app = await openNew(t);
  await bring(app, { p: aws('s3:A') });
  assert.deepEqual(await bring(app, { p: aws('s3:*') }), ['held p@2']);
  const rejected = await rejectPolicy(app, 'p', 2, 'too much');
  assert.deepEqual([rejected.outcome, rejected.version.held], ['rejected', null]);
  assert.deepEqual(await states(app), ['p@1 published', 'p@2 rejected: too much']);
  const { length } = await app.catalog.revisions('policies');
  for (const hold of [true, false]) assert.deepEqual(await bring(app, { p: aws('s3:*') }, hold), ['rejected p@2']);
  assert.equal((await app.catalog.revisions('policies')).length, length, 'nothing changed');
  assert.equal(await app.catalog.lookup('policies', 'p@2'), undefined);
  for await (const { digest } of app.catalog.prune({ before: new Date(), remove: async () => undefined })) {
    assert.fail(`${digest} is no longer protected`);
  }

  // Another text is compared with what is published, and has a number of its own.
  assert.deepEqual(await bring(app, { p: aws('s3:A', 's3:B') }), ['held p@3']);
  assert.deepEqual(await bring(app, { p: aws('s3:*') }), ['rejected p@2']);
  await approvePolicy(app, 'p', 3);
  assert.deepEqual(await bring(app, { p: aws('s3:B') }), ['published p@4']);
  assert.deepEqual(await bring(app, { p: aws('s3:*') }), ['rejected p@2']);
});

test('rejecting again keeps the date, and takes another reason', async (t) => {
  const app = await openNew(t);
  await bring(app, { p: aws('s3:A') });
  await bring(app, { p: aws('s3:*') });
  const first = await rejectPolicy(app, 'p', 2, null);
  const second = await rejectPolicy(app, 'p', 2, 'too much');
  assert.deepEqual(second.version.rejected, { at: first.version.rejected?.at, reason: 'too much' });
  assert.deepEqual((await rejectPolicy(app, 'p', 2, null)).version, second.version);
});

test('who changes their mind says so', async (t) => {
  const app = await openNew(t);
  await bring(app, { p: aws('s3:A') });
  await bring(app, { p: aws('s3:*') });
  await rejectPolicy(app, 'p', 2, null);
  await assert.rejects(approvePolicy(app, 'p', 2), coded('policy.rejected'));
  const { outcome, version } = await approvePolicy(app, 'p', 2, { rejected: true });
  assert.deepEqual([outcome, version.rejected], ['published', null]);
  assert.deepEqual(await states(app), ['p@1 published', 'p@2 published']);
  assert.deepEqual(await bring(app, { p: aws('s3:*') }), ['present p@2']);
  await assert.rejects(rejectPolicy(app, 'p', 2, null), coded('policy.published'));
  await assert.rejects(rejectPolicy(app, 'p', 3, null), coded('policy.not-found'));
  await assert.rejects(rejectPolicy(app, 'q', 1, null), coded('policy.not-found'));
});

test('what others publish all the same is published', async (t) => {
  const app = await openNew(t);
  await bring(app, { p: aws('s3:A') });
  await bring(app, { p: aws('s3:*') });
  await rejectPolicy(app, 'p', 2, 'too much');
  const [, rejected] = await allVersions(app.catalog);
  assert.ok(rejected);
  const artifact = artifactOf(rejected);
  const put = ['p', 'p@2'].map((at) => ({ path: at, artifact, replace: true }));
  await app.catalog.transaction((tx) => tx.publish('policies', { reason: 'as a bundle does', put }));
  assert.deepEqual(await states(app), ['p@1 published', 'p@2 published']);
  assert.deepEqual(await bring(app, { p: aws('s3:A') }), ['published p@3']);
  assert.deepEqual(await bring(app, { p: aws('s3:*') }, false), ['published p@4']);
});

test('an older version that was held does not come back in the place of one that was rejected', async (t) => {
  const app = await openNew(t);
  await bring(app, { p: aws('s3:A') });
  assert.deepEqual(await bring(app, { p: aws('s3:B') }), ['held p@2']);
  assert.deepEqual(await bring(app, { p: aws('s3:*') }), ['held p@3']);
  await rejectPolicy(app, 'p', 3, null);
  assert.deepEqual(await states(app), ['p@1 published', 'p@2 held', 'p@3 rejected: null']);
  assert.equal((await approvePolicy(app, 'p', 2)).outcome, 'published', 'a person may still want it');
});

test('a part of a set goes nowhere with a part that was rejected', async (t) => {
  const app = await openNew(t);
  const set = (first: string, second: string) => ({ 'x-expanded-1': aws(first), 'x-expanded-2': aws(second) });
  await bring(app, set('s3:A', 'ec2:A'));
  assert.deepEqual(await bring(app, set('s3:A*', 'ec2:B')), [
    'held x-expanded-1@2 <x-expanded-2',
    'held x-expanded-2@2 <x-expanded-1',
  ]);
  await rejectPolicy(app, 'x-expanded-1', 2, 'too much');
  const { outcome, waitsFor } = await approvePolicy(app, 'x-expanded-2', 2);
  assert.deepEqual([outcome, waitsFor], ['held', ['x-expanded-1@2']]);
  assert.deepEqual(await bring(app, set('s3:A*', 'ec2:B')), [
    'rejected x-expanded-1@2',
    'held x-expanded-2@2 <x-expanded-1',
  ]);
  assert.equal((await app.catalog.lookup('policies', 'x-expanded-2'))?.artifact.facts.version, 1);
  // Another text for the part that was rejected lets both go.
  assert.deepEqual(await bring(app, { ...set('s3:A', 'ec2:B') }), [
    'present x-expanded-1@1',
    'published x-expanded-2@2',
  ]);
});
