/** What each document finds when it begins. */
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { IMAGE_ISO, OLDER_PACKAGE_ISO, PACKAGE_ISO } from '../media/vendor-site.ts';
import { Origin } from '../support/origin.ts';
import { IMAGES, makeVendor } from './example-stick.ts';
import type { Machines } from './machines.ts';

type Prepare = (machines: Machines, t: TestContext) => Promise<void>;

/** The documents with commands. */
export const PREPARED: Readonly<Record<string, Prepare>> = {
  'README.md': async () => undefined,
  'docs/configuration.md': async () => undefined,
  'docs/how-to/connected-admin.md': connectedAdmin,
  'docs/how-to/air-gapped-operator.md': airGappedOperator,
  'docs/how-to/router.md': router,
  'docs/how-to/security-officer.md': securityOfficer,
};

/** A vendor's site; and a site that has the first bundle, whose receipt is on the stick already. */
async function connectedAdmin(machines: Machines, t: TestContext): Promise<void> {
  const folder = path.join(machines.dir, 'vendor');
  await (await makeVendor()).fill(folder, IMAGES);
  await machines.run('station', `cp ${folder}/RPM-GPG-KEY-vendor /media/stick/`);
  const origin = await Origin.start(t, machines.vendorPort);
  for (const [place, image] of [
    ['generic-128t-isos-release-local/6.2', OLDER_PACKAGE_ISO],
    ['generic-128t-isos-release-local/6.2', PACKAGE_ISO],
    ['generic-128t-install-images-release-local/6.3', IMAGE_ISO],
  ] as const) {
    const [top = ''] = place.split('/');
    const names = (await readdir(folder)).filter((name) => name.startsWith(image));
    for (const name of names) {
      const bytes = await readFile(path.join(folder, name));
      origin.files.set(`/artifactory/${place}/${name}`, { bytes });
    }
    list(origin, `/artifactory/${top}/`);
    list(origin, `/artifactory/${place}/`);
  }
}

/** A listing as Artifactory gives it. */
function list(origin: Origin, folder: string): void {
  const below = [...origin.files.keys()].filter((name) => name.startsWith(folder) && name !== folder);
  const names = new Set(below.map((name) => name.slice(folder.length).replace(/\/.*$/, '/')));
  const lines = [...names].map((name) => `<a href="${name}">${name}</a>  18-Nov-2021 19:54  -\n`);
  const bytes = Buffer.from(`<title>Index of</title><pre><a href="../">../</a>\n${lines.join('')}</pre>`);
  origin.files.set(folder, { bytes, headers: { 'content-type': 'text/html' } });
}

/** A stick with the second bundle for the site north, the first one in the folder `old`, and vendor's files. */
async function airGappedOperator(machines: Machines): Promise<void> {
  const vendor = await makeVendor();
  const folder = path.join(machines.dir, 'vendor');
  await vendor.fill(folder, [PACKAGE_ISO, IMAGE_ISO]);
  await vendor.fill(path.join(machines.dir, 'stick', 'vendor'), [OLDER_PACKAGE_ISO]);
  await done(
    machines,
    'station',
    `airlock trust vendor-key add ${folder}/RPM-GPG-KEY-vendor
     airlock import iso force filepath ${folder}/${PACKAGE_ISO}
     airlock keys init
     airlock keys export-root /media/stick/root.json
     mkdir /media/stick/old
     airlock export --site north --to /media/stick/old
     airlock import iso force filepath ${folder}/${IMAGE_ISO}
     airlock export --site north --to /media/stick`,
  );
}

/** A conductor that serves. */
async function router(machines: Machines): Promise<void> {
  const folder = path.join(machines.dir, 'vendor');
  await (await makeVendor()).fill(folder, [PACKAGE_ISO, IMAGE_ISO]);
  const key = `airlock trust vendor-key add ${folder}/RPM-GPG-KEY-vendor`;
  await done(machines, 'conductor', `${key}\nairlock import iso force hunt ${folder}`);
  await machines.stay('conductor', 'airlock serve');
}

/** An export station with a release. */
async function securityOfficer(machines: Machines): Promise<void> {
  const folder = path.join(machines.dir, 'vendor');
  await (await makeVendor()).fill(folder, [IMAGE_ISO]);
  const key = `airlock trust vendor-key add ${folder}/RPM-GPG-KEY-vendor`;
  for (const machine of ['station', 'conductor']) await done(machines, machine, key);
  await done(machines, 'station', `airlock import iso force hunt ${folder}`);
}

async function done(machines: Machines, machine: string, commands: string): Promise<void> {
  const { code, stderr } = await machines.run(machine, commands);
  if (code !== 0) throw new Error(`${machine}: ${stderr}`);
}
