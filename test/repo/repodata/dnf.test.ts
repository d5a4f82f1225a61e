/** dnf against a plain web server: signed metadata, signed packages, all checks on. */
import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { importRepositoryKey, openRepositoryKey } from '../../../src/repo/formats/openpgp/repository-key.ts';
import type { Compression } from '../../../src/repo/formats/repodata/compression.ts';
import { repoFile } from '../../../src/repo/formats/repodata/repo-file.ts';
import { buildRpm } from '../../media/rpm-builder.ts';
import { needs } from '../../support/needs.ts';
import { tempDir } from '../../support/temp-dir.ts';
import { Gnupg } from '../openpgp/gnupg.ts';
import { writePackages, writeRepodata } from './support.ts';

const run = promisify(execFile);

/** Serves the files of a folder. @returns its URL */
async function serve(t: TestContext, dir: string): Promise<string> {
  const server = createServer((request, response) => {
    readFile(path.join(dir, path.normalize(request.url ?? '/'))).then(
      (bytes) => response.end(bytes),
      () => response.writeHead(404).end(),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close());
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
}

/** Packages `salt-<version>`, signed with a key of the vendor's; `vendor.asc` lies beside them. */
function signedPackages(dir: string, versions: readonly string[]): Map<string, string> {
  using gpg = new Gnupg();
  const fingerprint = gpg.makeKey('vendor', 'rsa3072');
  writeFileSync(path.join(dir, 'vendor.asc'), gpg.run(['--armor', '--export', fingerprint]));
  const files = new Map<string, string>();
  for (const version of versions) {
    const file = path.join(dir, `${version}.rpm`);
    writeFileSync(file, buildRpm({ name: 'salt', version, epoch: 1, files: [] }).file);
    const macros = [`_gpg_name ${fingerprint}`, `_gpg_path ${gpg.home}`, '__gpg /usr/bin/gpg'];
    execFileSync('rpmsign', [...macros.flatMap((macro) => ['--define', macro]), '--addsign', file], {
      stdio: 'pipe',
      env: { ...process.env, GNUPGHOME: gpg.home },
    });
    files.set(version, file);
  }
  return files;
}

for (const compression of ['gzip', 'zstd'] as const) {
  test(
    `installs, upgrades, rolls back and refuses (${compression})`,
    needs('dnf', 'rpmsign', 'gpg', 'rpm'),
    async (t) => {
      const [site, work, root] = [await tempDir(t), await tempDir(t), await tempDir(t)];
      const files = signedPackages(work, ['1', '2']);
      const baseUrl = await serve(t, site);
      const key = await openRepositoryKey(work);
      writeFileSync(path.join(site, 'RPM-GPG-KEY-airlock'), key.publicKey);
      writeFileSync(path.join(site, 'RPM-GPG-KEY-vendor'), readFileSync(path.join(work, 'vendor.asc')));
      mkdirSync(path.join(work, 'repos'));
      const text = repoFile({ name: 'ssr', baseUrl, packageKeys: ['RPM-GPG-KEY-vendor'] });
      writeFileSync(path.join(work, 'repos', 'ssr.repo'), text);

      // dnf counts the age of what it has in whole seconds.
      const nextSecond = () => sleep(1100);
      const publish = async (versions: readonly string[], how: Compression = compression) => {
        rmSync(path.join(site, 'repodata'), { recursive: true, force: true });
        const packages = await writePackages(
          site,
          versions.map((version) => files.get(version) ?? ''),
        );
        const repomd = Buffer.from(await writeRepodata(site, packages, how));
        const signature = await (await openRepositoryKey(work)).signDetached(repomd);
        writeFileSync(path.join(site, 'repodata', 'repomd.xml.asc'), signature);
        await nextSecond();
      };
      const dnf = async (...args: string[]) => {
        const options = [
          '-y',
          `--installroot=${root}`,
          `--setopt=reposdir=${work}/repos`,
          '--releasever=7',
          '--disableplugin=local',
        ];
        const more = [`--setopt=cachedir=${root}/cache`, '--setopt=install_weak_deps=0', '--setopt=tsflags=nocontexts'];
        return run('dnf', [...options, ...more, ...args], { env: { ...process.env, LC_ALL: 'C' } });
      };
      const installed = async () => (await run('rpm', ['--root', root, '-q', '--qf', '%{evr}', 'salt'])).stdout;

      await publish(['1']);
      await dnf('install', 'salt');
      assert.equal(await installed(), '1:1-1');
      await publish(['1', '2']);
      await dnf('upgrade');
      assert.equal(await installed(), '1:2-1');
      await publish(['1']);
      await dnf('downgrade', 'salt');
      assert.equal(await installed(), '1:1-1');

      // repomd.xml that nobody has signed
      const file = path.join(site, 'repodata', 'repomd.xml');
      const good = readFileSync(file);
      writeFileSync(file, Buffer.concat([good, Buffer.from('\n')]));
      await nextSecond();
      await assert.rejects(dnf('makecache'), /repomd\.xml GPG signature verification error/);
      writeFileSync(file, good);
      await dnf('makecache');

      // and one that is signed with a key that the client does not know
      const other = await tempDir(t);
      const stranger = await openRepositoryKey(other);
      await importRepositoryKey(work, readFileSync(path.join(other, 'keys', 'repository', 'private.asc')));
      assert.notEqual(stranger.fingerprint, key.fingerprint);
      await publish(['1', '2']);
      await assert.rejects(dnf('makecache'), /repomd\.xml GPG signature verification error/);
    },
  );
}
