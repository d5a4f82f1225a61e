/** Media that are full, and processes that are killed, on both sides of the gap. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { isAirlockError } from '../../src/errors.ts';
import { parseMedium } from '../../src/sync/bundle/medium-size.ts';
import { airlock, ended, startCli } from '../support/cli.ts';
import { needsRoot } from '../support/needs.ts';
import { needsTracing, readTrace, runTraced, startTraced } from '../support/strace.ts';
import { makeTinyDisk } from '../support/tiny-disk.ts';
import { bundleIn, coded, openPlace, scene } from '../sync/scene.ts';

const MIB = 2 ** 20;

test('a bundle goes on to the next medium when one is full', needsRoot('mount'), async (t) => {
  const { station, site } = await scene(t);
  for (const name of ['b.bin', 'c.bin', 'd.bin', 'e.bin']) await station.put('tools', name, randomBytes(5 * MIB));
  const [first, second] = [makeTinyDisk(t, 17), makeTinyDisk(t, 17)];
  const medium = parseMedium('6MiB');
  await assert.rejects(station.export(first.dir, { medium }), (error: unknown) => {
    assert.ok(isAirlockError(error, 'medium.full'), String(error));
    assert.equal(error.exitCode, 5);
    assert.match(error.message, /volume-0003\.tar/);
    return true;
  });
  await assert.rejects(site.import(first.dir), coded('bundle.incomplete'));
  const { written } = await station.resume(second.dir);
  assert.deepEqual(written, ['volume-0003.tar', 'volume-0004.tar']);
  await site.import([second.dir, first.dir]);
  assert.deepEqual(await site.published(), await station.published());
});

test('a medium on which nothing fits holds nothing that could be taken for a bundle', needsRoot('mount'), async (t) => {
  const { station, site } = await scene(t);
  await station.put('tools', 'b.bin', randomBytes(5 * MIB));
  const disk = makeTinyDisk(t, 8);
  await assert.rejects(station.export(disk.dir), coded('medium.full'));
  assert.deepEqual(await readdir(disk.dir), []);
  await assert.rejects(site.import(disk.dir), coded('bundle.not-found'));
});

test('a site without room says so before it reads, and has what it had', needsRoot('mount'), async (t) => {
  const { station, stick } = await scene(t);
  await station.put('tools', 'b.bin', randomBytes(5 * MIB));
  await station.export(stick);
  const small = await openPlace(t, makeTinyDisk(t, 48).dir);
  await small.trust.add((await station.publisher.root()).bytes, {});
  await assert.rejects(
    small.import(stick),
    (error: unknown) => isAirlockError(error, 'space.insufficient') && error.exitCode === 6,
  );
  assert.deepEqual(await small.published(), {});
});

test('exports and imports that are killed at any moment are gone on with', async (t) => {
  const { station, dir, folder } = await scene(t);
  for (const name of ['b.bin', 'c.bin', 'd.bin']) await station.put('tools', name, randomBytes(24 * MIB));
  const to = await folder('to');
  const args = ['--data', station.dir, 'export', '--site', 'north', '--to', to, '--medium', '20MiB'];
  await killed([...args], 900);
  for (const after of [500, 700, 900]) await killed([...args, '--resume'], after);
  const done = await airlock([...args, '--resume']);
  assert.ok(done.code === 0 || done.code === 3, done.stderr);
  if (done.code === 3) assert.equal((await airlock(args)).code, 0); // killed before anything was begun

  const site = path.join(dir, 'fresh');
  const root = path.join(station.dir, 'keys/publisher/metadata/1.root.json');
  assert.equal((await airlock(['--data', site, 'trust', 'add', root, '--site', 'north'])).code, 0);
  const importing = ['--data', site, 'import', 'bundle', to];
  for (const after of [450, 600, 750, 900, 1050]) {
    await killed(importing, after);
    const repositories = JSON.parse((await airlock(['--data', site, '--json', 'repo', 'list'])).stdout) as unknown[];
    assert.ok(repositories.length === 0 || repositories.length === 1);
  }
  const end = await airlock(importing);
  assert.equal(end.code, 0, end.stderr);
  assert.equal((await airlock(['--data', site, 'verify'])).code, 0);
  const far = await openPlace(t, site);
  assert.deepEqual(await far.published(), await station.published());
  assert.equal((await readdir(await bundleIn(to))).filter((name) => name.endsWith('.partial')).length, 0);
});

/** SIGKILL after some time, unless it is done by then. */
async function killed(args: readonly string[], after: number): Promise<void> {
  const child = startCli(args);
  const result = ended(child);
  await Promise.race([sleep(after), result]);
  child.kill('SIGKILL');
  await result;
}

test(
  'a stick that is pulled just before its folder is made leaves nothing under its path',
  needsPulling(),
  async (t) => {
    const { station, dir } = await scene(t);
    const log = path.join(dir, 'trace');
    const looking = (to: string) => ['-P', to, '-e', 'trace=statx,mkdir'];
    const words = (to: string) => ['--data', station.dir, 'export', '--site', 'north', '--to', to];

    const whole = makeTinyDisk(t, 16);
    const folder = path.join(whole.dir, 'airlock-north-000001');
    const { code, stderr } = await runTraced(words(whole.dir), log, [...looking(whole.dir), '-P', folder], 'pool');
    assert.equal(code, 0, stderr);
    const calls = await readTrace(log);
    const made = calls.findIndex(({ name, paths }) => name === 'mkdir' && paths.includes(folder));
    const looks = calls
      .slice(0, made)
      .filter(({ name, paths }) => name === 'statx' && paths.includes(whole.dir)).length;
    assert.ok(looks > 0);

    const stick = makeTinyDisk(t, 16);
    const inject = ['-e', `inject=statx:signal=SIGSTOP:when=${looks}`];
    const { child, result, stopped } = await startTraced(
      words(stick.dir),
      log,
      [...looking(stick.dir), ...inject],
      'pool',
    );
    await stopped();
    execFileSync('umount', ['-l', stick.dir]);
    child.kill('SIGCONT');
    const pulled = await result;
    assert.equal(pulled.code, 5, pulled.stderr);
    assert.deepEqual(await readdir(stick.dir), []);
  },
);

function needsPulling(): { skip?: string } {
  const root = needsRoot('mount');
  return root.skip === undefined ? needsTracing() : root;
}
