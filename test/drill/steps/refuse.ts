/** Sticks that must not get in. */
import assert from 'node:assert/strict';
import { cp, open } from 'node:fs/promises';
import path from 'node:path';
import { tempDir } from '../../support/temp-dir.ts';
import { Machine } from '../machine.ts';
import type { Told } from '../telling.ts';
import { PORTS, SITE, urlOf, type World } from '../world.ts';

/** What clients of A see. */
export async function shownAtA({ places: { enclave } }: World): Promise<string> {
  const api = `${urlOf(enclave.address, PORTS.a)}/api/v1`;
  return await enclave.run('curl', '-sS', '--fail', `${api}/releases`, `${api}/repositories`);
}

/** One that a stranger signed, and a good one of which a single byte was changed. @param bundle not landed yet */
export async function refuseForged(world: World, bundle: string): Promise<Told<void>> {
  const { scope, a, stick } = world;
  const before = await shownAtA(world);
  const changed = path.join(await tempDir(scope), bundle);
  const [, stranger] = await Promise.all([
    stick.with((dir) => cp(path.join(dir, bundle), changed, { recursive: true })),
    forge(world),
  ]);
  await flipByte(path.join(changed, 'volume-0001.tar'));
  const codes = [await a.refuses(4, 'import', 'bundle', stranger), await a.refuses(4, 'import', 'bundle', changed)];
  assert.equal(await shownAtA(world), before, 'nothing landed');
  return {
    value: undefined,
    said: `a stick signed by a stranger (${codes[0]}) and one with a byte changed (${codes[1]}) were refused`,
    checked: ['exit code 4, twice', 'nothing landed'],
  };
}

/** @param bundle that landed, before another one did */
export async function refuseOld(world: World, bundle: string): Promise<Told<void>> {
  const before = await shownAtA(world);
  const code = await world.stick.with((dir) => world.a.refuses(4, 'import', 'bundle', path.join(dir, bundle)));
  assert.equal(await shownAtA(world), before, 'nothing landed');
  return {
    value: undefined,
    said: `the old ${bundle} was refused (${code})`,
    checked: ['exit code 4', 'nothing landed'],
  };
}

/** A bundle for the site, made by somebody else with keys of the same roles. @returns the folder that holds it */
async function forge({ scope, places, vendor }: World): Promise<string> {
  const stranger = await Machine.make(scope, 'stranger', places.internet);
  const file = vendor.certificate;
  const to = await tempDir(scope);
  await Promise.all([
    stranger.done('keys', 'init'),
    stranger.done('import', 'file', '--repository', 'images', '--path', '6.2/evil.iso', file),
  ]);
  await stranger.done('export', '--site', SITE, '--to', to);
  return to;
}

/** In its middle. */
async function flipByte(file: string): Promise<void> {
  const handle = await open(file, 'r+');
  try {
    const at = Math.floor((await handle.stat()).size / 2);
    const { buffer } = await handle.read(Buffer.alloc(1), 0, 1, at);
    await handle.write(Buffer.from([(buffer[0] ?? 0) ^ 1]), 0, 1, at);
  } finally {
    await handle.close();
  }
}
