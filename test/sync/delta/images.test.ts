/** Deltas between images as vendors make them, measured against what stock tools can do. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { packDelta } from '../../../src/sync/delta/pack-delta.ts';
import { planDelta } from '../../../src/sync/delta/plan-delta.ts';
import { needs } from '../../support/needs.ts';
import { tempDir } from '../../support/temp-dir.ts';
import { MemoryBlobs, noise, sourceOf } from './memory-blobs.ts';

/** Bytes that travel: the packs and the recipe. */
async function deltaSize(older: string, newer: string): Promise<number> {
  const site = new MemoryBlobs([readFileSync(older)]);
  const blob = sourceOf(readFileSync(newer));
  const plan = await planDelta(blob, await site.held(), { open: site.open });
  assert.ok(plan !== undefined);
  const packed = await packDelta(plan, blob, { open: site.open, write: async () => undefined });
  assert.ok(packed !== undefined);
  return packed.stored + JSON.stringify(packed.recipe).length;
}

/** A tree of packages, some of which are new in the second release, and of many small files. */
function makeTree(dir: string, release: number): string {
  const tree = path.join(dir, `tree-${release}`);
  mkdirSync(path.join(tree, 'Packages'), { recursive: true });
  mkdirSync(path.join(tree, 'docs'));
  for (let at = 0; at < 20; at += 1) {
    const isNew = at % 5 === 0;
    const name = `package-${at}-${isNew ? release : 1}.rpm`;
    const seed = at + (isNew ? 1000 * release : 0);
    writeFileSync(path.join(tree, 'Packages', name), noise(50_000 + at * 60_000, seed));
  }
  for (let at = 0; at < 400; at += 1) {
    const text = `${noise(300 + at, 5000 + at).toString('hex')}\n`;
    writeFileSync(path.join(tree, 'docs', `${at}.txt`), at % 50 === 0 ? `release ${release}\n${text}` : text);
  }
  return tree;
}

function makeIso(dir: string, tree: string): string {
  const iso = path.join(dir, `${path.basename(tree)}.iso`);
  execFileSync('xorriso', ['-as', 'mkisofs', '-quiet', '-R', '-J', '-o', iso, tree], { stdio: 'ignore' });
  return iso;
}

async function releases(t: TestContext): Promise<{ dir: string; trees: [string, string]; isos: [string, string] }> {
  const dir = await tempDir(t);
  const trees: [string, string] = [makeTree(dir, 1), makeTree(dir, 2)];
  return { dir, trees, isos: [makeIso(dir, trees[0]), makeIso(dir, trees[1])] };
}

test('two consecutive images: no more than 1.2 times what zstd needs', needs('xorriso', 'zstd'), async (t) => {
  const { dir, isos } = await releases(t);
  const patch = path.join(dir, 'patch.zst');
  execFileSync('zstd', ['-q', '-f', `--patch-from=${isos[0]}`, isos[1], '-o', patch], { stdio: 'ignore' });
  const [ours, theirs] = [await deltaSize(...isos), statSync(patch).size];
  t.diagnostic(`${ours} bytes, zstd ${theirs}, whole ${statSync(isos[1]).size}`);
  assert.ok(ours <= theirs * 1.2, `${ours} bytes, zstd needs ${theirs}`);
});

test('an image and the tar of the same tree: a hundredth', needs('xorriso', 'tar'), async (t) => {
  const { dir, trees, isos } = await releases(t);
  const tar = path.join(dir, 'tree.tar');
  execFileSync('tar', ['-C', trees[0], '-cf', tar, '.']);
  for (const pair of [
    [tar, isos[0]],
    [isos[0], tar],
  ] as const) {
    const ours = await deltaSize(...pair);
    t.diagnostic(`${ours} bytes of ${statSync(pair[1]).size}`);
    assert.ok(ours <= statSync(pair[1]).size / 100, `${ours} bytes`);
  }
});
