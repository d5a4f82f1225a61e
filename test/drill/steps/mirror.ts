/** What the vendor publishes comes to staging, and nothing else. */
import assert from 'node:assert/strict';
import path from 'node:path';
import type { Told } from '../telling.ts';
import type { Release } from '../vendor.ts';
import type { World } from '../world.ts';

interface Synced {
  readonly outcome: string;
  readonly requests: number;
  readonly bytes: number;
  readonly rules: readonly { readonly added: readonly string[]; readonly removed: readonly string[] }[];
}

/** The vendor publishes a release, and staging mirrors it. */
export async function mirror({ vendor, staging }: World, release: Release): Promise<Told<void>> {
  await vendor.publish(release);
  const before = (await vendor.nginx.requests()).length;
  const synced = await staging.json<Synced>('upstream', 'sync', 'ssr');
  const asked = (await vendor.nginx.requests()).slice(before);
  const added = synced.rules.flatMap((rule) => rule.added);
  assert.deepEqual(added, [`images/${release.path}`], 'what came is what was published');
  assert.deepEqual(
    synced.rules.flatMap((rule) => rule.removed),
    [],
  );
  const images = asked.filter(({ method, uri }) => method === 'GET' && uri.endsWith('.iso'));
  assert.deepEqual(
    images.map(({ uri, status, authorization }) => [path.posix.basename(uri), status, authorization !== '']),
    [[release.name, '200', true]],
    'of images, only the new one was read, once',
  );
  return {
    value: undefined,
    said: `${release.name} published, mirrored with ${synced.requests} requests`,
    checked: ['over TLS, with the password', 'just that image came, read once'],
    bytes: synced.bytes,
  };
}
