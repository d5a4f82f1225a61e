/** A site's whole fleet upgrades through one router, over a link that nobody wants to pay for twice. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { promisify } from 'node:util';
import { PACKAGE_TOOLS, PackageVendor } from '../media/package-iso.ts';
import { PACKAGE_ISO } from '../media/vendor-site.ts';
import { until } from '../repo/http/support.ts';
import { accessLogOf, LOG_TO_FILE, type Logged } from '../support/access-log.ts';
import { newConductor, RPM_REPOSITORY } from '../support/conductor.ts';
import { DNF, Dnf } from '../support/dnf.ts';
import { needs } from '../support/needs.ts';
import { type Router, startRouter } from '../support/router.ts';

const exec = promisify(execFile);
const CLIENTS = 20;
/** Clients that are at it together: more would only wait for the processor. */
const TOGETHER = 5;
const [OLD, NEW] = ['6.2.5-5.r2.el7', '6.2.6-15.sts.el7'];

/** Two releases of two packages. */
function makeMedia(t: TestContext) {
  const vendor = new PackageVendor();
  t.after(() => vendor[Symbol.dispose]());
  const release = (evr: string) => {
    const [version = '', build = ''] = evr.split('-');
    return [
      { name: '128T', version, release: build, kilobytes: 3000, tags: ['Requires: 128T-gui'] },
      { name: '128T-gui', version, release: build, arch: 'noarch', kilobytes: 300 },
    ];
  };
  const [old = '', oldGui = '', next = '', nextGui = ''] = vendor.build([...release(OLD), ...release(NEW)]);
  return { vendor, installed: [old, oldGui], iso: vendor.iso(PACKAGE_ISO, [next, nextGui]) };
}

/** Machines that run the old release and know one repository: what the router offers as its `.repo` file. */
async function fleet(t: TestContext, repoFile: string, packages: readonly string[], count: number): Promise<Dnf[]> {
  const clients: Dnf[] = [];
  for (let i = 0; i < count; i += 1) {
    const dnf = await Dnf.with(t, repoFile);
    const [first] = clients;
    if (first === undefined) await exec('rpm', ['--root', dnf.root, '--install', '--nosignature', ...packages]);
    else await exec('cp', ['-a', `${first.root}/.`, dnf.root]);
    clients.push(dnf);
  }
  return clients;
}

async function inParallel<T>(all: readonly T[], most: number, work: (one: T) => Promise<void>): Promise<void> {
  const left = [...all];
  const worker = async () => {
    for (let one = left.shift(); one !== undefined; one = left.shift()) await work(one);
  };
  await Promise.all(Array.from({ length: most }, worker));
}

/** `dnf upgrade` has brought the new release, signed with the vendor's key, which the machine knows now. */
async function assertUpgraded(dnf: Dnf): Promise<void> {
  for (const name of ['128T', '128T-gui']) assert.equal(await dnf.installed(name), NEW);
  const query = ['--root', dnf.root, '-q', '--qf'];
  const { stdout: signature } = await exec('rpm', [...query, '%{RSAHEADER:pgpsig}', '128T']);
  const keyId = /Key ID ([0-9a-f]{16})/.exec(signature)?.[1] ?? assert.fail(signature);
  const { stdout: keys } = await exec('rpm', [...query, '%{VERSION}\n', 'gpg-pubkey']);
  assert.ok(keys.includes(keyId.slice(8)), `${keyId} signed, known are ${keys}`);
}

async function quiet(router: Router): Promise<void> {
  await until('all of it is kept', async () => {
    const { fills } = (await (await fetch(`${router.url}/api/v1/cache`)).json()) as { fills: unknown[] };
    return fills.length === 0;
  });
}

/** Answers with a body, by path. */
function bodiesOf(log: readonly Logged[]): Map<string, Logged[]> {
  const bodies = log.filter(({ method, bytes, path: at }) => method === 'GET' && bytes > 0 && !at.startsWith('/api/'));
  return Map.groupBy(bodies, (each) => each.path);
}

test(
  'twenty clients upgrade with one read of the conductor, and another one when it is gone',
  needs(...PACKAGE_TOOLS, ...DNF),
  async (t) => {
    const { vendor, installed, iso } = makeMedia(t);
    const conductor = await newConductor(t, vendor.keyFile);
    await writeFile(path.join(conductor.data, 'airlock.yaml'), LOG_TO_FILE);
    await conductor.importIso(iso);
    const { server } = await conductor.serve();
    const router = await startRouter(t, ['--upstream', server.url], LOG_TO_FILE);
    const base = `/repos/${RPM_REPOSITORY}/`;
    const repoFile = await (await fetch(`${router.url}${base}${RPM_REPOSITORY}.repo`)).text();
    assert.match(repoFile, /^gpgcheck=1$/m);
    assert.match(repoFile, /^repo_gpgcheck=1$/m);
    assert.match(repoFile, new RegExp(`^gpgkey=${router.url}/`, 'm'));
    const [late, ...clients] = await fleet(t, repoFile, installed, CLIENTS + 1);
    assert.ok(late);

    await inParallel(clients, TOGETHER, async (dnf) => {
      await dnf.run('upgrade');
      await assertUpgraded(dnf);
    });
    await quiet(router);

    const reads = bodiesOf(await accessLogOf(conductor.data));
    t.diagnostic(`read once: ${[...reads.keys()].map((at) => path.posix.basename(at)).join(', ')}`);
    for (const [at, answers] of reads) {
      assert.equal(answers.length, 1, `${at} was read ${answers.length} times: ${JSON.stringify(answers)}`);
      const { headers } = await fetch(`${server.url}${at}`, { method: 'HEAD' });
      assert.equal(answers[0]?.bytes, Number(headers.get('content-length')), at);
      assert.deepEqual([answers[0]?.status, answers[0]?.aborted], [200, undefined], at);
    }
    for (const name of ['128T', '128T-gui']) {
      assert.ok(
        [...reads.keys()].some((at) => at.includes(`/${name}-${NEW}.`)),
        `${name} came from the conductor`,
      );
    }
    const given = bodiesOf(await accessLogOf(router.data));
    for (const at of reads.keys()) {
      if (at.endsWith('.rpm')) assert.equal(given.get(at)?.length, CLIENTS, at);
    }

    server.child.kill('SIGKILL');
    await once(server.child, 'exit');
    await late.run('upgrade');
    await assertUpgraded(late);
  },
);
