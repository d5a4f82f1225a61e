/** The whole way of a release: from the vendor over the gap to machines behind a router, with what goes wrong on it. */
import { exportBundle, exportDelta, importBundle, returnReceipt } from './steps/carry.ts';
import { endWell, failOver } from './steps/fail-over.ts';
import { introduce, startServers } from './steps/introduce.ts';
import { mirror } from './steps/mirror.ts';
import { checkPlaces } from './steps/places.ts';
import { pullInTheMiddle } from './steps/pull.ts';
import { refuseForged, refuseOld } from './steps/refuse.ts';
import { checkBoth, showWhere } from './steps/replicate.ts';
import { checkRotated, rotateKeys } from './steps/rotate.ts';
import { makeFleet, upgrade } from './steps/upgrade.ts';
import type { Telling } from './telling.ts';
import type { World } from './world.ts';

/** @throws StepFailed at the first thing that is not as it should be */
export async function story(world: World, telling: Telling): Promise<void> {
  const { form, vendor } = world;
  const { older, newer, image } = vendor.releases;
  const { tell } = telling;
  await tell('places', () => checkPlaces(world));
  await tell('introduction', () => introduce(world));
  const servers = await tell('servers', () => startServers(world));

  await tell('mirror', () => mirror(world, older));
  const first = await tell('export', () => exportBundle(world));
  await tell('import', () => importBundle(world, 1));
  await tell('replication', () => checkBoth(world, [older]));
  await tell('where it is', () => showWhere(world));
  await tell('receipt', () => returnReceipt(world, 1));
  const fleet = await tell('fleet', () => makeFleet(world, servers.router.url));
  await tell('upgrade', () => upgrade(world, servers.router.url, fleet, older));

  await tell('new release', () => mirror(world, newer));
  const second = await tell('delta', () => exportDelta(world, first));
  await tell('forged sticks', () => refuseForged(world, second.bundle));
  await tell('stick pulled', () => pullInTheMiddle(world));
  const before = await tell('gone on with', () => importBundle(world, 2));
  await tell('replication again', () => checkBoth(world, [older, newer]));
  await tell('old stick', () => refuseOld(world, first.bundle));
  await tell('upgrade again', () => upgrade(world, servers.router.url, fleet.slice(0, form.clientsAgain), newer));

  await tell('keys rotated', () => rotateKeys(world));
  await tell('image-based release', () => mirror(world, image));
  await tell('export, new keys', () => exportBundle(world));
  const after = await tell('import, new keys', () => importBundle(world, 3));
  await tell('trust', () => checkRotated(world, before, after));
  await tell('replication, last', () => checkBoth(world, [older, newer, image]));
  await tell('conductor lost', () => failOver(world, servers, image));
  await tell('end', () => endWell(world, servers));
}
