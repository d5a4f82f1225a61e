import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseConfig, printConfig } from '../../src/config.ts';
import { AirlockError } from '../../src/errors.ts';

/** As the documentation shows it. */
const EXAMPLE = `upstreams:
  ssr:
    url: https://software.128technology.com/artifactory
    hosts: [software.128technology.com]
    username: { env: SSR_USER }
    password: { env: SSR_TOKEN }
    ca: vendor-ca.pem
    proxy: http://10.0.0.1:3128
    maxBandwidth: 20Mbit
    keys: [RPM-GPG-KEY-vendor]
    mirror:
      - { kind: releases, path: generic-128t-isos-release-local, select: ">=6.2 <6.3", newest: 2, arch: [x86_64] }
      - { kind: releases, path: generic-128t-install-images-release-local, select: ">=6.3", formats: [iso] }
      - { kind: rpm, path: rpm-128t-release-local, repository: ssr-plugins-el7-x86_64, policy: immediate }
  aviatrix:
    url: https://s3-us-west-2.amazonaws.com/aviatrix-download
    mirror:
      - { kind: policy, path: iam_assume_role_policy.txt, name: aviatrix-assume-role-policy }
      - { kind: policy, path: IAM_access_policy_for_CloudN.txt, name: aviatrix-app-policy, holdWidening: true }
schedule: { upstreams: "every 12h" }
`;

function faultsOf(text: string): string {
  try {
    parseConfig(text, 'airlock.yaml');
  } catch (error) {
    assert.ok(error instanceof AirlockError && error.code === 'config.invalid');
    return error.message;
  }
  return '';
}

describe('what is mirrored', () => {
  test('the example of the documentation', () => {
    const { upstreams, schedule } = parseConfig(EXAMPLE, 'airlock.yaml');
    assert.equal(schedule.upstreams, 12 * 3600_000);
    assert.deepEqual(
      upstreams.ssr?.mirror.map(({ kind, path }) => [kind, path]),
      [
        ['releases', 'generic-128t-isos-release-local'],
        ['releases', 'generic-128t-install-images-release-local'],
        ['rpm', 'rpm-128t-release-local'],
      ],
    );
    assert.deepEqual(upstreams.ssr?.keys, ['RPM-GPG-KEY-vendor']);
    assert.deepEqual(parseConfig('', 'airlock.yaml').schedule, {});
  });

  test('what is printed can be read, and prints the same, with every key', () => {
    const every = `${EXAMPLE.replace('holdWidening: true', 'holdWidening: true')}
  more:
    url: http://a
    mirror:
      - { kind: releases, path: ., select: "6.x || >=7.1", prereleases: true, newest: 1, keep: 3, pinned: [6.2.5], arch: [aarch64], kinds: [image], formats: [tar, iso], milestones: [sts, lts, r2], checkRpmSignature: allow-unsigned }
      - { kind: rpm, path: a/b/, repository: x, policy: on-demand, newest: 2, mirrorlist: list.txt, include: ["128T-*"], exclude: [debug] }
`.replace(/schedule:.*\n/, '');
    const printed = printConfig(parseConfig(every, 'airlock.yaml'));
    assert.match(printed, /path: \.\n/);
    assert.equal(printConfig(parseConfig(printed, 'airlock.yaml')), printed);
    assert.match(printConfig(parseConfig(EXAMPLE, 'airlock.yaml')), /schedule:\n {2}upstreams: every 12h/);
  });
});

describe('refused with its line', () => {
  const rule = (text: string) => `upstreams:\n  a:\n    url: http://a\n    mirror:\n      - { ${text} }\n`;
  const releases = (text: string) => rule(`kind: releases, path: a, ${text}`);
  const cases: [what: string, text: string, message: RegExp][] = [
    [
      'a kind that is none',
      rule('kind: moon, path: a'),
      /:5: .*mirror\.0\.kind: is no kind of rule; write releases, rpm/,
    ],
    ['no kind', rule('path: a'), /:5: .*is no kind of rule/],
    ['an unknown key', releases('newset: 1'), /:5: there is no key upstreams\.a\.mirror\.0\.newset/],
    ['a key of another kind', rule('kind: policy, path: a, name: b, newest: 1'), /:5: there is no key .*newest/],
    ['a range that is none', releases('select: ">=what"'), /:5: .*select: is no range of releases.*">=what"/],
    ['none of the newest', releases('newest: 0'), /:5: .*newest: is too few/],
    ['half of the newest', releases('newest: 1.5'), /:5: .*newest: is no whole number/],
    ['the newest in words', releases('newest: two'), /:5: .*newest: is no number/],
    ['fewer kept than fetched', releases('newest: 3, keep: 2'), /:5: .*keep: is less than newest/],
    ['an architecture without a list', releases('arch: x86_64'), /:5: .*arch: is no list; write \[x86_64\]/],
    ['an architecture that is none', releases('arch: [vax]'), /:5: .*arch\.0: is "vax"; known are x86_64/],
    ['an empty list', releases('kinds: []'), /:5: .*kinds: is empty/],
    ['a format that is none', releases('formats: [exe]'), /:5: .*formats\.0: is "exe"/],
    ['a milestone that is none', releases('milestones: [big]'), /:5: .*milestones\.0: is no milestone/],
    ['a path upwards', rule('kind: releases, path: a/../b'), /:5: .*path: is no path below the url/],
    ['a path elsewhere', rule('kind: releases, path: "http://x/y"'), /:5: .*path: is no path/],
    ['a path with a question', rule('kind: policy, path: "a?b", name: x'), /:5: .*path: is no path/],
    ['a repository that is none', rule('kind: rpm, path: a, repository: "A B"'), /:5: .*repository: is no name/],
    [
      'a policy of fetching that is none',
      rule('kind: rpm, path: a, repository: x, policy: never'),
      /:5: .*neither immediate/,
    ],
    [
      'one repository for two rules',
      `${rule('kind: rpm, path: a, repository: x')}  b:\n    url: http://b\n    mirror:\n      - { kind: rpm, path: c, repository: x }\n`,
      /:9: upstreams\.b\.mirror\.0\.repository: is the repository of another rule, too: the one for "a" of upstream a/,
    ],
    ['a policy text without a name', rule('kind: policy, path: a'), /:5: .*name: /],
    ['a policy text with a path as its name', rule('kind: policy, path: a, name: a/b'), /:5: .*name: is no name/],
    ['keys without a list', 'upstreams:\n  a:\n    url: http://a\n    keys: x\n', /:4: upstreams\.a\.keys: /],
    [
      'an interval without "every"',
      'schedule: { upstreams: 12h }',
      /:1: .*"12h" is no interval; write such as "every 12h"/,
    ],
    ['an interval of nothing', 'schedule:\n  upstreams: every 1s\n', /:2: .*is too often; the least is every 1min/],
    ['an interval of centuries', 'schedule: { upstreams: every 99999d }', /:1: .*too seldom/],
  ];
  for (const [what, text, message] of cases) test(what, () => assert.match(faultsOf(text), message));
});
