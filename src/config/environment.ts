/**
 * Variables of the environment that take the place of keys of the configuration: `AIRLOCK_` and the key in capitals,
 * `log.maxSize` → `AIRLOCK_LOG_MAX_SIZE`. All keys have one but those of upstreams.
 */
import { type ConfigKey, flattened } from './keys.ts';

export type Environment = Readonly<Record<string, string | undefined>>;

/** A key that a variable sets. */
export interface Override {
  readonly variable: string;
  readonly path: readonly string[];
  /** As it would stand in the file. */
  readonly value: unknown;
}

/** Of all variables of ours. */
export const PREFIX = 'AIRLOCK_';
/** Variables that are no keys: where the configuration lies, and how the program itself is run. */
const RESERVED = new Set(['AIRLOCK_DATA', 'AIRLOCK_CONFIG', 'AIRLOCK_DEBUG', 'AIRLOCK_DEEP', 'AIRLOCK_NODE']);

/** @returns undefined for keys that no variable sets */
export function variableOf({ path, kind }: ConfigKey): string | undefined {
  if (path.includes('NAME') || kind === 'section' || kind === 'named sections' || kind === 'rules') return undefined;
  return PREFIX + path.map(capitals).join('_');
}

/** What is set; an empty variable counts for nothing. */
export function overridesIn(environment: Environment, keys: readonly ConfigKey[]): Override[] {
  return flattened(keys).flatMap((key) => {
    const variable = variableOf(key);
    const text = variable === undefined ? undefined : environment[variable]?.trim();
    return variable === undefined || !text ? [] : [{ variable, path: key.path, value: asWritten(key, text) }];
  });
}

/**
 * Variables that look as if they were meant to set a key, and do not. Others that begin as ours do are somebody else's:
 * Kubernetes sets `AIRLOCK_PORT` where a service is called airlock.
 * @param used by the configuration itself, as places of secrets
 */
export function doubtfulVariables(
  environment: Environment,
  keys: readonly ConfigKey[],
  used: ReadonlySet<string>,
): { readonly variable: string; readonly nearest: string }[] {
  const known = flattened(keys).flatMap((key) => variableOf(key) ?? []);
  const sections = keys.filter(({ kind }) => kind === 'section').map(({ path }) => `${PREFIX}${path.map(capitals)}_`);
  return Object.entries(environment).flatMap(([variable, text]) => {
    if (!variable.startsWith(PREFIX) || !text || known.includes(variable)) return [];
    if (RESERVED.has(variable) || used.has(variable)) return [];
    const section = sections.find((each) => variable.startsWith(each));
    const [nearest] = known
      .filter((each) => section === undefined || each.startsWith(section))
      .map((each) => ({ each, far: distance(variable, each) }))
      .sort((a, b) => a.far - b.far);
    const most = Math.min(3, Math.floor((variable.length - PREFIX.length) / 3));
    return nearest !== undefined && (section !== undefined || nearest.far <= most)
      ? [{ variable, nearest: nearest.each }]
      : [];
  });
}

/** `maxSize` → `MAX_SIZE` */
function capitals(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase();
}

/** What is none is left as it is: the schema says what is wrong with it. */
function asWritten({ kind }: ConfigKey, text: string): unknown {
  if (kind === 'list') return text.split(/[\s,]+/).filter((item) => item !== '');
  if (kind === 'boolean') return text === 'true' ? true : text === 'false' ? false : text;
  if (kind === 'number') return Number.isNaN(Number(text)) ? text : Number(text);
  return text;
}

/** How many letters have to be put in, taken out or changed (Levenshtein). */
function distance(one: string, other: string): number {
  let row = Array.from({ length: other.length + 1 }, (_, at) => at);
  for (let i = 1; i <= one.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= other.length; j += 1) {
      const change = (row[j - 1] ?? 0) + (one[i - 1] === other[j - 1] ? 0 : 1);
      next.push(Math.min(change, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[other.length] ?? 0;
}
