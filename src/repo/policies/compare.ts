/** Two versions of a policy text, compared by meaning where both are AWS policies, else line by line. */
import { isAwsPolicy, readAwsPolicy } from './aws-policy.ts';
import { readableText, readJson, utf8Text } from './json-text.ts';
import { type LineChange, lineDiff } from './line-diff.ts';
import { type Change, type SemanticDiff, semanticDiff } from './semantic-diff.ts';

/** `aws`: a policy of AWS; `json`: other JSON, such as a role of Azure; `text`: anything else. */
export type PolicyFormat = 'aws' | 'json' | 'text';

/** Whether more is possible than before. `unknown`: only a person can tell. */
export type Widening = 'yes' | 'no' | 'unknown';

export interface PolicyDiff {
  /** `statements`: by meaning; `lines`: by lines. */
  readonly by: 'statements' | 'lines';
  readonly sameBytes: boolean;
  readonly widening: Widening;
  readonly granted: readonly string[];
  readonly withdrawn: readonly string[];
  readonly changes: readonly Change[];
  readonly lines: readonly LineChange[];
  /** What else a person should know. */
  readonly notes: readonly string[];
}

export function formatOf(bytes: Uint8Array): PolicyFormat {
  const reading = readJson(utf8Text(bytes) ?? '');
  if (!reading.ok) return 'text';
  return isAwsPolicy(reading.value) ? 'aws' : 'json';
}

export function comparePolicies(older: Uint8Array, newer: Uint8Array): PolicyDiff {
  const sameBytes = Buffer.compare(older, newer) === 0;
  const diff = byMeaning(older, newer);
  if (typeof diff !== 'string') return { by: 'statements', sameBytes, lines: [], ...summary(diff, sameBytes) };
  const isSame = isSameText(older, newer);
  const { lines, more } = isSame ? { lines: [], more: 0 } : lineDiff(textOf(older), textOf(newer));
  const notes = [
    ...(isSame ? ['The texts differ in their encoding or in their line ends only.'] : [diff]),
    ...(more > 0 ? [`There is more: ${more} lines that differ are not shown.`] : []),
  ];
  return {
    by: 'lines',
    sameBytes,
    widening: isSame ? 'no' : 'unknown',
    granted: [],
    withdrawn: [],
    changes: [],
    lines,
    notes: sameBytes ? [] : notes.filter((note) => note !== ''),
  };
}

/** As `comparePolicies` says it, without looking for lines. */
export function wideningBetween(older: Uint8Array, newer: Uint8Array): Widening {
  const diff = byMeaning(older, newer);
  if (typeof diff !== 'string') return wideningOf(diff);
  return isSameText(older, newer) ? 'no' : 'unknown';
}

function isSameText(older: Uint8Array, newer: Uint8Array): boolean {
  const [a, b] = [older, newer].map((bytes) => textOf(bytes).replaceAll('\r\n', '\n'));
  return a === b;
}

function textOf(bytes: Uint8Array): string {
  return readableText(bytes).text;
}

function summary(diff: SemanticDiff, sameBytes: boolean): Omit<PolicyDiff, 'by' | 'sameBytes' | 'lines'> {
  const { changes, granted, withdrawn, variablesChanged } = diff;
  const notes = [
    ...(variablesChanged ? ['Version changed: policy variables get another meaning.'] : []),
    ...(!sameBytes && changes.length === 0 ? ['The text differs, and what it allows and denies does not.'] : []),
  ];
  return { widening: wideningOf(diff), granted, withdrawn, changes, notes };
}

function wideningOf({ widening, variablesChanged }: SemanticDiff): Widening {
  return widening ? 'yes' : variablesChanged ? 'unknown' : 'no';
}

/** @returns why that cannot be done; empty where it was not to be expected */
function byMeaning(older: Uint8Array, newer: Uint8Array): SemanticDiff | string {
  const [a, b] = [readPolicy(older), readPolicy(newer)];
  if (a === 'other' && b === 'other') return '';
  if (typeof a === 'string')
    return `The older text is ${a === 'other' ? 'no' : 'a broken'} AWS policy: only lines are compared.`;
  if (typeof b === 'string')
    return `The newer text is ${b === 'other' ? 'no' : 'a broken'} AWS policy: only lines are compared.`;
  return semanticDiff(a, b) ?? 'The policies are too large to be compared by meaning: only lines are compared.';
}

function readPolicy(bytes: Uint8Array) {
  const reading = readJson(textOf(bytes));
  if (!reading.ok || !isAwsPolicy(reading.value)) return 'other';
  return readAwsPolicy(reading.value) ?? 'broken';
}
