/** One insertion feeds both conductors. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { RPM_REPOSITORY } from '../../support/conductor.ts';
import { until } from '../../support/ha-pair.ts';
import { tempDir } from '../../support/temp-dir.ts';
import type { Place } from '../places.ts';
import type { Told } from '../telling.ts';
import type { Release } from '../vendor.ts';
import { PORTS, urlOf, type World } from '../world.ts';

interface Available {
  readonly file: string;
  readonly digest: string;
  readonly verification: string;
}

/** @param releases all that must be on both now */
export async function checkBoth(world: World, releases: readonly Release[]): Promise<Told<void>> {
  const { enclave } = world.places;
  const [a, b] = [urlOf(enclave.address, PORTS.a), urlOf(enclave.address, PORTS.b)];
  const wanted = releases.map(({ name, bytes }) => `${name} ${digestOf(bytes)}`).sort();
  assert.deepEqual(await availableAt(enclave, a), wanted, 'A offers what the vendor published');
  await until('B offers what A offers', async () => (await availableAt(enclave, b)).join() === wanted.join());
  await until('B has the packages, too', async () => {
    // Not asked for by path before it is there: that would be passed on to A.
    await get(enclave, `${b}/api/v1/repositories/${RPM_REPOSITORY}`);
    const metadata = `repos/${RPM_REPOSITORY}/repodata/repomd.xml`;
    return (await get(enclave, `${a}/${metadata}`)) === (await get(enclave, `${b}/${metadata}`));
  });
  const last = releases.at(-1);
  assert.ok(last);
  await assertServed(world, `${b}/repos/images/${last.path}`, last);
  return {
    value: undefined,
    said: `B has ${last.name} by replication`,
    checked: [
      'digests of all images at A and B',
      'signed by the vendor',
      'one metadata at both',
      'bytes served by B are the vendor’s',
    ],
    bytes: last.bytes.length,
  };
}

/** For people: where each release is. */
export async function showWhere({ b }: World): Promise<Told<void>> {
  const shown = await b.json<{ locations: string[] }[]>('show', 'system', 'software', 'available');
  assert.ok(shown.length > 0);
  for (const { locations } of shown) assert.deepEqual(locations, ['here', 'peer']);
  return {
    value: undefined,
    said: `"show system software available" at B lists ${shown.length}`,
    checked: ['each is here and at the peer'],
  };
}

/** Each is vouched for by the vendor's signature, which was checked at staging. */
async function availableAt(place: Place, url: string): Promise<string[]> {
  const all = JSON.parse(await get(place, `${url}/api/v1/releases`)) as Available[];
  for (const { file, verification } of all) assert.equal(verification, 'signature', file);
  return all.map(({ file, digest }) => `${file} ${digest}`).sort();
}

async function assertServed({ scope, places }: World, url: string, { bytes }: Release): Promise<void> {
  const file = path.join(await tempDir(scope), 'served');
  await places.enclave.run('curl', '-sS', '--fail', '-o', file, url);
  assert.ok((await readFile(file)).equals(bytes), url);
}

function get(place: Place, url: string): Promise<string> {
  return place.run('curl', '-sS', '--fail', url);
}

function digestOf(bytes: Buffer): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}
