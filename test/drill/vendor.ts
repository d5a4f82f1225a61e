/** The vendor: releases with real packages, and a download site behind a password and TLS by an authority of its own. */
import { execFileSync } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { PackageVendor } from '../media/package-iso.ts';
import {
  IMAGE_ISO,
  imageIso,
  makeSigner,
  OLDER_PACKAGE_ISO,
  PACKAGE_ISO,
  publishFile,
  type VendorSigner,
} from '../media/vendor-site.ts';
import { makeCertificate } from '../support/certificates.ts';
import { type Nginx, startNginx } from '../support/nginx.ts';
import type { Scope } from '../support/scope.ts';
import { tempDir } from '../support/temp-dir.ts';
import type { Form } from './form.ts';
import type { Place } from './places.ts';

export const ISOS = 'generic-128t-isos-release-local';
export const IMAGES = 'generic-128t-install-images-release-local';

/** Published long ago; no rule selects it. */
const UNWANTED: Release = {
  name: 'SSR-6.2.3-14.r2.el7.x86_64.ibu-v1.iso',
  version: '6.2.3-14.r2.el7',
  folder: `${IMAGES}/6.2`,
  path: '6.2/SSR-6.2.3-14.r2.el7.x86_64.ibu-v1.iso',
  bytes: imageIso('6.2.3-14.r2.el7', {}, 10),
};

/** An image of a release, as the vendor publishes it. */
export interface Release {
  readonly name: string;
  /** Of the packages in it. */
  readonly version: string;
  /** Below the site, and at every conductor. */
  readonly folder: string;
  readonly path: string;
  readonly bytes: Buffer;
}

export interface Vendor {
  /** Of the site, without a slash at its end. */
  readonly url: string;
  readonly nginx: Nginx;
  readonly token: string;
  /** Key files of checksums and of packages, and the certificate of the site: what an admin is given. */
  readonly keys: readonly string[];
  readonly certificate: string;
  /** What runs everywhere before the story begins. */
  readonly installed: readonly string[];
  readonly releases: { readonly older: Release; readonly newer: Release; readonly image: Release };
  publish(release: Release): Promise<void>;
}

export async function makeVendor(scope: Scope, place: Place, { kilobytes }: Form): Promise<Vendor> {
  const packages = new PackageVendor();
  scope.after(() => packages[Symbol.dispose]());
  const signer = await makeSigner();
  const dir = await tempDir(scope);
  const certificate = makeCertificate(dir, 'vendor', `IP:${place.address}`);
  const token = 'drill-token';
  const nginx = await startSite(scope, place, { dir, token, ...certificate });
  const site = path.join(nginx.dir, 'artifactory');
  await publish(site, UNWANTED, signer);
  const sums = path.join(dir, 'RPM-GPG-KEY-checksums');
  await writeFile(sums, signer.publicKey);
  return {
    url: `https://${place.address}:${nginx.ports[0]}/artifactory`,
    nginx,
    token,
    keys: [sums, packages.keyFile],
    certificate: certificate.certificate,
    ...(await makeReleases(packages, kilobytes)),
    publish: (release) => publish(site, release, signer),
  };
}

async function publish(dir: string, { folder, name, bytes }: Release, signer: VendorSigner): Promise<void> {
  await mkdir(path.join(dir, folder), { recursive: true });
  await publishFile(path.join(dir, folder), name, bytes, signer);
}

async function startSite(
  scope: Scope,
  place: Place,
  { dir, token, key, certificate }: { dir: string; token: string; key: string; certificate: string },
): Promise<Nginx> {
  const users = path.join(dir, 'users');
  const hash = execFileSync('openssl', ['passwd', '-apr1', token], { encoding: 'utf8' }).trim();
  await writeFile(users, `fleet:${hash}\n`);
  const lines = [
    `ssl_certificate ${certificate}; ssl_certificate_key ${key};`,
    `location /artifactory/ { autoindex on; auth_basic vendor; auth_basic_user_file ${users}; }`,
  ];
  const nginx = await startNginx(scope, 1, () => ({ ssl: true, lines }), place);
  return nginx;
}

async function makeReleases(packages: PackageVendor, kilobytes: Form['kilobytes']) {
  const recipe = (version: string, release: string) => ({
    name: '128T',
    version,
    release,
    kilobytes: kilobytes.own,
    tags: ['Requires: glibc'],
  });
  const [glibc = '', first = '', older = '', newer = ''] = packages.build([
    { name: 'glibc', version: '2.17', kilobytes: kilobytes.common },
    recipe('6.2.4', '14.r2.el7'),
    recipe('6.2.5', '5.r2.el7'),
    recipe('6.2.6', '15.sts.el7'),
  ]);
  const release = async (name: string, version: string, file: string): Promise<Release> => {
    const bytes = await readFile(packages.iso(name, [glibc, file]));
    return { name, version, folder: `${ISOS}/6.2`, path: `6.2/${name}`, bytes };
  };
  const version = '6.3.0-107.r1.el7';
  const image = { name: IMAGE_ISO, version, folder: `${IMAGES}/6.3`, path: `6.3/${IMAGE_ISO}` };
  return {
    installed: [glibc, first],
    releases: {
      older: await release(OLDER_PACKAGE_ISO, '6.2.5-5.r2.el7', older),
      newer: await release(PACKAGE_ISO, '6.2.6-15.sts.el7', newer),
      image: { ...image, bytes: imageIso(version, {}, kilobytes.image) },
    },
  };
}
