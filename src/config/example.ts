/**
 * What the keys of the configuration are, for people: a commented example file, and the tables of docs/configuration.md.
 */
import { stringify } from 'yaml';
import { variableOf } from './environment.ts';
import type { ConfigKey } from './keys.ts';

const WIDTH = 110;

const HEAD = `# airlock.yaml: the configuration of Airlock, in the data directory.
#
# Every key stands here, set aside by a # right before it, with its default, or with an example where it has none.
# To set one, take its # away. "airlock config check" says what is wrong, with line numbers; then start the server again.
`;

/** A file that says what each key is, and sets none. Without the `#` right before them, all of them are set. */
export function exampleFile(keys: readonly ConfigKey[]): string {
  return `${HEAD}${keys.map((key) => `\n${linesOf(key, '').join('\n')}\n`).join('')}`;
}

/** @param before each line: blanks, and for what belongs to an example by itself, its `#` */
function linesOf(key: ConfigKey, before: string): string[] {
  const { path, kind, keys, rules } = key;
  const name = path.at(-1) ?? '';
  const words = wrapped(noted(key)).map((line) => `${before}# ${line}`);
  const inside = before.includes('#');
  const deeper = `${before}  `;
  if (kind === 'section') return [...words, `${before}${name}:`, ...keys.flatMap((each) => linesOf(each, deeper))];
  if (kind === 'named sections') {
    const own = `${deeper}#`;
    const below = keys.flatMap((each) => linesOf(each, `${own}  `));
    return [...words, `${before}${name}:`, `${own}${String(key.example)}:`, ...below];
  }
  if (kind === 'rules') return [...words, `${before}${name}:`, ...rules.flatMap((rule) => ruleLines(rule, deeper))];
  return [...words, `${before}${inside ? '' : '#'}${name}: ${written(shown(key))}`];
}

/** The first key of a rule says of which kind it is. */
function ruleLines([kind, ...others]: readonly ConfigKey[], before: string): string[] {
  if (kind === undefined) return [];
  const words = wrapped(kind.description).map((line) => `${before}# ${line}`);
  const first = `${before}- kind: ${written(kind.example)}`;
  return [...words, first, ...others.flatMap((each) => linesOf(each, `${before}  `))];
}

function noted(key: ConfigKey): string {
  const { description, isRequired, kind } = key;
  if (kind === 'section' || kind === 'named sections' || kind === 'rules' || key.path.includes('mirror')) {
    return description;
  }
  if (isRequired) return `${description} Must be there.`;
  return isEmpty(key.default) ? `${description} Not set by default; such as:` : description;
}

function isEmpty(value: unknown): boolean {
  return value === undefined || (Array.isArray(value) && value.length === 0);
}

function shown(key: ConfigKey): unknown {
  return isEmpty(key.default) ? key.example : key.default;
}

/** On one line. */
function written(value: unknown): string {
  return stringify(value, { collectionStyle: 'flow', lineWidth: 0 }).trim();
}

function wrapped(text: string): string[] {
  const lines = [''];
  for (const word of text.split(' ')) {
    const last = lines.at(-1) ?? '';
    if (last !== '' && last.length + word.length >= WIDTH) lines.push(word);
    else lines[lines.length - 1] = last === '' ? word : `${last} ${word}`;
  }
  return lines;
}

/** Markdown: a table for the keys that stand by themselves, and one for each section, named before it. */
export function referenceTables(keys: readonly ConfigKey[]): string {
  const isSection = ({ kind }: ConfigKey) => kind === 'section' || kind === 'named sections';
  const sections = keys.filter(isSection);
  return [
    '## By themselves',
    table(keys.filter((key) => !isSection(key))),
    ...sections.flatMap((section) => sectionParts(section)),
  ].join('\n\n');
}

function sectionParts({ path, kind, description, keys }: ConfigKey): string[] {
  const name = [...path, ...(kind === 'named sections' ? ['NAME'] : [])].join('.');
  const rules = keys.filter((key) => key.kind === 'rules');
  return [
    `## \`${name}\``,
    escaped(description),
    table(keys.flatMap((key) => (key.kind === 'section' ? [key, ...key.keys] : [key]))),
    ...rules.flatMap((each) => each.rules.flatMap((rule) => ruleParts(each, rule))),
  ];
}

function ruleParts({ path }: ConfigKey, [kind, ...others]: readonly ConfigKey[]): string[] {
  if (kind === undefined) return [];
  const title = `### \`${path.join('.')}\`: \`kind: ${written(kind.example)}\``;
  return [title, escaped(kind.description), table(others)];
}

function table(keys: readonly ConfigKey[]): string {
  const rows = keys.map((key) => {
    const { path, type, description, isRequired } = key;
    const variable = variableOf(key);
    const standard = isRequired ? 'must be there' : isEmpty(key.default) ? '' : code(written(key.default));
    const names = `\`${path.join('.')}\`${variable === undefined ? '' : `<br>\`${variable}\``}`;
    return `| ${names} | ${escaped(type)} | ${standard} | ${escaped(description)} |`;
  });
  return ['| key, variable | value | default | |', '|---|---|---|---|', ...rows].join('\n');
}

function code(text: string): string {
  return `\`${text.replaceAll('|', '\\|')}\``;
}

function escaped(text: string): string {
  return text.replaceAll('|', '\\|');
}
