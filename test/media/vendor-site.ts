/**
 * A vendor's download folder in small: images with real formats, sidecars as the vendor publishes them, and the vendor's
 * key. Made by the project itself, so that a clone needs no other tools.
 */
import { createHash, hash } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import * as openpgp from 'openpgp';
import tar from 'tar-stream';
import { buildSigned } from '../repo/rpm/signed.ts';
import { buildIso } from './iso-builder.ts';

export const PACKAGE_ISO = '128T-6.2.6-15.sts.el7.OTP.v1.x86_64.iso';
export const OLDER_PACKAGE_ISO = '128T-6.2.5-5.r2.el7.OTP.v1.x86_64.iso';
export const IMAGE_ISO = 'SSR-6.3.0-107.r1.el7.x86_64.ibu-v1.iso';
export const IMAGE_TAR = 'SSR-6.3.0-107.r1.el7.x86_64.ibu-v1.tar';

/** A signing key of a vendor. */
export interface VendorSigner {
  /** Armoured. */
  readonly publicKey: string;
  /** Upper case, full. */
  readonly fingerprint: string;
  /** An armoured detached signature. */
  sign(bytes: Uint8Array): Promise<string>;
  /** A detached signature as packages carry it. */
  signBinary(bytes: Uint8Array): Promise<Uint8Array>;
}

export async function makeSigner(name = 'Example Vendor Release'): Promise<VendorSigner> {
  const { privateKey, publicKey } = await openpgp.generateKey({
    userIDs: [{ name, email: 'release@vendor.example' }],
    type: 'curve25519',
    format: 'object',
  });
  return {
    publicKey: publicKey.armor(),
    fingerprint: publicKey.getFingerprint().toUpperCase(),
    sign: async (bytes) => String(await openpgp.sign({ ...(await detached(bytes)), format: 'armored' })),
    signBinary: async (bytes) => (await openpgp.sign({ ...(await detached(bytes)), format: 'binary' })) as Uint8Array,
  };

  async function detached(bytes: Uint8Array) {
    const message = await openpgp.createMessage({ binary: bytes });
    return { message, signingKeys: privateKey, detached: true } as const;
  }
}

export interface VendorSite {
  readonly dir: string;
  readonly signer: VendorSigner;
  readonly keyFile: string;
  /** Bytes of each image by name. */
  readonly images: Readonly<Record<string, Buffer>>;
}

/**
 * Makes two package-based ISOs, an image-based one and its tar, each with `.sha256sum` (64 hex digits, no newline) and
 * `.sha256sum.asc`, in `dir`.
 */
export async function makeVendorSite(dir: string): Promise<VendorSite> {
  const signer = await makeSigner();
  const images: Record<string, Buffer> = {
    [OLDER_PACKAGE_ISO]: await packageIso('6.2.5', '5.r2.el7', signer),
    [PACKAGE_ISO]: await packageIso('6.2.6', '15.sts.el7', signer),
    [IMAGE_ISO]: imageIso('6.3.0-107.r1.el7'),
    [IMAGE_TAR]: await imageTar('6.3.0-107.r1.el7'),
  };
  await mkdir(dir, { recursive: true });
  const keyFile = path.join(dir, 'RPM-GPG-KEY-vendor');
  await writeFile(keyFile, signer.publicKey);
  for (const [name, bytes] of Object.entries(images)) await publishFile(dir, name, bytes, signer);
  return { dir, signer, keyFile, images };
}

/** Writes a file with both sidecars. */
export async function publishFile(dir: string, name: string, bytes: Uint8Array, signer?: VendorSigner): Promise<void> {
  const digest = createHash('sha256').update(bytes).digest('hex');
  await writeFile(path.join(dir, name), bytes);
  await writeFile(path.join(dir, `${name}.sha256sum`), digest);
  if (signer !== undefined)
    await writeFile(path.join(dir, `${name}.sha256sum.asc`), await signer.sign(Buffer.from(digest)));
}

/** Repeatable content that does not compress away. */
export function filler(seed: string, bytes: number): Buffer {
  const known = fillers.get(`${bytes} ${seed}`);
  if (known !== undefined) return Buffer.from(known);
  const filled = Buffer.alloc(bytes);
  for (let at = 0; at < bytes; at += 32) hash('sha256', `${seed} ${at / 32}`, 'buffer').copy(filled, at);
  fillers.set(`${bytes} ${seed}`, Buffer.from(filled));
  return filled;
}

/** Tests ask for the same images again and again, and the hashes of a large one take half a second. */
const fillers = new Map<string, Buffer>();

/** An image with one signed package. */
export async function packageIso(
  version: string,
  release: string,
  signer: VendorSigner,
  kilobytes = 300,
): Promise<Buffer> {
  const archive = filler(`128T ${version}`, kilobytes * 1024);
  const sign = (bytes: Buffer) => signer.signBinary(bytes);
  const { file } = await buildSigned({ name: '128T', version, release, arch: 'x86_64', archive }, { dsa: sign });
  return buildIso(
    {
      '.discinfo': `128T ${version}-${release}\n`,
      '.treeinfo': `[general]\nversion = ${version}\n`,
      Packages: { [`128T-${version}-${release}.x86_64.rpm`]: file },
    },
    { volumeId: `128T-${version}`, joliet: true },
  ).image;
}

export function imageIso(version: string, extra: Record<string, Uint8Array> = {}, kilobytes = 500): Buffer {
  const squashfs = Buffer.concat([Buffer.from('hsqs'), filler(version, kilobytes * 1024)]);
  return buildIso(
    {
      'manifest.yaml': `version: ${version}\ninstall-type: image\n`,
      LiveOS: { 'rootfs.squashfs': squashfs },
      ...extra,
    },
    { volumeId: 'SSR', joliet: true },
  ).image;
}

export async function imageTar(version: string): Promise<Buffer> {
  const pack = tar.pack();
  pack.entry({ name: './manifest.yaml', mtime: new Date(0) }, `version: ${version}\ninstall-type: image\n`);
  pack.entry(
    { name: './LiveOS/rootfs.squashfs', mtime: new Date(0) },
    Buffer.concat([Buffer.from('hsqs'), filler(version, 500 * 1024)]),
  );
  pack.finalize();
  const chunks: Buffer[] = [];
  for await (const chunk of pack) chunks.push(Buffer.from(chunk as Uint8Array));
  return Buffer.concat(chunks);
}
