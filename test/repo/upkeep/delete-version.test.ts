import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { promisify } from 'node:util';
import { IMAGE_ISO, IMAGE_TAR, makeVendorSite } from '../../media/vendor-site.ts';
import { needs } from '../../support/needs.ts';
import { makeScene, type Scene } from './support.ts';

const CLI = path.join(import.meta.dirname, '..', '..', '..', 'src', 'cli.ts');

async function withImages(t: TestContext): Promise<Scene & { paths(): Promise<string[]> }> {
  const scene = await makeScene(t);
  const stick = path.join(scene.dir, 'stick');
  await makeVendorSite(stick);
  assert.equal((await scene.run('import', 'iso', 'hunt', stick)).code, 0);
  return {
    ...scene,
    async paths() {
      const shown = await scene.json<{ entries: { path: string }[] }>('repo', 'show', 'images');
      return shown.json.entries.map((entry) => entry.path).filter((each) => each.startsWith('6.3/'));
    },
  };
}

const withSidecars = (name: string) => ['', '.sha256sum', '.sha256sum.asc'].map((suffix) => `6.3/${name}${suffix}`);

test('a file name takes out that file and its sidecars, and nothing else', async (t) => {
  const { json, run, paths } = await withImages(t);
  assert.deepEqual(await paths(), [...withSidecars(IMAGE_ISO), ...withSidecars(IMAGE_TAR)]);
  const { json: deleted } = await json<{ removed: { path: string }[] }>(
    ...['delete', 'system', 'software', 'version', IMAGE_TAR],
  );
  assert.deepEqual(
    deleted.removed.map((each) => each.path),
    withSidecars(IMAGE_TAR),
  );
  assert.deepEqual(await paths(), withSidecars(IMAGE_ISO));
  const gone = await run('delete', 'system', 'software', 'version', IMAGE_TAR);
  assert.equal(gone.code, 3, 'the ISO of the same release is not what was named');
  assert.match(gone.stderr, /release\.not-found.*SSR-6\.3\.0-107\.r1\.el7\.x86_64\.ibu-v1\.iso/);
  assert.equal((await run('delete', 'system', 'software', 'version', '6.3.0-107')).code, 0);
  assert.deepEqual(await paths(), []);
});

/** Runs the command on a terminal on which somebody types. */
async function onTerminal(data: string, typed: string, version: string): Promise<{ code: number; shown: string }> {
  const command = [process.execPath, CLI, '--data', data, 'delete', 'system', 'software', 'version', version];
  const running = promisify(execFile)('script', ['-qec', command.map((each) => `'${each}'`).join(' '), '/dev/null']);
  running.child.stdin?.end(typed);
  try {
    return { code: 0, shown: (await running).stdout };
  } catch (error) {
    const { code, stdout } = error as { code: number; stdout: string };
    return { code, shown: stdout };
  }
}

test('the question comes when it is clear what goes, and names it', needs('script=bsdutils'), async (t) => {
  const { data, paths } = await withImages(t);
  const unknown = await onTerminal(data, 'y\n', '9.9.9');
  assert.equal(unknown.code, 3);
  assert.doesNotMatch(unknown.shown, /\[y\/N\]/);
  const refused = await onTerminal(data, 'n\n', 'SSR-6.3.0-107');
  assert.equal(refused.code, 0);
  for (const each of [...withSidecars(IMAGE_ISO), ...withSidecars(IMAGE_TAR)]) {
    assert.ok(refused.shown.includes(`images/${each}`), refused.shown);
  }
  assert.match(refused.shown, /Delete 6\.3\.0-107\.r1\.el7, these 6 files\? \[y\/N\]: .*Nothing was deleted/s);
  assert.equal((await paths()).length, 6);
});
