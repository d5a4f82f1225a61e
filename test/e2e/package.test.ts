import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmod,
  cp,
  mkdir,
  readdir,
  readFile,
  readlink,
  rm,
  stat,
  symlink,
  truncate,
  writeFile,
} from 'node:fs/promises';
import path from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { type TestContext, test } from 'node:test';
import { promisify } from 'node:util';
import { gunzip } from 'node:zlib';
import { type MadePackage, makePackage } from '../../packaging/make-package.ts';
import { IMAGE_ISO, imageIso, publishFile } from '../media/vendor-site.ts';
import { type CliResult, ended } from '../support/cli.ts';
import { FakeService } from '../support/fake-service.ts';
import { needs } from '../support/needs.ts';
import { Network, needsNamespaces } from '../support/netns.ts';
import { needsPrivateSystem, type PrivateSystem, privateSystem } from '../support/private-system.ts';
import { tempDir } from '../support/temp-dir.ts';

const root = path.join(import.meta.dirname, '..', '..');
const FOLDER = `airlock-0.1.0-${process.platform}-${process.arch}`;
const RUNTIME = `node-${process.platform}-${process.arch}`;

test('the offline package', async (t) => {
  const dir = await tempDir(t);
  const clone = path.join(dir, 'clone');
  const again = path.join(dir, 'again');
  await freeze(root, clone); // nobody works on it meanwhile
  const [made] = await Promise.all([makeHere(clone, path.join(dir, 'dist')), makeElsewhere(clone, again)]);
  const place = path.join(dir, 'unpacked', 'here');
  await mkdir(place, { recursive: true });
  execFileSync('tar', ['-xzf', made.file, '-C', place]);
  const unpacked = path.join(place, FOLDER);

  await t.test('is the same whoever makes it', () => sameForAll(made, again));
  await t.test('says what is in it', () => saysWhatIsInIt(made, unpacked));
  await t.test('starts Node.js as the launchers of the clone do', async () => {
    const launcher = await readFile(path.join(unpacked, 'airlock'), 'utf8');
    const clones = await readFile(path.join(root, 'bin', 'launch.mjs'), 'utf8');
    const flags = (text: string) => text.match(/--[a-z-]+-(?:size|percent)=\d+/g)?.sort();
    assert.deepEqual(flags(launcher), flags(clones));
  });
  await t.test('runs without network and without any program', needsNamespaces('curl'), (within) =>
    runsAlone(within, unpacked, path.join(dir, 'alone')),
  );
  await t.test('is installed, upgraded, taken back and removed', needsPrivateSystem('setpriv=util-linux'), (within) =>
    isInstalled(within, unpacked, path.join(dir, 'system')),
  );
  await t.test('has a unit that systemd understands', needs('systemd-analyze=systemd'), async () => {
    // as it will be, but with a program that is there
    const unit = await readFile(path.join(unpacked, 'system', 'airlock.service'), 'utf8');
    const file = path.join(dir, 'airlock.service');
    await writeFile(file, unit.replaceAll('/opt/airlock/current', unpacked));
    assert.equal(execFileSync('systemd-analyze', ['verify', file], { encoding: 'utf8', stdio: 'pipe' }), '');
  });
});

const EPOCH = '1790000000';

/** Copies what the package is made of. */
async function freeze(from: string, to: string): Promise<void> {
  for (const name of ['bin', 'docs', 'packaging', 'src', 'storage/README.md']) {
    await cp(path.join(from, name), path.join(to, name), { recursive: true });
  }
  for (const name of ['CHANGELOG.md', 'README.md', 'package.json', 'package-lock.json']) {
    await cp(path.join(from, name), path.join(to, name));
  }
  await symlink(path.join(root, 'node_modules'), path.join(to, 'node_modules'));
}

async function makeHere(clone: string, out: string): Promise<MadePackage> {
  process.env.SOURCE_DATE_EPOCH = EPOCH;
  return await makePackage(clone, out);
}

/** As `npm run package` does; in another place, with another umask, time zone and language. */
async function makeElsewhere(clone: string, out: string): Promise<void> {
  const copy = `${clone}-of-somebody-else`;
  await freeze(clone, copy);
  const env = { ...process.env, SOURCE_DATE_EPOCH: EPOCH, TZ: 'Asia/Kathmandu', LANG: 'tr_TR.UTF-8' };
  const script = `umask 077 && chmod -R go-rwx . && exec "$0" bin/package.mjs "$1"`;
  const child = spawn('sh', ['-c', script, process.execPath, out], { cwd: copy, env });
  const { code, stderr } = await ended(child);
  assert.equal(code, 0, stderr);
}

async function sameForAll(made: MadePackage, again: string): Promise<void> {
  const sums = await readFile(path.join(again, 'SHA256SUMS'), 'utf8');
  assert.equal(sums, await readFile(path.join(path.dirname(made.file), 'SHA256SUMS'), 'utf8'));
  assert.ok(sums.startsWith(`${made.sha256}  ${FOLDER}.tar.gz\n`), sums);
  execFileSync('sha256sum', ['-c', 'SHA256SUMS'], { cwd: again, stdio: 'pipe' });
}

interface Component {
  type: string;
  'bom-ref': string;
  name: string;
  version: string;
  purl: string;
  licenses: { license?: { id: string }; expression?: string }[];
  hashes: { alg: string; content: string }[];
  properties: { value: string }[];
  components?: { name: string }[];
}

async function saysWhatIsInIt(made: MadePackage, unpacked: string): Promise<void> {
  execFileSync('sha256sum', ['-c', 'SHA256SUMS'], { cwd: unpacked, stdio: 'pipe' });
  const files = (await readdir(unpacked, { recursive: true, withFileTypes: true }))
    .filter((file) => file.isFile())
    .map((file) => path.relative(unpacked, path.join(file.parentPath, file.name)));
  const listed = (await readFile(path.join(unpacked, 'SHA256SUMS'), 'utf8')).match(/(?<=^\S{64} {2}).*$/gm) ?? [];
  assert.deepEqual([...listed, 'SHA256SUMS'].sort(), files.sort());
  assert.deepEqual(
    files.filter((file) => file.startsWith('node_modules') && /\.[cm]?tsx?$|\.map$/.test(file)),
    [],
  );

  const text = await readFile(path.join(unpacked, 'sbom.cdx.json'), 'utf8');
  assert.equal(text, await readFile(made.sbom, 'utf8'));
  const bom = JSON.parse(text) as {
    bomFormat: string;
    specVersion: string;
    serialNumber: string;
    version: number;
    metadata: { timestamp: string; component: Component };
    components: Component[];
    dependencies: { ref: string; dependsOn: string[] }[];
  };
  assert.deepEqual([bom.bomFormat, bom.specVersion, bom.version], ['CycloneDX', '1.6', 1]);
  assert.match(bom.serialNumber, /^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.equal(bom.metadata.component.name, 'airlock');

  const there = files.filter((file) => /(?:^|\/)node_modules\/(?:@[^/]+\/)?[^/@]+\/package\.json$/.test(file));
  const named = bom.components.map(({ properties }) => `${properties[0]?.value}/package.json`);
  assert.deepEqual(named.sort(), there.sort());
  for (const { name, version, purl, licenses, hashes } of bom.components) {
    assert.ok(purl.startsWith('pkg:npm/') && purl.endsWith(`${name}@${version}`), purl);
    assert.ok(licenses[0]?.license?.id ?? licenses[0]?.expression, `${name} has no licence`);
    assert.match(`${hashes[0]?.alg} ${hashes[0]?.content}`, /^SHA-512 [0-9a-f]{128}$/);
  }
  const refs = [bom.metadata.component, ...bom.components].map((component) => component['bom-ref']);
  assert.equal(new Set(refs).size, refs.length);
  assert.deepEqual(bom.dependencies.map(({ ref }) => ref).sort(), refs.sort());
  for (const { dependsOn } of bom.dependencies) for (const ref of dependsOn) assert.ok(refs.includes(ref), ref);

  const node = bom.components.find(({ name }) => name === RUNTIME);
  assert.equal(node?.type, 'platform');
  assert.equal(`v${node?.version}`, process.version);
  assert.ok(node?.components?.some(({ name }) => name === 'openssl'));

  const head = (await promisify(gunzip)(await readFile(made.file))).subarray(0, 512);
  const ids = head.toString('latin1', 108, 124); // ustar: uid and gid, in octal
  assert.match(ids, /^[0\s\0]+$/);
}

/** A machine that has a kernel, a shell and this package. */
async function runsAlone(t: TestContext, unpacked: string, dir: string): Promise<void> {
  const nothing = path.join(dir, 'empty');
  await mkdir(nothing, { recursive: true });
  const stick = path.join(dir, 'stick');
  await mkdir(stick);
  const image = imageIso('6.3.0-107.r1.el7');
  await publishFile(stick, IMAGE_ISO, image);
  const { wrapper, run } = new Network(t).namespace();
  const start = (...args: string[]) => {
    const words = [...wrapper, '/usr/bin/env', '-i', `PATH=${nothing}`, path.join(unpacked, 'airlock'), ...args];
    return spawn(words[0] ?? '', words.slice(1), { cwd: dir, stdio: ['ignore', 'pipe', 'pipe'] });
  };
  const airlock = (...args: string[]): Promise<CliResult> => ended(start(...args));

  assert.deepEqual(await airlock('--version'), { code: 0, signal: null, stdout: '0.1.0\n', stderr: '' });
  const imported = await airlock('import', 'iso', 'check-rpm-signature', 'allow-unsigned', 'force', 'hunt', stick);
  assert.equal(imported.code, 0, imported.stderr);
  // by default the data is beside the launcher
  assert.ok((await readdir(path.join(unpacked, 'storage'))).includes('catalog.sqlite'));

  const server = start('serve', '--listen', '127.0.0.1:8480');
  const result = ended(server);
  t.after(() => server.kill('SIGKILL'));
  await Promise.race([new Promise((resolve) => server.stdout.once('data', resolve)), result]);
  const file = path.join(dir, 'fetched');
  await run('curl', '-sSf', '-o', file, `http://127.0.0.1:8480/repos/images/6.3/${IMAGE_ISO}`);
  assert.equal(digestOf(await readFile(file)), digestOf(image));
  server.kill('SIGTERM');
  assert.equal((await result).code, 0);

  await rm(path.join(unpacked, 'storage'), { recursive: true });
  const link = path.join(dir, 'airlock');
  execFileSync('ln', ['-s', path.join(unpacked, 'airlock'), link]);
  const refused = await ended(spawn(link, ['--version'], { stdio: ['ignore', 'pipe', 'pipe'] }));
  assert.equal(refused.code, 1);
  assert.match(refused.stderr, /a link to the launcher from elsewhere does not do/);
}

function digestOf(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}

async function isInstalled(t: TestContext, unpacked: string, dir: string): Promise<void> {
  const system = await privateSystem(t, dir);
  const newer = await nextVersion(unpacked, '0.2.0');
  const airlock = (...args: string[]) => system.run('/usr/local/bin/airlock', ...args);
  const install = (from: string, ...args: string[]) => system.run(`${from}/system/install.sh`, ...args);
  const installed = '/opt/airlock/current';
  const inUse = () => readlink(system.at(installed));

  assert.match((await done(install(unpacked))).stdout, /^Installed Airlock 0\.1\.0\./m);
  assert.equal(await inUse(), '0.1.0');
  assert.equal((await done(airlock('--version'))).stdout, '0.1.0\n');

  // what root makes belongs to the service, and root may bring what only root can read
  const secret = system.at('/opt/only-root.bin');
  await writeFile(secret, 'bytes');
  await chmod(secret, 0o600);
  await done(airlock('import', 'file', '--repository', 'files', '--path', 'a/b', '/opt/only-root.bin'));
  const foreign = () => system.run('find', '/var/lib/airlock', '!', '-user', 'airlock');
  assert.equal((await done(foreign())).stdout, '');
  assert.equal((await stat(system.at('/var/lib/airlock'))).mode & 0o777, 0o750);

  // what the service could change is not run by root
  const words = ['/opt/airlock', '-path', '/opt/airlock/.cache', '-prune', '-o', '!', '-user', 'root', '-print'];
  assert.equal((await done(system.run('find', ...words))).stdout, '');
  assert.equal((await stat(system.at('/opt/airlock/.cache'))).mode & 0o777, 0o700);
  assert.equal((await readdir(system.at('/opt/airlock/.cache'))).length, 1);

  assert.match((await done(install(newer))).stdout, /^Upgraded Airlock from 0\.1\.0 to 0\.2\.0\./m);
  assert.equal((await done(airlock('--version'))).stdout, '0.2.0\n');

  // what root has set for other data does not lead it astray
  makeCatalogNewer(system);
  const astray = ['AIRLOCK_DATA=/opt/astray', 'AIRLOCK_CONFIG=/nope', 'AIRLOCK_LISTEN=nowhere'];
  const back = await done(system.run('env', ...astray, `${installed}/system/install.sh`, '--rollback'));
  assert.match(back.stdout, /Made the catalog anew.*^Went back from Airlock 0\.2\.0 to 0\.1\.0/ms);
  assert.equal(await inUse(), '0.1.0');
  assert.match((await done(airlock('repo', 'show', 'files'))).stdout, /a\/b/);
  assert.equal((await done(foreign())).stdout, '');

  const service = await FakeService.make(system);
  await isRestarted(service, () => install(newer));
  await isTakenBack(service, () => install(installed, '--rollback'), inUse);

  // data that the other version cannot work with: the service goes on with the one that can, if it ran
  makeCatalogNewer(system);
  await truncate(system.at('/var/lib/airlock/revisions/files/00000001.jsonl'), 20);
  for (const [state, ...asked] of [
    [{ upFor: 1000, fails: 'start' }, 'stop airlock.service', 'start airlock.service'],
    [{ upFor: 0 }],
  ] as const) {
    await service.is(state);
    const refused = await install(installed, '--rollback');
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /Airlock 0\.2\.0 cannot work with this data; Airlock 0\.1\.0 is in use as before/);
    assert.deepEqual(await service.asked(), asked);
    assert.equal(await inUse(), '0.1.0');
  }
  await service.remove();

  // a package that was damaged on its way
  await replace(path.join(newer, 'src', 'cli.ts'), 'damaged');
  const damaged = await install(newer);
  assert.equal(damaged.code, 1);
  assert.match(damaged.stderr, /is damaged.*Nothing was changed/s);

  // from where it is installed; into the image of another machine
  await done(install(installed, '--root', '/var/cache'));
  assert.equal(await readlink(system.at('/var/cache/opt/airlock/current')), '0.1.0');
  await stat(system.at('/var/cache/etc/systemd/system/airlock.service'));

  const last = await FakeService.make(system);
  await last.is({ upFor: 1000, fails: 'disable' }); // somebody took the unit away before
  assert.match((await done(install(installed, '--uninstall'))).stdout, /data is still in \/var\/lib\/airlock/);
  assert.deepEqual(await last.asked(), ['disable --now airlock.service', 'daemon-reload']);
  await last.remove();
  assert.deepEqual(await readdir(system.at('/opt')), ['only-root.bin']);
  assert.deepEqual(await readdir(system.at('/usr/local/bin')), []);
  assert.ok((await readdir(system.at('/var/lib/airlock'))).includes('catalog.sqlite'));
}

type Install = (...args: string[]) => ReturnType<PrivateSystem['run']>;

/** A service that ran is restarted, and watched for a while. */
async function isRestarted(service: FakeService, install: Install): Promise<void> {
  for (const state of [{ upFor: 3 }, { upFor: 1000, restarts: 1 }, { upFor: 1000, fails: 'try-restart' }]) {
    await service.is(state);
    const { code, stderr } = await install();
    assert.equal(code, 1);
    assert.match(stderr, /^Airlock 0\.2\.0 is installed, but does not start: journalctl -u airlock\. Back.*--rollback/);
  }
  await service.is({ upFor: 0 }); // it did not run before
  await done(install());
  await service.is({ upFor: 1000 });
  await done(install());
  assert.deepEqual(await service.asked(), ['daemon-reload', 'try-restart airlock.service']);
}

/** A service that ran is stopped before the other version looks at the data, started with it, and watched for a while. */
async function isTakenBack(service: FakeService, rollback: Install, inUse: () => Promise<string>): Promise<void> {
  const STOPPED_AND_STARTED = ['stop airlock.service', 'start airlock.service'];
  let [now, other] = ['0.2.0', '0.1.0'];
  const turned = async () => {
    [now, other] = [other, now];
    assert.equal(await inUse(), now);
  };
  await service.is({ upFor: 1000 });
  assert.match((await done(rollback())).stdout, /^Went back from Airlock 0\.2\.0 to 0\.1\.0\.\n$/);
  assert.deepEqual(await service.asked(), STOPPED_AND_STARTED);
  await turned();
  for (const state of [{ upFor: 3 }, { upFor: 1000, restarts: 1 }, { upFor: 1000, fails: 'start' }]) {
    await service.is(state);
    const { code, stdout, stderr } = await rollback();
    assert.equal(code, 1, JSON.stringify(state));
    assert.equal(stdout, '');
    assert.equal(
      stderr,
      `Airlock ${other} is in use, but does not start: journalctl -u airlock. Back to Airlock ${now}: /opt/airlock/current/system/install.sh --rollback\n`,
    );
    assert.deepEqual(await service.asked(), STOPPED_AND_STARTED);
    await turned();
  }
  await service.is({ upFor: 0 }); // it did not run before
  await done(rollback());
  assert.deepEqual(await service.asked(), []);
  await turned();
  if (now === '0.2.0') await done(rollback());
  assert.equal(await inUse(), '0.1.0');
}

async function done<T extends { code: number; stderr: string }>(running: Promise<T>): Promise<T> {
  const result = await running;
  assert.equal(result.code, 0, result.stderr);
  return result;
}

/** The same program under another number. */
async function nextVersion(unpacked: string, version: string): Promise<string> {
  const folder = path.join(path.dirname(path.dirname(unpacked)), 'newer');
  execFileSync('cp', ['-al', unpacked, folder]); // links: what is changed here becomes another file first
  const file = path.join(folder, 'package.json');
  const old = await readFile(file);
  const bytes = Buffer.from(old.toString().replace('"0.1.0"', `"${version}"`));
  await replace(file, bytes);
  const sums = await readFile(path.join(folder, 'SHA256SUMS'), 'utf8');
  await replace(path.join(folder, 'SHA256SUMS'), sums.replace(digestOf(old), digestOf(bytes)));
  return folder;
}

async function replace(file: string, content: string | Buffer): Promise<void> {
  await rm(file);
  await writeFile(file, content);
}

/** As a migration of a later version leaves it. */
function makeCatalogNewer(system: PrivateSystem): void {
  const catalog = new DatabaseSync(system.at('/var/lib/airlock/catalog.sqlite'));
  catalog.exec(`insert into kysely_migration values ('9999-of-the-future', '2030-01-01T00:00:00Z')`);
  catalog.close();
}
