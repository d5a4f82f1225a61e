/** The references are what the code says. UPDATE_DOCS=1 writes them anew. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, test } from 'node:test';
import type { Command } from 'commander';
import { buildProgram } from '../../src/commands/program.ts';
import { CODES } from '../../src/errors.ts';
import { allCommands, commandReference, examplesOf } from './command-reference.ts';
import { ERROR_MEANINGS } from './error-meanings.ts';
import { errorReference } from './error-reference.ts';

const docs = path.join(import.meta.dirname, '..', '..', 'docs');

for (const [name, make] of [
  ['commands.md', commandReference],
  ['errors.md', async () => errorReference()],
] as const) {
  test(`docs/${name} is up to date`, async () => {
    const [file, made] = [path.join(docs, name), await make()];
    if (process.env.UPDATE_DOCS === '1') writeFileSync(file, made);
    const there = readFileSync(file, 'utf8');
    assert.ok(there === made, `UPDATE_DOCS=1 node --test test/docs/reference.test.ts writes docs/${name} anew`);
  });
}

test('every error code has a meaning, and no other', () => {
  assert.deepEqual(Object.keys(ERROR_MEANINGS).sort(), Object.keys(CODES).sort());
});

describe('the examples of --help are commands', async () => {
  for (const command of allCommands(await buildProgram([]))) {
    const examples = examplesOf(command);
    test(examples[0] ?? `airlock ${command.name()} has one`, async () => {
      assert.ok(examples.length > 0);
      for (const example of examples) assert.equal(await understood(example), command.name(), example);
    });
  }
});

/** @returns the name of the command that would be done. @throws CommanderError */
async function understood(example: string): Promise<string> {
  const program = await buildProgram([]);
  let name = '';
  for (const command of [program, ...below(program)]) {
    command.exitOverride().configureOutput({ writeErr: () => undefined });
    if (command.commands.length === 0 || command.options.length > 0)
      command.action(() => {
        name = command.name();
      });
  }
  // What the shell does with the output is not ours.
  const [ours = ''] = example.split(/ (?:>|&&|\|) /);
  const words = ours.match(/"[^"]*"|\S+/g)?.map((word) => word.replaceAll('"', '')) ?? [];
  await program.parseAsync(words.slice(1), { from: 'user' });
  return name;
}

function below(command: Command): Command[] {
  return command.commands.flatMap((each) => [each, ...below(each)]);
}
