/** A comparison for people. Names in it come from outside: whoever prints it escapes what a terminal would act on. */
import type { PolicyDiff } from './compare.ts';
import type { Change } from './semantic-diff.ts';

const WIDENING = {
  yes: 'WIDENING: more is possible than before.',
  no: 'Not widening: nothing is possible that was not before.',
  unknown: 'Whether more is possible than before, only a person can tell.',
} as const;

/** Lines, without a line feed at the end. */
export function diffText(diff: PolicyDiff): string {
  if (diff.sameBytes) return 'The texts are the same.';
  const counts =
    diff.by === 'statements' ? [`${diff.granted.length} actions granted, ${diff.withdrawn.length} withdrawn.`] : [];
  return [
    WIDENING[diff.widening],
    ...counts,
    ...diff.notes,
    ...diff.changes.flatMap((change) => ['', ...changeLines(change)]),
    ...(diff.lines.length > 0 ? [''] : []),
    ...diff.lines.map(({ change, line }) => `${MARKS[change]} ${line.replace(/\r$/, '')}`),
  ].join('\n');
}

const MARKS = { added: '+', removed: '-', same: ' ' } as const;

const TITLES: Readonly<Record<`${Change['change']} ${Change['effect']} ${Change['aspect']}`, string>> = {
  'added Allow action': 'granted',
  'added Allow resource': 'allowed on more resources',
  'added Allow condition': 'allowed under fewer or other conditions',
  'added Allow principal': 'allowed to others',
  'removed Allow action': 'withdrawn',
  'removed Allow resource': 'no longer allowed on these resources',
  'removed Allow condition': 'allowed under more or other conditions now',
  'removed Allow principal': 'no longer allowed to these',
  'added Deny action': 'denied',
  'added Deny resource': 'denied on more resources',
  'added Deny condition': 'denied under fewer or other conditions',
  'added Deny principal': 'denied to others',
  'removed Deny action': 'no longer denied',
  'removed Deny resource': 'no longer denied on these resources',
  'removed Deny condition': 'denied under more or other conditions now',
  'removed Deny principal': 'no longer denied to these',
};

function changeLines(change: Change): string[] {
  const { effect, aspect, statement, actions, notAction, resources, notResource, condition, principal } = change;
  const sign = change.change === 'added' ? '+' : '-';
  const title = TITLES[`${change.change} ${effect} ${aspect}`];
  return [
    `${statement} (${effect}): ${title}${change.widening ? ' [widening]' : ''}`,
    ...(notAction ? [`  ${sign} all actions but:`] : []),
    ...actions.map((action) => `  ${notAction ? '   ' : `${sign} `}${action}${partlyText(change, action)}`),
    `    on ${notResource ? 'all but ' : ''}${resources.join(', ')}`,
    ...Object.entries(condition ?? {}).map(([test, values]) => `    if ${test}: ${values.join(', ')}`),
    ...(principal === null ? [] : [`    for ${principal}`]),
  ];
}

/** Of an action with wildcards, a part may be in both policies. */
function partlyText({ change, effect, partly }: Change, action: string): string {
  const shared = Object.hasOwn(partly, action) ? partly[action] : undefined;
  if (shared === undefined) return '';
  const verb = effect === 'Allow' ? 'allowed' : 'denied';
  const when = change === 'added' ? 'before' : 'still';
  const named = shared.slice(0, SHOWN).join(', ');
  return ` (${verb} ${when}: ${named}${shared.length > SHOWN ? ', …' : ''})`;
}

const SHOWN = 3;
