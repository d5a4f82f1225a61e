/** The offline package: everything that Airlock needs to run on a machine that has nothing but a kernel and a shell. */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { type PackageFile, packageFiles } from './package-files.ts';
import { productionPackages } from './production-packages.ts';
import { sbom } from './sbom.ts';
import { writeTarball } from './tarball.ts';

export interface MadePackage {
  /** The archive. */
  readonly file: string;
  /** SHA-256 of the archive, in hex. */
  readonly sha256: string;
  readonly sbom: string;
}

const SUMS = 'SHA256SUMS';
const SBOM = 'sbom.cdx.json';

/**
 * Makes `airlock-<version>-linux-<arch>.tar.gz` of a clone, with its bill of materials and SHA256SUMS beside it. Two runs on one
 * commit give the same bytes.
 * @param root the clone
 * @param out the folder for what is made; made if it is not there
 * @throws file.not-found
 */
export async function makePackage(root: string, out: string): Promise<MadePackage> {
  const { version, description, license } = JSON.parse(await readFile(path.join(root, 'package.json'), 'utf8')) as {
    version: string;
    description: string;
    license: string;
  };
  const folder = `airlock-${version}-${process.platform}-${process.arch}`;
  const created = await timeOf(root);
  const packages = await productionPackages(root);
  const bom = sbom({ version, description, license, created }, packages);
  const listed = [...(await packageFiles(root, packages)), inline(SBOM, bom)];
  const sums: string[] = [];
  for (const file of listed) sums.push(`${await sha256Of(file)}  ${file.name}\n`);
  await mkdir(out, { recursive: true });
  const archive = path.join(out, `${folder}.tar.gz`);
  await writeTarball([...listed, inline(SUMS, Buffer.from(sums.join('')))], {
    folder,
    mtime: created,
    to: `${archive}.new`,
  });
  await rename(`${archive}.new`, archive);
  const beside = inline(`${folder}.${SBOM}`, bom);
  await writeFile(path.join(out, beside.name), bom);
  const sha256 = await sha256Of({ content: { file: archive } });
  await writeFile(
    path.join(out, SUMS),
    `${sha256}  ${path.basename(archive)}\n${await sha256Of(beside)}  ${beside.name}\n`,
  );
  return { file: archive, sha256, sbom: path.join(out, beside.name) };
}

function inline(name: string, bytes: Buffer): PackageFile {
  return { name, content: { bytes }, isProgram: false };
}

async function sha256Of({ content }: Pick<PackageFile, 'content'>): Promise<string> {
  const hash = createHash('sha256');
  if ('bytes' in content) return hash.update(content.bytes).digest('hex');
  for await (const bytes of createReadStream(content.file)) hash.update(bytes as Buffer);
  return hash.digest('hex');
}

/** The time of the commit; SOURCE_DATE_EPOCH (reproducible-builds.org) goes first. Without both, the first day of FAT. */
async function timeOf(root: string): Promise<Date> {
  const told = process.env.SOURCE_DATE_EPOCH;
  const seconds =
    told !== undefined && /^\d{1,10}$/.test(told)
      ? told
      : await promisify(execFile)('git', ['-C', root, 'log', '-1', '--format=%ct']).then(
          ({ stdout }) => stdout.trim(),
          () => '',
        );
  return new Date(Number(seconds === '' ? 315_532_800 : seconds) * 1000);
}
