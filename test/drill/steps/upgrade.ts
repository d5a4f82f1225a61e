/** The fleet behind the router upgrades, over a link that nobody wants to pay for twice. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { formatBytes } from '../../../src/commands/format.ts';
import { RPM_REPOSITORY } from '../../support/conductor.ts';
import { DNF, Dnf } from '../../support/dnf.ts';
import { needsRoot } from '../../support/needs.ts';
import type { Place } from '../places.ts';
import type { Told } from '../telling.ts';
import type { Release } from '../vendor.ts';
import type { World } from '../world.ts';

const exec = promisify(execFile);

/** A machine; without a dnf it only downloads. */
export interface Client {
  readonly dnf?: Dnf;
}

/** Machines that run an older release and know one repository: what the router offers as its `.repo` file. */
export async function makeFleet({ scope, form, places, vendor }: World, routerUrl: string): Promise<Told<Client[]>> {
  const { skip } = needsRoot(...DNF);
  const checked = ['the router offers a .repo file with signatures asked for'];
  const { clients } = places;
  const repoFile = await clients.run(
    'curl',
    '-sS',
    '--fail',
    `${routerUrl}/repos/${RPM_REPOSITORY}/${RPM_REPOSITORY}.repo`,
  );
  assert.match(repoFile, /^gpgcheck=1$/m);
  assert.match(repoFile, /^repo_gpgcheck=1$/m);
  if (skip !== undefined) {
    const value = Array.from({ length: form.clients }, () => ({}));
    return { value, said: `${form.clients} machines without dnf (${skip}): they only download`, checked };
  }
  const fleet: Dnf[] = [];
  for (let count = 0; count < form.clients; count += 1) {
    const dnf = await Dnf.with(scope, repoFile, clients.wrapper);
    const [first] = fleet;
    if (first === undefined) await exec('rpm', ['--root', dnf.root, '--install', '--nosignature', ...vendor.installed]);
    else await exec('cp', ['-a', `${first.root}/.`, dnf.root]);
    fleet.push(dnf);
  }
  return { value: fleet.map((dnf) => ({ dnf })), said: `${form.clients} machines run 128T 6.2.4`, checked };
}

/** Each upgrades with dnf, and downloads the image of the release. */
export async function upgrade(
  { form, places }: World,
  routerUrl: string,
  clients: readonly Client[],
  release: Release,
): Promise<Told<void>> {
  const before = await places.sentOverLink();
  const url = `${routerUrl}/repos/images/${release.path}`;
  await inParallel(clients, form.together, async ({ dnf }) => {
    await Promise.all([download(places.clients, url, release), upgradeOne(dnf, release)]);
  });
  const over = (await places.sentOverLink()) - before;
  const once = release.bytes.length + (clients[0]?.dnf === undefined ? 0 : form.kilobytes.own * 1024);
  const upgraded = clients[0]?.dnf === undefined ? 'downloaded' : `upgraded to ${release.version} and downloaded`;
  const said = `${clients.length} of the machines ${upgraded} ${release.name} through the router`;
  const checked = [
    'every byte of every image',
    ...(clients[0]?.dnf === undefined ? [] : ['version installed on each']),
  ];
  if (places.instead !== undefined) return { value: undefined, said, checked, bytes: once * clients.length };
  assert.ok(over > release.bytes.length, `${over} bytes over the link`);
  assert.ok(over < once * 1.15 + 2 ** 18, `${over} bytes over the link, for ${once} bytes of content`);
  return {
    value: undefined,
    said: `${said}; ${formatBytes(over)} over the thin link in place of ${formatBytes(once * clients.length)}`,
    checked: [...checked, 'image and package crossed the link once'],
    bytes: over,
  };
}

async function upgradeOne(dnf: Dnf | undefined, { version }: Release): Promise<void> {
  if (dnf === undefined) return;
  await dnf.run('upgrade', '--refresh');
  assert.equal(await dnf.installed('128T'), version);
}

/** Downloads an image, which must be the release, byte for byte. */
export async function download(place: Place, url: string, { bytes, name }: Release): Promise<void> {
  const dir = await mkdtemp(path.join(os.tmpdir(), 'airlock-download-'));
  try {
    await place.run('curl', '-sS', '--fail', '-o', path.join(dir, 'image'), url);
    assert.ok((await readFile(path.join(dir, 'image'))).equals(bytes), `${name} came whole`);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

async function inParallel<T>(all: readonly T[], most: number, work: (one: T) => Promise<void>): Promise<void> {
  const left = [...all];
  const worker = async () => {
    for (let one = left.shift(); one !== undefined; one = left.shift()) await work(one);
  };
  await Promise.all(Array.from({ length: most }, worker));
}
