import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { changelogsOf } from '../../src/repo/formats/rpm/changelogs.ts';
import { dependenciesOf } from '../../src/repo/formats/rpm/dependencies.ts';
import { checkDigests } from '../../src/repo/formats/rpm/digests.ts';
import {
  compareEvr,
  parseEvr,
  rangesOverlap,
  rpmvercmp,
  type VersionRange,
  versionKey,
} from '../../src/repo/formats/rpm/evr.ts';
import { rpmFacts } from '../../src/repo/formats/rpm/facts.ts';
import { filesOf } from '../../src/repo/formats/rpm/files.ts';
import { openRpm } from '../../src/repo/formats/rpm/rpm-file.ts';
import { SENSE, TAG } from '../../src/repo/formats/rpm/tags.ts';
import { countingSource } from '../media/byte-sources.ts';
import { buildRpm, i18n, int32, string, strings } from '../media/rpm-builder.ts';

const piece = fc.constantFrom(...'0123456789', '00', '10', '999', ...'abzAZ', 'rc', ...'~^~^', ...'.-_+', 'é', '');
const version = fc.oneof(
  { weight: 4, arbitrary: fc.array(piece, { maxLength: 6 }).map((pieces) => pieces.join('')) },
  { weight: 1, arbitrary: fc.string({ unit: 'binary', maxLength: 10 }) },
);

/** rpm-version(7) step by step, as a second opinion on the keys. */
function byTheBook(first: string, second: string): -1 | 0 | 1 {
  let [a, b] = [first, second];
  for (;;) {
    a = a.replace(/^[^A-Za-z0-9~^]+/, '');
    b = b.replace(/^[^A-Za-z0-9~^]+/, '');
    if (a.startsWith('~') || b.startsWith('~')) {
      if (!a.startsWith('~')) return 1;
      if (!b.startsWith('~')) return -1;
      [a, b] = [a.slice(1), b.slice(1)];
      continue;
    }
    if (a.startsWith('^') || b.startsWith('^')) {
      if (a === '') return -1;
      if (b === '') return 1;
      if (!a.startsWith('^')) return 1;
      if (!b.startsWith('^')) return -1;
      [a, b] = [a.slice(1), b.slice(1)];
      continue;
    }
    if (a === '' || b === '') return a === b ? 0 : a === '' ? -1 : 1;
    const isNumber = /^\d/.test(a);
    const run = isNumber ? /^\d*/ : /^[A-Za-z]*/;
    const [left = '', right = ''] = [run.exec(a)?.[0], run.exec(b)?.[0]];
    if (right === '') return isNumber ? 1 : -1;
    [a, b] = [a.slice(left.length), b.slice(right.length)];
    const [x, y] = isNumber ? [BigInt(left), BigInt(right)] : [left, right];
    if (x !== y) return x < y ? -1 : 1;
  }
}

test('versions are compared by the book, and so are their keys', () => {
  fc.assert(
    fc.property(version, version, (a, b) => {
      const order = byTheBook(a, b);
      assert.equal(rpmvercmp(a, b), order);
      assert.equal(Buffer.compare(Buffer.from(versionKey(a)), Buffer.from(versionKey(b))), order);
      assert.match(versionKey(a), /^[\x20-\x7e]+$/);
      if (order !== 0) assert.ok(!versionKey(a).startsWith(versionKey(b)));
    }),
    { numRuns: 20_000 },
  );
});

const evr = fc
  .tuple(
    fc.option(fc.constantFrom('0', '1', '01', '9')),
    fc.constantFrom('1', '2', '1.0~', '1^'),
    fc.option(fc.constantFrom('1', '2', '1~')),
  )
  .map(([epoch, ver, release]) => `${epoch === null ? '' : `${epoch}:`}${ver}${release === null ? '' : `-${release}`}`);

test('epoch, version and release are split and ordered', () => {
  fc.assert(
    fc.property(fc.oneof(evr, version), fc.oneof(evr, version), fc.oneof(evr, version), (first, second, third) => {
      const { epoch, version: ver, release } = parseEvr(first);
      const joined = `${epoch === null ? '' : `${epoch}:`}${ver}${release === null ? '' : `-${release}`}`;
      assert.equal(joined, first.replace(/^:/, '0:'));
      const [a, b, c] = [first, second, third].map(parseEvr).sort(compareEvr);
      assert.ok(a && b && c);
      assert.ok(compareEvr(a, b) <= 0 && compareEvr(b, c) <= 0 && compareEvr(a, c) <= 0);
      assert.equal(compareEvr(a, b), 0 - compareEvr(b, a));
      assert.equal(compareEvr(a, a), 0);
    }),
    { numRuns: 5000 },
  );
});

test('ranges overlap in both directions, and each with itself', () => {
  const { less, greater, equal } = SENSE;
  const range: fc.Arbitrary<VersionRange> = fc.record({
    name: fc.constantFrom('a', 'a', 'b'),
    flags: fc.constantFrom(0, less, less | equal, equal, greater | equal, greater),
    evr: fc.option(evr.map(parseEvr)),
  });
  fc.assert(
    fc.property(range, range, (a, b) => {
      assert.equal(rangesOverlap(a, b), rangesOverlap(b, a));
      assert.ok(rangesOverlap(a, a));
      if (a.name !== b.name) assert.ok(!rangesOverlap(a, b));
    }),
    { numRuns: 5000 },
  );
});

// Without NUL, which ends a string. Lone surrogates have no bytes.
const text = fc.string({ unit: 'grapheme', maxLength: 20 }).map((any) => any.replaceAll('\0', '').toWellFormed());
const word = fc.stringMatching(/^[a-z0-9][a-z0-9.+~^_]{0,10}$/);
const number = fc.integer({ min: 0, max: 0xffffffff });

test('what is written into a package is read from it', async () => {
  const options = fc.record({
    ...{ name: word, version: word, release: word, epoch: number, arch: fc.constantFrom('x86_64', 'noarch') },
    ...{ format: fc.constantFrom(3 as const, 4 as const, 6 as const), summary: text, url: text, size: number },
    requires: fc.array(fc.tuple(text, number, evr), { minLength: 1, maxLength: 5 }),
    changelog: fc.array(fc.tuple(number, text, text), { minLength: 1, maxLength: 3 }),
    files: fc.uniqueArray(
      fc.tuple(text, text).map((parts) => `/${parts.join('/')}`),
      { maxLength: 5 },
    ),
    archive: fc.uint8Array({ maxLength: 300 }),
    reserved: fc.nat(20).map((length) => length + 1),
  });
  await fc.assert(
    fc.asyncProperty(options, async ({ summary, url, size, requires, changelog, files, ...rest }) => {
      const { file, layout } = buildRpm({
        ...rest,
        files: files.map((path) => [path] as const),
        tags: [
          ...[i18n(TAG.summary, summary), string(TAG.url, url), int32(TAG.size, size)],
          strings(TAG.requireName, ...requires.map(([name]) => name)),
          int32(TAG.requireFlags, ...requires.map(([, flags]) => flags)),
          strings(TAG.requireVersion, ...requires.map(([, , ver]) => ver)),
          int32(TAG.changelogTime, ...changelog.map(([time]) => time)),
          strings(TAG.changelogName, ...changelog.map(([, author]) => author)),
          strings(TAG.changelogText, ...changelog.map(([, , entry]) => entry)),
        ],
      });
      const source = countingSource(file);
      const rpm = await openRpm(source);
      const facts = rpmFacts(rpm);
      const { name, version: ver, release, epoch, arch, headerRange } = facts;
      assert.deepEqual(
        [name, ver, release, epoch, arch],
        [rest.name, rest.version, rest.release, rest.epoch, rest.arch],
      );
      assert.deepEqual([facts.summary, facts.url, facts.installedSize], [summary, url, size]);
      assert.deepEqual(headerRange, { start: layout.header.start, end: layout.header.end });
      assert.deepEqual(
        Array.from(dependenciesOf(rpm, 'requires'), (dependency) => [
          dependency.name,
          dependency.flags,
          dependency.evr,
        ]),
        requires.map(([required, flags, version]) => [required, flags, parseEvr(version)]),
      );
      assert.deepEqual(
        Array.from(changelogsOf(rpm), ({ time, author, text: entry }) => [time, author, entry]),
        changelog,
      );
      assert.deepEqual(
        Array.from(filesOf(rpm), ({ path }) => path),
        files,
      );
      const { strongest } = await checkDigests(source, rpm);
      assert.ok(strongest.header !== null && strongest.payload !== null);
    }),
    { numRuns: 300 },
  );
});
