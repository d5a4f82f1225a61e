/**
 * All checks, in the order of their cost: types, linter and rules between the rooms, unused code, then the tests.
 * The tests run last, so that their count closes the output.
 */
import { spawnSync } from 'node:child_process';
import { globSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import path from 'node:path';

const root = path.dirname(import.meta.dirname);
const only = process.argv.slice(2);

if (only.length === 0) {
  step('types', ['tsc', '-p', '.']);
  step('linter and rooms', ['biome', 'check', '--error-on-warnings', '.']);
  step('unused code', ['knip']);
}
const files = only.length > 0 ? only : globSync('test/**/*.test.ts', { cwd: root }).sort();
// One more than there are cores: many tests wait for other programs.
step('tests', ['node', '--test', `--test-concurrency=${availableParallelism() + 1}`, ...files]);

function step(name: string, [command = '', ...args]: string[]): void {
  console.error(`— ${name}: ${command}`);
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: 'inherit' });
  if (status === 0) return;
  console.error(`${name} failed${error === undefined ? '' : `: ${error.message}`}`);
  process.exit(1);
}
