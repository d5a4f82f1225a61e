import assert from 'node:assert/strict';
import test from 'node:test';
import { parseRelease, requireReleases } from '../../../src/repo/formats/releases/release.ts';
import { matchVersion, sameRelease } from '../../../src/repo/formats/releases/same-release.ts';

const CASES: [string, string, boolean][] = [
  ['6.3.0-107.r1.el7', '6.3.0-107r1', true],
  ['SSR-7.1.0-50', 'SSR-7.1.0-50.r1.el9.x86_64.ibu-v1.iso', true],
  ['128T-6.3.0-107.r1.el7.OTP.v1.x86_64.iso', 'SSR-6.3.0-107.r1.el7.x86_64.ibu-v1.iso', true],
  ['6.3.0', '6.3.0-107.r1.el7', true],
  ['6.3.0', '6.3.1-1.r1', false],
  ['6.3.0-107', '6.3.0-110', false],
  ['6.3.5-37-sts', '6.3.5-37-lts', false],
  ['6.3.5-37-r1', '6.3.5-37-r2', false],
  ['3.0.1-snapshot1', '3.0.1-1', false],
  ['3.0.1-snapshot1', '3.0.1', true],
  ['3.0.1-snapshot1', '3.0.1-snapshot2', false],
  ['4.4.0-0.202004021313.release', '4.4.0-0.202004021314.release', false],
  ['4.4.0-0.202004021313.release', '4.4.0-0', false],
  ['UserConnect-6.6.123 (6.5,6.6)', '6.6.123', true],
  ['UserConnect-6.5-1804.1922', 'R6.5.1922', true],
  ['R6.6', 'R6.6.123', true],
  ['6.6e', 'R6.6.123', false],
  ['6.6e', '6.6e', true],
  ['6.6e', '6.7', false],
  ['UserConnect-072216', '072216', true],
  ['UserConnect-072216', 'UserConnect-031717', false],
  ['latest', 'R6.6.123', false],
  ['SSR-6.6.123', 'UserConnect-6.6.123', false],
  ['a-1-1.el9.x86_64.rpm', 'a-1-1.el9.aarch64', true],
  ['a-1-1.el9.x86_64.rpm', 'b-1-1.el9.x86_64.rpm', false],
  ['a-1-1.el9.x86_64.rpm', 'a-1-2.el9.x86_64.rpm', false],
  ['aviatrix-companion-gateway-v10', 'aviatrix-companion-gateway-v10.vhd', true],
  ['gw-base-08032022', 'hvm-cloudx-aws-080322', false],
];

for (const [a, b, same] of CASES) {
  test(`${a} and ${b} are ${same ? 'one release' : 'two releases'}`, () => {
    const [first, second] = requireReleases([a, b]);
    assert.ok(first !== undefined && second !== undefined);
    assert.equal(sameRelease(first, second), same);
    assert.equal(sameRelease(second, first), same);
  });
}

const CATALOGUE = [
  'SSR-7.1.0-50.r1.el9.x86_64.ibu-v1.iso',
  'SSR-6.3.0-107.r1.el7.x86_64.ibu-v1.iso',
  'SSR-6.3.0-110.r2.el7.x86_64.ibu-v1.iso',
  '128T-6.3.0-107.r1.el7.OTP.v1.x86_64.iso',
  '128T-5.4.0-104.el7.OTP.v1.x86_64.iso',
  '128T-6.2.12-3.lts.el7.OTP.v1.x86_64.iso',
  '128T-mist-agent-5.2.9458-1.el9.x86_64.rpm',
  'UserConnect-6.6.123',
];

const [NEWEST = '', IMAGE = '', NEXT = '', PACKAGE = '', OLD = '', LTS = '', PLUGIN = '', CONTROLLER = ''] = CATALOGUE;

const MEANT: [string, string[][]][] = [
  ['SSR-7.1.0-50', [[NEWEST]]],
  ['7.1.0-50.r1.el9', [[NEWEST]]],
  ['7.1.0-50.r1.el7', []],
  ['7.1.0', [[NEWEST]]],
  ['6.3.0-107r1', [[IMAGE, PACKAGE]]],
  ['128T-6.3.0-107.r1.el7', [[IMAGE, PACKAGE]]],
  [PACKAGE, [[PACKAGE]]],
  [`${IMAGE}.sha256sum`, [[IMAGE]]],
  ['6.3.0', [[IMAGE, PACKAGE], [NEXT]]],
  ['6.3', [[IMAGE, PACKAGE], [NEXT]]],
  ['6.3.0-1', []],
  ['5.4.0-104', [[OLD]]],
  ['6.2.12-3', [[LTS]]],
  ['6.2', [[LTS]]],
  ['6.6.123', [[CONTROLLER]]],
  ['6.6', [[CONTROLLER]]],
  ['UserConnect-6.6.123 (6.6)', [[CONTROLLER]]],
  [PLUGIN, [[PLUGIN]]],
  ['latest', [[CONTROLLER], [NEWEST]]],
  ['nonsense', []],
  ['', []],
];

for (const [spelling, expected] of MEANT) {
  test(`among the catalogued releases, ${JSON.stringify(spelling)} means ${expected.length}`, () => {
    assert.deepEqual(matchVersion(spelling, CATALOGUE, parseRelease), expected);
  });
}

test('a spelling that fits one release exactly means that one', () => {
  const versions = ['6.1.10-2.r1.el7', '6.1.10-2.r2.el7', '6.1.10-2'];
  assert.deepEqual(matchVersion('6.1.10-2r2', versions, parseRelease), [['6.1.10-2.r2.el7']]);
  assert.deepEqual(matchVersion('6.1.10-2', versions, parseRelease), [['6.1.10-2']]);
  assert.equal(matchVersion('6.1.10', versions, parseRelease).length, 2);
});

test('candidates that are no releases never fit', () => {
  assert.deepEqual(
    matchVersion('6.3.0', ['6.3.0', 'README'], (name) => (name === 'README' ? undefined : parseRelease(name))),
    [['6.3.0']],
  );
});
