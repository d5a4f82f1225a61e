/** Policy texts of a pair: what is published is at both, what was set aside stays where it is. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { approvePolicy, rejectPolicy } from '../../../src/repo/policies/approve.ts';
import { bringPolicies } from '../../../src/repo/policies/bring.ts';
import { allVersions } from '../../../src/repo/policies/versions.ts';
import { digestOf, pair, type Twin } from './twins.ts';

const aws = (action: string) =>
  JSON.stringify({ Version: '2012-10-17', Statement: { Effect: 'Allow', Action: action, Resource: '*' } });

async function bring({ app }: Twin, content: string): Promise<string | undefined> {
  const text = { name: 'app', bytes: Buffer.from(content), fileName: 'app.txt', origin: { file: 'app.txt' } };
  const by = { channel: 'downloads', source: 'downloads', at: new Date(), holdWidening: true };
  const [brought] = await bringPolicies(
    app,
    [{ ...text, ...by, verification: { status: 'unverified', checks: [] } }],
    'test',
  );
  return brought?.outcome;
}

test('a version that was rejected does not come to the other, until somebody publishes it', async (t) => {
  const { a, b, bLooks } = await pair(t);
  await bring(a, aws('s3:A'));
  assert.equal(await bring(a, aws('s3:*')), 'held');
  await rejectPolicy(a.app, 'app', 2, 'too much');
  await bLooks();
  const first = digestOf(aws('s3:A'));
  assert.deepEqual(await b.holds(), { 'policies/app': first, 'policies/app@1': first });
  assert.deepEqual(
    (await allVersions(b.app.catalog)).map(({ version }) => version),
    [1],
  );
  assert.equal(await b.app.blobs.stat(digestOf(aws('s3:*'))), undefined, 'its bytes are not fetched either');
  await approvePolicy(a.app, 'app', 2, { rejected: true });
  await bLooks();
  assert.deepEqual(await b.holds(), await a.holds());
});
