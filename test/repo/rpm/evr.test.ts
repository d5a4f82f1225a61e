import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  compareEvr,
  nevra,
  parseEvr,
  rangesOverlap,
  rpmvercmp,
  versionKey,
} from '../../../src/repo/formats/rpm/evr.ts';
import { SENSE } from '../../../src/repo/formats/rpm/tags.ts';

/** From the tests of rpm itself (tests/rpmvercmp.at): `<` is older, `=` neither. */
const EXAMPLES = `
  1.0 = 1.0                 1.0 < 2.0                  2.0.1 = 2.0.1              2.0 < 2.0.1
  2.0.1a = 2.0.1a           2.0.1 < 2.0.1a             5.5p1 = 5.5p1              5.5p1 < 5.5p2
  5.5p10 = 5.5p10           5.5p1 < 5.5p10             10xyz < 10.1xyz            xyz10 = xyz10
  xyz10 < xyz10.1           xyz.4 = xyz.4              xyz.4 < 8                  xyz.4 < 2
  5.5p2 < 5.6p1             5.6p1 < 6.5p1              6.0 < 6.0.rc1              10a1 < 10b2
  10a2 < 10b2               1.0aa = 1.0aa              1.0a < 1.0aa               10.0001 = 10.0001
  10.0001 = 10.1            10.0001 < 10.0039          4.999.9 < 5.0              20101121 = 20101121
  20101121 < 20101122       2_0 = 2_0                  2.0 = 2_0                  a = a
  a+ = a+                   a+ = a_                    +a = +a                    +a = _a
  +_ = +_                   _+ = +_                    + = _
  1.0~rc1 = 1.0~rc1         1.0~rc1 < 1.0              1.0~rc1 < 1.0~rc2
  1.0~rc1~git123 = 1.0~rc1~git123                      1.0~rc1~git123 < 1.0~rc1
  1.0^ = 1.0^               1.0 < 1.0^                 1.0^git1 = 1.0^git1        1.0 < 1.0^git1
  1.0^git1 < 1.0^git2       1.0^git1 < 1.01            1.0^20160101 < 1.0.1
  1.0^20160101^git1 = 1.0^20160101^git1                1.0^20160101^git1 < 1.0^20160102
  1.0~rc1^git1 = 1.0~rc1^git1                          1.0~rc1 < 1.0~rc1^git1
  1.0^git1~pre = 1.0^git1~pre                          1.0^git1~pre < 1.0^git1
  1b.fc17 = 1b.fc17         1b.fc17 < 1.fc17           1.fc17 < 1g.fc17           1g.fc17 = 1g.fc17
  1.1.α = 1.1.α             1.1.α = 1.1.β              β = α                      1.1.αα = 1.1.α
`;

const VECTORS: [string, string, -1 | 0][] = [
  ...EXAMPLES.matchAll(/(\S+) ([<=]) (\S+)/g).map(([, a = '', sign, b = '']): [string, string, -1 | 0] => [
    a,
    b,
    sign === '<' ? -1 : 0,
  ]),
  ...(
    [
      ['', '', 0],
      ['', '1', -1],
      ['~', '', -1],
      ['', '^', -1],
      ['~', '^', -1],
      ['', '0', -1],
      ['-', '', 0],
    ] as const
  ).map(([a, b, sign]): [string, string, -1 | 0] => [a, b, sign]),
];

test("rpm's own examples of what is newer", () => {
  assert.equal(VECTORS.length, 72);
  for (const [a, b, sign] of VECTORS) {
    assert.equal(rpmvercmp(a, b), sign, `${a} and ${b}`);
    assert.equal(rpmvercmp(b, a), 0 - sign, `${b} and ${a}`);
    const order = Buffer.compare(Buffer.from(versionKey(a)), Buffer.from(versionKey(b)));
    assert.equal(order, sign, `the keys of ${a} and ${b}`);
  }
});

test('numbers of any length', () => {
  const nines = (length: number) => '9'.repeat(length);
  for (const length of [998, 999, 1000, 1001, 9999, 100_000]) {
    assert.equal(rpmvercmp(nines(length), `1${'0'.repeat(length)}`), -1, `${length}`);
    assert.equal(rpmvercmp(nines(length), nines(length - 1)), 1);
    assert.equal(rpmvercmp(`000${nines(length)}`, nines(length)), 0);
  }
});

test('epoch, version and release', () => {
  for (const [text, epoch, version, release] of [
    ['1', null, '1', null],
    ['1-2', null, '1', '2'],
    ['3:1-2', '3', '1', '2'],
    ['3:1', '3', '1', null],
    [':1', '0', '1', null],
    ['03:1', '03', '1', null],
    ['1-2-3', null, '1-2', '3'],
    ['a:1-2', null, 'a:1', '2'],
    ['1:2:3-4', '1', '2:3', '4'],
    ['', null, '', null],
    ['-', null, '', ''],
    ['1-', null, '1', ''],
    ['5:', '5', '', null],
  ] as const) {
    assert.deepEqual(parseEvr(text), { epoch, version, release }, text);
  }
});

test('a missing epoch is 0, a missing release the oldest', () => {
  const compare = (a: string, b: string) => compareEvr(parseEvr(a), parseEvr(b));
  assert.equal(compare('0:1-1', '1-1'), 0);
  assert.equal(compare('1:1-1', '2-1'), 1);
  assert.equal(compare('1-1', '0:2-1'), -1);
  assert.equal(compare('1', '1-0'), -1);
  assert.equal(compare('1-~', '1'), 1);
  assert.equal(compare('1', '1'), 0);
  assert.equal(compare('1-10', '1-9'), 1);
});

test('the name of a package in full', () => {
  const bash = { name: 'bash', version: '5.1', release: '2.el9', arch: 'x86_64' };
  assert.equal(nevra({ ...bash, epoch: 0 }), 'bash-5.1-2.el9.x86_64');
  assert.equal(nevra({ ...bash, epoch: 3 }), 'bash-3:5.1-2.el9.x86_64');
});

test('what satisfies what', () => {
  const { less, greater, equal } = SENSE;
  const signs: Record<string, number> = {
    ...{ '<': less, '<=': less | equal, '=': equal, '>=': greater | equal, '>': greater },
  };
  const range = (text: string) => {
    const [name = '', sign = '', version = ''] = text.split(' ');
    return { name, flags: signs[sign] ?? 0, evr: version === '' ? null : parseEvr(version) };
  };
  for (const [a, b, overlap] of [
    ['a', 'a', true],
    ['a', 'b', false],
    ['a = 1', 'a', true],
    ['a = 1-1', 'a >= 1', true],
    ['a = 1-1', 'a > 1', false],
    ['a = 1-1', 'a = 1', true],
    ['a = 1-1', 'a <= 1', true],
    ['a = 1-1', 'a < 1', false],
    ['a = 1-1', 'a = 1-2', false],
    ['a = 1-1', 'a >= 1-2', false],
    ['a = 2', 'a < 3', true],
    ['a > 2', 'a < 2', false],
    ['a > 2', 'a < 3', true],
    ['a >= 2', 'a <= 2', true],
    ['a < 2', 'a < 1', true],
    ['a = 1:1', 'a = 1', false],
    ['a = 0:1', 'a = 1', true],
    ['a = 1:1', 'a > 5', true],
    ['a = 1.0~rc1', 'a < 1.0', true],
    ['a = 1.0^git', 'a > 1.0', true],
  ] as const) {
    assert.equal(rangesOverlap(range(a), range(b)), overlap, `${a} and ${b}`);
    assert.equal(rangesOverlap(range(b), range(a)), overlap, `${b} and ${a}`);
  }
});
