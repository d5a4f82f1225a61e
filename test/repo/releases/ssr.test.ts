import assert from 'node:assert/strict';
import test from 'node:test';
import type { RpmPackage, SsrRelease } from '../../../src/repo/formats/releases/facts.ts';
import { trainOf, versionOf } from '../../../src/repo/formats/releases/release.ts';
import { parseSsr } from '../../../src/repo/formats/releases/ssr.ts';

type Facts = Partial<SsrRelease> | Partial<RpmPackage>;

const version = { kind: null, form: 'version', sidecar: null, arch: null } as const;
const packageIso = { product: '128T', kind: 'package', form: 'iso', sidecar: null, arch: 'x86_64' } as const;
const imageIso = { product: 'SSR', kind: 'image', form: 'iso', sidecar: null, arch: 'x86_64', ibu: 1 } as const;
const rpm = { scheme: 'rpm', kind: 'rpm', form: 'rpm', arch: 'x86_64' } as const;

function xyz(text: string): { major: number; minor: number; patch: number } {
  const [major = Number.NaN, minor = Number.NaN, patch = Number.NaN] = text.split('.').map(Number);
  return { major, minor, patch };
}

/** Every row of vendor.md C1: name, its facts, its canonical version. */
const GRAMMAR: [string, Facts, string][] = [
  ['6.3.0-107.r1.el7', { ...version, ...xyz('6.3.0'), build: 107, milestone: 'r1', dist: 'el7' }, '6.3.0-107.r1.el7'],
  ['6.3.0-107r1', { ...version, ...xyz('6.3.0'), build: 107, milestone: 'r1', dist: null }, '6.3.0-107.r1'],
  ['6.3.3-40r2', { ...version, ...xyz('6.3.3'), build: 40, milestone: 'r2' }, '6.3.3-40.r2'],
  ['6.3.4-7r2', { ...version, ...xyz('6.3.4'), build: 7, milestone: 'r2' }, '6.3.4-7.r2'],
  ['6.3.7-6-sts', { ...version, ...xyz('6.3.7'), build: 6, milestone: 'sts' }, '6.3.7-6.sts'],
  ['6.2.12-3-lts', { ...version, ...xyz('6.2.12'), build: 3, milestone: 'lts' }, '6.2.12-3.lts'],
  ['7.0.5-7-lts', { ...version, ...xyz('7.0.5'), build: 7, milestone: 'lts' }, '7.0.5-7.lts'],
  ['6.1.4-23.r2', { ...version, ...xyz('6.1.4'), build: 23, milestone: 'r2' }, '6.1.4-23.r2'],
  ['7.0.1-1r1', { ...version, ...xyz('7.0.1'), build: 1, milestone: 'r1' }, '7.0.1-1.r1'],
  ['7.1.3-8r2', { ...version, ...xyz('7.1.3'), build: 8, milestone: 'r2' }, '7.1.3-8.r2'],
  ['7.2.3-8r2', { ...version, ...xyz('7.2.3'), build: 8, milestone: 'r2' }, '7.2.3-8.r2'],
  ['6.1.10-2', { ...version, ...xyz('6.1.10'), product: null, build: 2, milestone: null }, '6.1.10-2'],
  ['SSR-7.1.0-50', { ...version, ...xyz('7.1.0'), product: 'SSR', build: 50, milestone: null }, '7.1.0-50'],
  ['SSR-7.1.3-4', { ...version, ...xyz('7.1.3'), product: 'SSR', build: 4 }, '7.1.3-4'],
  ['7.1.0-1', { ...version, ...xyz('7.1.0'), product: null, build: 1 }, '7.1.0-1'],
  ['5.4.11-4.el7', { ...version, ...xyz('5.4.11'), build: 4, milestone: null, dist: 'el7' }, '5.4.11-4.el7'],
  ['4.3.2-1.el7', { ...version, ...xyz('4.3.2'), build: 1, dist: 'el7' }, '4.3.2-1.el7'],
  ['128T-5.4.11-4.el7', { ...version, ...xyz('5.4.11'), product: '128T', build: 4, dist: 'el7' }, '5.4.11-4.el7'],
  ['5.4.4', { ...xyz('5.4.4'), form: 'selector', build: null, milestone: null }, '5.4.4'],
  ['6.3.0', { ...xyz('6.3.0'), form: 'selector', build: null, kind: null }, '6.3.0'],
  ['3.0.1-snapshot1', { ...version, ...xyz('3.0.1'), build: null, milestone: 'snapshot1' }, '3.0.1-snapshot1'],
  [
    '128T-4.4.0-0.202004021313.release.el7.x86_64.rpm',
    {
      ...xyz('4.4.0'),
      scheme: 'ssr',
      kind: 'rpm',
      form: 'rpm',
      build: 0,
      timestamp: '202004021313',
      milestone: 'release',
    },
    '4.4.0-0.202004021313.release.el7',
  ],
  ['128T-6.3.0-107.r1.el7.OTP.v1.x86_64.iso', { ...packageIso, variant: 'OTP', rev: 1, ibu: null }, '6.3.0-107.r1.el7'],
  ['SSR-6.3.0-107.r1.el7.x86_64.ibu-v1.iso', { ...imageIso, variant: null, rev: null }, '6.3.0-107.r1.el7'],
  ['SSR-6.1.10-8.lts.el7.x86_64.ibu-v1.iso', { ...imageIso, build: 8, milestone: 'lts' }, '6.1.10-8.lts.el7'],
  ['128T-6.1.10-8.lts.el7.OTP.v1.x86_64.iso', { ...packageIso, build: 8, milestone: 'lts' }, '6.1.10-8.lts.el7'],
  ['128T-6.2.6-15.sts.el7.OTP.v1.x86_64.iso', { ...packageIso, build: 15, milestone: 'sts' }, '6.2.6-15.sts.el7'],
  ['SSR-7.1.0-50.r1.el9.x86_64.ibu-v1.iso', { ...imageIso, build: 50, dist: 'el9' }, '7.1.0-50.r1.el9'],
  ['128T-5.4.7-7.el7.ISO.v1.x86_64.iso', { ...packageIso, variant: 'ISO', milestone: null }, '5.4.7-7.el7'],
  [
    '128T-5.4.0-104.el7.OTP.v1.x86_64.iso.sha256sum',
    { ...packageIso, sidecar: 'sha256sum', file: '128T-5.4.0-104.el7.OTP.v1.x86_64.iso' },
    '5.4.0-104.el7',
  ],
  [
    '128T-5.4.0-104.el7.OTP.v1.x86_64.iso.sha256sum.asc',
    { ...packageIso, sidecar: 'sha256sum.asc', file: '128T-5.4.0-104.el7.OTP.v1.x86_64.iso' },
    '5.4.0-104.el7',
  ],
  [
    'SSR-6.2.5-1.r1.el7.x86_64.ibu-v1.tar.sha256sum.asc',
    { ...imageIso, form: 'tar', sidecar: 'sha256sum.asc', file: 'SSR-6.2.5-1.r1.el7.x86_64.ibu-v1.tar' },
    '6.2.5-1.r1.el7',
  ],
  ['128T-4.5.0-1.el7.OTP.v6.x86_64.iso', { ...packageIso, variant: 'OTP', rev: 6 }, '4.5.0-1.el7'],
  ['128T-4.5.5-1.el7.v1.x86_64.iso', { ...packageIso, variant: null, rev: 1 }, '4.5.5-1.el7'],
  ['128T-4.2.0-2.el7.x86_64.iso', { ...packageIso, variant: null, rev: null }, '4.2.0-2.el7'],
  ['128T-4.2.0-2.el7.x86_64.qcow2', { product: '128T', kind: 'image', form: 'qcow2' }, '4.2.0-2.el7'],
  ['128T-OTP-4.2.0-1.el7.x86_64.iso', { ...packageIso, variant: 'OTP', rev: null, build: 1 }, '4.2.0-1.el7'],
  ['128T-OTP-4.2.2-1.el.x86_64.iso', { ...packageIso, variant: 'OTP', dist: 'el' }, '4.2.2-1.el'],
  [
    '128T-mist-wan-assurance-3.101.0-302.el9.x86_64.rpm',
    { ...rpm, ...xyz('3.101.0'), product: '128T-mist-wan-assurance', build: 302, dist: 'el9' },
    '3.101.0-302.el9',
  ],
  [
    '128T-manifest-4.5.7.1.el7-1.x86_64.rpm',
    { ...rpm, ...xyz('4.5.7'), rpmVersion: '4.5.7.1.el7', rpmRelease: '1', build: 1, dist: 'el7' },
    '4.5.7.1.el7-1',
  ],
  ['128T-installer-3.0.0-1.x86_64', { ...rpm, product: '128T-installer', build: 1, dist: null }, '3.0.0-1'],
  [
    'afulnx-5.16.02.0111-3.el7.x86_64.rpm',
    { ...rpm, product: 'afulnx', ...xyz('5.16.02'), rpmVersion: '5.16.02.0111', build: 3, dist: 'el7' },
    '5.16.02.0111-3.el7',
  ],
];

for (const [name, facts, canonical] of GRAMMAR) {
  test(`the grammar reads ${name}`, () => {
    const parsed = parseSsr(name);
    assert.ok(parsed !== undefined);
    assert.partialDeepStrictEqual(parsed, { input: name, vendor: 'ssr', ...facts });
    assert.equal(versionOf(parsed), canonical);
    if (parsed.scheme === 'ssr') assert.equal(trainOf(parsed), canonical.split('.').slice(0, 2).join('.'));
    else assert.equal(trainOf(parsed), null);
  });
}

/** vendor.md A10, beyond what C1 has. */
const SEEN = `
  SSR-6.3.3-1.r1.el7.x86_64.ibu-v1.iso 128T-5.4.0-104.el7.OTP.v1.x86_64.iso 128T-5.1.3-1.el7.OTP.v3.x86_64.iso
  128T-5.0.0-1.el7.OTP.v2.x86_64.iso 128T-4.5.6-1.el7.OTP.v1.x86_64.iso 128T-4.5.5-1.el7.OTP.v1.x86_64.iso
  128T-4.5.1-1.el7.v1.x86_64.iso 128T-4.2.6-1.el7.v1.x86_64.iso 128T-4.2.5-2.el7.OTP.v1.x86_64.iso
  128T-OTP-4.2.0-2.el7.x86_64.iso 128T-4.5.7-1.el7.x86_64.rpm
  6.3.5-37-sts 6.3.6-6-sts 6.2.0-39r1 6.2.4-14r2 6.2.7-4-sts 6.1.0-55r1 6.1.11-5-lts 6.0.10-5 5.6.16-16 5.6.0-44
  7.0.0-63r1 7.1.0-50r1 7.1.5-7r2 7.2.0-29r1 7.2.1-1r1
  128T-cloud-intel-agent-5.2.9458-1.el9.x86_64.rpm 128T-cloud-intel-agent-5.2.9458-1.el9.aarch64.rpm
  128T-mist-agent-5.2.9458-1.el9.x86_64.rpm 2.5.0-0.20200326163206.snapshot
`;

for (const name of SEEN.trim().split(/\s+/)) {
  test(`a name that was seen: ${name}`, () => {
    const parsed = parseSsr(name);
    assert.ok(parsed !== undefined);
    if (parsed.scheme === 'ssr') assert.ok(parsed.build !== null);
  });
}

test('formats that are documented without a full name', () => {
  for (const form of ['iso', 'tar', 'qcow', 'qcow2', 'raw.gz', 'ztp.raw.gz'] as const) {
    assert.partialDeepStrictEqual(parseSsr(`SSR-7.1.0-50.r1.el9.x86_64.ibu-v1.${form}`), {
      form,
      kind: 'image',
      ibu: 1,
    });
  }
  assert.partialDeepStrictEqual(parseSsr('128T-5.3.0-1.el7.img.v1.x86_64.raw.gz'), {
    ...{ variant: 'img', rev: 1, form: 'raw.gz', kind: 'image' },
  });
});

test('the names under which images and packages go on the device', () => {
  const image = parseSsr('SSR-6.3.0-107.r1.el7.x86_64.ibu-v1');
  assert.partialDeepStrictEqual(image, { form: 'version', kind: 'image', arch: 'x86_64', ibu: 1, file: null });
  const installed = parseSsr('128T-6.3.0-107.r1.el7.x86_64');
  assert.partialDeepStrictEqual(installed, { scheme: 'ssr', form: 'rpm', kind: 'rpm', arch: 'x86_64' });
});

test('what is no release name', () => {
  const names = [
    ...[
      '',
      ' ',
      '6',
      '6.3',
      '6.3.',
      '6.3.0-',
      '6.3.0-r1',
      '6.3.0-xx',
      '6.3.0 ',
      ' 6.3.0',
      '6.3.0\n',
      '6.3.0\0',
      'v6.3.0',
    ],
    ...['ssr-7.1.0-50', '128t-6.3.0-107.r1.el7', 'SSR-6.3.0-107.R1.el7.x86_64.ibu-v1.iso', '6.3.0-107.r1.EL7'],
    ...['SSR-6.2.5-xx.r1.el7.x86_64.ibu-v1.tar.sha256sum.asc', '128T-6.3.X-XX.r1.el7.OTP.v1.x86_64.iso'],
    ...['SSR-6.3.0-107.r1.el7.x86_64.ibu-v1.iso.sha256', 'SSR-6.3.0-107.r1.el7.x86_64.ibu-v1.iso.asc', 'sha256sum.txt'],
    ...['../SSR-6.3.0-107.r1.el7.x86_64.ibu-v1.iso', 'a/b-1-1.x86_64.rpm', '６.３.０', '6.3.5-37-sts.x86_64'],
    ...['b\u202E-1-1.x86_64.rpm', '-1-1.x86_64.rpm', 'a-1-1.ppc64.rpm', 'a--1.x86_64.rpm'],
  ];
  for (const name of names) assert.equal(parseSsr(name), undefined, JSON.stringify(name));
});

test('names of 255 characters and numbers of 15 digits are the limit', () => {
  const suffix = '-1-1.x86_64.rpm';
  assert.ok(parseSsr('a'.repeat(255 - suffix.length) + suffix));
  assert.equal(parseSsr('a'.repeat(256 - suffix.length) + suffix), undefined);
  assert.partialDeepStrictEqual(parseSsr('6.3.0-999999999999999'), { build: 999_999_999_999_999 });
  assert.equal(parseSsr('6.3.0-1000000000000000'), undefined);
  assert.partialDeepStrictEqual(parseSsr('a-1.1000000000000000.2-1.x86_64.rpm'), {
    major: 1,
    minor: null,
    patch: null,
  });
});

test('hostile names are refused in linear time', { timeout: 60_000 }, () => {
  const parts = [
    '1',
    '0.',
    '1.',
    '-',
    '.el7',
    '.v1',
    '.r1',
    '128T-',
    'SSR-',
    'a-1',
    '-1-1.',
    '.x86_64',
    '.sha256sum',
    '(6.6,',
  ];
  for (const head of ['', '6.3.0-', '6.3.0-107.r1.el7', 'SSR-6.3.0-107.r1.el7', 'a-1-1.', 'UserConnect-6.6.123 (']) {
    for (const part of parts) {
      for (const tail of ['', '!', '.rpm', '.iso', ')']) {
        for (const size of [200, 255, 1e6]) {
          const body = part.repeat(Math.ceil(size / part.length)).slice(0, size - head.length - tail.length);
          parseSsr(head + body + tail);
        }
      }
    }
  }
});
