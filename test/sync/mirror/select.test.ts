import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { beyondNewest, type Selection, selectImages, trainFilter } from '../../../src/sync/mirror/select.ts';

const FILES = [
  '128T-6.1.10-8.lts.el7.OTP.v1.x86_64.iso',
  '128T-6.2.5-5.r2.el7.OTP.v1.x86_64.iso',
  '128T-6.2.6-15.sts.el7.OTP.v1.x86_64.iso',
  '128T-6.2.6-15.sts.el7.OTP.v3.x86_64.iso',
  'SSR-6.3.0-107.r1.el7.x86_64.ibu-v1.iso',
  'SSR-6.3.0-107.r1.el7.x86_64.ibu-v1.tar',
  'SSR-6.3.0-107.r1.el7.x86_64.ibu-v1.iso.sha256sum',
  'SSR-6.3.3-40.r2.el7.x86_64.ibu-v1.iso',
  'SSR-6.3.3-40.r2.el7.aarch64.ibu-v1.iso',
  'SSR-7.1.0-50.r1.el9.x86_64.ibu-v1.iso',
  '128T-7.2.0-1.rc1.el9.OTP.v1.x86_64.iso',
  '128T-mist-agent-5.2.9458-1.el9.x86_64.rpm',
  '128T-4.5.7-1.el7.x86_64.rpm',
  'README.txt',
].map((name) => ({ name }));

function chosen(selection: Partial<Selection>): string[] {
  return selectImages(FILES, { select: '*', prereleases: false, ...selection }).map(({ name }) => name);
}

describe('which images a rule means', () => {
  test('all, newest first: no sidecars, no packages, no early builds, of one spun again the last', () => {
    assert.deepEqual(chosen({}), [
      'SSR-7.1.0-50.r1.el9.x86_64.ibu-v1.iso',
      'SSR-6.3.3-40.r2.el7.x86_64.ibu-v1.iso',
      'SSR-6.3.3-40.r2.el7.aarch64.ibu-v1.iso',
      'SSR-6.3.0-107.r1.el7.x86_64.ibu-v1.iso',
      'SSR-6.3.0-107.r1.el7.x86_64.ibu-v1.tar',
      '128T-6.2.6-15.sts.el7.OTP.v3.x86_64.iso',
      '128T-6.2.5-5.r2.el7.OTP.v1.x86_64.iso',
      '128T-6.1.10-8.lts.el7.OTP.v1.x86_64.iso',
    ]);
    assert.equal(chosen({ prereleases: true }).length, 9);
  });

  test('a range, and the newest of each train', () => {
    assert.deepEqual(chosen({ select: '>=6.2 <6.4', newest: 1 }), [
      'SSR-6.3.3-40.r2.el7.x86_64.ibu-v1.iso',
      'SSR-6.3.3-40.r2.el7.aarch64.ibu-v1.iso',
      '128T-6.2.6-15.sts.el7.OTP.v3.x86_64.iso',
    ]);
    assert.deepEqual(chosen({ select: '>=6.3.0-107.r1 <6.3.3' }), [
      'SSR-6.3.0-107.r1.el7.x86_64.ibu-v1.iso',
      'SSR-6.3.0-107.r1.el7.x86_64.ibu-v1.tar',
    ]);
  });

  test('architecture, kind, format and milestone, before the newest are counted', () => {
    assert.deepEqual(chosen({ arch: ['aarch64'] }), ['SSR-6.3.3-40.r2.el7.aarch64.ibu-v1.iso']);
    assert.deepEqual(chosen({ formats: ['tar'], newest: 1 }), ['SSR-6.3.0-107.r1.el7.x86_64.ibu-v1.tar']);
    assert.deepEqual(chosen({ kinds: ['package'], milestones: ['lts', 'sts'] }), [
      '128T-6.2.6-15.sts.el7.OTP.v3.x86_64.iso',
      '128T-6.1.10-8.lts.el7.OTP.v1.x86_64.iso',
    ]);
  });
});

test('folders of trains are looked into only where the range has to do with them', () => {
  const cases: [select: string, yes: string[], no: string[]][] = [
    ['>=6.2 <6.4', ['6.2', '6.3', 'old'], ['6.1', '6.4', '7.0', '16.2']],
    ['>6.2.99', ['6.2', '6.3', '7.0'], ['6.1']],
    ['~6.3.0', ['6.3'], ['6.2', '6.4']],
    ['6.x || >=7.1.0-50', ['6.1', '6.9', '7.1', '7.2'], ['5.6', '7.0']],
    ['<6.3.3', ['6.3', '6.2', '4.5'], ['6.4', '7.0']],
    ['*', ['1.0', '7.0'], []],
  ];
  for (const [select, yes, no] of cases) {
    const mayHold = trainFilter({ select, prereleases: false });
    for (const folder of yes) assert.equal(mayHold(folder), true, `${select}: ${folder}`);
    for (const folder of no) assert.equal(mayHold(folder), false, `${select}: ${folder}`);
  }
});

test('what is beyond the newest of each train goes, whatever its kind', () => {
  const gone = (keep: number) => beyondNewest(FILES, keep).map(({ name }) => name);
  assert.deepEqual(gone(1), [
    '128T-6.2.5-5.r2.el7.OTP.v1.x86_64.iso',
    'SSR-6.3.0-107.r1.el7.x86_64.ibu-v1.iso',
    'SSR-6.3.0-107.r1.el7.x86_64.ibu-v1.tar',
  ]);
  assert.deepEqual(gone(2), []);
});
