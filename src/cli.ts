#!/usr/bin/env node
/** Runs a command of the command line, and ends the process. What commands there are is told in commands/program.ts. */
import { CommanderError } from 'commander';
import { hearSignals } from './commands/interruption.ts';
import { printError, printErrorDocument, watchOutput } from './commands/output.ts';
import { buildProgram, globalsFirst } from './commands/program.ts';
import { AirlockError, EXIT } from './errors.ts';

hearSignals();
watchOutput();

const args = globalsFirst(process.argv.slice(2));
const program = await buildProgram(args);

try {
  await program.parseAsync(args, { from: 'user' });
} catch (error) {
  process.exitCode = error instanceof CommanderError ? endOfParsing(error) : printError(error);
}
// Not left to Node.js: while it takes itself apart it has no signal handlers, and a SIGTERM that npm or a launcher hands
// on a moment late would make a failure of what has ended well.
if (process.stdout.writableLength === 0 && process.stderr.writableLength === 0) process.exit();

/** commander has printed what is wrong; exit code 0 means that help or the version was asked for. */
function endOfParsing({ exitCode, code, message }: CommanderError): number {
  if (exitCode === 0) return EXIT.done;
  const text =
    code === 'commander.help'
      ? 'A command is missing. "--help" shows those there are.'
      : message.replace(/^error: /, '');
  printErrorDocument(new AirlockError('usage.invalid', text));
  return EXIT.usage;
}
