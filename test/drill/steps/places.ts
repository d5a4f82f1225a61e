/** That the places are as far from each other as the story says. */
import assert from 'node:assert/strict';
import type { Place } from '../places.ts';
import type { Told } from '../telling.ts';
import { PORTS, urlOf, type World } from '../world.ts';

/** @returns nothing; the vendor refuses who has no password, and nobody but staging reaches the vendor */
export async function checkPlaces({ places, vendor, form, stick }: World): Promise<Told<void>> {
  const { staging, enclave, branch, clients, instead } = places;
  assert.equal(await statusOf(staging, `${vendor.url}/`), '401');
  const medium = stick.instead === undefined ? 'a FAT image' : `a folder as the stick (${stick.instead})`;
  if (instead !== undefined) {
    const said = `all on the loopback (${instead}), ${medium}`;
    return { value: undefined, said, checked: ['the vendor asks for a password'] };
  }
  for (const place of [enclave, branch, clients]) assert.equal(await statusOf(place, vendor.url), 'no route');
  assert.equal(await statusOf(clients, urlOf(enclave.address, PORTS.a)), 'no route');
  return {
    value: undefined,
    said: `five networks, ${form.bitsPerSecond / 1e6} Mbit/s between enclave and branch, ${medium}`,
    checked: [
      'the vendor asks for a password',
      'no route from enclave, branch and clients to the vendor',
      'clients reach the enclave through the router only',
    ],
  };
}

async function statusOf(place: Place, url: string): Promise<string> {
  const words = ['-sS', '-k', '-o', '/dev/null', '--max-time', '10', '-w', '%{http_code}', url];
  return await place.run('curl', ...words).catch((error: { code?: number; stderr?: string }) => {
    // curl(1), EXIT CODES: could not connect
    assert.equal(error.code, 7, error.stderr);
    return 'no route';
  });
}
