import assert from 'node:assert/strict';
import test from 'node:test';
import { isAirlockError } from '../../../src/errors.ts';
import { compareReleases, lineOf, orderKey, sortReleases } from '../../../src/repo/formats/releases/order.ts';
import { requireReleases } from '../../../src/repo/formats/releases/release.ts';

function compare(a: string, b: string): number {
  const [first, second] = requireReleases([a, b]);
  assert.ok(first !== undefined && second !== undefined);
  assert.equal(compareReleases(first, second), -compareReleases(second, first) + 0);
  return compareReleases(first, second);
}

/** Newer first; vendor.md C1, C2 and C3. */
const NEWER: [string, string][] = [
  ['6.3.3-40r2', '6.3.0-107r1'],
  ['6.3.7-6-sts', '6.3.5-37-sts'],
  ['6.2.12', '6.2.9'],
  ['5.4.0-104', '5.4.0-9'],
  ['7.0.1-1r1', '6.3.7-6-sts'],
  ['3.0.1-1', '3.0.1-snapshot1'],
  ['3.0.1-snapshot2', '3.0.1-snapshot1'],
  ['3.0.1-snapshot10', '3.0.1-snapshot9'],
  ['3.0.1', '3.0.1-rc3'],
  ['4.4.0-1', '128T-4.4.0-0.202004021313.release.el7.x86_64.rpm'],
  ['4.4.0-0.20200402131301.release', '4.4.0-0.202004021313.release'],
  ['4.4.0-0.202004021313.release', '4.4.0-0.20191231235959.release'],
  ['6.3.3-107r1', '6.3.3-40r2'],
  ['6.3.7-10-sts', '6.3.7-6-sts'],
  ['6.3.5-37.lts.el7', '6.3.5-37.r2.el7'],
  ['6.3.5-37.r2', '6.3.5-37.r1'],
  ['6.3.5-37', '6.3.5-37.r2'],
  ['6.3.5-37.sts', '6.3.5-37'],
  ['6.3.0-107.r1.el7', '6.3.0'],
  ['6.9.128', 'R6.8.1826'],
  ['6.5.2608', '6.5-1804.1922'],
  ['UserConnect-031717', 'UserConnect-072216'],
  ['R2.5', 'UserConnect-031717'],
  ['R5.4.1066', 'R5.3.1551'],
  ['latest', 'R7.1.999999'],
  ['6.6e', '6.6'],
  ['R6.6.1', '6.6e'],
  ['hvm-cloudx-aws-031722', 'hvm-cloudx-aws-102320'],
  ['gw-base-08032022', 'gw-base-12312021'],
  ['aviatrix-companion-gateway-v10u', 'aviatrix-companion-gateway-v10.vhd'],
  ['aviatrix-companion-gateway-v15u-6-9', 'aviatrix-companion-gateway-v8'],
  ['aviatrix_gateway_54_20220323', 'aviatrix_gateway_54_1042_20210426_patched_v2'],
  ['128T-mist-wan-assurance-3.101.0-302.el9.x86_64', '128T-mist-wan-assurance-3.100.0-3031.el9.x86_64'],
];

for (const [newer, older] of NEWER) {
  test(`${newer} comes after ${older}`, () => {
    assert.equal(compare(newer, older), 1);
  });
}

const EQUAL: [string, string][] = [
  ['6.3.0-107.r1.el7', '6.3.0-107r1'],
  ['7.1.0-50.r1.el10', '7.1.0-50.r1.el9'],
  ['128T-5.1.3-1.el7.OTP.v3.x86_64.iso', '128T-5.1.3-1.el7.OTP.v1.x86_64.iso'],
  ['SSR-6.3.0-107.r1.el7.x86_64.ibu-v1.iso', '128T-6.3.0-107.r1.el7.OTP.v1.x86_64.iso'],
  ['6.3.5-37-sts', '6.3.5-37-lts'],
  ['6.3.0-107', '06.03.00-0107'],
  ['UserConnect-6.5-1804.1922', 'R6.5.1922'],
];

for (const [a, b] of EQUAL) {
  test(`${a} and ${b} compare equal`, () => {
    assert.equal(compare(a, b), 0);
  });
}

test('names of one release stay in the order given', () => {
  const names = ['6.3.0-107r1', 'SSR-6.3.0-107.r1.el7.x86_64.ibu-v1.iso', '6.2.12-3-lts', '6.3.0-107.r1.el7'];
  assert.deepEqual(sortReleases(names), [
    ...['6.2.12-3-lts', '6.3.0-107r1', 'SSR-6.3.0-107.r1.el7.x86_64.ibu-v1.iso', '6.3.0-107.r1.el7'],
  ]);
  assert.deepEqual(sortReleases(names.toReversed()), [
    ...['6.2.12-3-lts', '6.3.0-107.r1.el7', 'SSR-6.3.0-107.r1.el7.x86_64.ibu-v1.iso', '6.3.0-107r1'],
  ]);
  assert.deepEqual(sortReleases([]), []);
});

test('vendors, plugins and families of images stand in groups', () => {
  const names = [
    'SSR-1.0.0-1',
    'gw-base-08032022',
    'b-1-1.noarch',
    'R9.9.9',
    'a-2-1.noarch',
    'hvm-cloudx-aws-031722',
    '128T-1.0.0-0',
  ];
  assert.deepEqual(sortReleases(names), [
    ...[
      'gw-base-08032022',
      'hvm-cloudx-aws-031722',
      'R9.9.9',
      '128T-1.0.0-0',
      'SSR-1.0.0-1',
      'a-2-1.noarch',
      'b-1-1.noarch',
    ],
  ]);
  assert.deepEqual(requireReleases(['gw-base-08032022', 'R9.9.9', 'a-2-1.noarch', 'SSR-1.0.0-1']).map(lineOf), [
    ...['aviatrix gateway gw-base', 'aviatrix release', 'ssr rpm a', 'ssr release'],
  ]);
});

test('a list with a name that cannot be read is not sorted', () => {
  assert.throws(
    () => sortReleases(['6.3.0', '7.1.XXXX']),
    (error) => isAirlockError(error, 'release.unparsable') && error.message.includes('"7.1.XXXX"'),
  );
});

/** From the tests of RPM itself (rpmvercmp.at): a, b, and the sign of a compared with b. */
const RPMVERCMP: [string, string, -1 | 0 | 1][] = [
  ['1.0', '1.0', 0],
  ['1.0', '2.0', -1],
  ['2.0.1', '2.0.1a', -1],
  ['5.5p1', '5.5p2', -1],
  ['5.5p10', '5.5p1', 1],
  ['10xyz', '10.1xyz', -1],
  ['xyz10', 'xyz10.1', -1],
  ['xyz.4', '8', -1],
  ['xyz.4', '2', -1],
  ['5.5p2', '5.6p1', -1],
  ['5.6p1', '6.5p1', -1],
  ['6.0.rc1', '6.0', 1],
  ['10b2', '10a1', 1],
  ['1.0aa', '1.0a', 1],
  ['10.0001', '10.1', 0],
  ['10.0001', '10.0039', -1],
  ['4.999.9', '5.0', -1],
  ['20101122', '20101121', 1],
  ['2_0', '2.0', 0],
  ['a+', 'a_', 0],
  ['+a', '_a', 0],
  ['1.0~rc1', '1.0', -1],
  ['1.0~rc1', '1.0arc1', -1],
  ['1.0~rc1~git123', '1.0~rc1', -1],
  ['1.0^', '1.0', 1],
  ['1.0^git1', '1.01', -1],
  ['1.0^20160101', '1.0.1', -1],
  ['1.0^20160101^git1', '1.0^20160102', -1],
  ['1.0~rc1^git1', '1.0~rc1', 1],
  ['1.0^git1~pre', '1.0^git1', -1],
  ['99999999999999999999', '100000000000000000000', -1],
];

test('plugins are ordered as RPM orders them', () => {
  for (const [a, b, sign] of RPMVERCMP) {
    assert.equal(compare(`p-${a}-1.noarch`, `p-${b}-1.noarch`), sign, `version ${a} and ${b}`);
    assert.equal(compare(`p-1-${a}.noarch`, `p-1-${b}.noarch`), sign, `release ${a} and ${b}`);
  }
  assert.equal(compare('p-1:1.0-1.noarch', 'p-2.0-1.noarch'), 1);
});

test('a key is short text of printable ASCII', () => {
  const keys = requireReleases([
    ...[
      '6.3.0-107.r1.el7',
      'SSR-999999999999999.1.1-1',
      'latest',
      'gw-base-08032022',
      `${'a1'.repeat(100)}-${'a1'.repeat(15)}-1.noarch`,
    ],
    `p-${'a1'.repeat(118)}-1.noarch`,
  ]).map(orderKey);
  for (const key of keys) {
    assert.match(key, /^[\x20-\x7e]+$/);
    assert.ok(key.length < 1300, `${key.length}`);
  }
});
