/**
 * Against what others write and read: packages by rpmbuild, those that createrepo_c tests itself with, and our own
 * builder's, are compared with what rpm's library and createrepo_c say of them.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import fc from 'fast-check';
import { changelogsOf } from '../../../src/repo/formats/rpm/changelogs.ts';
import { DEPENDENCY_KINDS, type Dependency, dependenciesOf } from '../../../src/repo/formats/rpm/dependencies.ts';
import { checkDigests } from '../../../src/repo/formats/rpm/digests.ts';
import { compareEvr, parseEvr, rangesOverlap } from '../../../src/repo/formats/rpm/evr.ts';
import { rpmFacts } from '../../../src/repo/formats/rpm/facts.ts';
import { canonicalFileName } from '../../../src/repo/formats/rpm/file-name.ts';
import { filesOf } from '../../../src/repo/formats/rpm/files.ts';
import { openRpm, type RpmFile } from '../../../src/repo/formats/rpm/rpm-file.ts';
import { decodeText } from '../../../src/repo/formats/rpm/rpm-text.ts';
import { signaturesOf } from '../../../src/repo/formats/rpm/signatures.ts';
import { TAG } from '../../../src/repo/formats/rpm/tags.ts';
import { countingSource } from '../../media/byte-sources.ts';
import { buildRpm, type IndexEntry, i18n, int32, type RpmOptions, string, strings } from '../../media/rpm-builder.ts';
import { needs } from '../../support/needs.ts';
import { RPM_PYTHON, type RpmSays, rpmAccepts, rpmPython, rpmSays } from './rpm-python.ts';
import { buildWithRpm } from './rpmbuild.ts';
import { isRpmError, readAll } from './support.ts';

const DEEP = process.env.AIRLOCK_DEEP === '1';
const SHARED = path.join(import.meta.dirname, '..', '..', '..', '..', 'shared', 'data', 'rpm');
const shared = existsSync(SHARED) ? {} : { skip: 'the packages of createrepo_c are not here' };

let scratch = '';
before(() => {
  scratch = mkdtempSync(path.join(tmpdir(), 'airlock-rpm-'));
});
after(() => rmSync(scratch, { recursive: true, force: true }));

function folder(name: string): string {
  const dir = path.join(scratch, name);
  mkdirSync(dir);
  return dir;
}

/** Packages by rpmbuild, made once. */
let made: Promise<string[]> | undefined;
function fromRpmbuild(): Promise<string[]> {
  made ??= buildWithRpm(folder('rpmbuild'));
  return made;
}

const latin1 = (text: string) => Buffer.from(text, 'latin1');
/** What rpm gave byte by byte, as we would read it. */
const decoded = (bytes: string) => decodeText(latin1(bytes));

const BUILT: Record<string, RpmOptions> = {
  plain: {},
  three: { format: 3, files: [['/opt/a', 0o40755], ['/opt/a/b'], ['/var/c', 0o100600, 64]] },
  'three-provides': { format: 3, epoch: 4, tags: [strings(TAG.provideName, 'x')] },
  six: { format: 6, files: [['/opt/a', 0o40755], ['/opt/a/b'], ['/var/c', 0o100600, 64]] },
  source: { source: true, files: [['a.spec'], ['b.tar']] },
  'no-provides': { without: [TAG.provideName, TAG.provideFlags, TAG.provideVersion] },
  epoch: { epoch: 0 },
  'huge-epoch': { epoch: 0xffffffff },
  encodings: {
    tags: [
      ...[i18n(TAG.summary, latin1('für alle'), 'für alle'), string(TAG.vendor, 'für alle')],
      ...[i18n(TAG.description, latin1('naïve'))],
      ...[strings(TAG.requireName, latin1('ü'), 'ü'), int32(TAG.requireFlags, 8, 8)],
      strings(TAG.requireVersion, latin1('1.ü-2'), '1.ü-2'),
      ...[int32(TAG.changelogTime, 7), strings(TAG.changelogName, latin1('Jérôme')), strings(TAG.changelogText, '- é')],
      strings(TAG.baseNames, latin1('ä'), 'ä'),
    ],
    files: [['/ü/a'], ['/ü/b']],
  },
  versions: {
    tags: [
      strings(TAG.requireName, 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'),
      int32(TAG.requireFlags, 8, 10, 12, 2, 4, 6, 0, 14),
      strings(TAG.requireVersion, '1-2', '3:4', ':5', '0:6-', '7~^', '8', '9', '10'),
    ],
  },
};

/** Writes packages of our own builder into a folder. @returns their paths */
function writeBuilt(dir: string, packages: Readonly<Record<string, RpmOptions>>): string[] {
  return Object.entries(packages).map(([name, options]) => {
    const file = path.join(dir, `${name}.rpm`);
    writeFileSync(file, buildRpm({ name, ...options }).file);
    return file;
  });
}

function sharedPackages(): string[] {
  return readdirSync(SHARED)
    .sort()
    .map((name) => path.join(SHARED, name));
}

async function openFile(file: string): Promise<{ rpm: RpmFile; source: ReturnType<typeof countingSource> }> {
  const source = countingSource(await readFile(file));
  return { rpm: await openRpm(source), source };
}

describe("rpm's library says the same", () => {
  const compare = async (files: readonly string[]) => {
    for (const [index, says] of rpmSays(files).entries()) {
      const file = files[index] ?? '';
      assert.ok(says, `rpm does not read ${file}`);
      await assertSame((await openFile(file)).rpm, says, path.basename(file));
    }
  };
  test('of packages by rpmbuild', needs('rpmbuild', RPM_PYTHON), async () => {
    const files = await fromRpmbuild();
    assert.equal(files.length, 12);
    await compare(files);
    for (const file of files) {
      const { rpm, source } = await openFile(file);
      assert.equal(canonicalFileName(rpmFacts(rpm)), path.basename(file));
      const { strongest, checks } = await checkDigests(source, rpm);
      assert.deepEqual(strongest, { header: 'sha256', payload: 'sha256' });
      const unpacked = checks.find(({ name }) => name === 'PAYLOADDIGESTALT');
      assert.equal(unpacked?.state, file.includes('none') ? 'matched' : 'passed-over');
    }
  });
  test('of those that createrepo_c tests itself with', { ...shared, ...needs(RPM_PYTHON) }, () =>
    compare(sharedPackages()),
  );
  test('of our own', needs(RPM_PYTHON), () => compare(writeBuilt(folder('built'), BUILT)));
});

async function assertSame(rpm: RpmFile, says: RpmSays, what: string): Promise<void> {
  const facts = rpmFacts(rpm);
  const text = (tag: string) => (says.texts[tag] == null ? null : decoded(says.texts[tag]));
  assert.deepEqual(
    { ...facts, isNoSource: false },
    {
      ...{ name: says.name, epoch: says.epoch ?? 0, version: says.version, release: says.release },
      ...{ arch: facts.isSource ? 'src' : says.arch, isSource: says.texts.sourcerpm === null, isNoSource: false },
      ...{ summary: text('summary'), description: text('description'), url: text('url'), license: text('license') },
      ...{ vendor: text('vendor'), group: text('group'), packager: text('packager'), buildHost: text('buildhost') },
      ...{ sourceRpm: text('sourcerpm'), buildTime: says.numbers.buildtime },
      ...{ installedSize: says.numbers.longsize },
      // rpm 4 does not know where rpm 6 puts it.
      archiveSize: rpm.format === 6 ? facts.archiveSize : says.numbers.longarchivesize,
      headerRange: { start: rpm.header.range.start, end: says.payload },
      payload: {
        range: { start: says.payload, end: rpm.payload.end },
        ...{
          format: text('payloadformat'),
          compressor: text('payloadcompressor') ?? 'gzip',
          flags: text('payloadflags'),
        },
      },
    },
    what,
  );
  for (const kind of DEPENDENCY_KINDS) {
    const ours = Array.from(dependenciesOf(rpm, kind), ({ name, flags, evr }) => ({ name, flags, evr }));
    const theirs = (says.dependencies[kind] ?? []).map(([name, flags, version]) => {
      const { epoch, version: ver, release } = parseEvr(version);
      const evr = { epoch, version: decoded(ver), release: release === null ? null : decoded(release) };
      return { name: decoded(name), flags, evr: version === '' ? null : evr };
    });
    assert.deepEqual(ours, theirs, `${kind} of ${what}`);
  }
  assert.deepEqual(
    Array.from(filesOf(rpm), ({ path: file, mode, flags }) => [file, mode, flags]),
    says.files.map(([file, mode, flags]) => [decoded(file), mode, flags]),
    `files of ${what}`,
  );
  assert.deepEqual(
    Array.from(changelogsOf(rpm), ({ time, author, text: entry }) => [time, author, entry]),
    says.changelog.map(([time, author, entry]) => [time, decoded(author), decoded(entry)]),
    `changelog of ${what}`,
  );
}

test('the signed package of createrepo_c', shared, async () => {
  const { rpm, source } = await openFile(path.join(SHARED, 'empty-signed-rsa-0-0.x86_64.rpm'));
  const signatures = signaturesOf(rpm);
  assert.deepEqual(
    signatures.map(({ name, covers, range, packets }) => [
      name,
      covers.join('+'),
      range.start,
      range.end,
      packets.length,
    ]),
    [
      ['RSAHEADER', 'header', 1440, 2445, 566],
      ['SIGPGP', 'header+payload', 1440, 2561, 566],
    ],
  );
  assert.deepEqual((await checkDigests(source, rpm)).strongest, { header: 'sha1', payload: 'md5' });
});

describe('createrepo_c says the same', () => {
  const compare = async (dir: string, files: readonly string[]) => {
    for (const file of files) writeFileSync(path.join(dir, path.basename(file)), await readFile(file));
    execFileSync('createrepo_c', ['--quiet', '--simple-md-filenames', '--compatibility', '--changelog-limit=100', dir]);
    const metadata = (name: string) => gunzipSync(readMetadata(dir, name)).toString('utf8');
    const [primary, filelists, other] = ['primary', 'filelists', 'other'].map(metadata);
    assert.ok(primary && filelists && other);
    const packages = elements(primary, 'package');
    assert.equal(packages.length, files.length);
    for (const element of packages) {
      const { rpm } = await openFile(path.join(dir, attributes(element, 'location')[0]?.href ?? ''));
      const id = content(element, 'checksum');
      const entry = (document: string) => elements(document, 'package').find((text) => text.includes(id)) ?? '';
      assertMetadata(rpm, element, entry(filelists), entry(other));
    }
  };
  test('of packages by rpmbuild', needs('rpmbuild', 'createrepo_c'), async () => {
    const files = await fromRpmbuild();
    await compare(folder('repo-rpmbuild'), files);
  });
  test('of those that it tests itself with', { ...shared, ...needs('createrepo_c') }, () =>
    compare(folder('repo-shared'), sharedPackages()),
  );
  test('of our own', needs('createrepo_c'), () => compare(folder('repo-built'), writeBuilt(folder('own'), BUILT)));
});

function readMetadata(dir: string, name: string): Buffer {
  const folderOf = path.join(dir, 'repodata');
  const file = readdirSync(folderOf).find((candidate) => candidate.startsWith(name) && candidate.endsWith('.xml.gz'));
  assert.ok(file);
  return execFileSync('cat', [path.join(folderOf, file)], { maxBuffer: 64 * 1024 * 1024 });
}

function assertMetadata(rpm: RpmFile, primary: string, filelists: string, other: string): void {
  const facts = rpmFacts(rpm);
  const what = facts.name;
  assert.equal(content(primary, 'name'), facts.name);
  assert.equal(content(primary, 'arch'), facts.arch, what);
  const version = { epoch: String(facts.epoch), ver: facts.version, rel: facts.release };
  assert.deepEqual(attributes(primary, 'version'), [version], what);
  for (const [name, fact] of [
    ...([
      ['summary', facts.summary],
      ['description', facts.description],
      ['url', facts.url],
    ] as const),
    ...([
      ['rpm:license', facts.license],
      ['rpm:vendor', facts.vendor],
      ['rpm:group', facts.group],
    ] as const),
    ...([
      ['packager', facts.packager],
      ['rpm:buildhost', facts.buildHost],
      ['rpm:sourcerpm', facts.sourceRpm],
    ] as const),
  ]) {
    assert.equal(content(primary, name), fact ?? '', `${name} of ${what}`);
  }
  const range = { start: String(facts.headerRange.start), end: String(facts.headerRange.end) };
  assert.deepEqual(attributes(primary, 'rpm:header-range'), [range], what);
  const size = attributes(primary, 'size')[0];
  assert.equal(size?.installed, String(facts.installedSize ?? 0), what);
  if (rpm.format !== 6) assert.equal(size?.archive, String(facts.archiveSize ?? 0), what);
  // Requirements are filtered there; all the others are written as they are.
  for (const kind of DEPENDENCY_KINDS.filter((candidate) => candidate !== 'requires')) {
    const theirs = attributes(elements(primary, `rpm:${kind}`)[0] ?? '', 'rpm:entry');
    assert.deepEqual(Array.from(dependenciesOf(rpm, kind), asEntry), theirs, `${kind} of ${what}`);
  }
  const required = Array.from(dependenciesOf(rpm, 'requires'), asEntry).map((entry) => JSON.stringify(entry));
  for (const entry of attributes(elements(primary, 'rpm:requires')[0] ?? '', 'rpm:entry')) {
    assert.ok(required.includes(JSON.stringify(entry)), `${JSON.stringify(entry)} of ${what}: ${required.join()}`);
  }
  const files = [...filelists.matchAll(/<file(?: type="(\w+)")?>([^<]*)<\/file>/g)];
  assert.deepEqual(
    Array.from(filesOf(rpm), ({ path: file, type }) => [type, file]),
    files.map(([, type, file]) => [type ?? 'file', unescaped(file ?? '')]),
    what,
  );
  const entries = [...other.matchAll(/<changelog author="([^"]*)" date="(\d+)">([^<]*)<\/changelog>/g)];
  const changelog = [...changelogsOf(rpm)].reverse();
  assert.deepEqual(
    changelog.map(({ author, text }) => [author, text]),
    entries.map(([, author, , text]) => [unescaped(author ?? ''), unescaped(text ?? '')]),
    what,
  );
  // Entries of one day are set a second apart there, so that they keep their order.
  for (const [index, { time }] of changelog.entries())
    assert.ok(Math.abs(Number(entries[index]?.[2]) - time) < 5, what);
}

function asEntry({ name, comparison, evr, pre }: Dependency): Record<string, string> {
  const version = evr &&
    comparison && { epoch: evr.epoch ?? '0', ver: evr.version, ...(evr.release && { rel: evr.release }) };
  return { name, ...(comparison && { flags: comparison }), ...version, ...(pre && { pre: '1' }) };
}

// Just enough of XML for what createrepo_c writes.
function elements(document: string, name: string): string[] {
  return [...document.matchAll(RegExp(`<${name}[ >].*?</${name}>`, 'gs'))].map(([element]) => element);
}

function content(document: string, name: string): string {
  return unescaped(RegExp(`<${name}(?: [^>]*)?>([^<]*)</${name}>`).exec(document)?.[1] ?? '');
}

function attributes(document: string, name: string): Record<string, string>[] {
  return [...document.matchAll(RegExp(`<${name} ([^>]*?)/?>`, 'g'))].map(([, text = '']) =>
    Object.fromEntries(
      [...text.matchAll(/([\w:]+)="([^"]*)"/g)].map(([, key = '', value = '']) => [key, unescaped(value)]),
    ),
  );
}

function unescaped(text: string): string {
  const named: Record<string, string> = { lt: '<', gt: '>', quot: '"', apos: "'", amp: '&' };
  return text.replace(/&(?:#x([0-9A-F]+)|#(\d+)|(\w+));/gi, (_, hex, decimal, name) =>
    name === undefined
      ? String.fromCodePoint(hex === undefined ? Number(decimal) : Number.parseInt(hex, 16))
      : (named[name] ?? ''),
  );
}

describe('rpm orders versions the same way', () => {
  const piece = fc.constantFrom(
    ...'0123456789',
    '00',
    '10',
    '01',
    '999',
    ...'abyzAZ',
    'rc',
    ...'~^~^',
    ...'.-_+:',
    'é',
    '€',
    ' ',
  );
  const version = fc.array(piece, { maxLength: 8 }).map((pieces) => pieces.join(''));
  // Mostly the same but for a little: otherwise the first character decides.
  const pair = fc.oneof(
    fc.tuple(version, version),
    fc
      .tuple(version, version, version, version)
      .map(([start, a, b, end]): [string, string] => [`${start}${a}${end}`, `${start}${b}${end}`]),
    version.map((text): [string, string] => [text.replace(/[.+é ]/g, '_'), `${text.replace(/[.+é ]/g, '..')}+`]),
  );

  test('one version and another', needs('rpm'), () => {
    const pairs = fc.sample(pair, { numRuns: DEEP ? 200_000 : 5000, seed: 4711 });
    const script = path.join(scratch, 'vercmp.lua');
    const quoted = (text: string) =>
      `"${[...Buffer.from(text)].map((byte) => `\\${String(byte).padStart(3, '0')}`).join('')}"`;
    // It takes epoch and release along, and no empty versions.
    const lines = pairs.map(
      ([a, b]) => `print(tostring(select(2, pcall(rpm.vercmp, ${quoted(a)}, ${quoted(b)}))) .. '\\n')`,
    );
    writeFileSync(script, lines.join('\n'));
    const args = ['--eval', `%{lua: dofile("${script}")}`];
    const printed = execFileSync('rpm', args, { encoding: 'utf8', maxBuffer: 1e8 }).replace(
      /^.*bad argument.*$/gm,
      'NaN',
    );
    const signs = printed.trim().split('\n').map(Number);
    assert.equal(signs.length, pairs.length);
    for (const [index, [a, b]] of pairs.entries()) {
      const sign = signs[index] ?? Number.NaN;
      if (!Number.isNaN(sign)) assert.equal(compareEvr(parseEvr(a), parseEvr(b)), sign, JSON.stringify([a, b]));
    }
    for (const sign of [-1, 0, 1]) assert.ok(signs.filter((said) => said === sign).length > pairs.length / 20);
  });

  const evr = fc
    .tuple(
      fc.constantFrom('', '', '0:', '1:', '2:', ':', '01:'),
      fc.constantFrom('1', '2', '1.0', '1~', '1^', ''),
      fc.constantFrom('', '', '-1', '-2', '-', '-1-1'),
    )
    .map((parts) => parts.join(''));

  test('rpm.ver', needs(RPM_PYTHON), () => {
    const pairs = fc.sample(fc.tuple(evr, evr), { numRuns: 3000, seed: 815 }).filter(([a, b]) => a !== '' && b !== '');
    const script = `
def compare(a, b):
    try: a, b = rpm.ver(a), rpm.ver(b)
    except ValueError: return None
    return (a > b) - (a < b)
print(json.dumps([compare(a, b) for a, b in json.load(sys.stdin)]))`;
    const signs = rpmPython<(number | null)[]>(script, pairs);
    for (const [index, [a, b]] of pairs.entries()) {
      if (signs[index] !== null) assert.equal(compareEvr(parseEvr(a), parseEvr(b)), signs[index], `${a} and ${b}`);
    }
    assert.ok(signs.filter((sign) => sign !== null).length > 1000);
  });

  test('what satisfies what', needs(RPM_PYTHON), () => {
    const range = fc.tuple(fc.constantFrom('a', 'a', 'a', 'b'), fc.constantFrom(0, 1, 2, 4, 6, 8, 10, 12, 15), evr);
    const pairs = fc.sample(fc.tuple(range, range), { numRuns: DEEP ? 100_000 : 5000, seed: 42 });
    const script = `
overlap = lambda a, b: bool(rpm.ds(tuple(a), 'requires').Compare(rpm.ds(tuple(b), 'provides')))
print(json.dumps([overlap(a, b) for a, b in json.load(sys.stdin)]))`;
    const overlaps = rpmPython<boolean[]>(script, pairs);
    const asRange = ([name, flags, version]: [string, number, string]) => ({
      name,
      flags,
      evr: version === '' ? null : parseEvr(version),
    });
    for (const [index, [a, b]] of pairs.entries()) {
      assert.equal(rangesOverlap(asRange(a), asRange(b)), overlaps[index], JSON.stringify([a, b]));
    }
    assert.deepEqual(new Set(overlaps), new Set([true, false]));
  });
});

test('headers that rpm refuses are refused', needs(RPM_PYTHON), async () => {
  const dir = folder('refused');
  const rounds = DEEP ? 5000 : 400;
  // No known tags and types: rpm knows the types of all tags, here only those that are read are held to theirs.
  const inside = fc.constantFrom(0, 61, 62, 63, 99, -1, 0x7fffffff, -0x80000000);
  const lie = fc.record({
    where: fc.constantFrom('headerEntries' as const, 'signatureEntries' as const),
    entry: fc.nat(40),
    change: fc.oneof(
      inside.map((tag) => ({ tag })),
      fc.constantFrom(-1, 0, 10, 16).map((type) => ({ type })),
      fc.integer({ min: -20, max: 400 }).map((offset) => ({ offset })),
      fc.oneof(fc.integer({ min: -2, max: 20 }), fc.constantFrom(0x7fffffff, -0x80000000)).map((count) => ({ count })),
    ),
  });
  const files = fc.sample(lie, { numRuns: rounds, seed: 4711 }).map(({ where, entry, change }, index) => {
    const apply = (entries: IndexEntry[]) => Object.assign(entries[entry % entries.length] ?? {}, change);
    const file = path.join(dir, `${index}.rpm`);
    writeFileSync(file, buildRpm({ files: [['/a/b']], [where]: apply }).file);
    return file;
  });
  const accepts = rpmAccepts(files);
  for (const [index, file] of files.entries()) {
    const error = await readAll(await readFile(file)).then(
      () => undefined,
      (reason: unknown) => reason,
    );
    assert.ok(error === undefined || isRpmError(error), String(error));
    if (accepts[index] === false) assert.ok(error !== undefined, `rpm refuses ${file}`);
  }
  assert.ok(accepts.filter((accepted) => !accepted).length > rounds / 4);
});
