import path from 'node:path';
import { type Command, Option } from 'commander';
import { loadConfig, locateConfig } from '../app.ts';
import { describeFault, invalid } from '../config/file.ts';
import { type Config, configKeys, parseConfig, printConfig, type ReadConfig } from '../config.ts';
import { escapeControls } from '../repo/formats/quote.ts';
import { action, appOptions, type Result } from './command.ts';

interface PrintFlags {
  readonly defaults?: boolean;
  readonly example?: boolean;
}

/** `config print | check`. */
export function configCommands(program: Command): void {
  const parent = program.command('config').description('the configuration file, airlock.yaml in the data directory');
  printCommand(parent);
  checkCommand(parent);
}

function printCommand(parent: Command): void {
  const print = parent
    .command('print')
    .description('print the configuration in force: the file, variables of the environment, and defaults')
    .addOption(new Option('--defaults', 'print what holds without a file').conflicts('example'))
    .option('--example', 'print a file to begin with, in which each key is explained')
    .addHelpText(
      'after',
      '\nExamples:\n  airlock config print\n  airlock config print --example > airlock.yaml\n  AIRLOCK_LOG_LEVEL=debug airlock config print',
    );
  action<[PrintFlags]>(print, async ({ options }, { defaults, example }) => {
    if (example === true) return await printExample();
    return printed(defaults === true ? parseConfig('', 'defaults') : await loadConfig(appOptions(options)));
  });
}

function printed(config: Config): Result {
  return { json: config, text: printConfig(config).trimEnd() };
}

async function printExample(): Promise<Result> {
  const { exampleFile } = await import('../config/example.ts');
  const example = exampleFile(configKeys());
  return { json: { example }, text: example.trimEnd() };
}

function checkCommand(parent: Command): void {
  const check = parent
    .command('check')
    .argument('[file]', 'a configuration file (default: the one that is in force)')
    .description('say what is wrong with it, with line numbers, and with the files, certificates and secrets it names')
    .addHelpText(
      'after',
      '\nExamples:\n  airlock config check\n  airlock config check new.yaml && mv new.yaml airlock.yaml',
    );
  action<[string | undefined]>(check, async ({ options }, file) => {
    const opened = appOptions(file === undefined ? options : { ...options, config: file });
    return await checked(path.resolve(opened.dataDir), await locateConfig(opened));
  });
}

/** @throws config.invalid with all faults */
async function checked(dataDir: string, { config, name, place }: ReadConfig): Promise<Result> {
  const { checkConfig } = await import('../config/check.ts');
  const found = await checkConfig(dataDir, config);
  const located = found.map(({ path: at, message, isWarning }) => ({ ...place(at), message, isWarning }));
  const faults = located.filter(({ isWarning }) => !isWarning).map(({ isWarning: _, ...fault }) => fault);
  if (faults.length > 0) throw invalid(name, faults);
  const warnings = located.map(({ isWarning: _, ...warning }) => warning);
  const lines = warnings.map((warning) => `! ${escapeControls(describeFault(name, warning))}`);
  return {
    json: { ok: true, warnings },
    text: [...lines, warnings.length === 0 ? 'The configuration is good.' : 'The configuration can be used.'].join(
      '\n',
    ),
  };
}
