/** Every block of commands in README.md and docs/ is done as it stands there. */
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, test } from 'node:test';
import { blocksOf, reasonNotToRun } from './document.ts';
import { PREPARED } from './prepared.ts';
import { root, walk } from './walk.ts';

describe('what a document says works', { concurrency: 2 }, () => {
  for (const [file, prepare] of Object.entries(PREPARED)) {
    test(file, async (t) => {
      const { ran, not } = await walk(t, file, prepare);
      t.diagnostic(`${ran} blocks ran, ${not.length} did not${not.map((why) => `\n  ${why}`).join('')}`);
      assert.ok(ran > 0);
    });
  }
});

/** Documents whose commands are tried elsewhere, or not. */
const ELSEWHERE: Readonly<Record<string, string>> = {
  'docs/benchmarks.md': 'takes a quarter of an hour, and a machine for itself',
  'docs/offline-package.md': 'test/e2e/package.test.ts',
};

test('no document with commands is passed over', () => {
  const withCommands = globSync(['README.md', 'docs/**/*.md'], { cwd: root }).filter((file) =>
    blocksOf(readFileSync(path.join(root, file), 'utf8')).some(
      (block) => block.kind === 'sh' && reasonNotToRun(block) === undefined,
    ),
  );
  const known = [...Object.keys(PREPARED), ...Object.keys(ELSEWHERE)];
  assert.deepEqual(
    withCommands.filter((file) => !known.includes(file)),
    [],
  );
});

test('links between documents lead somewhere', () => {
  for (const file of globSync(['*.md', 'storage/*.md', 'docs/**/*.md'], { cwd: root })) {
    const text = readFileSync(path.join(root, file), 'utf8').replace(/^```[\s\S]*?^```$/gm, '');
    for (const [, target = ''] of text.matchAll(/\]\(([^)#:]+)(?:#[^)]*)?\)/g)) {
      const there = globSync(path.join(path.dirname(file), target), { cwd: root });
      assert.equal(there.length, 1, `${file}: ${target}`);
    }
  }
});

test('the threat model names tests that there are', () => {
  const text = readFileSync(path.join(root, 'docs', 'threat-model.md'), 'utf8');
  const named = [...text.matchAll(/\]\(\.\.\/(test\/[^)]+)\) “([^”]+)”/g)];
  assert.ok(named.length > 20);
  for (const [, file = '', name = ''] of named) {
    assert.ok(readFileSync(path.join(root, file), 'utf8').includes(name), `${file}: ${name}`);
  }
});
