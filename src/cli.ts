#!/usr/bin/env node
/**
 * The command line. Each command is in src/commands/; this file only puts them together and ends the process.
 */
import path from 'node:path';
import { Command, CommanderError } from 'commander';
import packageFile from '../package.json' with { type: 'json' };
import { hearSignals } from './commands/interruption.ts';
import { printError, printErrorDocument, watchOutput } from './commands/output.ts';
import { AirlockError, EXIT } from './errors.ts';

/** `storage/` of the clone, wherever the command is given. */
const STORAGE = path.join(path.dirname(import.meta.dirname), 'storage');

type Group = () => Promise<(program: Command) => void>;

/**
 * Who makes which commands, in the order of `--help`. Only what is asked for is loaded: a command that takes a moment should
 * not spend most of it on loading the others.
 */
const GROUPS: readonly (readonly [words: readonly string[], load: Group])[] = [
  [['serve'], async () => (await import('./commands/serve.ts')).serveCommand],
  [['proxy'], async () => (await import('./commands/proxy.ts')).proxyCommand],
  [['import iso', 'import file'], async () => below('import', (await import('./commands/import.ts')).importCommands)],
  [
    ['import rpm', 'import platform'],
    async () => below('import', (await import('./commands/import-rpm.ts')).importRpmCommands),
  ],
  [['import policy'], async () => below('import', (await import('./commands/policy.ts')).importPolicyCommand)],
  [['import bundle'], async () => below('import', (await import('./commands/bundle.ts')).importBundleCommand)],
  [['show'], async () => (await import('./commands/show.ts')).showCommands],
  [['repo'], async () => (await import('./commands/repo.ts')).repoCommands],
  [['release'], async () => (await import('./commands/release.ts')).releaseCommands],
  [['policy'], async () => (await import('./commands/policy.ts')).policyCommands],
  [['trust'], async () => (await import('./commands/trust.ts')).trustCommands],
  [['keys'], async () => (await import('./commands/keys.ts')).keysCommands],
  [['export'], async () => (await import('./commands/export.ts')).exportCommand],
  [['bundle'], async () => (await import('./commands/bundle.ts')).bundleCommands],
  [['receipt'], async () => (await import('./commands/receipt.ts')).receiptCommands],
  [['delete', 'verify', 'prune', 'doctor'], async () => (await import('./commands/upkeep.ts')).upkeepCommands],
  [['config'], async () => (await import('./commands/config.ts')).configCommands],
];

const PARENTS = { import: 'bring software into the repositories' };

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

for (const load of chosenGroups(process.argv.slice(2))) (await load())(program);

try {
  await program.parseAsync();
} catch (error) {
  process.exitCode = error instanceof CommanderError ? endOfParsing(error) : printError(error);
}
// Not left to Node.js: while it takes itself apart it has no signal handlers, and a SIGTERM that npm or a launcher hands
// on a moment late would make a failure of what has ended well.
if (process.stdout.writableLength === 0 && process.stderr.writableLength === 0) process.exit();

/**
 * The group of the first two words from where no global option is, else of the first one; all of them where there is
 * none, for help and for suggestions.
 */
function chosenGroups(args: readonly string[]): Group[] {
  let at = 0;
  while (args[at]?.startsWith('--')) at += args[at] === '--data' || args[at] === '--config' ? 2 : 1;
  const [first = '', second = ''] = args.slice(at);
  const meant = (test: (word: string) => boolean) => GROUPS.filter(([words]) => words.some(test));
  const chosen = [
    meant((word) => word === `${first} ${second}`),
    meant((word) => word.split(' ', 1)[0] === first),
    GROUPS,
  ].find((groups) => groups.length > 0);
  return (chosen ?? []).map(([, load]) => load);
}

/** For commands of two words, which come from several files. */
function below(name: keyof typeof PARENTS, add: (parent: Command) => void): (program: Command) => void {
  return (program) => {
    const known = program.commands.find((command) => command.name() === name);
    add(known ?? program.command(name).description(PARENTS[name]));
  };
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
