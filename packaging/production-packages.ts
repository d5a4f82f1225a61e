/** Which packages of npm run in production, by package-lock.json. */
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { AirlockError } from '../src/errors.ts';

export interface ProductionPackage {
  /** Below the root, as the lock file has it: `node_modules/got/node_modules/lowercase-keys`. */
  readonly folder: string;
  readonly name: string;
  readonly version: string;
  /** Subresource Integrity of what the registry delivered: `sha512-…`. */
  readonly integrity: string | undefined;
  /** SPDX identifier or expression; undefined where the package names none. */
  readonly license: string | undefined;
  /** Folders of those it requires, in order. */
  readonly requires: readonly string[];
}

interface LockEntry {
  readonly version?: string;
  readonly integrity?: string;
  readonly license?: string;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly peerDependencies?: Readonly<Record<string, string>>;
  readonly peerDependenciesMeta?: Readonly<Record<string, { optional?: boolean }>>;
}

/** The package that carries the Node.js of this machine. */
export function runtimeFolder(): string {
  return `node_modules/node-${process.platform}-${process.arch}`;
}

/**
 * The Node.js of this machine, what the dependencies require, and what those require; in the order of their folders. Optional
 * ones are native accelerators that would have to be compiled: nobody has them.
 * @throws file.not-found if one is not installed in the version that the lock file names
 */
export async function productionPackages(root: string): Promise<ProductionPackage[]> {
  const lock = JSON.parse(await readFile(path.join(root, 'package-lock.json'), 'utf8')) as {
    packages: Readonly<Record<string, LockEntry>>;
  };
  const found = new Map<string, ProductionPackage>();
  const wanted = [runtimeFolder(), ...required(lock.packages, '')];
  for (let folder = wanted.pop(); folder !== undefined; folder = wanted.pop()) {
    if (found.has(folder)) continue;
    const requires = required(lock.packages, folder);
    found.set(folder, await describe(root, folder, lock.packages[folder] ?? {}, requires));
    wanted.push(...requires);
  }
  return [...found.values()].sort((a, b) => (a.folder < b.folder ? -1 : 1));
}

/** Where Node.js finds what the package in `folder` requires: beside it, or further up. */
function required(packages: Readonly<Record<string, LockEntry>>, folder: string): string[] {
  const { dependencies = {}, peerDependencies = {}, peerDependenciesMeta = {} } = packages[folder] ?? {};
  const peers = Object.keys(peerDependencies).filter((name) => peerDependenciesMeta[name]?.optional !== true);
  return [...Object.keys(dependencies), ...peers]
    .map((name) => {
      for (let place = folder; ; place = place.slice(0, Math.max(0, place.lastIndexOf('/node_modules/')))) {
        const candidate = `${place === '' ? '' : `${place}/`}node_modules/${name}`;
        if (Object.hasOwn(packages, candidate) || place === '') return candidate;
      }
    })
    .sort();
}

async function describe(
  root: string,
  folder: string,
  { version, integrity, license }: LockEntry,
  requires: readonly string[],
): Promise<ProductionPackage> {
  const file = path.join(root, folder, 'package.json');
  const text = await readFile(file, 'utf8').catch(() => '{}');
  const own = JSON.parse(text) as { version?: string; licenses?: readonly { type?: string }[] };
  if (version === undefined || own.version !== version) {
    throw new AirlockError(
      'file.not-found',
      `${folder} ${version ?? ''} is not installed as package-lock.json names it. Run "npm install --include=optional", and try again.`,
    );
  }
  const name = folder.slice(folder.lastIndexOf('node_modules/') + 'node_modules/'.length);
  return { folder, name, version, integrity, license: license ?? own.licenses?.[0]?.type, requires };
}
