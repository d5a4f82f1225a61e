/**
 * Against what others write and read: images by xorriso and genisoimage are compared with the tree that they were made
 * of; real images of Debian packages and our own builder's with what xorriso and isoinfo say is in them.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { readdir, readFile, readlink, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type IsoEntry, type IsoImage, openIso } from '../../../src/repo/formats/iso9660/iso-image.ts';
import { openFileSource } from '../../media/byte-sources.ts';
import { buildIso, type IsoTree, symlink } from '../../media/iso-builder.ts';
import { needs } from '../../support/needs.ts';
import { collect, refuses } from './support.ts';

const REAL_IMAGES = {
  '/usr/lib/grub-rescue/grub-rescue-cdrom.iso': 'grub-rescue-pc',
  '/usr/lib/ipxe/ipxe.iso': 'ipxe',
  '/usr/lib/memtest86+/memtest86+x64.iso': 'memtest86+',
  '/usr/lib/memtest86+/memtest86+ia32.iso': 'memtest86+',
};

const deep = process.env.AIRLOCK_DEEP === '1' ? {} : { skip: 'writes 4 GiB: set AIRLOCK_DEEP=1' };

let scratch = '';
let tree = '';
before(() => {
  scratch = mkdtempSync(path.join(tmpdir(), 'airlock-iso-'));
  tree = path.join(scratch, 'tree');
  makeTree(tree);
});
after(() => rmSync(scratch, { recursive: true, force: true }));

/** A tree that makes writers use every feature: long names, many files, deep directories, all sorts of links. */
function makeTree(root: string): void {
  const file = (name: string, content: string | Buffer) => {
    mkdirSync(path.dirname(path.join(root, name)), { recursive: true });
    writeFileSync(path.join(root, name), content);
    utimesSync(path.join(root, name), 1725898694, 1_700_000_000 + name.length);
  };
  file('.treeinfo', '[general]\nversion = 1\n');
  file('README', 'no extension');
  file('empty', '');
  file('two.dots.txt', 'x'.repeat(2047));
  file('exact', Buffer.alloc(2048, 7));
  file('it\'s a "name".txt', 'quotes');
  file('Ünïcödé-€-日本語-😀.txt', 'unicode');
  file(`${'n'.repeat(180)}-and-more-${'m'.repeat(60)}.rpm`, 'long name');
  for (let n = 0; n < 300; n += 1) {
    file(`Packages/package-number-${n}-${'v'.repeat(n % 90)}-1.el9.x86_64.rpm`, Buffer.alloc(n * 37, n));
  }
  file('1/2/3/4/5/6/7/8/9/10/11/12/deep', 'deep');
  file('1/2/3/4/5/6/7/8/also', 'also');
  file('1/2/3/4/5/6/7/eight/nine/ten', 'ten');
  mkdirSync(path.join(root, 'empty-directory'));
  linkSync(path.join(root, 'README'), path.join(root, 'hard-link'));
  const targets = ['README', '../../etc/passwd', '/', '/usr/lib', '.', '..', './x/../y', 'a//b', 't'.repeat(60)];
  for (const [index, target] of targets.entries()) symlinkSync(target, path.join(root, `link-${index}`));
  chmodSync(path.join(root, 'README'), 0o400);
}

/** Runs a tool, in UTC and UTF-8, and gives its standard output. */
function run(command: string, ...args: string[]): string {
  const env = { ...process.env, LC_ALL: 'C.UTF-8', TZ: 'UTC' };
  return execFileSync(command, args, {
    encoding: 'utf8',
    env,
    stdio: 'pipe',
    maxBuffer: 1 << 26,
  });
}

async function withImage<T>(file: string, work: (iso: IsoImage) => Promise<T>, options = {}): Promise<T> {
  const source = await openFileSource(file);
  try {
    return await work(await openIso(source, options));
  } finally {
    await source.close();
  }
}

/** One line for each file on disk: type, path, size, time, target. */
async function linesOnDisk(root: string): Promise<string[]> {
  const lines: string[] = [];
  for (const entry of await readdir(root, { recursive: true, withFileTypes: true })) {
    const absolute = path.join(entry.parentPath, entry.name);
    const name = path.relative(root, absolute);
    if (entry.isDirectory()) lines.push(`directory ${name}`);
    else if (entry.isSymbolicLink()) lines.push(`symlink ${name} -> ${await readlink(absolute)}`);
    else {
      const { size, mtimeMs } = await stat(absolute);
      lines.push(`file ${name} ${size} ${new Date(Math.floor(mtimeMs / 1000) * 1000).toISOString()}`);
    }
  }
  return lines.sort();
}

function lineOf({ type, path: name, size, mtime, target }: IsoEntry): string {
  if (type === 'symlink') return `symlink ${name} -> ${target}`;
  return type === 'file' ? `file ${name} ${size} ${mtime?.toISOString()}` : `${type} ${name}`;
}

/** The image holds exactly the tree on disk, byte for byte; `extra` are paths that the writer adds. */
async function sameAsDisk(file: string, extra: readonly string[] = [], root = tree): Promise<void> {
  await withImage(file, async (iso) => {
    assert.equal(iso.names, 'rock-ridge');
    const entries = (await collect(iso.walk())).filter((entry) => !extra.includes(entry.path));
    // A target may lose an empty component in the way Rock Ridge records it.
    const simple = (lines: string[]) => lines.map((line) => line.replace('a//b', 'a/b'));
    assert.deepEqual(simple(entries.map(lineOf).sort()), simple(await linesOnDisk(root)));
    for (const entry of entries) {
      if (entry.type !== 'file') continue;
      const bytes = await iso.readFile(entry, 1 << 20);
      assert.ok((await readFile(path.join(root, entry.path))).equals(bytes), `content of ${entry.path}`);
    }
  });
}

describe('images by xorriso', needs('xorriso'), () => {
  const make = (name: string, ...options: string[]) => {
    const file = path.join(scratch, name);
    run('xorriso', '-as', 'mkisofs', '-quiet', '-V', 'LABEL', '-o', file, ...options, tree);
    return file;
  };

  test('with Rock Ridge and Joliet', async () => {
    const file = make('x-rj.iso', '-R', '-J', '-joliet-long');
    await sameAsDisk(file);
    await withImage(file, async (iso) => {
      assert.equal(iso.volumeId, 'LABEL');
      assert.equal(iso.hasJoliet, true);
      assert.equal(iso.hasElTorito, false);
    });
  });

  test('with long links and names', async () => {
    const links = path.join(scratch, 'links');
    mkdirSync(links);
    const targets = [
      `${'t'.repeat(250)}/${'u'.repeat(250)}`,
      Array.from({ length: 60 }, (_, n) => `segment${n}`).join('/'),
    ];
    for (const [index, target] of targets.entries())
      symlinkSync(target, path.join(links, `${'x'.repeat(200)}${index}`));
    const file = path.join(scratch, 'x-links.iso');
    run('xorriso', '-as', 'mkisofs', '-quiet', '-R', '-o', file, links);
    await withImage(file, async (iso) => {
      assert.deepEqual(
        (await collect(iso.walk())).map(({ target }) => target),
        targets,
      );
    });
  });

  test('with all that it can record for backups', () => sameAsDisk(make('x-backup.iso', '-R', '--for_backup')));

  test('with deep directories moved to /rr_moved', async () => {
    const file = make('x-moved.iso', '-R', '-rr_reloc_dir', '/rr_moved');
    assert.ok(run('xorriso', '-read_fs', 'ecma119', '-indev', file, '-find', '/').includes('RR_MOVED'));
    await sameAsDisk(file);
  });

  test('with deep directories moved to the root', () => sameAsDisk(make('x-root.iso', '-R', '-rr_reloc_dir', '/')));

  test('with Joliet names', async () => {
    const file = make('x-j.iso', '-J', '-joliet-long', '--norock');
    const names = await withImage(file, async (iso) => (await collect(iso.walk())).map((entry) => `/${entry.path}`), {
      names: 'joliet',
    });
    assert.deepEqual(names.sort(), pathsByXorriso(file, 'norock').sort());
  });

  test('with a file of more than 4 GiB, so of two sections', deep, async () => {
    const big = path.join(scratch, 'big');
    mkdirSync(big);
    const size = 4 * 2 ** 30 + 5;
    writeFileSync(path.join(big, 'large'), 'start');
    truncateSync(path.join(big, 'large'), size);
    const file = path.join(scratch, 'x-big.iso');
    run('xorriso', '-as', 'mkisofs', '-quiet', '-R', '-iso-level', '3', '-o', file, big);
    await sameByLba(file);
    await withImage(file, async (iso) => {
      const entry = await iso.stat('large');
      assert.equal(entry?.size, size);
      assert.equal(iso.extents(entry).length, 1);
    });
    rmSync(file);
  });

  test('with compressed files', async () => {
    const file = path.join(scratch, 'x-z.iso');
    const zeros = path.join(scratch, 'zeros');
    writeFileSync(zeros, Buffer.alloc(1 << 20));
    run(
      'xorriso',
      '-outdev',
      file,
      '-zisofs',
      'default',
      '-map',
      zeros,
      '/zeros',
      '-set_filter',
      '--zisofs',
      '/zeros',
      '--',
    );
    await withImage(file, async (iso) => {
      const entry = await iso.stat('zeros');
      assert.ok(entry);
      await refuses(iso.readFile(entry, 1 << 21), 'iso.invalid', /recorded as zisofs/);
    });
  });
});

describe('images by genisoimage', needs('genisoimage'), () => {
  const make = (name: string, ...options: string[]) => {
    const file = path.join(scratch, name);
    run('genisoimage', '-quiet', '-input-charset', 'utf-8', '-V', 'LABEL', '-o', file, ...options, tree);
    return file;
  };

  test('with Rock Ridge', () => sameAsDisk(make('g-r.iso', '-R'), ['rr_moved']));

  test('with deep directories left where they are', () => sameAsDisk(make('g-d.iso', '-R', '-D')));

  test('with long links are garbled by it, and refused', async () => {
    const links = path.join(scratch, 'garbled');
    mkdirSync(links);
    symlinkSync(Array.from({ length: 60 }, (_, n) => `segment${n}`).join('/'), path.join(links, 'link'));
    const file = path.join(scratch, 'g-garbled.iso');
    run('genisoimage', '-quiet', '-R', '-o', file, links);
    await withImage(file, (iso) => refuses(collect(iso.walk()), 'iso.invalid', /impossible signature "me"/));
  });

  test('with what it adds for Apple', async () => {
    const root = path.join(scratch, 'apple');
    for (let n = 0; n < 40; n += 1) {
      mkdirSync(path.join(root, `folder${n % 3}`), { recursive: true });
      writeFileSync(path.join(root, `folder${n % 3}`, `file-${'x'.repeat(5 * n)}.c`), `${n}`);
    }
    for (const option of ['--apple', '-hfs', '-part']) {
      const file = path.join(scratch, `g${option}.iso`);
      run(
        'genisoimage',
        '-quiet',
        '-R',
        '-V',
        'LABEL',
        '-o',
        file,
        ...(option === '-part' ? ['-hfs'] : []),
        option,
        root,
      );
      await sameAsDisk(file, [], root);
    }
  });

  test('with plain and with Joliet names', needs('isoinfo=genisoimage'), async () => {
    const short = path.join(scratch, 'short');
    for (const name of ['a.txt', 'b', 'Packages/one.rpm', 'Packages/two-1.0.rpm']) {
      mkdirSync(path.dirname(path.join(short, name)), { recursive: true });
      writeFileSync(path.join(short, name), name);
    }
    const file = path.join(scratch, 'g-j.iso');
    run('genisoimage', '-quiet', '-input-charset', 'utf-8', '-J', '-o', file, short);
    for (const [names, option] of [
      ['joliet', '-J'],
      ['plain', '-l'],
    ] as const) {
      const ours = await withImage(file, async (iso) => (await collect(iso.walk())).map((entry) => `/${entry.path}`), {
        names,
      });
      const theirs = run('isoinfo', '-i', file, ...(option === '-J' ? ['-J'] : []), '-f');
      const clean = theirs
        .split('\n')
        .filter(Boolean)
        .map((line) => line.replace(/;1$/, '').replace(/\.$/, ''));
      assert.deepEqual(ours.sort(), clean.sort());
    }
  });
});

describe('real images', () => {
  for (const [file, debian] of Object.entries(REAL_IMAGES)) {
    test(path.basename(file), needs(`${file}=${debian}`, 'xorriso', 'isoinfo=genisoimage'), async () => {
      await sameByLba(file);
      await sameByIsoinfo(file);
      await withImage(file, async (iso) => {
        const source = await openFileSource(file);
        assert.ok(iso.sizeInBytes <= source.size);
        assert.equal(iso.hasElTorito, true);
        const [label] = /Volume id: (.*)/.exec(run('isoinfo', '-d', '-i', file))?.slice(1) ?? [];
        assert.equal(iso.volumeId, label);
        await source.close();
      });
    });
  }
});

describe('images of our own builder', needs('xorriso', 'isoinfo=genisoimage'), () => {
  const input: IsoTree = {
    Packages: Object.fromEntries(Array.from({ length: 100 }, (_, n) => [`package-${n}.rpm`, 'x'.repeat(n * 50)])),
    [`${'long'.repeat(60)}.txt`]: 'long',
    large: 'l'.repeat(10_000),
    up: symlink('../../x'),
    'ü.txt': '',
  };

  test('are read by others as by us', async () => {
    const file = path.join(scratch, 'own.iso');
    writeFileSync(file, buildIso(input, { joliet: true, elTorito: Buffer.alloc(2048), padSectors: 150 }).image);
    await sameByLba(file);
    await sameByIsoinfo(file);
    await withImage(
      file,
      async (iso) => {
        const names = (await collect(iso.walk())).map((entry) => `/${entry.path}`);
        assert.deepEqual(names.sort(), pathsByXorriso(file, 'norock').sort());
      },
      { names: 'joliet' },
    );
  });

  test('with files in sections too', async () => {
    const file = path.join(scratch, 'own-sections.iso');
    writeFileSync(file, buildIso(input, { sectionLimit: 4096 }).image);
    await sameByLba(file);
  });
});

/** Every file begins where xorriso says, and is as long; directories and links are the same. */
async function sameByLba(file: string): Promise<void> {
  const theirs = new Map<string, string>();
  for (const line of run('xorriso', '-indev', file, '-find', '/', '-type', 'f', '-exec', 'report_lba').split('\n')) {
    const [, block, size, name = ''] = /^File data lba: *0 , *(\d+) , *\d+ , *(\d+) , (.*)$/.exec(line) ?? [];
    if (block !== undefined) theirs.set(unquote(name), size === '0' ? '0' : `${size} from ${Number(block) * 2048}`);
  }
  await withImage(file, async (iso) => {
    const entries = await collect(iso.walk());
    const files = entries.filter(({ type }) => type === 'file');
    const place = (entry: IsoEntry) => iso.extents(entry).map(({ start }) => `${entry.size} from ${start}`)[0] ?? '0';
    const ours = new Map(files.map((entry) => [`/${entry.path}`, place(entry)]));
    // xorriso knows the boot catalog, but not as a file.
    for (const name of ours.keys()) if (/\/boot\.cat/.test(name)) ours.delete(name);
    assert.deepEqual([...ours].sort(), [...theirs].sort());
    assert.deepEqual(entries.map((entry) => `/${entry.path}`).sort(), pathsByXorriso(file, 'any').sort());
  });
}

function pathsByXorriso(file: string, names: 'any' | 'norock'): string[] {
  const lines = run('xorriso', '-read_fs', names, '-indev', file, '-find', '/', '-exec', 'echo').split('\n');
  return lines
    .filter((line) => line.startsWith("'"))
    .map(unquote)
    .filter((name) => name !== '/');
}

/** Undoes the quoting of a shell. */
function unquote(text: string): string {
  return text.replace(/'([^']*)'|"([^"]*)"/g, (_, single?: string, double?: string) => single ?? double ?? '');
}

async function sameByIsoinfo(file: string): Promise<void> {
  const listed: string[] = [];
  let directory = '';
  for (const line of run('isoinfo', '-R', '-l', '-i', file).split('\n')) {
    directory = /^Directory listing of (.*)$/.exec(line)?.[1] ?? directory;
    const [, mode, size, block, name] =
      /^(\S)\S+ +\d+ +\d+ +\d+ +(\d+) .*\[ *(\d+) [0-9a-f]+\] {1,2}(.*?) ?$/.exec(line) ?? [];
    if (name === undefined || name === '.' || name === '..') continue;
    if (mode === '-') listed.push(`${directory}${name} ${size} ${Number(size) > 0 ? Number(block) * 2048 : 0}`);
    else listed.push(`${directory}${name}`);
  }
  await withImage(file, async (iso) => {
    const ours = (await collect(iso.walk())).map((entry) => {
      const place = entry.type === 'file' ? ` ${entry.size} ${iso.extents(entry)[0]?.start ?? 0}` : '';
      return `/${entry.path}${entry.type === 'symlink' ? ` -> ${entry.target}` : ''}${place}`;
    });
    assert.deepEqual(ours.sort(), listed.sort());
  });
}
