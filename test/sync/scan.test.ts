/** Scanners of a site, of every kind: `import bundle --scan`. They are programs of their own, run as users run them. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chmod, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { isAirlockError } from '../../src/errors.ts';
import { limits } from '../../src/limits.ts';
import type { Digest } from '../../src/repo/blobs/blob-store.ts';
import { blobPath } from '../../src/repo/blobs/layout.ts';
import { parseCommand, splitWords } from '../../src/sync/bundle/command-words.ts';
import type { ImportBundleReport } from '../../src/sync/bundle/import-bundle.ts';
import { PACKAGE_TOOLS, PackageVendor } from '../media/package-iso.ts';
import { PACKAGE_ISO } from '../media/vendor-site.ts';
import { airlock, airlockJson, ended, startCli } from '../support/cli.ts';
import { needs } from '../support/needs.ts';
import { coded, type Place, scene } from './scene.ts';

interface Scanned {
  readonly dir: string;
  readonly station: Place;
  readonly site: Place;
  readonly stick: string;
  /** Makes a scanner from lines of shell. @returns the command that runs it */
  readonly scanner: (...lines: string[]) => Promise<string>;
  /** `import bundle` with it. */
  readonly command: (scan: string, ...more: string[]) => string[];
}

/** A bundle with three files, two of the same content, on a stick. */
async function scanned(t: TestContext): Promise<Scanned> {
  const { dir, station, site, stick } = await scene(t);
  await station.put('tools', 'deep/copy of a.txt', 'first');
  await station.put('tools', 'b.bin', randomBytes(3 * 2 ** 20));
  await station.export(stick);
  let count = 0;
  const scanner = async (...lines: string[]) => {
    count += 1;
    const file = path.join(dir, `scanner ${count}`);
    await writeFile(file, ['#!/bin/sh', `dir='${dir}'`, ...lines, ''].join('\n'));
    await chmod(file, 0o755);
    return `"${file}"`;
  };
  const command = (scan: string, ...more: string[]) => {
    return ['--data', site.dir, 'import', 'bundle', stick, '--scan', scan, ...more];
  };
  return { dir, station, site, stick, scanner, command };
}

/** Nothing landed; the same import without a scanner then works. */
async function assertNothingLanded({ site, station, stick }: Scanned): Promise<void> {
  assert.deepEqual(await site.published(), {});
  assert.equal(await site.trust.mark(), undefined);
  assert.equal((await site.import(stick)).outcome, 'imported');
  assert.deepEqual(await site.published(), await station.published());
  assert.equal((await airlock(['--data', site.dir, 'verify'])).code, 0);
}

async function until(file: string): Promise<string> {
  for (;;) {
    const text = await readFile(file, 'utf8').catch(() => '');
    if (text.endsWith('\n')) return text.trim();
    await sleep(20);
  }
}

async function gone(pid: string): Promise<void> {
  // What init has not waited for yet is dead all the same.
  const state = async () => (await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => ') X')).split(') ')[1]?.[0];
  while (!['X', 'Z'].includes((await state()) ?? 'X')) await sleep(20);
}

describe('a scanner', () => {
  test('sees every new file once, with its names, before anybody else', async (t) => {
    const at = await scanned(t);
    const scan = await at.scanner(
      'cat > "$dir/names"; for each in "$@"; do echo "$each"; done > "$dir/files"',
      'sha256sum "$2" "$3"; env > "$dir/environment"; echo "<b>said aloud</b>" >&2',
      `"${process.execPath}" "${path.resolve('src/cli.ts')}" --data "$dir/site" --json repo list > "$dir/visible"`,
    );
    const page = path.join(at.dir, 'report.html');
    const { code, json } = await airlockJson<ImportBundleReport>(at.command(`${scan} --only-look`, '--report', page), {
      env: { SECRET: 'not for others' },
    });
    assert.equal(code, 0);
    const files = (await readFile(path.join(at.dir, 'files'), 'utf8')).trim().split('\n');
    assert.equal(files.shift(), '--only-look');
    assert.equal(files.length, 2);
    const names = (await readFile(path.join(at.dir, 'names'), 'utf8'))
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    assert.deepEqual(names.map(({ repository, path: name }) => `${String(repository)}/${String(name)}`).sort(), [
      'tools/a.txt',
      'tools/b.bin',
      'tools/deep/copy of a.txt',
    ]);
    for (const { file, digest, size } of names) {
      assert.ok(files.includes(String(file)));
      assert.equal(`sha256:${path.basename(String(file))}`, digest);
      assert.equal((await readFile(String(file))).length, size);
    }
    assert.equal(await readFile(path.join(at.dir, 'visible'), 'utf8'), '[]\n');
    const environment = await readFile(path.join(at.dir, 'environment'), 'utf8');
    assert.match(environment, /^AIRLOCK_BUNDLE=airlock-north-000001$/m);
    assert.doesNotMatch(environment, /SECRET|NODE_/);

    assert.equal(json.scan?.files, 2);
    for (const file of files) assert.ok(json.scan?.output.includes(`${path.basename(file)}  ${file}`));
    assert.match(json.scan?.output ?? '', /<b>said aloud<\/b>/);
    assert.match(await readFile(page, 'utf8'), /&lt;b&gt;said aloud&lt;\/b&gt;/);
    assert.deepEqual(await at.site.published(), await at.station.published());

    // All is there: there is nothing to look at.
    const again = await airlockJson<ImportBundleReport>(at.command('/bin/false'));
    assert.deepEqual([again.code, again.json.outcome, again.json.scan?.files], [0, 'present', 0]);
  });

  test('that does not accept: nothing lands, and what it said is told', async (t) => {
    const at = await scanned(t);
    const scan = await at.scanner(
      'for n in 1 2 3 4 5 6 7 8; do echo "line $n"; done',
      "printf '\\033[2Jevil: FOUND\\n'",
      'exit 1',
    );
    const { code, json, stderr } = await airlockJson<{ error: { code: string; details: Record<string, unknown> } }>(
      at.command(scan),
    );
    assert.deepEqual([code, json.error.code], [7, 'scan.refused']);
    assert.match(stderr, /exit code 1/);
    assert.match(stderr, /line 8\n.*evil: FOUND/);
    assert.ok(!stderr.includes('\u001b') && !stderr.includes('line 2'));
    assert.match(String(json.error.details.output), /^line 1\n/);
    // It need not be read again, and is shown to the next scanner all the same.
    const other = await airlockJson<{ error: { code: string } }>(at.command('/bin/false'));
    assert.deepEqual([other.code, other.json.error.code], [7, 'scan.refused']);
    const text = await airlock(at.command(await at.scanner('echo fine')));
    assert.equal(text.code, 0, text.stderr);
    assert.match(text.stdout, /2 new files \(.*\) accepted by .*, which said:\n {4}fine\n/);
    assert.deepEqual(await at.site.published(), await at.station.published());
  });

  test('that was killed', async (t) => {
    const at = await scanned(t);
    const { code, stderr } = await airlock(at.command(await at.scanner('kill -9 $$')));
    assert.equal(code, 7);
    assert.match(stderr, /ended by SIGKILL.*It said nothing/);
    await assertNothingLanded(at);
  });

  test('that hangs is ended by Ctrl-C, with its children', async (t) => {
    const at = await scanned(t);
    const scan = await at.scanner("trap '' TERM", 'sleep 1000 & echo $! > "$dir/child"; echo $$ > "$dir/self"; wait');
    const child = startCli(at.command(scan));
    const result = ended(child);
    const pids = [await until(path.join(at.dir, 'child')), await until(path.join(at.dir, 'self'))];
    child.kill('SIGINT');
    const { code, stderr } = await result;
    assert.equal(code, 5, stderr);
    assert.match(stderr, /error \(interrupted\)/);
    for (const pid of pids) await gone(pid);
    await assertNothingLanded(at);
  });

  test('that leaves a child behind does not hold up the import, nor does the child live on', async (t) => {
    const at = await scanned(t);
    const scan = await at.scanner('sleep 1000 & echo $! > "$dir/child"; exec <&-; echo done');
    const { code, json } = await airlockJson<ImportBundleReport>(at.command(scan));
    assert.deepEqual([code, json.scan?.output], [0, 'done\n']);
    await gone(await until(path.join(at.dir, 'child')));
  });

  test('that talks without end is heard to its end, and stopped when somebody wants it', async (t) => {
    const at = await scanned(t);
    const much = await at.scanner('yes "nothing found so far" | head -c 60000000; echo; echo the end; exit 3');
    const { code, json } = await airlockJson<{ error: { details: Record<string, unknown> } }>(at.command(much));
    const { output, cut } = json.error.details;
    assert.deepEqual([code, cut], [7, true]);
    assert.ok(String(output).length <= limits.scan.output);
    assert.match(String(output), /^nothing found so far\n(.*\n)*the end$/);
    const child = startCli(at.command(await at.scanner('echo $$ > "$dir/self"; exec yes')));
    const result = ended(child);
    const pid = await until(path.join(at.dir, 'self'));
    child.kill('SIGTERM');
    assert.equal((await result).code, 5);
    await gone(pid);
    await assertNothingLanded(at);
  });

  test('that is not there, or cannot be run, is found out before anything is read', async (t) => {
    const at = await scanned(t);
    const plain = path.join(at.dir, 'plain');
    await writeFile(plain, 'no program');
    for (const scan of ['no-such-scanner --fast', plain, at.dir]) {
      const { code, stderr } = await airlock(at.command(scan));
      assert.equal(code, 3, stderr);
      assert.match(stderr, /error \(file\.not-found\): There is no program/);
    }
    for (const scan of ['', ' ', "clamscan 'open", 'clamscan \\']) {
      assert.equal((await airlock(at.command(scan))).code, 2);
    }
    await writeFile(plain, '#!/no/such/interpreter\n');
    await chmod(plain, 0o755);
    const { code, stderr } = await airlock(at.command(plain));
    assert.equal(code, 7, stderr);
    assert.match(stderr, /could not be started/);
    await assertNothingLanded(at);
  });

  for (const [what, line] of [
    [
      'changes a file, and sets its times back',
      'touch -r "$1" "$dir/t"; chmod u+w "$1"; printf X | dd of="$1" conv=notrunc 2>&1; chmod u-w "$1"; touch -r "$dir/t" "$1"',
    ],
    ['deletes a file', 'rm -f "$2"'],
    ['moves a file', 'mv "$1" "$dir/quarantined"'],
    ['puts another file in the place of one', 'cp -p "$1" "$dir/other"; mv -f "$dir/other" "$1"'],
  ] as const) {
    test(`that ${what} is refused, though it accepts`, async (t) => {
      const at = await scanned(t);
      const { code, stderr } = await airlock(at.command(await at.scanner(line)));
      assert.equal(code, 7, stderr);
      assert.match(stderr, /error \(scan\.refused\): .* changed, moved or deleted 1 of the files/);
      await assertNothingLanded(at);
    });
  }

  test('is asked again after a run that was killed before it ended', async (t) => {
    const at = await scanned(t);
    const child = startCli(at.command(await at.scanner('echo $$ > "$dir/self"; exec sleep 1000')));
    const result = ended(child);
    const pid = await until(path.join(at.dir, 'self'));
    child.kill('SIGKILL');
    await result;
    process.kill(Number(pid), 'SIGKILL'); // nobody was left to do it
    assert.deepEqual(await at.site.published(), {});
    const { code } = await airlock(at.command('/bin/false'));
    assert.equal(code, 7);
    await assertNothingLanded(at);
  });

  test('gets many files in several turns; the first refusal ends it', async (t) => {
    const at = await scanned(t);
    await at.station.put('tools', 'c.txt', 'third');
    const stick = path.join(at.dir, 'more');
    await mkdir(stick);
    await at.station.export(stick);
    // Names so long that two of them fill a command.
    const fileOf = (digest: Digest) => `${'/'.repeat(limits.scan.arguments * 0.4)}${blobPath(at.site.dir, digest)}`;
    const turns = async (...lines: string[]) => {
      await rm(path.join(at.dir, 'turns'), { force: true });
      const command = parseCommand(await at.scanner('echo $# >> "$dir/turns"', ...lines));
      const outcome = await at.site.import(stick, { scanner: { command, fileOf } }).then(
        ({ scan }) => scan,
        (error: unknown) => (isAirlockError(error, 'scan.refused') ? error.code : error),
      );
      return [outcome, await readFile(path.join(at.dir, 'turns'), 'utf8')] as const;
    };
    assert.deepEqual(await turns('exit 1'), ['scan.refused', '2\n']);
    assert.deepEqual(await turns('[ $# = 2 ]'), ['scan.refused', '2\n1\n']);
    assert.deepEqual(await at.site.published(), {});
    const [scan, seen] = await turns('echo said');
    assert.deepEqual(seen, '2\n1\n');
    assert.ok(typeof scan === 'object' && scan !== null && 'output' in scan);
    assert.equal(scan.output, 'said\nsaid\n');
  });

  test('gets an image, and not its packages once more', needs(...PACKAGE_TOOLS), async (t) => {
    using vendor = new PackageVendor();
    const packages = vendor.build([
      { name: 'glibc', version: '2.17' },
      { name: '128T', version: '6.2.6', release: '15.sts.el7', tags: ['Requires: glibc'] },
    ]);
    const at = await scanned(t);
    const station = ['--data', at.station.dir];
    for (const args of [
      ['trust', 'vendor-key', 'add', vendor.keyFile],
      ['import', 'iso', 'filepath', vendor.iso(PACKAGE_ISO, packages)],
    ]) {
      const { code, stderr } = await airlock([...station, ...args]);
      assert.equal(code, 0, stderr);
    }
    const stick = path.join(at.dir, 'image');
    await mkdir(stick);
    await at.station.export(stick);
    const scan = await at.scanner('cat > "$dir/names"; for each in "$@"; do echo "$each"; done');
    const { code, json } = await airlockJson<ImportBundleReport>([
      ...['--data', at.site.dir, 'import', 'bundle', stick, '--scan', scan],
    ]);
    assert.equal(code, 0);
    const names = await readFile(path.join(at.dir, 'names'), 'utf8');
    assert.ok(names.includes(PACKAGE_ISO));
    assert.doesNotMatch(names, /\.rpm"/);
    assert.ok(Object.keys(await at.site.published()).filter((name) => name.endsWith('.rpm')).length === 2);
    const files = json.scan?.output.trim().split('\n') ?? [];
    assert.equal(new Set(files).size, json.scan?.files);
    for (const file of files) assert.ok(existsSync(file));
  });
});

describe('the words of a command', () => {
  test('are split as a shell splits them', () => {
    for (const [text, words] of [
      ['clamscan  --infected\t-v ', ['clamscan', '--infected', '-v']],
      [`'a b'"c d"\\ e`, ['a bc d e']],
      [`"say \\"x\\" \\\\ \\n" ''`, ['say "x" \\ \\n', '']],
      ['a;b $HOME `id` *|>', ['a;b', '$HOME', '`id`', '*|>']],
      ['', []],
    ] as const) {
      assert.deepEqual(splitWords(text), words);
    }
    for (const open of [`'`, `a "b`, `\\`, `"\\"`]) assert.throws(() => splitWords(open), coded('usage.invalid'));
  });

  test('come back, however they are quoted', () => {
    const single = (word: string) => `'${word.replaceAll("'", `'\\''`)}'`;
    const double = (word: string) => `"${word.replaceAll(/["\\]/g, '\\$&')}"`;
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.string(), fc.boolean())), (words) => {
        const text = words.map(([word, isSingle]) => (isSingle ? single(word) : double(word))).join(' ');
        assert.deepEqual(
          splitWords(text),
          words.map(([word]) => word),
        );
      }),
    );
  });
});
