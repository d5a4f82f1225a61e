#!/usr/bin/env node
/**
 * The command line. Each command is in src/commands/; this file only puts them together and ends the process.
 */
import { Command, CommanderError } from 'commander';
import packageFile from '../package.json' with { type: 'json' };
import { printError } from './commands/command.ts';
import { configCommands } from './commands/config.ts';
import { importCommands } from './commands/import.ts';
import { releaseCommands } from './commands/release.ts';
import { repoCommands } from './commands/repo.ts';
import { serveCommand } from './commands/serve.ts';
import { showCommands } from './commands/show.ts';
import { trustCommands } from './commands/trust.ts';
import { upkeepCommands } from './commands/upkeep.ts';
import { EXIT } from './errors.ts';

const program = new Command('airlock')
  .description(packageFile.description)
  .version(packageFile.version)
  .enablePositionalOptions()
  .exitOverride()
  .option('--data <dir>', 'data directory', process.env.AIRLOCK_DATA ?? './storage')
  .option('--config <file>', 'configuration file (default: airlock.yaml in the data directory)')
  .option('--json', 'print one JSON document on standard output')
  .showHelpAfterError('"--help" shows the usage.');

serveCommand(program);
importCommands(program);
showCommands(program);
repoCommands(program);
releaseCommands(program);
trustCommands(program);
upkeepCommands(program);
configCommands(program);

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) {
    // commander has printed what is wrong; exit code 0 means that help or the version was asked for
    process.exitCode = error.exitCode === 0 ? EXIT.done : EXIT.usage;
  } else {
    process.exitCode = printError(error, process.argv.includes('--json'));
  }
}
