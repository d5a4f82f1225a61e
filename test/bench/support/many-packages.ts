/**
 * Any number of packages as vendors make them: with files, dependencies, a changelog, and a payload that does not compress.
 */
import { createCipheriv, createHash } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { SENSE, TAG } from '../../../src/repo/formats/rpm/tags.ts';
import { buildRpm, i18n, int32, type RpmOptions, string, strings } from '../../media/rpm-builder.ts';
import { buildSigned, type Signers } from '../../repo/rpm/signed.ts';
import type { Bench } from './bench.ts';
import { KiB } from './content.ts';

export interface ManyPackages {
  readonly count: number;
  /** Of each payload. */
  readonly kilobytes: number;
  /** Number of the first; the same number gives the same package. Default 1. */
  readonly first?: number;
  /** Default: nobody. */
  readonly signers?: Signers;
}

/** Packages in a folder of the made ones. */
const FOLDER = 1000;

/** Writes packages into folders `0`, `1` … below a folder, at most a thousand into each. @returns their paths */
export async function makePackages(bench: Bench, dir: string, many: ManyPackages): Promise<string[]> {
  const files: string[] = [];
  const { count, kilobytes, first = 1, signers } = many;
  for (let number = first; number < first + count; number += 1) {
    bench.signal.throwIfAborted();
    const folder = path.join(dir, `${Math.floor((number - 1) / FOLDER)}`);
    await mkdir(folder, { recursive: true });
    const options = describe(number, kilobytes * KiB);
    const { file } = signers === undefined ? buildRpm(options) : await buildSigned(options, signers);
    const to = path.join(folder, `${options.name}-${options.version}-1.el7.x86_64.rpm`);
    await writeFile(to, file);
    files.push(to);
  }
  return files;
}

type Described = RpmOptions & { readonly name: string; readonly version: string };

function describe(number: number, bytes: number): Described {
  const name = `part-${String(number).padStart(5, '0')}`;
  const version = `1.${number % 17}`;
  return {
    name,
    version,
    release: '1.el7',
    arch: 'x86_64',
    files: filesOf(name),
    archive: noise(name, bytes),
    compressor: 'none', // nothing here unpacks it
    tags: [
      i18n(TAG.summary, `Part ${number} of the router`),
      i18n(TAG.description, `It routes & forwards <${name}>.\n`.repeat(8)),
      string(TAG.url, `https://vendor.example/${name}`),
      string(TAG.vendor, 'Vendor'),
      string(TAG.packager, 'Release <release@vendor.example>'),
      ...provides(name, version),
      ...requires(number),
      ...changelog(number),
    ],
  };
}

/** Programs, configuration, documentation and what else there is. */
function filesOf(name: string): (readonly [string, number, number])[] {
  const programs = ['', '-ctl', 'd'].map((suffix) => [`/usr/bin/${name}${suffix}`, 0o100755, 0] as const);
  const configuration = ['main', 'log'].map((each) => [`/etc/${name}/${each}.conf`, 0o100644, 1] as const);
  const folders = ['/etc', '/usr/lib64', '/usr/share', '/usr/share/doc'].map(
    (each) => [`${each}/${name}`, 0o040755, 0] as const,
  );
  const library = numbers(30).map((each) => [`/usr/lib64/${name}/module-${each}.so`, 0o100755, 0] as const);
  const documents = numbers(15).map((each) => [`/usr/share/doc/${name}/chapter-${each}.html`, 0o100644, 2] as const);
  return [...programs, ...configuration, ...folders, ...library, ...documents];
}

function provides(name: string, version: string) {
  const others = numbers(6).map((each) => `lib${name}-${each}.so.1()(64bit)`);
  const names = [name, `${name}(x86-64)`, ...others];
  const versions = [`${version}-1.el7`, `${version}-1.el7`, ...others.map(() => '')];
  const flags = versions.map((each) => (each === '' ? 0 : SENSE.equal));
  return [
    strings(TAG.provideName, ...names),
    int32(TAG.provideFlags, ...flags),
    strings(TAG.provideVersion, ...versions),
  ];
}

function requires(number: number) {
  const libc = ['2.2.5', '2.3.4', '2.14', '2.17'].map((each) => `libc.so.6(GLIBC_${each})(64bit)`);
  const libraries = numbers(14).map((each) => `libsystem-${(number + each) % 40}.so.1()(64bit)`);
  const plain = [...libc, ...libraries, '/bin/sh', 'rtld(GNU_HASH)'];
  const names = [...plain, 'openssl', 'systemd', 'rpmlib(CompressedFileNames)'];
  const versions = [...plain.map(() => ''), '1:1.0.2', '219-19', '3.0.4-1'];
  const flags = versions.map((each) => (each === '' ? 0 : SENSE.greater | SENSE.equal));
  return [
    strings(TAG.requireName, ...names),
    int32(TAG.requireFlags, ...flags),
    strings(TAG.requireVersion, ...versions),
  ];
}

function changelog(number: number) {
  const entries = numbers(20);
  return [
    int32(TAG.changelogTime, ...entries.map((each) => 1725883200 - each * 604_800)),
    strings(
      TAG.changelogName,
      ...entries.map((each) => `Release <release@vendor.example> - 1.${number % 17}-${20 - each}`),
    ),
    strings(
      TAG.changelogText,
      ...entries.map((each) => `- Routes ${each} no longer flap\n- Mend <leak> in session ${number}`),
    ),
  ];
}

function numbers(count: number): number[] {
  return Array.from({ length: count }, (_, index) => index);
}

function noise(seed: string, bytes: number): Buffer {
  const key = createHash('sha256').update(seed).digest().subarray(0, 16);
  return createCipheriv('aes-128-ctr', key, Buffer.alloc(16)).update(Buffer.alloc(bytes));
}
