/** docs/commands.md, made from the definitions of the command line. */
import path from 'node:path';
import type { Command } from 'commander';
import { buildProgram } from '../../src/commands/program.ts';
import { EXIT } from '../../src/errors.ts';
import { table } from './markdown.ts';

const root = path.join(import.meta.dirname, '..', '..');

/** What each exit code means, for people. */
export const EXIT_MEANINGS: Readonly<Record<keyof typeof EXIT, string>> = {
  done: 'done',
  other: 'anything else: the disk fails, the output cannot be written, a fault of Airlock',
  usage: 'the command, its options or the configuration are wrong',
  notFound: 'what was asked for is not there',
  unverified: 'verification failed: digest, signature, key, older or expired bundle, damaged or unreadable input',
  incomplete: 'not finished, and can be gone on with: give the same command again',
  noSpace: 'not enough space',
  refused: 'refused: by policy, because it does not fit, or because of a conflict',
  unreachable: 'somebody could not be reached, or did not answer in time',
};

/** The reference as Markdown. */
export async function commandReference(): Promise<string> {
  const program = await buildProgram([]);
  const groups = program.commands;
  return `${[
    '# Commands',
    GENERATED,
    'How commands work in general: [README](../README.md#commands). What error codes mean: [errors](errors.md). Keys of the configuration file: [configuration](configuration.md).',
    '## Global options',
    'They stand before or after the command: `airlock --data DIR --json repo list`, `airlock repo list --json --data DIR`. The data directory can also be named by the variable `AIRLOCK_DATA`; without either it is `storage/` beside the program.',
    optionTable(program),
    '## Exit codes',
    table(
      ['Code', 'Meaning'],
      Object.entries(EXIT).map(([name, code]) => [String(code), EXIT_MEANINGS[name as keyof typeof EXIT]]),
    ),
    ...groups.flatMap((group) => [`## ${group.name()}`, ...section(group)]),
  ].join('\n\n')}\n`;
}

const GENERATED =
  '<!-- Made from the definitions of the commands: UPDATE_DOCS=1 node --test test/docs/reference.test.ts writes it anew. -->';

/** What a group says of itself, then its commands. A group may be a command, too. */
function section(command: Command): string[] {
  const leaves = command.commands;
  if (leaves.length === 0) return described(command);
  const own = command.options.length > 0 ? described(command) : [sentence(command.description())];
  return [...own, ...leaves.flatMap((leaf) => leafSections(leaf))];
}

function leafSections(command: Command): string[] {
  const deeper = command.commands;
  if (deeper.length > 0) return deeper.flatMap((each) => leafSections(each));
  return [`### ${names(command).slice(1).join(' ')}`, ...described(command)];
}

function described(command: Command): string[] {
  return [
    sentence(command.description()),
    fence(`${names(command).join(' ')} ${command.usage()}`.trim()),
    ...argumentTable(command),
    ...(visibleOptions(command).length > 0 ? [optionTable(command)] : []),
    ...afterHelp(command),
  ];
}

function names(command: Command): string[] {
  return command.parent === null ? [command.name()] : [...names(command.parent), command.name()];
}

/** With a full stop and a capital letter. */
function sentence(text: string): string {
  return `${text.slice(0, 1).toUpperCase()}${text.slice(1)}.`;
}

function argumentTable(command: Command): string[] {
  const rows = command.registeredArguments.map((argument) => {
    const shown = argument.variadic ? `${argument.name()}...` : argument.name();
    return [`\`${argument.required ? `<${shown}>` : `[${shown}]`}\``, argument.description];
  });
  return rows.some(([, description]) => description !== '') ? [table(['Argument', 'Meaning'], rows)] : [];
}

/** All but `--json`, which every command has, where it says nothing of its own. */
function visibleOptions(command: Command) {
  return command.options.filter(
    ({ long, hidden }) => !hidden && !(long === '--json' && command.parent !== null) && long !== '--version',
  );
}

function optionTable(command: Command): string {
  const rows = visibleOptions(command).map(({ flags, description, mandatory, argChoices, defaultValue, negate }) => {
    const notes = [
      ...(mandatory ? ['required'] : []),
      ...(argChoices === undefined ? [] : [argChoices.join(', ')]),
      ...(defaultValue === undefined || negate || isPlace(defaultValue) ? [] : [`default: ${String(defaultValue)}`]),
    ];
    return [`\`${flags}\``, [description, ...notes.map((note) => `(${note})`)].filter(Boolean).join(' ')];
  });
  return table(['Option', 'Meaning'], rows);
}

/** Where the clone lies is nobody's default but this machine's. */
function isPlace(value: unknown): boolean {
  return typeof value === 'string' && path.isAbsolute(value);
}

/** What --help says after the options: remarks, then examples. */
function afterHelp(command: Command): string[] {
  const [remarks = '', examples] = helpAfter(command).split(/^Examples?:\n/m);
  return [
    ...(remarks.trim() === '' ? [] : [remarks.trim()]),
    ...(examples === undefined ? [] : [`For example:\n\n${fence(examples.replace(/^ {2}/gm, ''))}`]),
  ];
}

/** The examples of a command, as they are typed. */
export function examplesOf(command: Command): string[] {
  return (
    helpAfter(command)
      .match(/^ {2}airlock .*$/gm)
      ?.map((line) => line.trim()) ?? []
  );
}

function helpAfter(command: Command): string {
  let text = '';
  command.configureOutput({ writeOut: (piece) => (text += piece) });
  command.outputHelp();
  return text
    .slice(text.indexOf(command.helpInformation()) + command.helpInformation().length)
    .replaceAll(`${root}/`, '');
}

function fence(text: string): string {
  return `\`\`\`text\n${text.trim()}\n\`\`\``;
}

/** Every command that does something, with its groups left out. */
export function allCommands(command: Command): Command[] {
  const below = command.commands.flatMap(allCommands);
  const acts = command.parent !== null && (below.length === 0 || command.options.length > 0);
  return [...(acts ? [command] : []), ...below];
}
