/**
 * An AWS policy as the policy grammar has it (IAM User Guide, "Grammar of the IAM JSON policy language"), read leniently:
 * what is not as it should be is left to `lint`, and whatever has a meaning takes part in comparisons.
 */
import { type Wildcard, wildcard } from './wildcard.ts';

/** What an element and its `Not…` form admit: what one of the patterns admits, or what none of them does. */
export interface PatternSet {
  readonly not: boolean;
  readonly patterns: readonly Wildcard[];
}

/** By operator and then by key in lower case: sorted values. All of them must hold. */
export type Condition = ReadonlyMap<string, readonly string[]>;

export interface Statement {
  /** As people find it again: its Sid, or its place. */
  readonly label: string;
  readonly effect: 'Allow' | 'Deny';
  readonly actions: PatternSet;
  readonly resources: PatternSet;
  readonly condition: Condition;
  /** `Principal` and `NotPrincipal` in one spelling; null where there is none, as in policies of roles and users. */
  readonly principal: string | null;
}

export interface AwsPolicy {
  readonly version: string | null;
  readonly statements: readonly Statement[];
  /** Policy variables stand in it: what they mean depends on `Version`. */
  readonly hasVariables: boolean;
}

export function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** One or several: the grammar lets lists of one be written without brackets. */
export function asList(value: unknown): readonly unknown[] {
  return value === undefined ? [] : Array.isArray(value) ? value : [value];
}

function texts(value: unknown): string[] {
  return asList(value).filter((each) => typeof each === 'string');
}

/** True for a document of this grammar, whatever may be wrong with it. Azure's roles are no such. */
export function isAwsPolicy(value: unknown): boolean {
  return isObject(value) && ('Statement' in value || /^20(08-10-17|12-10-17)$/.test(String(value.Version)));
}

/**
 * @param value for which `isAwsPolicy` is true
 * @returns undefined if a statement has no meaning at all: a comparison would be wrong about it
 */
export function readAwsPolicy(value: unknown): AwsPolicy | undefined {
  if (!isObject(value)) return undefined;
  const all = asList(value.Statement);
  const statements = all.map((each, index) => readStatement(each, index + 1));
  const good = statements.filter((each) => each !== undefined);
  if (good.length !== all.length) return undefined;
  return {
    version: typeof value.Version === 'string' ? value.Version : null,
    statements: good,
    hasVariables: JSON.stringify(value.Statement ?? null).includes('${'),
  };
}

function readStatement(value: unknown, place: number): Statement | undefined {
  if (!isObject(value)) return undefined;
  const { Sid, Effect } = value;
  const actions = patterns(value, 'Action', true);
  const resources = resourcesOf(value);
  const condition = readCondition(value.Condition);
  if (Effect !== 'Allow' && Effect !== 'Deny') return undefined;
  if (actions === undefined || resources === undefined || condition === undefined) return undefined;
  return {
    label: typeof Sid === 'string' && Sid !== '' ? Sid : `statement ${place}`,
    effect: Effect,
    actions,
    resources,
    condition,
    principal: readPrincipal(value),
  };
}

/** Policies that say who is trusted with a role have no resources: it is the role itself. */
function resourcesOf(statement: Readonly<Record<string, unknown>>): PatternSet | undefined {
  if (statement.Resource === undefined && statement.NotResource === undefined)
    return { not: false, patterns: [wildcard('*')] };
  return patterns(statement, 'Resource', false);
}

function patterns(
  statement: Readonly<Record<string, unknown>>,
  element: 'Action' | 'Resource',
  ignoreCase: boolean,
): PatternSet | undefined {
  const not = statement[element] === undefined;
  const value = statement[not ? `Not${element}` : element];
  const list = asList(value);
  if (list.length === 0 || list.some((each) => typeof each !== 'string')) return undefined;
  return { not, patterns: texts(value).map((text) => wildcard(text, { ignoreCase })) };
}

/** @returns undefined for what is no condition */
function readCondition(value: unknown): Condition | undefined {
  const condition = new Map<string, readonly string[]>();
  if (value === undefined) return condition;
  if (!isObject(value)) return undefined;
  for (const [operator, keys] of Object.entries(value)) {
    if (!isObject(keys)) return undefined;
    for (const [key, values] of Object.entries(keys)) {
      const list = asList(values).map((each) => (typeof each === 'string' ? each : JSON.stringify(each)));
      condition.set(`${operator} ${key.toLowerCase()}`, [...new Set(list)].sort());
    }
  }
  return condition;
}

function readPrincipal(statement: Readonly<Record<string, unknown>>): string | null {
  const isNot = statement.Principal === undefined;
  const value = statement[isNot ? 'NotPrincipal' : 'Principal'];
  if (value === undefined) return null;
  const parts = isObject(value)
    ? Object.entries(value).flatMap(([kind, names]) => texts(names).map((name) => `${kind} ${name}`))
    : texts(value);
  return `${isNot ? 'everybody but ' : ''}${[...new Set(parts)].sort().join(', ')}`;
}
