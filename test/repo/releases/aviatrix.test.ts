import assert from 'node:assert/strict';
import test from 'node:test';
import { isAirlockError } from '../../../src/errors.ts';
import { parseAviatrix } from '../../../src/repo/formats/releases/aviatrix.ts';
import { nextStep, trainIndex } from '../../../src/repo/formats/releases/aviatrix-trains.ts';
import type { AviatrixRelease, GatewayImage } from '../../../src/repo/formats/releases/facts.ts';
import { trainOf, versionOf } from '../../../src/repo/formats/releases/release.ts';

/** Every row of vendor.md C3: name, its facts, its canonical version. */
const RELEASES: [string, Partial<AviatrixRelease>, string][] = [
  ['6.5.100', { product: null, major: 6, minor: 5, patch: null, build: 100, form: 'version' }, '6.5.100'],
  ['6.8.1148', { major: 6, minor: 8, build: 1148 }, '6.8.1148'],
  ['6.9.822', { major: 6, minor: 9, build: 822 }, '6.9.822'],
  ['7.0.1383', { major: 7, minor: 0, build: 1383 }, '7.0.1383'],
  [
    'UserConnect-6.6.123 (6.5,6.6)',
    { product: 'UserConnect', major: 6, minor: 6, build: 123, hops: ['6.5', '6.6'], form: 'version' },
    '6.6.123',
  ],
  ['UserConnect-6.5-1804.1922', { major: 6, minor: 5, build: 1922, imageTag: '1804' }, '6.5.1922'],
  ['UserConnect-6.2-1804.2043', { major: 6, minor: 2, build: 2043, imageTag: '1804' }, '6.2.2043'],
  ['UserConnect-4.7.591', { major: 4, minor: 7, build: 591 }, '4.7.591'],
  ['UserConnect-5.3.1428.', { major: 5, minor: 3, build: 1428 }, '5.3.1428'],
  ['UserConnect-072216', { numbering: 'date', date: '2016-07-22', major: null, form: 'version' }, '072216'],
  ['UserConnect-031717', { numbering: 'date', date: '2017-03-17' }, '031717'],
  ['R6.4.2776', { product: null, major: 6, minor: 4, build: 2776 }, '6.4.2776'],
  ['R5.4.1290', { major: 5, minor: 4, build: 1290 }, '5.4.1290'],
  ['R4.0', { major: 4, minor: 0, build: null, form: 'selector' }, '4.0'],
  ['R3.5', { major: 3, minor: 5, build: null, form: 'selector' }, '3.5'],
  ['Release 6.5.2721', { major: 6, minor: 5, build: 2721 }, '6.5.2721'],
  ['6.2', { major: 6, minor: 2, build: null, letter: null, form: 'selector' }, '6.2'],
  ['6.6e', { major: 6, minor: 6, build: null, letter: 'e', form: 'selector' }, '6.6e'],
  ['6.7b', { major: 6, minor: 7, build: null, letter: 'b', form: 'selector' }, '6.7b'],
  ['latest', { numbering: 'latest', major: null, minor: null, form: 'selector' }, 'latest'],
];

for (const [name, facts, canonical] of RELEASES) {
  test(`the grammar reads ${name}`, () => {
    const parsed = parseAviatrix(name);
    assert.ok(parsed !== undefined);
    assert.partialDeepStrictEqual(parsed, {
      input: name,
      vendor: 'aviatrix',
      scheme: 'aviatrix',
      kind: null,
      ...facts,
    });
    assert.equal(versionOf(parsed), canonical);
    assert.equal(trainOf(parsed), facts.major == null ? null : `${facts.major}.${facts.minor}`);
  });
}

test('what is no Aviatrix name', () => {
  const names = [
    ...['', '7.1.XXXX', 'userconnect-6.6.123', 'UserConnect-', 'R', '6', '6.6.123.4', '6.6E', 'Latest', '6.5-1904.1'],
    ...['133216', '022917', 'UserConnect-000016', 'UserConnect-6.6.123 ()', 'UserConnect-6.6.123 (6.5,)', '6.6.123\n'],
    ...['gw-base-13032022', 'hvm-cloudx-gcp-080322', 'gw-base-080322', '6.6.1000000000000000'],
  ];
  for (const name of names) assert.equal(parseAviatrix(name), undefined, JSON.stringify(name));
});

const IMAGES: [string, Partial<GatewayImage>][] = [
  ['hvm-cloudx-aws-080322', { product: 'hvm-cloudx-aws', date: '2022-08-03' }],
  ['hvm-cloudx-aws-china-080422', { product: 'hvm-cloudx-aws-china', date: '2022-08-04' }],
  ['hvm-cloudx-aliyun-122520', { product: 'hvm-cloudx-aliyun', date: '2020-12-25' }],
  ['gw-base-04092022', { product: 'gw-base', date: '2022-04-09' }],
  ['aviatrix-companion-gateway-v8', { product: 'aviatrix-companion-gateway', generation: 8, date: null }],
  ['aviatrix-companion-gateway-china-v11', { product: 'aviatrix-companion-gateway-china', generation: 11 }],
  ['aviatrix-companion-gateway-v10.vhd', { product: 'aviatrix-companion-gateway', generation: 10, form: 'vhd' }],
  ['aviatrix-companion-gateway-v13u', { generation: 13, variant: 'u', major: null }],
  ['aviatrix-companion-gateway-v15u-6-9', { generation: 15, variant: 'u', major: 6, minor: 9 }],
  ['av-gw-1804-03302021-osDisk.vhd', { product: 'av-gw-1804', date: '2021-03-30', form: 'vhd' }],
  [
    'aviatrix_gateway_54_20220323',
    { product: 'aviatrix_gateway', date: '2022-03-23', major: 5, minor: 4, build: null },
  ],
  ['aviatrix_gateway_54_1042_20210426_patched_v2', { date: '2021-04-26', build: 1042, patched: 2 }],
];

for (const [name, facts] of IMAGES) {
  test(`a gateway image: ${name}`, () => {
    const parsed = parseAviatrix(name);
    assert.partialDeepStrictEqual(parsed, { input: name, kind: 'gateway-image', scheme: 'gateway', ...facts });
  });
}

function release(name: string): AviatrixRelease {
  const parsed = parseAviatrix(name);
  assert.ok(parsed?.scheme === 'aviatrix');
  return parsed;
}

/** The whole way from a release, in steps that the vendor allows. */
function way(from: string, known: string[]): string[] {
  const index = trainIndex(known.map(release));
  const steps: string[] = [];
  let step = nextStep(release(from), index);
  while (step !== null && step.build !== null) {
    steps.push(`${step.train}.${step.build}`);
    step = nextStep(release(`${step.train}.${step.build}`), index);
  }
  return steps;
}

test('builds may be jumped over, trains may not (vendor.md B1)', () => {
  assert.deepEqual(way('6.6.100', ['6.6.100', '6.6.500', '6.6.900']), ['6.6.900']);
  assert.deepEqual(way('6.5.100', ['6.8.1148', '6.7.1376', '6.6.5721', '6.5.3012', '6.5.2608']), [
    ...['6.5.3012', '6.6.5721', '6.7.1376', '6.8.1148'],
  ]);
  assert.deepEqual(way('3.1.5', ['3.2.1', '3.3.2', '3.4.3', '3.5.4']), ['3.2.1', '3.3.2', '3.4.3', '3.5.4']);
  assert.deepEqual(way('6.9.128', ['6.9.822', '7.0.1383', '7.1.10']), ['6.9.822', '7.0.1383', '7.1.10']);
});

test('the next train comes from the published list, not from arithmetic', () => {
  const none = trainIndex([]);
  assert.deepEqual(nextStep(release('4.3.1275'), none), { train: '4.6', build: null });
  assert.deepEqual(nextStep(release('5.4.1290'), none), { train: '6.0', build: null });
  assert.deepEqual(nextStep(release('2.7.1'), none), { train: '3.0', build: null });
  assert.deepEqual(nextStep(release('031717'), none), { train: '2.5', build: null });
  assert.deepEqual(nextStep(release('6.2'), trainIndex([release('6.2.2043')])), { train: '6.2', build: 2043 });
  assert.equal(nextStep(release('7.1.10'), none), null);
  for (const name of ['4.5.1', 'latest']) {
    assert.throws(
      () => nextStep(release(name), none),
      (error) => isAirlockError(error, 'usage.invalid'),
    );
  }
});

test('an own list of trains is taken', () => {
  const index = trainIndex([release('8.0.5'), release('7.2.9')], ['7.1', '7.2', '8.0']);
  assert.deepEqual(nextStep(release('7.1.1'), index), { train: '7.2', build: 9 });
  assert.deepEqual(nextStep(release('7.2.9'), index), { train: '8.0', build: 5 });
});
