import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { isAirlockError } from '../../src/errors.ts';
import { parseAviatrix } from '../../src/repo/formats/releases/aviatrix.ts';
import type { ParsedRelease, SsrRelease } from '../../src/repo/formats/releases/facts.ts';
import { compareReleases, orderKey, sortReleases } from '../../src/repo/formats/releases/order.ts';
import { describeRelease, parseRelease, parseReleases, versionOf } from '../../src/repo/formats/releases/release.ts';
import { matchVersion, sameRelease } from '../../src/repo/formats/releases/same-release.ts';
import { parseRange } from '../../src/repo/formats/releases/semver-range.ts';
import { parseSsr } from '../../src/repo/formats/releases/ssr.ts';

// Small numbers meet each other often; large ones try the lengths.
const number = fc.oneof(
  fc.nat(3),
  fc.nat(120),
  fc.maxSafeNat().map((n) => n % 10 ** 15),
);
const milestone = fc.constantFrom(
  'r1',
  'r2',
  'r10',
  'sts',
  'lts',
  'release',
  'alpha',
  'alpha2',
  'beta1',
  'rc1',
  'rc12',
  'snapshot1',
);
const maybe = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: null });
const dist = fc.constantFrom('el7', 'el9', 'el10', 'el');
const timestamp = fc.constantFrom('202004021313', '2020040213130', '20200402131301', '20191231235959');

/** A name beside the facts that it says. */
interface Printed {
  readonly name: string;
  readonly facts: Partial<ParsedRelease>;
}

// Mostly one and the same, so that builds and milestones decide.
const numbers = fc.oneof(
  { weight: 3, arbitrary: fc.constant({ major: 6, minor: 3, patch: 0 }) },
  { weight: 1, arbitrary: fc.record({ major: number, minor: number, patch: number }) },
);
const counted = fc.oneof(
  number.map((build) => ({ build, timestamp: null, count: `${build}` })),
  timestamp.map((ts) => ({ build: 0, timestamp: ts, count: `0.${ts}` })),
);

const ssrVersion: fc.Arbitrary<Printed> = fc
  .record({
    xyz: numbers,
    counted,
    milestone: maybe(milestone),
    dist: maybe(dist),
    product: maybe(fc.constantFrom('128T', 'SSR')),
    join: fc.constantFrom('', '.', '-'),
  })
  .map(({ xyz, counted: { build, timestamp: ts, count }, join, ...said }) => ({
    name: [
      said.product === null ? '' : `${said.product}-`,
      `${xyz.major}.${xyz.minor}.${xyz.patch}-${count}`,
      said.milestone === null ? '' : `${join}${said.milestone}`,
      said.dist === null ? '' : `.${said.dist}`,
    ].join(''),
    facts: { ...xyz, ...said, build, timestamp: ts, form: 'version' },
  }));

const ssrSelector: fc.Arbitrary<Printed> = numbers.map((xyz) => ({
  name: `${xyz.major}.${xyz.minor}.${xyz.patch}`,
  facts: { ...xyz, build: null, milestone: null, form: 'selector' },
}));

const ssrFile: fc.Arbitrary<Printed> = fc
  .record({
    xyz: numbers,
    counted,
    milestone: maybe(milestone),
    dist,
    product: fc.constantFrom('128T', 'SSR'),
    variant: maybe(fc.constantFrom('OTP', 'ISO', 'img')),
    rev: maybe(number),
    arch: fc.constantFrom('x86_64', 'aarch64', 'noarch'),
    ibu: maybe(number),
    form: fc.constantFrom('iso', 'tar', 'qcow', 'qcow2', 'raw.gz', 'ztp.raw.gz', 'rpm'),
    sidecar: maybe(fc.constantFrom('sha256sum', 'sha256sum.asc')),
  })
  .map(({ xyz, counted: { build, timestamp: ts, count }, ...said }) => {
    const file = [
      `${said.product}-${xyz.major}.${xyz.minor}.${xyz.patch}-${count}`,
      ...[said.milestone, said.dist, said.variant].filter((part) => part !== null),
      ...(said.rev === null ? [] : [`v${said.rev}`]),
      said.arch,
      ...(said.ibu === null ? [] : [`ibu-v${said.ibu}`]),
      said.form,
    ].join('.');
    const name = said.sidecar === null ? file : `${file}.${said.sidecar}`;
    return { name, facts: { ...xyz, ...said, build, timestamp: ts, file } as Partial<SsrRelease> };
  });

const rpmPart = fc.stringMatching(/^[0-9a-z]{1,4}([.~^_][0-9a-z]{1,4}){0,3}$/);
const rpm: fc.Arbitrary<Printed> = fc
  .record({
    product: fc.constantFrom('128T-a', '128T-b-c', 'a'),
    rpmVersion: rpmPart,
    rpmRelease: rpmPart,
    arch: fc.constantFrom('x86_64', 'noarch', 'i686', 'src'),
    suffix: fc.constantFrom('.rpm', ''),
  })
  .map(({ suffix, ...facts }) => ({
    name: `${facts.product}-${facts.rpmVersion}-${facts.rpmRelease}.${facts.arch}${suffix}`,
    facts: { ...facts, scheme: 'rpm' },
  }));

const two = (n: number) => String(n).padStart(2, '0');
const day = fc.record({
  year: fc.integer({ min: 0, max: 99 }),
  month: fc.integer({ min: 1, max: 12 }),
  date: fc.integer({ min: 1, max: 28 }),
});
const isoOf = (d: { year: number; month: number; date: number }) => `20${two(d.year)}-${two(d.month)}-${two(d.date)}`;

const aviatrix: fc.Arbitrary<Printed> = fc.oneof(
  fc
    .record({
      prefix: fc.constantFrom('UserConnect-', 'R', 'Release ', 'v'),
      major: number,
      minor: number,
      build: maybe(number),
      hops: fc.boolean(),
      dot: fc.boolean(),
    })
    .map(({ prefix, major, minor, build, hops, dot }) => ({
      name: `${prefix}${major}.${minor}${build === null ? '' : `.${build}`}${hops ? ' (6.5, 6.6)' : ''}${dot ? '.' : ''}`,
      facts: { major, minor, build, patch: null, hops: hops ? ['6.5', '6.6'] : [] } as Partial<ParsedRelease>,
    })),
  fc
    .record({ major: number, minor: number, build: number, imageTag: fc.constantFrom('1404', '1804', '2204') })
    .map((facts) => ({
      name: `UserConnect-${facts.major}.${facts.minor}-${facts.imageTag}.${facts.build}`,
      facts,
    })),
  fc.record({ major: number, minor: number, letter: fc.constantFrom('a', 'e', 'z') }).map((facts) => ({
    name: `${facts.major}.${facts.minor}${facts.letter}`,
    facts: { ...facts, build: null },
  })),
  day.map((d) => ({
    name: `UserConnect-${two(d.month)}${two(d.date)}${two(d.year)}`,
    facts: { numbering: 'date' as const, date: isoOf(d) },
  })),
  day.map((d) => ({
    name: `hvm-cloudx-aws-${two(d.month)}${two(d.date)}${two(d.year)}`,
    facts: { product: 'hvm-cloudx-aws', date: isoOf(d) },
  })),
  day.map((d) => ({
    name: `gw-base-${two(d.month)}${two(d.date)}20${two(d.year)}`,
    facts: { product: 'gw-base', date: isoOf(d) },
  })),
  fc.constant({ name: 'latest', facts: { numbering: 'latest' as const } }),
);

const printed = fc.oneof(ssrVersion, ssrVersion, ssrSelector, ssrFile, rpm, aviatrix);

function read(name: string): ParsedRelease {
  const parsed = parseRelease(name);
  assert.ok(parsed !== undefined, name);
  return parsed;
}

const release = printed.map(({ name }) => read(name));

test('what is printed is read back', () => {
  fc.assert(
    fc.property(printed, ({ name, facts }) => {
      assert.partialDeepStrictEqual(read(name), { input: name, ...facts });
    }),
  );
});

test('the canonical version is read back as the same release', () => {
  fc.assert(
    fc.property(fc.oneof(ssrVersion, ssrSelector, ssrFile), ({ name }) => {
      const before = read(name);
      const after = read(versionOf(before));
      assert.equal(compareReleases(before, after), 0);
      assert.ok(sameRelease(before, after));
      assert.equal(versionOf(after), versionOf(before));
      assert.equal(after.dist, before.dist);
    }),
  );
  fc.assert(
    fc.property(aviatrix, ({ name }) => {
      const before = read(name);
      const after = parseAviatrix(versionOf(before));
      assert.ok(after !== undefined);
      assert.equal(orderKey(after), orderKey(before));
    }),
  );
});

const anything = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 300 }),
  fc.string({ unit: fc.constantFrom(...'0123456789.-_elrvxSTR128 ()|<>=~^*'), maxLength: 60 }),
  // A name with one change somewhere.
  fc
    .tuple(printed, fc.nat(80), fc.string({ maxLength: 3 }))
    .map(([{ name }, at, text]) => name.slice(0, at) + text + name.slice(at + 1)),
);

test('nothing that is thrown at the readers makes them throw', () => {
  fc.assert(
    fc.property(anything, (name) => {
      const parsed = parseRelease(name);
      parseSsr(name);
      parseAviatrix(name);
      parseReleases([name, 'R6.6.123']);
      assert.equal(describeRelease(name).ok, parsed !== undefined);
      matchVersion(name, ['6.3.0-107.r1.el7', 'R6.6.123'], parseRelease);
      if (parsed === undefined) return;
      assert.equal(parsed.input, name);
      assert.match(orderKey(parsed), /^[\x20-\x7e]+$/);
      assert.ok(versionOf(parsed).length > 0);
      for (const fact of ['major', 'minor', 'patch', 'build'] as const)
        assert.ok(parsed[fact] === null || Number.isSafeInteger(parsed[fact]));
    }),
    { numRuns: 2000 },
  );
});

test('a range is read or refused by name', () => {
  fc.assert(
    fc.property(anything, fc.constantFrom('ssr' as const, 'aviatrix' as const), release, (text, vendor, any) => {
      try {
        parseRange(text, vendor).includes(any);
      } catch (error) {
        assert.ok(isAirlockError(error, 'usage.invalid'));
      }
    }),
  );
});

test('the order is antisymmetric, transitive, and that of the keys in bytes', () => {
  fc.assert(
    fc.property(release, release, release, (a, b, c) => {
      assert.equal(compareReleases(a, a), 0);
      const ab = compareReleases(a, b);
      assert.equal(ab, 0 - compareReleases(b, a));
      assert.equal(ab, Buffer.compare(Buffer.from(orderKey(a)), Buffer.from(orderKey(b))));
      const [x, y, z] = [a, b, c].toSorted(compareReleases);
      assert.ok(x !== undefined && y !== undefined && z !== undefined);
      assert.ok(compareReleases(x, y) <= 0 && compareReleases(y, z) <= 0 && compareReleases(x, z) <= 0);
    }),
    { numRuns: 2000 },
  );
});

/** vendor.md C1 word for word, as a second opinion on the keys. */
function byTheBook(a: SsrRelease, b: SsrRelease): number {
  const rank = ({ milestone: ms }: SsrRelease): [number, number] => {
    const count = Number(/\d+$/.exec(ms ?? '')?.[0] ?? -1);
    if (ms === null) return [5, -1];
    if (ms.startsWith('r') && !ms.startsWith('rc') && ms !== 'release') return [3, count];
    if (/^(?:snapshot|alpha)/.test(ms)) return [0, count];
    if (ms.startsWith('beta')) return [1, count];
    return ms.startsWith('rc') ? [2, count] : [8, -1];
  };
  const tuple = (r: SsrRelease) => [
    ...[r.major, r.minor, r.patch, r.build ?? -1],
    Number((r.timestamp ?? '').padEnd(14, '0')),
    ...rank(r),
  ];
  const [first, second] = [tuple(a), tuple(b)];
  const at = first.findIndex((part, index) => part !== second[index]);
  return at === -1 ? 0 : Math.sign((first[at] ?? 0) - (second[at] ?? 0));
}

test('the keys order Session Smart releases by the book', () => {
  const ssr = fc.oneof(ssrVersion, ssrSelector, ssrFile).map(({ name }) => {
    const parsed = read(name);
    assert.ok(parsed.scheme === 'ssr');
    return parsed;
  });
  fc.assert(
    fc.property(ssr, ssr, (a, b) => {
      assert.equal(compareReleases(a, b), byTheBook(a, b), `${a.input} ${b.input}`);
    }),
    { numRuns: 5000 },
  );
});

test('sorting is stable and idempotent, and keeps every name', () => {
  const names = fc.array(
    fc.oneof(ssrVersion, ssrSelector, ssrFile).map(({ name }) => name),
    { maxLength: 30 },
  );
  fc.assert(
    fc.property(names, (given) => {
      const sorted = sortReleases(given);
      assert.deepEqual(sorted.toSorted(), given.toSorted());
      assert.deepEqual(sortReleases(sorted), sorted);
      for (const name of new Set(given)) {
        const equal = (list: string[]) => list.filter((other) => compareReleases(read(other), read(name)) === 0);
        assert.deepEqual(equal(sorted), equal(given));
      }
    }),
  );
});

test('sameRelease is reflexive and symmetric', () => {
  fc.assert(
    fc.property(release, release, (a, b) => {
      assert.ok(sameRelease(a, a));
      assert.equal(sameRelease(a, b), sameRelease(b, a));
      if (sameRelease(a, b)) assert.equal(a.vendor, b.vendor);
    }),
  );
});
