/** A medium with one vendor image on it, and data directories that trust the vendor. */
import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { addVendorKey } from '../../src/repo/formats/openpgp/vendor-keys.ts';
import { IMAGE_ISO, imageIso, makeSigner, publishFile, type VendorSigner } from '../media/vendor-site.ts';

const OLDER_ISO = 'SSR-6.2.5-5.r2.el7.x86_64.ibu-v1.iso';

export interface Stick {
  readonly dir: string;
  /** The image, `6.3/<name>` in the repository `images`. */
  readonly file: string;
  /** An older one, for what was there before. */
  readonly older: string;
  /** Paths in the repository `images`, and digests, of each image with its sidecars. */
  readonly paths: Readonly<Record<string, string>>;
  readonly olderPaths: Readonly<Record<string, string>>;
  readonly signer: VendorSigner;
}

/** Writes two images with both sidecars into `dir`. @param kilobytes size of the newer one, about */
export async function makeStick(dir: string, kilobytes = 40): Promise<Stick> {
  const signer = await makeSigner();
  await mkdir(dir, { recursive: true });
  await publishFile(dir, IMAGE_ISO, imageIso('6.3.0-107.r1.el7', {}, kilobytes), signer);
  await publishFile(dir, OLDER_ISO, imageIso('6.2.5-5.r2.el7', {}, 30), signer);
  return {
    dir,
    file: path.join(dir, IMAGE_ISO),
    older: path.join(dir, OLDER_ISO),
    paths: await digestsIn(dir, IMAGE_ISO, '6.3'),
    olderPaths: await digestsIn(dir, OLDER_ISO, '6.2'),
    signer,
  };
}

async function digestsIn(dir: string, name: string, folder: string): Promise<Record<string, string>> {
  const digests: Record<string, string> = {};
  for (const file of (await readdir(dir)).filter((each) => each.startsWith(name))) {
    const hash = createHash('sha256').update(await readFile(path.join(dir, file)));
    digests[`${folder}/${file}`] = `sha256:${hash.digest('hex')}`;
  }
  return digests;
}

/** Makes a data directory in which nothing is but the vendor's key. */
export async function trustingDirectory(dataDir: string, { signer }: Stick): Promise<void> {
  await mkdir(dataDir, { recursive: true });
  await addVendorKey(dataDir, Buffer.from(signer.publicKey));
}
