/**
 * A stick as a vendor's customer would fill it, in small, for people who try Airlock out and for the commands in the
 * documents: `node test/docs/example-stick.ts DIR`. The packages hold no files, but they are real ones: dnf installs them.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import * as openpgp from 'openpgp';
import { buildIso } from '../media/iso-builder.ts';
import {
  filler,
  IMAGE_ISO,
  imageIso,
  OLDER_PACKAGE_ISO,
  PACKAGE_ISO,
  publishFile,
  type VendorSigner,
} from '../media/vendor-site.ts';
import { buildSigned } from '../repo/rpm/signed.ts';

/** Name of the file with the vendor's key. */
export const KEY_FILE = 'RPM-GPG-KEY-vendor';

/** The images, each with `.sha256sum` and `.sha256sum.asc` beside it. */
export const IMAGES = [OLDER_PACKAGE_ISO, PACKAGE_ISO, IMAGE_ISO] as const;

/** Everything that the vendor offers; a stick holds some of it. */
export interface Vendor {
  readonly fingerprint: string;
  /** Writes these images with their checksum and signature files, and the vendor's key. The folder is made if need be. */
  fill(dir: string, images: readonly (typeof IMAGES)[number][]): Promise<void>;
}

/** A vendor with a new key. */
export async function makeVendor(): Promise<Vendor> {
  const signer = await rsaSigner();
  const images = {
    [OLDER_PACKAGE_ISO]: await packageIso('6.2.5', '5.r2.el7', signer),
    [PACKAGE_ISO]: await packageIso('6.2.6', '15.sts.el7', signer),
    [IMAGE_ISO]: imageIso('6.3.0-107.r1.el7'),
  };
  return {
    fingerprint: signer.fingerprint,
    async fill(dir, names) {
      await mkdir(dir, { recursive: true });
      await writeFile(path.join(dir, KEY_FILE), signer.publicKey);
      for (const name of names) await publishFile(dir, name, images[name], signer);
    },
  };
}

/** RSA, because that is what every rpm in use takes. */
async function rsaSigner(): Promise<VendorSigner> {
  const { privateKey, publicKey } = await openpgp.generateKey({
    userIDs: [{ name: 'Example Vendor Release', email: 'release@vendor.example' }],
    type: 'rsa',
    rsaBits: 3072,
    format: 'object',
  });
  const detached = async (bytes: Uint8Array) => {
    const message = await openpgp.createMessage({ binary: bytes });
    return { message, signingKeys: privateKey, detached: true } as const;
  };
  return {
    publicKey: publicKey.armor(),
    fingerprint: publicKey.getFingerprint().toUpperCase(),
    sign: async (bytes) => String(await openpgp.sign({ ...(await detached(bytes)), format: 'armored' })),
    signBinary: async (bytes) => (await openpgp.sign({ ...(await detached(bytes)), format: 'binary' })) as Uint8Array,
  };
}

/** An image with one signed package, and half a megabyte that two of them have in common. */
async function packageIso(version: string, release: string, signer: VendorSigner): Promise<Buffer> {
  const rsa = (bytes: Buffer) => signer.signBinary(bytes);
  const { file } = await buildSigned({ name: '128T', version, release, arch: 'x86_64' }, { rsa });
  return buildIso(
    {
      '.discinfo': `128T ${version}-${release}\n`,
      '.treeinfo': `[general]\nversion = ${version}\n`,
      LiveOS: { 'rootfs.squashfs': Buffer.concat([Buffer.from('hsqs'), filler('the base system', 500 * 1024)]) },
      Packages: { [`128T-${version}-${release}.x86_64.rpm`]: file },
    },
    { volumeId: `128T-${version}`, joliet: true },
  ).image;
}

if (import.meta.main) {
  const [dir] = process.argv.slice(2);
  if (dir === undefined) {
    console.error('Name the folder: npm run --silent example-stick -- DIR');
    process.exit(2);
  }
  const vendor = await makeVendor();
  await vendor.fill(dir, IMAGES);
  console.log(`Images in ${dir}:\n${IMAGES.map((name) => `  ${name}`).join('\n')}`);
  console.log(`Signed with a new key, ${KEY_FILE}:\n  ${vendor.fingerprint}`);
}
