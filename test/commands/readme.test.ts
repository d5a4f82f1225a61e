/** What README.md says of the command line, tried out. Its tour is done by test/docs/documents.test.ts. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, test } from 'node:test';
import type { Command } from 'commander';
import { buildProgram } from '../../src/commands/program.ts';
import { tempDir } from '../support/temp-dir.ts';

const root = path.join(import.meta.dirname, '..', '..');
const README = readFileSync(path.join(root, 'README.md'), 'utf8');

test('the alias works from another folder', async (t) => {
  const [alias = ''] = /^alias airlock=.*$/m.exec(README) ?? [];
  const dir = await tempDir(t);
  await writeFile(path.join(dir, 'here.yaml'), 'listen: 127.0.0.1:4711\n');
  const script = `shopt -s expand_aliases\n${alias}\ncd "$1"\nairlock --config here.yaml config print\n`;
  const printed = execFileSync('bash', ['-c', script, 'bash', dir], { cwd: root, encoding: 'utf8' });
  assert.match(printed, /^listen: 127\.0\.0\.1:4711$/m);
});

describe('the commands of the table have --help, with an example', () => {
  const rows = [...README.matchAll(/^\| `(.+?)` +\|/gm)].map(([, row = '']) => row.replaceAll('\\|', '|'));
  const commands = rows.flatMap((row) => row.split(/`, `/).flatMap(expand));
  assert.ok(commands.length >= 20);
  for (const command of commands) {
    test(command.join(' '), async () => {
      const help = await helpOf(command);
      assert.match(help, new RegExp(`^Usage: airlock ${command.join(' ')} `));
      assert.match(help, /^Examples?:$/m);
    });
  }
});

/** What `--help` prints. In this process: a new one for each of them would take most of the time. */
async function helpOf(command: readonly string[]): Promise<string> {
  const args = [...command, '--help'];
  const program = await buildProgram(args);
  let printed = '';
  for (const each of below(program)) {
    each.exitOverride().configureOutput({
      writeOut(text) {
        printed += text;
      },
    });
  }
  await assert.rejects(program.parseAsync(args, { from: 'user' }), { exitCode: 0 });
  return printed;
}

function below(command: Command): Command[] {
  return [command, ...command.commands.flatMap(below)];
}

/** `repo {list | show NAME} --flag` → the words up to the first that is none, with each choice. */
function expand(row: string): string[][] {
  const [, before = '', choices, after = ''] = /^([^{]*)(?:\{(.*?)\})?(.*)$/.exec(row) ?? [];
  const words = (text: string) => text.trim().split(' ');
  const head = plain(words(before));
  if (choices === undefined || head.join(' ') === 'import iso') return [head];
  return choices.split('|').map((choice) => [...head, ...plain(words(`${choice} ${after}`))]);
}

/** The vendor's words at the end of a command are arguments of it. */
function plain(words: readonly string[]): string[] {
  const end = words.findIndex((word) => !/^[a-z-]+$/.test(word) || word.startsWith('-') || word === 'version');
  return words.slice(0, end < 0 ? words.length : end);
}
