/**
 * What AWS would refuse in a policy, or what its author cannot have meant. Texts of other clouds have no grammar here: of
 * them only what is left to fill in is told.
 */
import { limits } from '../../limits.ts';
import { quote } from '../formats/quote.ts';
import { asList, isAwsPolicy, isObject, type PatternSet, readAwsPolicy, type Statement } from './aws-policy.ts';
import { formatOf, type PolicyFormat } from './compare.ts';
import { readableText, readJson } from './json-text.ts';
import { setIncludes } from './semantic-diff.ts';
import { type Effort, includes, newEffort, wildcard } from './wildcard.ts';

export interface Finding {
  /** `error`: AWS refuses it, or a part of it has no effect; `warning`: worth a look. */
  readonly level: 'error' | 'warning';
  readonly rule: LintRule;
  /** For a person, with the place. */
  readonly message: string;
}

export type LintRule =
  | 'empty'
  | 'encoding'
  | 'json'
  | 'duplicate-key'
  | 'size'
  | 'version'
  | 'statement'
  | 'element'
  | 'sid'
  | 'effect'
  | 'action'
  | 'resource'
  | 'condition'
  | 'placeholder';

export interface LintReport {
  readonly format: PolicyFormat;
  /** Characters that AWS counts: all but white space. */
  readonly characters: number;
  readonly findings: readonly Finding[];
}

/** AWS's quota for a managed policy, white space not counted (vendor.md B4). */
const MOST_CHARACTERS = 6144;

/** @param bytes at most limits.policy.bytes */
export function lint(bytes: Uint8Array): LintReport {
  const { text, encoding } = readableText(bytes);
  const format = formatOf(bytes);
  const characters = text.replace(/\s+/g, '').length;
  const findings: Finding[] = [];
  const report: Report = (level, rule, message) => {
    if (findings.length < limits.policy.findings) findings.push({ level, rule, message });
  };
  if (encoding !== 'utf-8') {
    const what = encoding === 'none' ? 'It is not UTF-8' : 'It is UTF-16';
    report('error', 'encoding', `${what}, and AWS takes UTF-8 only. Save it as UTF-8.`);
  }
  if (text.trim() === '') report('error', 'empty', 'It is empty.');
  else if (text.includes('\0'))
    report('error', 'encoding', 'It has NUL characters: it may be UTF-16, or no text at all.');
  else if (encoding !== 'none') lintText(text, characters, report);
  if (Buffer.from(bytes.subarray(0, 3)).equals(Buffer.from([0xef, 0xbb, 0xbf]))) {
    report('warning', 'encoding', 'It begins with a byte order mark, which AWS may refuse.');
  }
  return { format, characters, findings };
}

type Report = (level: Finding['level'], rule: LintRule, message: string) => void;

function lintText(text: string, characters: number, report: Report): void {
  const isMeantAsJson = /^\s*[{[]/.test(text);
  const reading = readJson(text);
  if (reading.ok) {
    for (const { key, line } of reading.duplicates) {
      report('error', 'duplicate-key', `Line ${line}: ${quote(key)} stands twice in one object.`);
    }
    if (isAwsPolicy(reading.value)) lintPolicy(reading.value, characters, report);
  } else if (isMeantAsJson) {
    report('error', 'json', `Line ${reading.line}: It is no valid JSON: ${reading.why}.`);
  }
  const blanks = new Set(text.match(/<[A-Za-z][A-Za-z0-9 _.-]{0,60}>/g));
  if (blanks.size > 0) {
    report('warning', 'placeholder', `To be filled in before use: ${[...blanks].slice(0, 10).join(', ')}.`);
  }
}

const ELEMENTS = new Set(['Version', 'Id', 'Statement']);
const STATEMENT_ELEMENTS = new Set(
  'Sid Effect Principal NotPrincipal Action NotAction Resource NotResource Condition'.split(' '),
);

function lintPolicy(value: unknown, characters: number, report: Report): void {
  if (!isObject(value)) return;
  if (characters > MOST_CHARACTERS) {
    report(
      'error',
      'size',
      `It has ${characters} characters without white space; AWS takes ${MOST_CHARACTERS} in a managed policy. Cut it in two.`,
    );
  }
  for (const key of Object.keys(value)) {
    if (!ELEMENTS.has(key)) report('error', 'element', `AWS policies have no element ${quote(key)}.`);
  }
  lintVersion(value.Version, report);
  const statements = asList(value.Statement);
  if (statements.length === 0) report('error', 'statement', 'It has no statement.');
  lintSids(statements, report);
  const effort = newEffort();
  for (const [index, statement] of statements.entries()) lintStatement(statement, index + 1, { report, effort });
  lintEffects(readAwsPolicy(value)?.statements ?? [], report);
}

function lintVersion(version: unknown, report: Report): void {
  if (version === '2012-10-17') return;
  if (version === undefined) {
    report('warning', 'version', 'Version is missing: AWS takes 2008-10-17, which knows no policy variables.');
  } else if (version === '2008-10-17') {
    report('warning', 'version', 'Version 2008-10-17 is outdated: it knows no policy variables. Use 2012-10-17.');
  } else {
    report('error', 'version', `Version ${quote(String(version))} is none; AWS knows 2012-10-17.`);
  }
}

function lintSids(statements: readonly unknown[], report: Report): void {
  const places = new Map<string, number[]>();
  for (const [index, statement] of statements.entries()) {
    if (!isObject(statement) || statement.Sid === undefined) continue;
    const sid = String(statement.Sid);
    const before = places.get(sid);
    if (before === undefined) places.set(sid, [index + 1]);
    else before.push(index + 1);
    if (!/^[A-Za-z0-9]*$/.test(sid)) {
      report('error', 'sid', `Statement ${index + 1}: the Sid ${quote(sid)} may have letters and digits only.`);
    }
  }
  for (const [sid, where] of places) {
    if (sid === '' || where.length === 1) continue;
    report(
      'error',
      'sid',
      `The Sid ${quote(sid)} stands at statements ${where.slice(0, 10).join(', ')}; each may stand once.`,
    );
  }
}

function lintStatement(
  value: unknown,
  place: number,
  { report, effort }: { readonly report: Report; readonly effort: Effort },
): void {
  const tell: Report = (level, rule, message) => report(level, rule, `Statement ${place}: ${message}`);
  if (!isObject(value)) {
    tell('error', 'statement', 'it is no object.');
    return;
  }
  for (const key of Object.keys(value)) {
    if (!STATEMENT_ELEMENTS.has(key)) tell('error', 'element', `statements have no element ${quote(key)}.`);
  }
  const { Effect, NotAction, NotResource, Principal, NotPrincipal } = value;
  if (Effect !== 'Allow' && Effect !== 'Deny') {
    tell(
      'error',
      'effect',
      `Effect must be Allow or Deny${Effect === undefined ? '' : `, not ${quote(String(Effect))}`}.`,
    );
  }
  const hasPrincipal = Principal !== undefined || NotPrincipal !== undefined;
  lintPair(value, 'Action', { isNeeded: true, tell });
  lintPair(value, 'Resource', { isNeeded: !hasPrincipal, tell });
  if (Effect === 'Allow' && NotAction !== undefined) {
    tell('warning', 'action', 'NotAction with Allow allows everything else, also of services to come.');
  }
  if (Effect === 'Allow' && NotResource !== undefined) {
    tell('warning', 'resource', 'NotResource with Allow allows all other resources, also those to come.');
  }
  lintActions(value.Action === undefined ? 'NotAction' : 'Action', value, { tell, effort });
  lintResources(value, tell);
  lintCondition(value.Condition, tell);
}

/** Exactly one of an element and its `Not…` form, with texts. */
function lintPair(
  statement: Readonly<Record<string, unknown>>,
  element: 'Action' | 'Resource',
  { isNeeded, tell }: { isNeeded: boolean; tell: Report },
): void {
  const rule = element === 'Action' ? 'action' : 'resource';
  const [plain, not] = [statement[element], statement[`Not${element}`]];
  if (plain !== undefined && not !== undefined) tell('error', rule, `${element} and Not${element} exclude each other.`);
  if (plain === undefined && not === undefined) {
    if (isNeeded) tell('error', rule, `${element} or Not${element} is missing.`);
    return;
  }
  const list = asList(plain ?? not);
  if (list.length === 0) tell('error', rule, `${element} is empty: the statement matches nothing.`);
  if (list.some((each) => typeof each !== 'string')) tell('error', rule, `${element} has a value that is no text.`);
}

/** `service:Action`. The service may hold no wildcards; AWS refuses what else stands there. */
const ACTION = /^(?:\*|[A-Za-z0-9-]+:[A-Za-z0-9*?]+)$/;

function lintActions(
  element: 'Action' | 'NotAction',
  value: Readonly<Record<string, unknown>>,
  { tell, effort }: { readonly tell: Report; readonly effort: Effort },
): void {
  const seen = new Map<string, string>();
  const wild = [];
  const actions = asList(value[element]).filter((each) => typeof each === 'string');
  for (const action of actions) {
    if (!ACTION.test(action)) {
      tell(
        'error',
        'action',
        `${quote(action)} can match no action: an action is written service:Name, such as ec2:RunInstances.`,
      );
      continue;
    }
    const before = seen.get(action.toLowerCase());
    if (before !== undefined) tell('warning', 'action', `${quote(action)} stands there twice.`);
    else if (/[*?]/.test(action) && wild.length < limits.policy.wildcards)
      wild.push(wildcard(action, { ignoreCase: true }));
    seen.set(action.toLowerCase(), action);
  }
  for (const action of seen.values()) {
    if (effort.left < 0) return;
    const pattern = wildcard(action, { ignoreCase: true });
    const by = wild.find((each) => each.text !== action && includes(each, pattern, effort));
    if (by !== undefined) tell('warning', 'action', `${quote(action)} is part of ${quote(by.text)} already.`);
  }
}

function lintResources(value: Readonly<Record<string, unknown>>, tell: Report): void {
  for (const resource of asList(value.Resource ?? value.NotResource)) {
    if (typeof resource !== 'string' || resource === '*') continue;
    if (!/^(?:arn|\$\{|<|\*)/.test(resource)) {
      tell('error', 'resource', `${quote(resource)} can match no resource: write an ARN, or "*".`);
    } else if (resource.startsWith('arn') && resource.split(':').length < 6 && !resource.includes('*')) {
      tell('error', 'resource', `${quote(resource)} is no ARN: it has fewer than six parts.`);
    }
  }
}

const OPERATOR =
  /^(?:(?:ForAllValues|ForAnyValue):)?(?:String(?:Not)?(?:Equals|EqualsIgnoreCase|Like)|(?:Numeric|Date)(?:Not)?Equals|(?:Numeric|Date)(?:Less|Greater)Than(?:Equals)?|Bool|BinaryEquals|(?:Not)?IpAddress|Arn(?:Not)?(?:Equals|Like))(?:IfExists)?$|^Null$/;

function lintCondition(value: unknown, tell: Report): void {
  if (value === undefined) return;
  if (!isObject(value)) {
    tell('error', 'condition', 'Condition is no object.');
    return;
  }
  for (const [operator, keys] of Object.entries(value)) {
    if (!OPERATOR.test(operator)) tell('error', 'condition', `there is no condition operator ${quote(operator)}.`);
    if (!isObject(keys)) tell('error', 'condition', `${quote(operator)} must hold an object of keys and values.`);
  }
}

/** What is allowed in one place and denied in another without any condition is never allowed. */
function lintEffects(statements: readonly Statement[], report: Report): void {
  const denies = statements.filter(
    ({ effect, condition, principal }) => effect === 'Deny' && condition.size === 0 && (principal ?? '*') === '*',
  );
  if (denies.length === 0) return;
  const effort = newEffort();
  for (const { effect, label, actions, resources } of statements) {
    if (effect === 'Deny' || actions.not) continue;
    for (const pattern of actions.patterns) {
      if (effort.left < 0) return;
      const one: PatternSet = { not: false, patterns: [pattern] };
      const by = denies.find(
        (deny) => setIncludes(deny.actions, one, effort) && setIncludes(deny.resources, resources, effort),
      );
      if (by === undefined) continue;
      report(
        'error',
        'action',
        `${quote(label)}: ${quote(pattern.text)} is never allowed: ${quote(by.label)} denies it.`,
      );
    }
  }
}
