/** A conductor of the pair dies while the branch reads from it. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { CliResult } from '../../support/cli.ts';
import { until } from '../../support/ha-pair.ts';
import type { Told } from '../telling.ts';
import type { Release } from '../vendor.ts';
import type { World } from '../world.ts';
import type { Servers } from './introduce.ts';
import { download } from './upgrade.ts';

/** @param release that the router does not have yet */
export async function failOver({ places }: World, servers: Servers, release: Release): Promise<Told<void>> {
  const { clients } = places;
  const { url } = servers.router;
  const fetched = async () => {
    const status = JSON.parse(await clients.run('curl', '-sS', '--fail', `${url}/api/v1/cache`));
    return (status as { fetchedBytes: number }).fetchedBytes;
  };
  const before = await fetched();
  let isOver = false;
  const reading = download(clients, `${url}/repos/images/${release.path}`, release).finally(() => {
    isOver = true;
  });
  await Promise.race([until('some of it has come', async () => (await fetched()) - before > 2 ** 18), reading]);
  assert.equal(isOver, false, 'it died in the middle');
  servers.a.child.kill('SIGKILL');
  await once(servers.a.child, 'exit');
  await reading;
  const all = (await fetched()) - before;
  assert.ok(all < release.bytes.length * 1.1 + 2 ** 18, `${all} bytes were fetched`);
  return {
    value: undefined,
    said: `A was killed in the middle of ${release.name}; the router went on with B`,
    checked: ['the image came whole', 'what A had sent was not fetched again'],
    bytes: release.bytes.length,
  };
}

/** The other one still has everything, and ends in peace. */
export async function endWell({ b }: World, servers: Servers): Promise<Told<void>> {
  await b.done('verify');
  const ended: CliResult[] = await Promise.all([servers.b.stop(), servers.router.stop()]);
  for (const { code, stderr } of ended) assert.equal(code, 0, stderr);
  return {
    value: undefined,
    said: 'B and the router were stopped',
    checked: ['"airlock verify" at B reads every blob', 'both ended with 0'],
  };
}
