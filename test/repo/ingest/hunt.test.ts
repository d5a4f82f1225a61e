/** What a hunt finds, what it passes over, and that nothing it meets hides the rest. */
import assert from 'node:assert/strict';
import { mkdir, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { isAirlockError } from '../../../src/errors.ts';
import { limits } from '../../../src/limits.ts';
import { hunt } from '../../../src/repo/ingest/hunt.ts';
import { IMAGE_ISO, imageTar, publishFile } from '../../media/vendor-site.ts';
import { type Failed, isoBytes, type Report, scene, sha256 } from './scene.ts';

const signal = new AbortController().signal;

test('folders that are too deep, not there, or no folders are told, and do not hide the others', async (t) => {
  const { stick, at, json } = await scene(t);
  const deep = at(...Array.from({ length: limits.hunt.depth + 1 }, () => 'd'));
  await mkdir(deep, { recursive: true });
  await publishFile(deep, IMAGE_ISO, isoBytes());
  await publishFile(stick, IMAGE_ISO, isoBytes());
  await writeFile(at('file'), '');
  const { code, stderr, json: report } = await json<Report>('import', 'iso', 'hunt', stick, at('none'), at('file'));
  assert.equal(code, 0, stderr);
  assert.deepEqual(
    report.skipped.map(({ file, why }) => [path.relative(stick, file), why]),
    [
      [path.relative(stick, deep), `deeper than ${limits.hunt.depth} folders; name it itself to search it`],
      ['none', 'there is no such folder'],
      ['file', 'not a folder; "filepath" takes a file'],
    ],
  );
  for (const { why } of report.skipped) assert.ok(stderr.includes(`(${why})`), stderr);
  assert.equal(report.imported.length, 1);
});

test('names that are not UTF-8 are told where they could matter', async (t) => {
  const { stick, at, json } = await scene(t);
  await publishFile(stick, IMAGE_ISO, isoBytes());
  const latin1 = (name: string) => Buffer.concat([Buffer.from(`${stick}/`), Buffer.from(name, 'latin1')]);
  await writeFile(latin1('SSR-ü.iso'), '');
  await writeFile(latin1('übung.txt'), '');
  await mkdir(latin1('Bücher'));
  const { code, json: report } = await json<Report>('import', 'iso', 'hunt', stick);
  assert.equal(code, 0);
  assert.deepEqual(report.skipped.map(({ file, why }) => `${file} ${why}`).sort(), [
    `${at('B\ufffdcher')} its name is not UTF-8; rename it`,
    `${at('SSR-\ufffd.iso')} its name is not UTF-8; rename it`,
  ]);
  assert.equal(report.imported.length, 1);
});

test('a hunt through too many files ends, once, and says so', async (t) => {
  const { stick, at } = await scene(t);
  for (const name of ['a', 'b', 'c']) {
    await mkdir(at(name, name), { recursive: true });
    await writeFile(at(name, name, IMAGE_ISO), '');
  }
  const { skipped } = await hunt([stick, at('c')], { signal, bounds: { depth: 9, entries: 4 } });
  assert.equal(skipped.length, 1);
  assert.match(skipped[0]?.why ?? '', /more than 4 files, the rest was not searched/);
});

test('a hunt can be interrupted', async (t) => {
  const { stick, at } = await scene(t);
  await writeFile(at('file'), '');
  await assert.rejects(hunt([stick], { signal: AbortSignal.abort() }), (error) => isAirlockError(error, 'interrupted'));
});

test('files that are no releases are passed over', async (t) => {
  const { stick, at, json } = await scene(t);
  await writeFile(at('SSR-backup.tar'), await imageTar('6.3.0-107.r1.el7'));
  const only = await json<Failed>('import', 'iso', 'hunt', stick);
  assert.deepEqual([only.code, only.json.error.code], [3, 'file.not-found']);
  await symlink(at('SSR-backup.tar'), at(`SSR-link.iso`));
  await publishFile(stick, IMAGE_ISO, isoBytes());
  const { code, stderr, json: report } = await json<Report>('import', 'iso', 'hunt', stick);
  assert.equal(code, 0, stderr);
  assert.match(stderr, /passed over: .*SSR-backup\.tar \(not named as the vendor names images\)/);
  assert.match(stderr, /passed over: .*SSR-link\.iso \(not a file, and links are not followed\)/);
  assert.deepEqual([report.imported.length, report.failed.length, report.skipped.length], [1, 0, 2]);
});

test('sidecars of all the wrong kinds fail their own image only, and the exit code tells', async (t) => {
  const { stick, at, json, run } = await scene(t);
  const image = (patch: number) => `SSR-6.3.${patch}-1.r1.el7.x86_64.ibu-v1.iso`;
  for (const patch of [1, 2, 3]) await publishFile(stick, image(patch), isoBytes());
  await symlink(at('loop'), at('loop'));
  await writeFile(at(image(4)), isoBytes());
  await symlink(at('loop'), at(`${image(4)}.sha256sum`));
  await writeFile(at(image(5)), isoBytes());
  await mkdir(at(`${image(5)}.sha256sum`));
  const { code, json: report } = await json<Report>('import', 'iso', 'hunt', stick);
  assert.equal(code, 4);
  assert.equal(report.imported.length, 3);
  assert.deepEqual(
    report.failed.map(({ file, error }) => [path.basename(file), error.code]),
    [
      [image(4), 'checksum.invalid'],
      [image(5), 'checksum.invalid'],
    ],
  );
  assert.match((await run('import', 'iso', 'hunt', stick)).stdout, /2 of 5 images were not imported\./);
});

test('what a medium calls its files cannot steer a terminal', async (t) => {
  const { stick, at, run } = await scene(t);
  const evil = 'SSR-\u001b]0;owned\u0007\u009b31m\u202e.iso';
  await writeFile(at(evil), 'x');
  await mkdir(at('d\u001b[2J'));
  await writeFile(at('d\u001b[2J', IMAGE_ISO), isoBytes());
  await writeFile(at('d\u001b[2J', `${IMAGE_ISO}.sha256sum`), `${sha256('x')}  a\u001b[31m\u009b.iso\n`);
  await writeFile(at('d\u001b[2J', 'sha256sum'), 'no \u001b[31m checksum');
  for (const args of [
    ['import', 'iso', 'hunt', stick],
    ['import', 'iso', 'hunt', at('\u001b[31m')],
    ['import', 'iso', 'filepath', at(evil)],
    ['import', 'iso', 'filepath', at('d\u001b[2J')],
    ['import', 'iso', 'filepath', at('\u001b[31m.iso')],
    ['import', 'iso', '--require-checksum', 'filepath', at('d\u001b[2J', IMAGE_ISO)],
    ['import', 'file', '--repository', 'tools', '--path', 'x', at(evil)],
    ['import', 'file', '--repository', 'tools', '--path', 'x', at('d\u001b[2J', IMAGE_ISO)],
    ['repo', 'revisions', 'tools'],
  ]) {
    const { stdout, stderr } = await run(...args);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
    assert.doesNotMatch(stdout + stderr, /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/, args.join(' '));
  }
});
