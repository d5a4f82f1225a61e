import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { comparePolicies } from '../../../src/repo/policies/compare.ts';

type Json = Record<string, unknown>;

function policy(...statements: Json[]): Buffer {
  return Buffer.from(JSON.stringify({ Version: '2012-10-17', Statement: statements }));
}

const allow = (Action: string | string[], more: Json = {}): Json => ({
  Effect: 'Allow',
  Action,
  Resource: '*',
  ...more,
});
const deny = (Action: string | string[], more: Json = {}): Json => ({ Effect: 'Deny', Action, Resource: '*', ...more });
const fromHome = { Condition: { IpAddress: { 'aws:SourceIp': ['10.0.0.1', '10.0.0.2'] } } };

const USER = '$' + '{aws:username}';

describe('what counts as widening', () => {
  const cases: [name: string, older: Json[], newer: Json[], widening: 'yes' | 'no'][] = [
    ['an action', [allow('ec2:A')], [allow(['ec2:A', 'ec2:B'])], 'yes'],
    ['an action less', [allow(['ec2:A', 'ec2:B'])], [allow('ec2:A')], 'no'],
    ['a wildcard for a list', [allow('ec2:DescribeA')], [allow('ec2:Describe*')], 'yes'],
    ['a list for a wildcard', [allow('ec2:Describe*')], [allow(['ec2:DescribeA', 'EC2:describeb'])], 'no'],
    ['another cut and order', [allow(['ec2:A', 'ec2:B'])], [allow('ec2:B', { Sid: 'S' }), allow('ec2:A')], 'no'],
    [
      'a resource',
      [allow('s3:A', { Resource: 'arn:aws:s3:::a' })],
      [allow('s3:A', { Resource: 'arn:aws:s3:::a*' })],
      'yes',
    ],
    ['a resource less', [allow('s3:A')], [allow('s3:A', { Resource: 'arn:aws:s3:::a*' })], 'no'],
    ['a removed condition', [allow('s3:A', fromHome)], [allow('s3:A')], 'yes'],
    ['an added condition', [allow('s3:A')], [allow('s3:A', fromHome)], 'no'],
    [
      'a value more',
      [allow('s3:A', { Condition: { StringEquals: { k: 'a' } } })],
      [allow('s3:A', { Condition: { StringEquals: { K: ['a', 'b'] } } })],
      'yes',
    ],
    [
      'a value more of what may not be',
      [allow('s3:A', { Condition: { StringNotEquals: { k: 'a' } } })],
      [allow('s3:A', { Condition: { StringNotEquals: { k: ['a', 'b'] } } })],
      'no',
    ],
    ['a removed Deny', [allow('s3:*'), deny('s3:Delete*')], [allow('s3:*')], 'yes'],
    ['a Deny with less', [deny(['s3:A', 's3:B'])], [deny('s3:A')], 'yes'],
    ['a Deny with a condition', [deny('s3:A')], [deny('s3:A', fromHome)], 'yes'],
    ['an added Deny', [allow('s3:*')], [allow('s3:*'), deny('s3:Delete*')], 'no'],
    ['NotAction', [allow('s3:*')], [{ Effect: 'Allow', NotAction: 'iam:*', Resource: '*' }], 'yes'],
    [
      'NotAction with more exceptions',
      [{ Effect: 'Allow', NotAction: 'iam:*', Resource: '*' }],
      [{ Effect: 'Allow', NotAction: ['iam:*', 'sts:*'], Resource: '*' }],
      'no',
    ],
    ['NotAction for everything', [allow('*')], [{ Effect: 'Allow', NotAction: 'iam:*', Resource: '*' }], 'no'],
    ['NotResource', [allow('s3:A', { Resource: 'a' })], [{ Effect: 'Allow', Action: 's3:A', NotResource: 'b' }], 'yes'],
    [
      'all but one home for that of whoever asks',
      [{ Effect: 'Allow', Action: 's3:A', NotResource: 'arn:aws:s3:::home/bob' }],
      [allow('s3:A', { Resource: `arn:aws:s3:::home/${USER}` })],
      'yes',
    ],
    [
      'a Deny of the home of whoever asks for one of all but one',
      [deny('s3:A', { Resource: `arn:aws:s3:::home/${USER}` })],
      [{ Effect: 'Deny', Action: 's3:A', NotResource: 'arn:aws:s3:::home/bob' }],
      'yes',
    ],
    [
      'a variable for what it looks like',
      [allow('s3:A', { Resource: 'home/$*' })],
      [allow('s3:A', { Resource: `home/${USER}` })],
      'yes',
    ],
    [
      'a variable for as many characters as its name has',
      [allow('s3:A', { Resource: `home/${'?'.repeat(USER.length)}` })],
      [allow('s3:A', { Resource: `home/${USER}` })],
      'yes',
    ],
    [
      'a variable within a wildcard',
      [allow('s3:A', { Resource: 'home/*' })],
      [allow('s3:A', { Resource: `home/${USER}/*` })],
      'no',
    ],
    [
      'less below the same variable',
      [allow('s3:A', { Resource: `home/${USER}/?*` })],
      [allow('s3:A', { Resource: `home/${USER}/?a` })],
      'no',
    ],
    [
      'a trusted principal',
      [allow('sts:AssumeRole', { Principal: { AWS: '1' } })],
      [allow('sts:AssumeRole', { Principal: { AWS: ['1', '2'] } })],
      'yes',
    ],
    [
      'everybody trusted',
      [allow('sts:AssumeRole', { Principal: { AWS: '1' } })],
      [allow('sts:AssumeRole', { Principal: '*' })],
      'yes',
    ],
    [
      'a principal less',
      [allow('sts:AssumeRole', { Principal: { AWS: ['1', '2'] } })],
      [allow('sts:AssumeRole', { Principal: { AWS: '1' } })],
      'no',
    ],
  ];
  for (const [name, older, newer, widening] of cases) {
    test(`${name}: ${widening}`, () => {
      const diff = comparePolicies(policy(...older), policy(...newer));
      assert.equal(diff.by, 'statements');
      assert.equal(diff.widening, widening, JSON.stringify(diff.changes));
    });
  }
});

test('granted and withdrawn actions, with what a wildcard has in common', () => {
  const diff = comparePolicies(
    policy(allow(['ec2:DescribeA', 'ec2:DescribeB', 's3:Get*'])),
    policy(allow(['ec2:Describe*', 's3:GetObject'])),
  );
  assert.deepEqual(diff.granted, ['ec2:Describe*']);
  assert.deepEqual(diff.withdrawn, ['s3:Get*']);
  assert.deepEqual(diff.changes[0]?.partly, { 'ec2:Describe*': ['ec2:DescribeA', 'ec2:DescribeB'] });
  assert.deepEqual(diff.changes[1]?.partly, { 's3:Get*': ['s3:GetObject'] });
});

test('under policy variables another Version is another meaning', () => {
  const variable = `$\{aws:username}`;
  const text = `{"Version":"2008-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"a/${variable}"}}`;
  const diff = comparePolicies(Buffer.from(text), Buffer.from(text.replace('2008', '2012')));
  assert.equal(diff.widening, 'unknown');
});

test('what is no AWS policy, or a broken one, is compared by lines, and only a person can tell', () => {
  const aws = policy(allow('s3:*'));
  for (const other of [
    'Allow group X to manage',
    '{"roleName":"R","Actions":["a/*"]}',
    policy({ Effect: 'allow' }),
    policy(allow('s3:*', { Resource: [] })),
    policy(allow('s3:*', { Resource: null })),
    policy(allow('s3:*', { Resource: undefined, NotResource: [7] })),
    '{"a":',
  ]) {
    for (const [older, newer] of [
      [Buffer.from(other), aws],
      [aws, Buffer.from(other)],
    ] as const) {
      const diff = comparePolicies(older, newer);
      assert.deepEqual([diff.by, diff.widening, diff.notes.length], ['lines', 'unknown', 1]);
    }
  }
  assert.equal(comparePolicies(Buffer.from([0xff]), Buffer.from([0xfe])).lines.length, 2);
});

test('policies made to take long are compared by lines', () => {
  const many = (prefix: string) => Array.from({ length: 4000 }, (_, at) => `ec2:*${prefix}${at}*`);
  const diff = comparePolicies(policy(allow(many('a'))), policy(allow(many('b'))));
  assert.equal(diff.by, 'lines');
  assert.match(diff.notes.join(), /too large/);
});

describe('what makes a text long makes its comparison no longer than that', () => {
  const names = (count: number) => Array.from({ length: count }, (_, at) => `s3:A${at}`);
  const each = (count: number, make: (name: string) => Json) => policy(...names(count).map(make));
  const values = names(10_000);
  const long = names(180).map((name) => 'x'.repeat(4000) + name);
  const cases: [name: string, by: 'statements' | 'lines', older: Buffer, newer: Buffer][] = [
    [
      'many statements of either effect',
      'statements',
      each(5000, (name) => allow(name)),
      each(5000, () => deny('a:B')),
    ],
    [
      'many actions against all but many',
      'lines',
      each(2000, () => deny('s3:A')),
      each(2000, () => ({ Effect: 'Deny', NotAction: 's3:A', Resource: '*' })),
    ],
    ['many resources for many actions', 'lines', policy(), policy(allow(names(1000), { Resource: values }))],
    [
      'many resources, each of them new',
      'statements',
      policy(allow('s3:A', { Resource: 'none' })),
      policy(allow('s3:A', { Resource: values })),
    ],
    [
      'all but many, in another order',
      'lines',
      policy({ Effect: 'Allow', Action: 's3:A', NotResource: values }),
      policy({ Effect: 'Allow', Action: 's3:A', NotResource: values.toReversed() }),
    ],
    [
      'many values of a condition',
      'statements',
      policy(allow('s3:A', { Condition: { StringEquals: { k: values } } })),
      policy(allow('s3:A', { Condition: { StringEquals: { k: [...values, 'more'] } } })),
    ],
    [
      'long patterns that differ at their ends',
      'lines',
      policy(allow(long)),
      policy(allow(long.map((one) => `${one}a`))),
    ],
    [
      'beginnings of variables',
      'statements',
      policy(allow('s3:A')),
      policy(allow('s3:A', { Resource: `}${`$\{x`.repeat(50_000)}` })),
    ],
  ];
  for (const [name, by, older, newer] of cases) {
    test(name, () => {
      assert.equal(comparePolicies(older, newer).by, by);
      assert.equal(comparePolicies(newer, older).by, by);
    });
  }
});

/** Small policies, of which everything that can be asked is asked. */
const pattern = fc.constantFrom('*', 'a', 'b', 'a*', '?', 'ab', '*b', '??');
const patterns = fc.uniqueArray(pattern, { minLength: 1, maxLength: 2 });
const condition = fc.option(
  fc.dictionary(
    fc.constantFrom('StringEquals', 'StringNotEquals'),
    fc.dictionary(fc.constantFrom('k', 'l'), fc.uniqueArray(fc.constantFrom('x', 'y'), { minLength: 1 }), {
      minKeys: 1,
    }),
    { minKeys: 1 },
  ),
  { nil: undefined },
);
const statement = fc
  .record({
    deny: fc.boolean(),
    notA: fc.boolean(),
    notR: fc.boolean(),
    actions: patterns,
    resources: patterns,
    condition,
  })
  .map(({ deny: isDeny, notA, notR, actions, resources, condition: when }) => ({
    Effect: isDeny ? 'Deny' : 'Allow',
    [notA ? 'NotAction' : 'Action']: actions,
    [notR ? 'NotResource' : 'Resource']: resources,
    ...(when === undefined ? {} : { Condition: when }),
  }));
const TEXTS = ['a', 'b', 'c', 'ab', 'bb', 'abb', 'ccc'];
const CONTEXTS = ['x', 'y', 'z'].flatMap((k) => ['x', 'y', 'z'].map((l) => ({ k, l })));

type Statement = Readonly<Record<string, unknown>>;

function matches(list: unknown, text: string): boolean {
  return (list as string[]).some((each) =>
    new RegExp(`^${each.replaceAll('*', '.*').replaceAll('?', '.')}$`).test(text),
  );
}

function applies(rule: Statement, action: string, resource: string, context: Record<string, string>): boolean {
  const inActions = rule.Action === undefined ? !matches(rule.NotAction, action) : matches(rule.Action, action);
  const inResources =
    rule.Resource === undefined ? !matches(rule.NotResource, resource) : matches(rule.Resource, resource);
  const conditions = Object.entries((rule.Condition ?? {}) as Record<string, Record<string, string[]>>);
  return (
    inActions &&
    inResources &&
    conditions.every(([operator, keys]) =>
      Object.entries(keys).every(
        ([key, values]) => values.includes(context[key] ?? '') === (operator === 'StringEquals'),
      ),
    )
  );
}

function isAllowed(rules: readonly Statement[], ...request: [string, string, Record<string, string>]): boolean {
  const found = rules.filter((rule) => applies(rule, ...request));
  return found.length > 0 && found.every(({ Effect }) => Effect === 'Allow');
}

test('property: nothing that has become possible goes unmarked', () => {
  const rules = fc.array(statement, { minLength: 1, maxLength: 3 });
  fc.assert(
    fc.property(rules, rules, (older, newer) => {
      const diff = comparePolicies(policy(...older), policy(...newer));
      const isWider = TEXTS.some((action) =>
        TEXTS.some((resource) =>
          CONTEXTS.some(
            (context) => isAllowed(newer, action, resource, context) && !isAllowed(older, action, resource, context),
          ),
        ),
      );
      if (isWider) assert.equal(diff.widening, 'yes');
    }),
    { numRuns: 500 },
  );
});

test('property: a policy does not differ from itself, in whatever order', () => {
  fc.assert(
    fc.property(fc.array(statement, { minLength: 1, maxLength: 4 }), (rules) => {
      const diff = comparePolicies(policy(...rules), policy(...rules.toReversed()));
      assert.deepEqual(diff.changes, []);
      assert.equal(diff.widening, 'no');
    }),
  );
});
