/**
 * What one AWS policy allows and denies that another does not. Texts are compared by what they mean: an action counts as
 * granted if no statement of the other policy allows it, by whatever wildcard, on all these resources and under no more
 * conditions. The order of statements, their Sids and their cut do not matter.
 *
 * Each action is weighed against one statement at a time. So what only several statements together allowed before counts
 * as granted: a comparison may call for a look too many, never for one too few.
 */
import { limits } from '../../limits.ts';
import type { AwsPolicy, Condition, PatternSet, Statement } from './aws-policy.ts';
import { type Effort, includes, newEffort, overlaps, type Wildcard, wildcard } from './wildcard.ts';

/** What of a statement the other policy has not. */
export type Aspect = 'action' | 'resource' | 'condition' | 'principal';

export interface Change {
  /** `added`: the newer policy has it and the older one has not; `removed`: the other way round. */
  readonly change: 'added' | 'removed';
  readonly effect: 'Allow' | 'Deny';
  /** What differs: `action`: these actions are nowhere in the other policy; else they are, with less, or with other. */
  readonly aspect: Aspect;
  /** Of the statement in which they stand: its Sid, or its place. */
  readonly statement: string;
  /** In byte order. With `notAction`: all actions but these. */
  readonly actions: readonly string[];
  readonly notAction: boolean;
  /** By action with wildcards: what the other policy has in common with it, some at most. */
  readonly partly: Readonly<Record<string, readonly string[]>>;
  readonly resources: readonly string[];
  readonly notResource: boolean;
  readonly condition: Readonly<Record<string, readonly string[]>> | null;
  readonly principal: string | null;
  /** More is possible than before: something allowed was added, or something denied was removed. */
  readonly widening: boolean;
}

export interface SemanticDiff {
  readonly changes: readonly Change[];
  /** What has become possible, and what no longer is: actions of added and removed Allow statements. */
  readonly granted: readonly string[];
  readonly withdrawn: readonly string[];
  readonly widening: boolean;
  /** The `Version` changed under policy variables: they were, or are now, read as plain text. */
  readonly variablesChanged: boolean;
}

/** @returns undefined if the policies are so large that comparing them would take too long */
export function semanticDiff(older: AwsPolicy, newer: AwsPolicy): SemanticDiff | undefined {
  const effort = newEffort();
  const changes = [...missing(newer, older, 'added', effort), ...missing(older, newer, 'removed', effort)];
  if (effort.left < 0) return undefined;
  const variablesChanged = (older.hasVariables || newer.hasVariables) && older.version !== newer.version;
  return {
    changes,
    granted: actionsOf(changes, 'added'),
    withdrawn: actionsOf(changes, 'removed'),
    widening: changes.some(({ widening }) => widening),
    variablesChanged,
  };
}

function actionsOf(changes: readonly Change[], which: Change['change']): string[] {
  const found = changes.filter(
    ({ change, effect, aspect }) => change === which && effect === 'Allow' && aspect === 'action',
  );
  return sorted(found.flatMap(({ actions, notAction }) => (notAction ? [`NotAction ${actions.join(', ')}`] : actions)));
}

/** What `policy` has and `other` has not; nothing of use once all effort is spent. */
function missing(policy: AwsPolicy, other: AwsPolicy, change: Change['change'], effort: Effort): Change[] {
  const byEffect = Map.groupBy(other.statements, ({ effect }) => effect);
  return policy.statements.flatMap((statement) => {
    const rivals = byEffect.get(statement.effect) ?? [];
    const found = new Map<string, { aspect: Aspect; resources: PatternSet; actions: string[] }>();
    for (const actions of atoms(statement.actions)) {
      if (effort.left < 0) return []; // there will be no comparison
      for (const { aspect, resources } of uncovered(statement, actions, { rivals, effort })) {
        effort.left -= resources.patterns.length;
        const key = `${aspect}\n${namesOf(resources).join('\n')}`;
        const group = found.get(key) ?? { aspect, resources, actions: [] };
        for (const name of namesOf(actions)) group.actions.push(name);
        found.set(key, group);
      }
    }
    return [...found.values()].map(({ aspect, resources, actions }) => ({
      change,
      effect: statement.effect,
      aspect,
      statement: statement.label,
      actions: sorted(actions),
      notAction: statement.actions.not,
      partly: aspect === 'action' && !statement.actions.not ? inCommon(actions, rivals, effort) : {},
      resources: namesOf(resources),
      notResource: resources.not,
      condition: statement.condition.size === 0 ? null : Object.fromEntries(statement.condition),
      principal: statement.principal,
      widening: (statement.effect === 'Allow') === (change === 'added'),
    }));
  });
}

function inCommon(actions: readonly string[], rivals: readonly Statement[], effort: Effort): Change['partly'] {
  const found = actions.map((action): [string, string[]] => {
    const pattern = wildcard(action, { ignoreCase: true });
    const shared = pattern.isLiteral ? [] : rivals.flatMap(({ actions: others }) => sharedBy(pattern, others, effort));
    return [action, sorted(shared.map(({ text }) => text)).slice(0, limits.policy.inCommon)];
  });
  return Object.fromEntries(found.filter(([, shared]) => shared.length > 0));
}

function sharedBy(pattern: Wildcard, { not, patterns }: PatternSet, effort: Effort): readonly Wildcard[] {
  return not || effort.left < 0 ? [] : patterns.filter((other) => overlaps(pattern, other, effort));
}

/** Parts that can be weighed each by itself; all but some is one part. */
function atoms(set: PatternSet): PatternSet[] {
  return set.not ? [set] : set.patterns.map((pattern) => ({ not: false, patterns: [pattern] }));
}

/** Resources on which these actions are not covered, by what is lacking. */
function uncovered(
  { resources, condition, principal }: Statement,
  actions: PatternSet,
  { rivals, effort }: { rivals: readonly Statement[]; effort: Effort },
): { aspect: Aspect; resources: PatternSet }[] {
  const ofAction = rivals.filter((rival) => setIncludes(rival.actions, actions, effort));
  if (ofAction.length === 0) return [{ aspect: 'action', resources }];
  const lacking = new Map<Aspect, Wildcard[]>();
  for (const atom of atoms(resources)) {
    if (effort.left < 0) return [];
    const ofResource = ofAction.filter((rival) => setIncludes(rival.resources, atom, effort));
    const ofCondition = ofResource.filter((rival) => implies(condition, rival.condition, effort));
    const ofPrincipal = ofCondition.filter((rival) => admits(rival.principal, principal, effort));
    if (ofPrincipal.length > 0) continue;
    const aspect = ofResource.length === 0 ? 'resource' : ofCondition.length === 0 ? 'condition' : 'principal';
    const before = lacking.get(aspect) ?? [];
    for (const pattern of atom.patterns) before.push(pattern);
    lacking.set(aspect, before);
  }
  return [...lacking].map(([aspect, patterns]) => ({ aspect, resources: { not: resources.not, patterns } }));
}

/** True if all that `inner` admits is admitted by `outer`; may be false where only several patterns together do. */
export function setIncludes(outer: PatternSet, inner: PatternSet, effort: Effort): boolean {
  effort.left -= 1;
  const every = (all: PatternSet, by: PatternSet) =>
    all.patterns.every((each) => by.patterns.some((one) => includes(one, each, effort)));
  if (!outer.not && !inner.not) return every(inner, outer);
  if (outer.not && inner.not) return every(outer, inner);
  if (outer.not) return inner.patterns.every((each) => !outer.patterns.some((by) => overlaps(by, each, effort)));
  return outer.patterns.some(({ text }) => /^\*+$/.test(text));
}

/** Where several values stand behind these operators, none of them may be met. */
const NEGATED = /(^|:)(String|Arn|Numeric|Date)Not|(^|:)NotIp/;

/** True if whatever meets `strict` also meets `loose`: each test of it stands there, with no more values to meet. */
function implies(strict: Condition, loose: Condition, effort: Effort): boolean {
  for (const [test, allowed] of loose) {
    const values = strict.get(test);
    if (values === undefined) return false;
    const [few, many] = NEGATED.test(test) ? [allowed, values] : [values, allowed];
    effort.left -= few.length + many.length;
    const all = new Set(many);
    if (!few.every((value) => all.has(value))) return false;
  }
  return true;
}

/** True if `outer` speaks of everybody of whom `inner` speaks. */
function admits(outer: string | null, inner: string | null, effort: Effort): boolean {
  if (outer === inner || outer === '*' || outer === 'AWS *') return true;
  if (outer === null || inner === null || outer.startsWith('everybody but ')) return false;
  effort.left -= Math.ceil((outer.length + inner.length) / 64);
  const parts = new Set(outer.split(', '));
  return !inner.startsWith('everybody but ') && inner.split(', ').every((part) => parts.has(part));
}

function namesOf({ patterns }: PatternSet): string[] {
  return sorted(patterns.map(({ text }) => text));
}

function sorted(names: readonly string[]): string[] {
  return [...new Set(names)].sort();
}
