#!/usr/bin/env node
/**
 * The command line. Each command is in src/commands/; this file only puts them together and ends the process.
 */
import path from 'node:path';
import { Command, CommanderError } from 'commander';
import packageFile from '../package.json' with { type: 'json' };
import { bundleCommands } from './commands/bundle.ts';
import { configCommands } from './commands/config.ts';
import { exportCommand } from './commands/export.ts';
import { importCommands } from './commands/import.ts';
import { hearSignals } from './commands/interruption.ts';
import { keysCommands } from './commands/keys.ts';
import { printError, printErrorDocument, watchOutput } from './commands/output.ts';
import { policyCommands } from './commands/policy.ts';
import { proxyCommand } from './commands/proxy.ts';
import { receiptCommands } from './commands/receipt.ts';
import { releaseCommands } from './commands/release.ts';
import { repoCommands } from './commands/repo.ts';
import { serveCommand } from './commands/serve.ts';
import { showCommands } from './commands/show.ts';
import { trustCommands } from './commands/trust.ts';
import { upkeepCommands } from './commands/upkeep.ts';
import { AirlockError, EXIT } from './errors.ts';

/** `storage/` of the clone, wherever the command is given. */
const STORAGE = path.join(path.dirname(import.meta.dirname), 'storage');

hearSignals();
watchOutput();

const program = new Command('airlock')
  .description(packageFile.description)
  .version(packageFile.version)
  .enablePositionalOptions()
  .exitOverride()
  .option('--data <dir>', 'data directory', process.env.AIRLOCK_DATA || STORAGE)
  .option('--config <file>', 'configuration file (default: airlock.yaml in the data directory)')
  .option('--json', 'print one JSON document on standard output')
  .showHelpAfterError('"--help" shows the usage.');

serveCommand(program);
proxyCommand(program);
importCommands(program);
showCommands(program);
repoCommands(program);
releaseCommands(program);
policyCommands(program);
trustCommands(program);
keysCommands(program);
exportCommand(program);
bundleCommands(program);
receiptCommands(program);
upkeepCommands(program);
configCommands(program);

try {
  await program.parseAsync();
} catch (error) {
  process.exitCode = error instanceof CommanderError ? endOfParsing(error) : printError(error);
}

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
