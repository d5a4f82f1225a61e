import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { copyFile, mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { tempDir } from '../support/temp-dir.ts';

const root = path.join(import.meta.dirname, '..', '..');

/** Importing file, what it imports, and whether the rooms allow it. */
const IMPORTS: [file: string, specifier: string, allowed: boolean][] = [
  ['src/repo/http/planted.ts', '../../proxy/pull-through.ts', false],
  ['src/repo/ingest/planted.ts', '../../sync/import.ts', false],
  ['src/repo/planted.ts', '../app.ts', false],
  ['src/repo/blobs/planted.ts', '../../commands/import.ts', false],
  ['src/proxy/planted.ts', '../sync/import.ts', false],
  ['src/proxy/deep/planted.ts', '../../app.ts', false],
  ['src/sync/planted.ts', '../proxy/pull-through.ts', false],
  ['src/commands/planted.ts', '../cli.ts', false],
  ['src/errors.ts', './config.ts', false],
  ['src/proxy/fine.ts', '../repo/artifact-source.ts', true],
  ['src/sync/fine.ts', '../repo/catalog/catalog.ts', true],
  ['src/commands/fine.ts', '../app.ts', true],
  ['src/repo/http/fine.ts', '../catalog/catalog.ts', true],
];

test('the linter refuses arrows between the rooms that do not belong', async (t) => {
  const dir = await tempDir(t);
  await copyFile(path.join(root, 'biome.json'), path.join(dir, 'biome.json'));
  for (const [file, specifier] of IMPORTS) {
    await mkdir(path.join(dir, path.dirname(file)), { recursive: true });
    await writeFile(path.join(dir, file), `import { thing } from '${specifier}';\n\nexport const other = thing;\n`);
  }
  const run = spawnSync('biome', ['lint', '--vcs-enabled=false', '.'], { cwd: dir, encoding: 'utf8' });
  const said = run.stdout + run.stderr;
  for (const [file, specifier, allowed] of IMPORTS) {
    assert.equal(
      said.includes(`${file}:1:23 lint/style/noRestrictedImports`),
      !allowed,
      `${file} → ${specifier}\n${said}`,
    );
  }
});
