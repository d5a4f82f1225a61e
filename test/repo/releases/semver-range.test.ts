import assert from 'node:assert/strict';
import test from 'node:test';
import semver from 'semver';
import { isAirlockError } from '../../../src/errors.ts';
import type { Vendor } from '../../../src/repo/formats/releases/facts.ts';
import { compareReleases, sortReleases } from '../../../src/repo/formats/releases/order.ts';
import { parseRelease, requireReleases } from '../../../src/repo/formats/releases/release.ts';
import { parseRange, selectReleases } from '../../../src/repo/formats/releases/semver-range.ts';

const SSR = [
  ...[
    '5.4.0-104.el7',
    '6.1.10-8.lts.el7',
    '6.2.0-39.r1.el7',
    '6.2.12-3.lts.el7',
    '6.3.0-99.r1.el7',
    '6.3.0-107.r1.el7',
  ],
  ...[
    '6.3.0-107.r2.el7',
    '6.3.0-110.r2.el7',
    '6.3.3-40.r2.el7',
    '6.3.5-37.sts.el7',
    '7.0.5-7.lts.el9',
    '7.1.0-50.r1.el9',
  ],
];
const AVIATRIX = [
  'UserConnect-072216',
  'R2.7.1',
  'R6.5.2608',
  'R6.6.100',
  'R6.6.900',
  'R6.8.1826',
  'R6.9.128',
  'R7.0.1383',
];

function select(range: string, names: string[] = SSR): string[] {
  return selectReleases(range, requireReleases(names)).map(({ input }) => input);
}

const from = (start: string, end?: string) =>
  SSR.slice(SSR.indexOf(start), end === undefined ? undefined : SSR.indexOf(end));

const RANGES: [string, string[]][] = [
  ['*', SSR],
  ['x', SSR],
  ['>=6.2 <6.3', ['6.2.0-39.r1.el7', '6.2.12-3.lts.el7']],
  ['>= 6.2   < 6.3', ['6.2.0-39.r1.el7', '6.2.12-3.lts.el7']],
  ['~6.3.0', from('6.3.0-99.r1.el7', '7.0.5-7.lts.el9')],
  ['~6.3.3', from('6.3.3-40.r2.el7', '7.0.5-7.lts.el9')],
  ['~>6.3', from('6.3.0-99.r1.el7', '7.0.5-7.lts.el9')],
  ['6.x', from('6.1.10-8.lts.el7', '7.0.5-7.lts.el9')],
  ['6', from('6.1.10-8.lts.el7', '7.0.5-7.lts.el9')],
  ['^6.2', from('6.2.0-39.r1.el7', '7.0.5-7.lts.el9')],
  ['6.2 - 6.3.0', from('6.2.0-39.r1.el7', '6.3.3-40.r2.el7')],
  ['6.2 - 6.3', from('6.2.0-39.r1.el7', '7.0.5-7.lts.el9')],
  ['6.2 - 6.3.0-107', from('6.2.0-39.r1.el7', '6.3.0-110.r2.el7')],
  ['5.x || >=7.1', ['5.4.0-104.el7', '7.1.0-50.r1.el9']],
  ['6.3.0', from('6.3.0-99.r1.el7', '6.3.3-40.r2.el7')],
  ['=6.3.0', from('6.3.0-99.r1.el7', '6.3.3-40.r2.el7')],
  ['>=6.3.0', from('6.3.0-99.r1.el7')],
  ['>6.3.0', from('6.3.3-40.r2.el7')],
  ['<=6.3.0', from('5.4.0-104.el7', '6.3.3-40.r2.el7')],
  ['<6.3.0', from('5.4.0-104.el7', '6.3.0-99.r1.el7')],
  ['>6.3', from('7.0.5-7.lts.el9')],
  ['>=6.3.0-107', from('6.3.0-107.r1.el7')],
  ['>6.3.0-107', from('6.3.0-110.r2.el7')],
  ['<=6.3.0-107', from('5.4.0-104.el7', '6.3.0-110.r2.el7')],
  ['<6.3.0-107', from('5.4.0-104.el7', '6.3.0-107.r1.el7')],
  ['6.3.0-107', ['6.3.0-107.r1.el7', '6.3.0-107.r2.el7']],
  ['=6.3.0-107r1', ['6.3.0-107.r1.el7']],
  ['>6.3.0-107r1 <6.3.3', ['6.3.0-107.r2.el7', '6.3.0-110.r2.el7']],
  ['>=6.3.0-107.r2.el7', from('6.3.0-107.r2.el7')],
  ['~6.3.0-107', from('6.3.0-107.r1.el7', '7.0.5-7.lts.el9')],
  ['^6.3.0-110', from('6.3.0-110.r2.el7', '7.0.5-7.lts.el9')],
  ['>=SSR-7.1.0-50', ['7.1.0-50.r1.el9']],
  ['>=128T-7.0.0', ['7.0.5-7.lts.el9', '7.1.0-50.r1.el9']],
];

for (const [range, expected] of RANGES) {
  test(`Session Smart releases in ${range}`, () => {
    assert.deepEqual(select(range), expected);
  });
}

const AVIATRIX_RANGES: [string, string[]][] = [
  ['*', AVIATRIX],
  ['>=6.5.100 <6.6', ['R6.5.2608']],
  ['6.6.x', ['R6.6.100', 'R6.6.900']],
  ['R6.6', ['R6.6.100', 'R6.6.900']],
  ['~6.6.500', ['R6.6.900']],
  ['>=6.6.900', ['R6.6.900', 'R6.8.1826', 'R6.9.128', 'R7.0.1383']],
  ['>UserConnect-6.6.100 <=6.8', ['R6.6.900', 'R6.8.1826']],
  ['>6.5-1804.1922 <6.6', ['R6.5.2608']],
  ['<3.0', ['UserConnect-072216', 'R2.7.1']],
  ['>UserConnect-072216 <3.0', ['R2.7.1']],
];

for (const [range, expected] of AVIATRIX_RANGES) {
  test(`Aviatrix releases in ${range}`, () => {
    assert.deepEqual(select(range, AVIATRIX), expected);
  });
}

function sign(a: string, b: string): number {
  const [first, second] = requireReleases([a, b]);
  assert.ok(first !== undefined && second !== undefined);
  return compareReleases(first, second);
}

/** Each line of vendor.md C2: what npm's semver makes of it, and what is right. */
test('a build is no pre-release', () => {
  assert.equal(semver.gt('6.3.0-107.r1.el7', '6.3.0'), false);
  assert.equal(sign('6.3.0-107.r1.el7', '6.3.0'), 1);
});
test('builds are in their range, and a list has a newest', () => {
  assert.equal(semver.satisfies('6.3.3-40.r2.el7', '>=6.3.0'), false);
  assert.deepEqual(select('>=6.3.0', ['6.3.3-40.r2.el7']), ['6.3.3-40.r2.el7']);
  assert.equal(semver.maxSatisfying(['6.3.3-40.r2.el7', '6.3.0-107.r1.el7'], '*'), null);
  assert.equal(sortReleases(select('*', ['6.3.3-40.r2.el7', '6.3.0-107.r1.el7'])).at(-1), '6.3.3-40.r2.el7');
});
test('the first release of the floor is in', () => {
  assert.equal(semver.satisfies('6.3.0-107.r1.el7', '>=6.3.0', { includePrerelease: true }), false);
  assert.deepEqual(select('>=6.3.0', ['6.3.0-107.r1.el7']), ['6.3.0-107.r1.el7']);
});
test('builds compare as numbers', () => {
  assert.equal(semver.compare('6.3.3-107r1', '6.3.3-40r2'), -1);
  assert.equal(sign('6.3.3-107r1', '6.3.3-40r2'), 1);
  assert.deepEqual(select('>6.3.3-40r2', ['6.3.3-107r1']), ['6.3.3-107r1']);
  assert.equal(semver.compare('6.3.7-10-sts', '6.3.7-6-sts'), -1);
  assert.equal(sign('6.3.7-10-sts', '6.3.7-6-sts'), 1);
  assert.deepEqual(select('>6.3.7-6-sts', ['6.3.7-10-sts']), ['6.3.7-10-sts']);
});
test('two spellings are one release', () => {
  assert.equal(semver.compare('6.3.0-107.r1.el7', '6.3.0-107r1'), -1);
  assert.equal(sign('6.3.0-107.r1.el7', '6.3.0-107r1'), 0);
  assert.deepEqual(select('6.3.0-107r1', ['6.3.0-107.r1.el7']), ['6.3.0-107.r1.el7']);
});
test('lts is later than r2', () => {
  assert.equal(semver.compare('6.3.5-37.r2.el7', '6.3.5-37.lts.el7'), 1);
  assert.equal(sign('6.3.5-37.r2.el7', '6.3.5-37.lts.el7'), -1);
  assert.deepEqual(select('>6.3.5-37.r2', ['6.3.5-37.lts.el7']), ['6.3.5-37.lts.el7']);
});
test('el10 is not older than el9', () => {
  assert.equal(semver.compare('7.1.0-50.r1.el10', '7.1.0-50.r1.el9'), -1);
  assert.equal(sign('7.1.0-50.r1.el10', '7.1.0-50.r1.el9'), 0);
});
test('the product is no number, and the build is kept', () => {
  assert.equal(semver.coerce('128T-6.3.0-107.r1.el7.OTP.v1.x86_64.iso')?.version, '128.0.0');
  assert.partialDeepStrictEqual(parseRelease('128T-6.3.0-107.r1.el7.OTP.v1.x86_64.iso'), {
    major: 6,
    minor: 3,
    build: 107,
  });
  assert.equal(semver.coerce('SSR-6.3.0-107.r1.el7.x86_64.ibu-v1.iso')?.version, '6.3.0');
  assert.partialDeepStrictEqual(parseRelease('SSR-6.3.0-107.r1.el7.x86_64.ibu-v1.iso'), { major: 6, build: 107 });
});
test('Aviatrix forms are read whole', () => {
  for (const name of ['6.5-1804.1922', 'R6.4.2776', '7.1.XXXX']) assert.equal(semver.valid(name), null);
  assert.partialDeepStrictEqual(parseRelease('6.5-1804.1922'), { major: 6, minor: 5, build: 1922 });
  assert.partialDeepStrictEqual(parseRelease('R6.4.2776'), { major: 6, minor: 4, build: 2776 });
  assert.equal(parseRelease('7.1.XXXX'), undefined);
  assert.equal(semver.coerce('UserConnect-6.5-1804.1922')?.version, '6.5.0');
  assert.partialDeepStrictEqual(parseRelease('UserConnect-6.5-1804.1922'), { build: 1922 });
  assert.equal(semver.coerce('6.6e')?.version, '6.6.0');
  assert.partialDeepStrictEqual(parseRelease('6.6e'), { minor: 6, letter: 'e' });
});
test('a caret does not cross trains of Aviatrix', () => {
  assert.equal(semver.satisfies('6.9.128', '^6.6'), true);
  for (const range of ['^6.6', '>=6.5 ^6.6.100', '^ 6.6', '6.5.x || ^UserConnect-6.6.100']) {
    assert.throws(
      () => select(range, AVIATRIX),
      (error) => isAirlockError(error, 'usage.invalid') && /cross release trains.*~6\.6/.test(error.message),
    );
  }
});

test('pre-releases are admitted only where they are asked for', () => {
  const names = ['3.0.0-1', '3.0.1-snapshot1', '3.0.1-snapshot2', '4.4.0-0.202004021313.release.el7', '4.4.0-1.el7'];
  assert.deepEqual(select('*', names), ['3.0.0-1', '4.4.0-1.el7']);
  assert.deepEqual(select('>=3.0.1-snapshot2', names), [
    '3.0.1-snapshot2',
    '4.4.0-0.202004021313.release.el7',
    '4.4.0-1.el7',
  ]);
  assert.deepEqual(select('~3.0.1-snapshot1', names), ['3.0.1-snapshot1', '3.0.1-snapshot2']);
  const all = (range: string) =>
    selectReleases(range, requireReleases(names), { prereleases: true }).map(({ input }) => input);
  assert.deepEqual(all('*'), names);
  assert.deepEqual(all('>=3.0.1'), names.slice(3));
  assert.deepEqual(all('<3.0.1'), names.slice(0, 3));
  assert.deepEqual(all('>=4.4.0'), ['4.4.0-1.el7']);
});

test('plugins, gateway images, "latest" and the other vendor are in no range', () => {
  const range = parseRange('*', 'ssr');
  assert.equal(range.text, '*');
  const names = ['128T-mist-agent-5.2.9458-1.el9.x86_64.rpm', 'R6.6.123', 'latest', 'gw-base-08032022'];
  for (const release of requireReleases(names)) assert.equal(range.includes(release), false);
  const other = parseRange('*', 'aviatrix');
  for (const release of requireReleases([...names.slice(2), 'SSR-6.3.0-1']))
    assert.equal(other.includes(release), false);
});

test('each release is judged by its own vendor', () => {
  const releases = requireReleases(['SSR-6.3.0-107', 'R6.3.107']);
  assert.deepEqual(
    selectReleases('>=6.3.50', releases).map(({ input }) => input),
    ['R6.3.107'],
  );
  assert.deepEqual(selectReleases('*', []), []);
});

test('what is no range is refused with the word that is wrong', () => {
  const bad: [string, Vendor][] = [
    ...(
      ['', ' ', '||', '6.3 ||', '>=', '>=6.2 <', '- 6.3', '6.2 -', '>=<6', '>>6', '=>6.3', '>=6.3.0.1', 'v6.3'] as const
    ).map((text): [string, Vendor] => [text, 'ssr']),
    ...(
      ['>=06.3', '>=9999999999999999999', 'latest', '>=UserConnect-6.6.123', 'r2', '6.3.0-xx', '>=6.3,<6.4'] as const
    ).map((text): [string, Vendor] => [text, 'ssr']),
    ...(['latest', '6.6e', '>=6.3.0-107', '7.1.XXXX', 'gw-base-08032022', 'Release 6.5.2721'] as const).map(
      (text): [string, Vendor] => [text, 'aviatrix'],
    ),
    ['1'.repeat(1025), 'ssr'],
    ['128T-mist-agent-5.2.9458-1.el9.x86_64.rpm', 'ssr'],
  ];
  for (const [text, vendor] of bad) {
    assert.throws(
      () => parseRange(text, vendor),
      (error) => isAirlockError(error, 'usage.invalid'),
      JSON.stringify(text),
    );
  }
  assert.throws(() => parseRange('>=6.2 <6.y', 'ssr'), /"<6\.y" is no release of Session Smart.*Ranges look like/);
});

test('hostile ranges end in linear time', { timeout: 60_000 }, () => {
  for (const part of ['6.2 - ', '>= ', '||', '~>', '<', ' ', '1.', 'x.', '*', '^6.3.0-107 ']) {
    const text = part.repeat(Math.floor(1024 / part.length));
    try {
      const range = parseRange(text, 'ssr');
      for (const release of requireReleases(SSR)) range.includes(release);
    } catch (error) {
      assert.ok(isAirlockError(error, 'usage.invalid'), part);
    }
  }
});
