import type { Command } from 'commander';
import { loadConfig } from '../app.ts';
import { printConfig } from '../config.ts';
import { action, appOptions } from './command.ts';

/** `config print | check`. */
export function configCommands(program: Command): void {
  const parent = program.command('config').description('the configuration file, airlock.yaml in the data directory');

  const print = parent
    .command('print')
    .description('print the configuration in force, defaults included')
    .addHelpText('after', '\nExample:\n  airlock config print');
  action(print, async ({ options }) => {
    const config = await loadConfig(appOptions(options));
    return { json: config, text: printConfig(config).trimEnd() };
  });

  const check = parent
    .command('check')
    .description('say what is wrong in it, with line numbers')
    .addHelpText('after', '\nExample:\n  airlock --config airlock.yaml config check');
  action(check, async ({ options }) => {
    await loadConfig(appOptions(options));
    return { json: { ok: true }, text: 'The configuration is good.' };
  });
}
