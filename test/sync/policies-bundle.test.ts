/** Policy texts across the gap: published versions with all that is said of them, and nothing that is held. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { approvePolicy, rejectPolicy } from '../../src/repo/policies/approve.ts';
import { bringPolicies, type PolicyText } from '../../src/repo/policies/bring.ts';
import { allVersions, newestVersion, type PolicyVersion, requireVersion } from '../../src/repo/policies/versions.ts';
import { coded, type Place, scene } from './scene.ts';

const aws = (...actions: string[]) =>
  JSON.stringify({ Version: '2012-10-17', Statement: { Effect: 'Allow', Action: actions, Resource: '*' } });

async function bring(place: Place, name: string, content: string, more: Partial<PolicyText> = {}): Promise<string> {
  const text: PolicyText = {
    name,
    bytes: Buffer.from(content),
    fileName: `${name}.txt`,
    origin: { url: `https://vendor.example/${name}.txt` },
    validators: { etag: '"1"', lastModified: 'Fri, 02 Jan 2026 03:04:05 GMT' },
    at: new Date('2026-01-02T03:04:05Z'),
    verification: { status: 'unverified', checks: [] },
    channel: 'vendor',
    source: 'vendor',
    ...more,
  };
  const [brought] = await bringPolicies(place.app, [text], 'test');
  return `${brought?.outcome} ${brought?.version.version}`;
}

/** What is known of all versions, but for where they were brought from to here. */
async function known(place: Place): Promise<object[]> {
  return (await allVersions(place.app.catalog)).map(({ source: _source, ...version }) => version);
}

async function deliver(station: Place, site: Place, stick: string): Promise<void> {
  await station.export(stick);
  await site.import(stick);
}

async function newest(place: Place, name: string): Promise<PolicyVersion | undefined> {
  return await newestVersion(place.app.catalog, name);
}

test('published versions, their history and their releases reach the site; held ones stay', async (t) => {
  const { station, site, folder } = await scene(t);
  await bring(station, 'app', aws('s3:A'), { releases: ['6.8'] });
  await bring(station, 'app', aws('s3:A', 's3:B'), { releases: ['6.9'], at: new Date('2026-02-03T04:05:06Z') });
  assert.equal(await bring(station, 'app', aws('s3:*'), { holdWidening: true }), 'held 3');
  const held = await requireVersion(station.app.catalog, { name: 'app', version: 3 });
  const sent = (await known(station)).slice(0, 2);
  await deliver(station, site, await folder('one'));
  assert.deepEqual(await known(site), sent);
  assert.equal((await newest(site, 'app'))?.version, 2);
  assert.equal(await site.app.blobs.stat(held.digest), undefined, 'its bytes do not travel either');

  await rejectPolicy(station.app, 'app', 3, 'too much');
  await deliver(station, site, await folder('rejected'));
  assert.deepEqual(await known(site), sent, 'what was rejected does not travel');
  assert.equal(await site.app.blobs.stat(held.digest), undefined);

  await approvePolicy(station.app, 'app', 3, { rejected: true });
  await deliver(station, site, await folder('two'));
  assert.deepEqual(await known(site), await known(station));
  const approved = await newest(site, 'app');
  assert.deepEqual([approved?.version, approved?.approvedAt !== null], [3, true]);
});

test('what is said later of a text that is there reaches the site, too', async (t) => {
  const { station, site, folder } = await scene(t);
  await bring(station, 'app', aws('s3:A'), { releases: ['6.8'] });
  await bring(station, 'app', aws('s3:B'));
  await deliver(station, site, await folder('one'));

  assert.equal(await bring(station, 'app', aws('s3:B'), { releases: ['6.9'] }), 'completed 2');
  assert.equal(await bring(site, 'app', aws('s3:B'), { releases: ['own'] }), 'completed 2');
  await deliver(station, site, await folder('two'));
  assert.deepEqual((await newest(site, 'app'))?.releases, ['own', '6.9']);
  assert.equal((await newest(site, 'app'))?.source, 'bundle 1');

  // Back to the bytes of the first: a third version, which is the newest at either side.
  assert.equal(await bring(station, 'app', aws('s3:A')), 'published 3');
  await deliver(station, site, await folder('three'));
  assert.equal((await newest(site, 'app'))?.version, 3);
  const before = (await site.app.catalog.revisions('policies')).length;
  assert.equal((await site.import(await folder('three'))).outcome, 'present');
  assert.equal((await site.app.catalog.revisions('policies')).length, before);
});

test('the newest version is the newest at the site, though the bytes under its name are old ones', async (t) => {
  const { station, site, folder } = await scene(t);
  await bring(station, 'app', aws('s3:A'));
  await deliver(station, site, await folder('one'));
  await bring(station, 'app', aws('s3:B'));
  await bring(station, 'app', aws('s3:A'));
  await deliver(station, site, await folder('two'));
  assert.equal((await newest(site, 'app'))?.version, 3);
  assert.deepEqual(await known(site), await known(station));
});

test('a site keeps the versions that it brought in itself', async (t) => {
  const { station, site, stick, folder } = await scene(t);
  const own = { source: 'downloads', releases: ['6.8'] };
  await bring(site, 'app', aws('s3:A'), own);
  await bring(station, 'app', aws('s3:A'), { releases: ['6.9'] });
  await deliver(station, site, stick);
  const joined = await newest(site, 'app');
  assert.deepEqual([joined?.source, joined?.releases], ['downloads', ['6.8', '6.9']]);

  await bring(site, 'app', aws('s3:Own'), own);
  await bring(station, 'app', aws('s3:Theirs'));
  const before = await known(site);
  await station.export(await folder('two'));
  await assert.rejects(site.import(await folder('two')), coded('path.conflict'));
  assert.deepEqual(await known(site), before);
});
