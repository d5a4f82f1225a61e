import assert from 'node:assert/strict';
import test from 'node:test';
import { isAirlockError } from '../../../src/errors.ts';
import {
  type Compatibility,
  checkCompatibility,
  checkUpgrade,
} from '../../../src/repo/formats/releases/compatibility.ts';
import { RULES } from '../../../src/repo/formats/releases/compatibility-rules.ts';
import { requireReleases } from '../../../src/repo/formats/releases/release.ts';

function pair(conductorName: string, routerName: string): Compatibility {
  const [conductor, router] = requireReleases([conductorName, routerName]);
  assert.ok(conductor !== undefined && router !== undefined);
  return checkCompatibility({ conductor, router });
}

function upgrade(fromName: string, toName: string, role?: 'conductor' | 'router'): Compatibility {
  const [from, to] = requireReleases([fromName, toName]);
  assert.ok(from !== undefined && to !== undefined);
  return checkUpgrade({ from, to, ...(role === undefined ? {} : { role }) });
}

function assertRules({ compatible, findings }: Compatibility, broken: string[]): void {
  assert.deepEqual(
    findings.map(({ rule }) => rule),
    broken,
  );
  assert.equal(
    compatible,
    findings.every(({ severity }) => severity === 'warning'),
  );
}

/** vendor.md A9 and C1, B1. */
const PAIRS: [string, string, string[]][] = [
  ['6.2.5', '6.2.6', []],
  ['6.2.5-5.r2', '6.2.6-15.sts', []],
  ['6.3.0-107r1', '6.2.12-3-lts', []],
  ['7.1.0', '6.3.7', []],
  ['6.2.9', '6.3.0', ['conductor-train']],
  ['6.9.9', '7.0.0', ['conductor-train']],
  ['6.3.4', '6.3.5', ['router-6.3.5']],
  ['6.2.9', '6.3.5', ['conductor-train', 'router-6.3.5']],
  ['6.3.5', '6.3.5', []],
  ['6.3.5', '6.3.7', []],
  ['6.3.5', '6.3.4', []],
  ['6.3.4', '5.4.0', []],
  ['6.3.5', '5.4.0', ['router-5.4.0']],
  ['7.0.5-7-lts', '5.4.0-104.el7', ['router-5.4.0']],
  ['7.0.5-7-lts', '4.5.6', ['router-5.4.0']],
  ['6.3.5', '5.4.1', []],
  ['6.10.0', '6.9.0', []],
  ['SSR-7.1.0-50.r1.el9.x86_64.ibu-v1.iso', '128T-6.3.0-107.r1.el7.OTP.v1.x86_64.iso', []],
  ['UserConnect-6.6.123', '6.6.123', []],
  ['UserConnect-6.6.123', '6.5.3012', ['one-version']],
  ['UserConnect-6.5.200', '6.5.300', ['controller-first']],
];

for (const [conductor, router, broken] of PAIRS) {
  test(`router ${router} under conductor ${conductor}: ${broken.join(', ') || 'fine'}`, () => {
    assertRules(pair(conductor, router), broken);
  });
}

const UPGRADES: [string, string, string[]][] = [
  ['6.3.4', '7.0.1', ['stop-before-7.0.1']],
  ['6.2.12', '7.1.0-50', ['stop-before-7.0.1']],
  ['6.3.4-7r2', '6.3.5-37-sts', []],
  ['6.3.5', '7.0.1', []],
  ['6.3.7-6-sts', '7.2.3-8r2', []],
  ['6.3.4', '7.0.0-63r1', []],
  ['7.0.1', '6.3.7', ['no-downgrade-from-7']],
  ['7.2.0', '7.1.0', []],
  ['5.1.3', '5.4.0', ['installer-3.1.0']],
  ['5.4.0', '5.6.0', []],
  ['UserConnect-6.6.100', '6.6.900', []],
  ['UserConnect-6.6.900', '6.7.1376', []],
  ['UserConnect-6.6.900', '6.8.1148', ['one-train-at-a-time']],
  ['UserConnect-4.3.1275', '4.6.604', []],
  ['UserConnect-5.4.1290', '6.0.2387', []],
  ['UserConnect-6.9.822', '7.0.1383', []],
  ['UserConnect-6.6.900', '6.5.3012', ['never-back']],
  ['UserConnect-7.1.10', '8.0.1', ['one-train-at-a-time']],
];

for (const [from, to, broken] of UPGRADES) {
  test(`from ${from} to ${to}: ${broken.join(', ') || 'fine'}`, () => {
    assertRules(upgrade(from, to), broken);
  });
}

test('what binds conductors does not bind routers', () => {
  assertRules(upgrade('6.2.12', '7.1.0-50', 'router'), []);
  assertRules(upgrade('UserConnect-6.6.900', '6.5.3012', 'router'), []);
  assertRules(upgrade('7.0.1', '6.3.7', 'router'), ['no-downgrade-from-7']);
});

test('a newer list of trains is taken', () => {
  const [from, to] = requireReleases(['R7.1.10', 'R8.0.1']);
  assert.ok(from !== undefined && to !== undefined);
  assertRules(checkUpgrade({ from, to, trains: ['7.1', '8.0'] }), []);
});

test('messages name the versions and say what to do', () => {
  const [finding] = pair('6.3.4-7r2', '6.3.5-37-sts').findings;
  assert.equal(
    finding?.message,
    'A router on 6.3.5-37.sts needs a conductor on 6.3.5 or newer; 6.3.4-7.r2 is not compatible. ' +
      'Upgrade the conductor first, or choose a router release before 6.3.5.',
  );
  assert.match(
    pair('6.2.9', '6.3.0').findings[0]?.message ?? '',
    /must be 6\.3 or newer.*router release of 6\.2 or older/,
  );
  assert.match(upgrade('R4.3.1', 'R5.0.1').findings[0]?.message ?? '', /4\.3 is followed by 4\.6, not 5\.0/);
  const all = [...PAIRS.map(([a, b]) => pair(a, b)), ...UPGRADES.map(([a, b]) => upgrade(a, b))];
  for (const { findings } of all)
    for (const { message } of findings) assert.doesNotMatch(message, /[{}]|undefined|null/);
});

test('every rule has its own id and a source', () => {
  assert.equal(new Set(RULES.map(({ id }) => id)).size, RULES.length);
  for (const { source, text } of RULES) assert.ok(source.length > 10 && text.length > 20);
});

test('what names no software release by number, and two vendors, are refused', () => {
  const pairs: [string, string][] = [
    ['6.6', 'R6.6.123'],
    ['R6.6.123', 'latest'],
    ['R6.6.123', '6.6e'],
    ['R6.6.123', '072216'],
    ['6.3.5', '128T-mist-agent-5.2.9458-1.el9.x86_64.rpm'],
    ['gw-base-08032022', 'R6.6.123'],
    ['SSR-6.3.5', 'R6.3.5'],
  ];
  for (const [conductor, router] of pairs) {
    assert.throws(
      () => pair(conductor, router),
      (error) => isAirlockError(error, 'usage.invalid'),
      `${conductor} ${router}`,
    );
  }
});
