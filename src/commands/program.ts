/**
 * The command line as a whole: which commands there are, who makes them, and the options that all have.
 */
import path from 'node:path';
import { Command } from 'commander';
import packageFile from '../../package.json' with { type: 'json' };

/** `storage/` of the clone, wherever the command is given. */
const STORAGE = path.join(path.dirname(path.dirname(import.meta.dirname)), 'storage');

type Group = () => Promise<(program: Command) => void>;

/**
 * Who makes which commands, in the order of `--help`. Only what is asked for is loaded: a command that takes a moment should
 * not spend most of it on loading the others.
 */
const GROUPS: readonly (readonly [words: readonly string[], load: Group])[] = [
  [['serve'], async () => (await import('./serve.ts')).serveCommand],
  [['proxy'], async () => (await import('./proxy.ts')).proxyCommand],
  [['import iso', 'import file'], async () => below('import', (await import('./import.ts')).importCommands)],
  [['import rpm', 'import platform'], async () => below('import', (await import('./import-rpm.ts')).importRpmCommands)],
  [['import policy'], async () => below('import', (await import('./policy.ts')).importPolicyCommand)],
  [['import bundle'], async () => below('import', (await import('./bundle.ts')).importBundleCommand)],
  [['show'], async () => (await import('./show.ts')).showCommands],
  [['repo'], async () => (await import('./repo.ts')).repoCommands],
  [['release'], async () => (await import('./release.ts')).releaseCommands],
  [['upstream'], async () => (await import('./upstream.ts')).upstreamCommands],
  [['policy'], async () => (await import('./policy.ts')).policyCommands],
  [['trust'], async () => (await import('./trust.ts')).trustCommands],
  [['keys'], async () => (await import('./keys.ts')).keysCommands],
  [['tls'], async () => (await import('./tls.ts')).tlsCommands],
  [['export'], async () => (await import('./export.ts')).exportCommand],
  [['bundle'], async () => (await import('./bundle.ts')).bundleCommands],
  [['receipt'], async () => (await import('./receipt.ts')).receiptCommands],
  [['delete', 'verify', 'prune', 'doctor'], async () => (await import('./upkeep.ts')).upkeepCommands],
  [['config'], async () => (await import('./config.ts')).configCommands],
];

const PARENTS = { import: 'bring software into the repositories' };

/** Options of the whole program that have a value. */
const GLOBAL = ['--data', '--config'];

/**
 * The command line with what names data directory and configuration in front, wherever it stood: users write it last, too.
 * Commander by itself would take the program's `--version` everywhere as well, which some commands have of their own.
 * @param args without interpreter and script; what follows `--` stays as it is
 */
export function globalsFirst(args: readonly string[]): string[] {
  const end = args.includes('--') ? args.indexOf('--') : args.length;
  const globals: string[] = [];
  const others: string[] = [];
  for (let at = 0; at < end; at += 1) {
    const arg = args[at] ?? '';
    const length = GLOBAL.includes(arg) ? 2 : 1;
    const isGlobal = at + length <= end && GLOBAL.some((name) => arg === name || arg.startsWith(`${name}=`));
    (isGlobal ? globals : others).push(...args.slice(at, at + length));
    at += length - 1;
  }
  return [...globals, ...others, ...args.slice(end)];
}

/**
 * The program with the commands that `args` may mean; with all of them where there are no words, for help, suggestions and
 * the reference in docs/commands.md.
 * @param args without interpreter and script, with global options first (`globalsFirst`)
 */
export async function buildProgram(args: readonly string[]): Promise<Command> {
  const program = new Command('airlock')
    .description(packageFile.description)
    .version(packageFile.version)
    .enablePositionalOptions()
    .exitOverride()
    .option('--data <dir>', 'data directory', process.env.AIRLOCK_DATA || STORAGE)
    .option(
      '--config <file>',
      'configuration file (default: airlock.yaml in the data directory)',
      process.env.AIRLOCK_CONFIG || undefined,
    )
    .option('--json', 'print one JSON document on standard output')
    .showHelpAfterError('"--help" shows the usage.');
  for (const load of chosenGroups(args)) (await load())(program);
  return program;
}

/**
 * The group of the first two words from where no global option is, else of the first one; all of them where there is
 * none, for help and for suggestions.
 */
function chosenGroups(args: readonly string[]): Group[] {
  let at = 0;
  while (args[at]?.startsWith('--')) at += GLOBAL.includes(args[at] ?? '') ? 2 : 1;
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
