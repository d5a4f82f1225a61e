/** A vendor's dnf repository whose packages and metadata are signed, and routers that install from what mirrors it. */
import assert from 'node:assert/strict';
import { copyFileSync } from 'node:fs';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { readVendorKeys, type VendorKey } from '../../../src/repo/formats/openpgp/key-files.ts';
import { PACKAGE_TOOLS, PackageVendor } from '../../media/package-iso.ts';
import { Gnupg } from '../../repo/openpgp/gnupg.ts';
import { rpmsign } from '../../repo/rpm/rpmsign.ts';
import { startServer } from '../../support/cli.ts';
import { DNF, Dnf } from '../../support/dnf.ts';
import { needs } from '../../support/needs.ts';
import { Repository, type Scene, scene } from './rpm-scene.ts';

export const TOOLS = needs(...PACKAGE_TOOLS, ...DNF);

export interface SignedScene extends Scene {
  readonly repository: Repository;
  readonly gpg: Gnupg;
  readonly key: string;
  /** Describes the repository, signs that, and puts it on the web server. */
  release(): void;
  /** Adds packages, signed by the vendor. */
  build(...recipes: Parameters<PackageVendor['build']>[0]): void;
}

export async function signedScene(t: TestContext): Promise<SignedScene> {
  const gpg = new Gnupg();
  const vendor = new PackageVendor();
  t.after(() => {
    gpg[Symbol.dispose]();
    vendor[Symbol.dispose]();
  });
  const key = gpg.makeKey('mirrored', 'rsa2048');
  const keys: VendorKey[] = await readVendorKeys(gpg.export(key), new Date());
  const made = await scene(t, keys);
  const repository = new Repository(path.join(made.dir, 'site'), '--no-database');
  return {
    ...made,
    repository,
    gpg,
    key,
    build(...recipes) {
      const files = vendor.build(recipes, 'nobody');
      rpmsign(gpg, key, files);
      for (const file of files) copyFileSync(file, path.join(repository.dir, 'Packages', path.basename(file)));
    },
    release() {
      repository.describe();
      const signature = gpg.sign([key], repository.read('repodata/repomd.xml'), ['--armor']);
      repository.write('repodata/repomd.xml.asc', signature);
      repository.publish(made.origin);
    },
  };
}

export async function router(t: TestContext, { data }: Pick<Scene, 'data'>): Promise<{ dnf: Dnf; url: string }> {
  const server = await startServer(t, data);
  const url = `${server.url}/repos/tools/`;
  const repoFile = await (await fetch(`${url}tools.repo`)).text();
  assert.match(repoFile, /repo_gpgcheck=1/);
  return { dnf: await Dnf.with(t, repoFile), url };
}
