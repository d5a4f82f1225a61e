import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { includes, newEffort, overlaps, wildcard } from '../../../src/repo/policies/wildcard.ts';

const within = (outer: string, inner: string) =>
  includes(wildcard(outer, { ignoreCase: true }), wildcard(inner, { ignoreCase: true }), newEffort());

test('actions within wildcards', () => {
  assert.ok(within('*', 'ec2:RunInstances'));
  assert.ok(within('ec2:*', 'ec2:Describe*'));
  assert.ok(within('ec2:Describe*', 'EC2:describeInstances'));
  assert.ok(within('ec2:*Route*', 'ec2:CreateTransitGatewayRouteTable'));
  assert.ok(within('ec2:*Route*', 'ec2:*RouteTable*'));
  assert.ok(within('*?', '?*'));
  assert.ok(!within('ec2:Describe*', 'ec2:*'));
  assert.ok(!within('ec2:*Route*', 'ec2:*Rout*'));
  assert.ok(!within('ec2:*', 'elasticloadbalancing:*'));
  assert.ok(!within('?*', '*'));
  assert.ok(!within('ec2:Describe?', 'ec2:Describe'));
});

test('escaped characters and policy variables are no wildcards', () => {
  const of = (outer: string, inner: string) => includes(wildcard(outer), wildcard(inner), newEffort());
  assert.ok(!of('home/$' + '{*}', 'home/x'));
  assert.ok(of('home/*', 'home/$' + '{aws:username}/*'));
  assert.ok(!of('home/$' + '{aws:username}/*', 'home/*'));
  assert.ok(!of('home/A', 'home/a'));
});

const pattern = fc.string({ unit: fc.constantFrom('a', 'b', '*', '?'), maxLength: 5 });

/** All texts of three letters (one of which no pattern has) up to a length at which every difference has shown. */
const TEXTS = [''];
for (let at = 0; (TEXTS[at]?.length ?? 9) < 7; at += 1) TEXTS.push(...['a', 'b', 'c'].map((each) => TEXTS[at] + each));

function admitted(text: string): Set<string> {
  const expression = new RegExp(`^${text.replaceAll('*', '.*').replaceAll('?', '.')}$`);
  return new Set(TEXTS.filter((each) => expression.test(each)));
}

test('property: inclusion is what trying all texts says', () => {
  fc.assert(
    fc.property(pattern, pattern, (outer, inner) => {
      const all = admitted(outer);
      const expected = [...admitted(inner)].every((each) => all.has(each));
      assert.equal(includes(wildcard(outer), wildcard(inner), newEffort()), expected, `${outer} ⊇ ${inner}`);
    }),
    { numRuns: 1500 },
  );
});

test('property: overlap is what trying all texts says', () => {
  fc.assert(
    fc.property(pattern, pattern, (first, second) => {
      const other = admitted(second);
      // Two patterns of 5 share a text of at most 10 letters; of those here, with 4 letters at most, 8 suffice.
      fc.pre(literals(first) + literals(second) <= 7);
      const expected = [...admitted(first)].some((each) => other.has(each));
      assert.equal(overlaps(wildcard(first), wildcard(second), newEffort()), expected, `${first} ∩ ${second}`);
    }),
    { numRuns: 1500 },
  );
});

function literals(text: string): number {
  return text.replaceAll('*', '').length;
}

test('patterns made to take long end, and then count as not included', () => {
  const outer = wildcard(`*a${'?'.repeat(40)}*b`);
  const inner = wildcard('*a*b*a*b*a*b'.repeat(20));
  const effort = newEffort();
  includes(outer, inner, effort);
  overlaps(wildcard('*?a'.repeat(3000)), wildcard('?*b'.repeat(3000)), effort);
  assert.equal(includes(wildcard('a*'), wildcard('ab'), { left: 0 }), false);
});
