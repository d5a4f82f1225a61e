/** What is in the offline package. */
import { lstat, readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { AirlockError } from '../src/errors.ts';
import { type ProductionPackage, runtimeFolder } from './production-packages.ts';

/** A file of the package: its path in there, and the file or the bytes that it gets. */
export interface PackageFile {
  readonly name: string;
  readonly content: { readonly file: string } | { readonly bytes: Buffer };
  readonly isProgram: boolean;
}

/** Of the clone: files, and folders with all that is in them. */
const OURS = ['CHANGELOG.md', 'LICENSE', 'README.md', 'docs', 'src'];

/** `storage/` is the default data directory, also where a link to another one takes its place. */
const STORAGE = { here: 'storage/README.md', there: 'docs/data-directory.md' };

const SYSTEM = ['airlock-installed', 'airlock.service', 'airlock.sysusers', 'install.sh'];

/** All that Node.js needs; headers, manual pages and its history stay behind. */
const RUNTIME = new Set(['bin/node', 'LICENSE', 'package.json']);

/** At the top of a package of npm: what developers need, and code for other runtimes. */
const BESIDE = /^(?:\.|(?:tests?|__tests__|docs?|examples?|bench(?:marks?)?|prebuilds|man)\/)/;

/** Node.js refuses TypeScript under node_modules, so nothing there can be running code. */
const NO_CODE = /\.(?:[cm]?tsx?|map|flow|md|markdown|tsbuildinfo)$/;

const LICENSE = /(?:licen[cs]e|copying|notice|patents)[^/]*$/i;

/** Those of the clone and of packages of npm; sorted by name, whatever the file system's order is. */
export async function packageFiles(root: string, packages: readonly ProductionPackage[]): Promise<PackageFile[]> {
  const files: PackageFile[] = [
    await ours(root, 'packaging/airlock', { name: 'airlock', isProgram: true }),
    await ours(root, STORAGE.here, { name: STORAGE.there }),
    { name: 'package.json', content: { bytes: await ownPackageJson(root) }, isProgram: false },
  ];
  for (const name of SYSTEM) {
    const isProgram = !name.startsWith('airlock.');
    files.push(await ours(root, `packaging/${name}`, { name: `system/${name}`, isProgram }));
  }
  for (const name of OURS) {
    for (const file of await filesOf(root, name)) files.push(await ours(root, file));
  }
  for (const { folder } of packages) {
    const isRuntime = folder === runtimeFolder();
    for (const file of await filesOf(path.join(root, folder), '')) {
      if (isRuntime ? RUNTIME.has(file) : isNeeded(file)) files.push(installed(root, `${folder}/${file}`));
    }
  }
  return files.sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** Read once: in a clone that is being worked on, each file may be another one a moment later. */
async function ours(
  root: string,
  file: string,
  { name = file, isProgram = false }: { readonly name?: string; readonly isProgram?: boolean } = {},
): Promise<PackageFile> {
  return { name, content: { bytes: await readFile(path.join(root, file)) }, isProgram };
}

function installed(root: string, name: string): PackageFile {
  return { name, content: { file: path.join(root, name) }, isProgram: name === `${runtimeFolder()}/bin/node` };
}

function isNeeded(file: string): boolean {
  return LICENSE.test(file) || !(BESIDE.test(file) || NO_CODE.test(file));
}

/** @param name a file, or a folder; what is not there has no files. @returns names below `root` */
async function filesOf(root: string, name: string): Promise<string[]> {
  const place = path.join(root, name);
  const status = await lstat(place).catch(() => undefined);
  if (status === undefined) return [];
  if (status.isFile()) return [name];
  if (!status.isDirectory()) {
    throw new AirlockError('file.not-found', `${place} is neither a file nor a folder. Put the file itself there.`);
  }
  const names: string[] = [];
  for (const inside of await readdir(place)) {
    // packages below this one speak for themselves, and what begins with a dot is nobody's program
    if (inside === 'node_modules' || inside.startsWith('.') || inside.endsWith('~')) continue;
    names.push(...(await filesOf(root, name === '' ? inside : `${name}/${inside}`)));
  }
  return names;
}

/** Without what only developers need. */
async function ownPackageJson(root: string): Promise<Buffer> {
  const text = await readFile(path.join(root, 'package.json'), 'utf8');
  const { name, version, description, license, type, engines } = JSON.parse(text) as Record<string, unknown>;
  return Buffer.from(
    `${JSON.stringify({ name, version, private: true, description, license, type, engines }, null, 2)}\n`,
  );
}
