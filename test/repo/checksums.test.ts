import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, test } from 'node:test';
import fc from 'fast-check';

import { isAirlockError } from '../../src/errors.ts';
import { limits } from '../../src/limits.ts';
import type { Digest } from '../../src/repo/blobs/blob-store.ts';
import { digestFor, parseChecksumFile } from '../../src/repo/formats/checksums.ts';
import { needs } from '../support/needs.ts';

const A = 'a1'.repeat(32);
const B = 'b2'.repeat(32);
const ISO = 'SSR-6.3.0-107.r1.el7.x86_64.ibu-v1.iso';

function parse(text: string) {
  return parseChecksumFile(Buffer.from(text)).lines;
}

function line(hex: string, name: string | null) {
  return { digest: `sha256:${hex}`, name };
}

function refused(content: string | Uint8Array, message: RegExp): void {
  assert.throws(
    () => parseChecksumFile(Buffer.from(content)),
    (error) => isAirlockError(error, 'checksum.invalid') && message.test(error.message),
  );
}

describe('a bare digest', () => {
  const forms: Record<string, string> = {
    'exactly 64 bytes, as a vendor publishes it': A,
    'with a line end': `${A}\n`,
    'with CRLF': `${A}\r\n`,
    'with a byte order mark': `\uFEFF${A}`,
    'in upper case': A.toUpperCase(),
    'with spaces and blank lines around it': `\n  ${A} \n\n`,
    'below a comment': `# release 6.3\n${A}\n`,
  };
  for (const [name, text] of Object.entries(forms)) {
    test(name, () => assert.deepEqual(parse(text), [line(A, null)]));
  }

  test('is for whatever file it was published with', () => {
    assert.equal(digestFor(parseChecksumFile(Buffer.from(A)), ISO), `sha256:${A}`);
  });

  test('cannot stand among others', () => {
    refused(`${A}\n${B}\n`, /the one in line 1 names no file/);
    refused(`${A}  ${ISO}\n\n${B}\n`, /the one in line 3 names no file/);
  });
});

describe('named lines', () => {
  const forms: Record<string, [string, string]> = {
    'text mode': [`${A}  ${ISO}`, ISO],
    'binary mode': [`${A} *${ISO}`, ISO],
    'one space (BSD -r)': [`${A} ${ISO}`, ISO],
    CRLF: [`${A}  ${ISO}\r`, ISO],
    BSD: [`SHA256 (${ISO}) = ${A}`, ISO],
    'BSD, a name with parentheses': [`SHA256 (a (1) = b.iso) = ${A}`, 'a (1) = b.iso'],
    'openssl 1': [`SHA256(${ISO})= ${A}`, ISO],
    'openssl 3': [`SHA2-256(${ISO})= ${A}`, ISO],
    'upper case': [`${A.toUpperCase()}  ${ISO}`, ISO],
    'a name with spaces': [`${A}  a  b `, 'a  b '],
    'a name that begins with an asterisk': [`${A}  *x`, '*x'],
    'an escaped name': [`\\${A}  a\\nb\\\\c\\rd`, 'a\nb\\c\rd'],
    'an escaped name, BSD': [`\\SHA256 (a\\nb) = ${A}`, 'a\nb'],
    'a backslash in a line that is not escaped': [`${A}  a\\nb`, 'a\\nb'],
    'a name that is a digest': [`${A}  ${B}`, B],
  };
  for (const [title, [text, name]] of Object.entries(forms)) {
    test(title, () => assert.deepEqual(parse(text), [line(A, name)]));
  }

  test('many in one file', () => {
    const file = parseChecksumFile(Buffer.from(`# all\n${A}  one.iso\n\nSHA256 (dir/two.iso) = ${B}\n`));
    assert.deepEqual(file.lines, [line(A, 'one.iso'), line(B, 'dir/two.iso')]);
    assert.equal(digestFor(file, 'one.iso'), `sha256:${A}`);
    assert.equal(digestFor(file, 'two.iso'), `sha256:${B}`);
    assert.equal(digestFor(file, 'three.iso'), undefined);
  });

  test('a name counts by its last segment, whole and exactly', () => {
    const file = parseChecksumFile(Buffer.from(`${A}  ./../../etc/${ISO}\n`));
    assert.equal(digestFor(file, ISO), `sha256:${A}`);
    for (const other of [ISO.toUpperCase(), ISO.slice(1), `x${ISO}`, '', `etc/${ISO}`]) {
      assert.equal(digestFor(file, other), undefined);
    }
  });

  test('a sidecar that names another file does not apply', () => {
    const file = parseChecksumFile(Buffer.from(`${A}  ${ISO.replace('.iso', '.tar')}\n`));
    assert.equal(digestFor(file, ISO), undefined);
  });

  test('two lines for one name', () => {
    const same = parseChecksumFile(Buffer.from(`${A}  x\n${A.toUpperCase()} *dir/x\n`));
    assert.equal(digestFor(same, 'x'), `sha256:${A}`);
    const different = parseChecksumFile(Buffer.from(`${A}  x\n${B}  dir/x\n${B}  y\n`));
    assert.equal(digestFor(different, 'y'), `sha256:${B}`);
    assert.throws(
      () => digestFor(different, 'x'),
      (error) => isAirlockError(error, 'checksum.invalid') && /two different digests for "x"/.test(error.message),
    );
  });
});

describe('what is refused, and with which words', () => {
  test('an empty file', () => refused('', /is empty/));
  test('only comments', () => refused('# nothing\n\n', /no digest in it/));
  test('a captive portal', () => {
    refused('<!DOCTYPE html>\n<html><body>Log in</body></html>', /is a web page/);
    refused('\uFEFF \n<HTML>', /is a web page/);
    refused('<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', /is a web page/);
  });
  test('UTF-16', () => {
    refused(Buffer.from(`\uFEFF${A}\r\n`, 'utf16le'), /UTF-16/);
    refused(Buffer.from(A, 'utf16le'), /is binary/);
  });
  test('an image', () => refused(Buffer.concat([Buffer.from('CD001'), Buffer.alloc(2048)]), /is binary/));
  test('a signature or signed text', () => {
    refused('-----BEGIN PGP SIGNATURE-----\n', /OpenPGP/);
    refused('-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n', /OpenPGP/);
  });

  const others: [string, number][] = [
    ['MD5', 32],
    ['SHA-1', 40],
    ['SHA-224', 56],
    ['SHA-384', 96],
    ['SHA-512', 128],
  ];
  for (const [name, digits] of others) {
    test(`${name}`, () => {
      refused('0f'.repeat(digits / 2), new RegExp(`line 1 .*${name}.*SHA-256`));
      refused(`${A}  x\n${'0f'.repeat(digits / 2)}  y\n`, new RegExp(`line 2 .*${name}`));
      refused(`OTHER (y) = ${'0f'.repeat(digits / 2)}\n`, new RegExp(name));
    });
  }
  test('a digest of the right length, of another kind', () => {
    refused(`BLAKE2s (x) = ${A}\n`, /line 1 holds a digest of kind "BLAKE2s"/);
    assert.equal(parse(`sha256 (x) = ${A}`).length, 1);
  });
  test('a digit missing, a digit too many, a wrong digit', () => {
    refused(A.slice(1), /63 hexadecimal digits/);
    refused(`${A}0`, /65 hexadecimal digits/);
    refused(`${A.slice(1)}g`, /line 1 is "/);
  });
  test('words, with the number of the line', () => {
    refused(`${A}  x\n\nNot Found\n`, /line 3 is "Not Found"; expected/);
    refused('{"errors":[{"status":404}]}', /line 1 is /);
  });
  test('what a terminal would act on is shown escaped', () => {
    refused('\u001b[2Jx\u202ey', /"\\u001b\[2Jx\\u202ey"/);
  });
  test('an unknown escape', () => {
    refused(`\\${A}  a\\tb`, /unknown escape/);
    refused(`\\${A}  a\\`, /unknown escape/);
  });
  test('too many lines, too many bytes', () => {
    const one = `${A}  x\n`;
    assert.equal(parse(one.repeat(limits.checksumLines)).length, limits.checksumLines);
    refused(one.repeat(limits.checksumLines + 1), /more than 10000 lines/);
    refused(Buffer.alloc(limits.checksumFile + 1, '#'), /1048577 bytes/);
    assert.equal(parse(`${'\n'.repeat(limits.checksumFile - 64)}${A}`).length, 1);
  });
});

test('any bytes: lines, or checksum.invalid', () => {
  const anything = fc.oneof(
    fc.uint8Array({ maxLength: 300 }),
    fc
      .string({ unit: fc.constantFrom(...'\\ *()=#\n\r\t/aA0SHA256', A, B), maxLength: 40 })
      .map((text) => Buffer.from(text)),
  );
  fc.assert(
    fc.property(anything, (bytes) => {
      try {
        for (const { digest, name } of parseChecksumFile(bytes).lines) {
          assert.match(digest, /^sha256:[0-9a-f]{64}$/);
          assert.notEqual(name, '');
        }
      } catch (error) {
        assert.ok(isAirlockError(error, 'checksum.invalid'), String(error));
      }
    }),
    { numRuns: 2000 },
  );
});

const fileName = fc
  .string({ unit: 'grapheme', minLength: 1, maxLength: 40 })
  .filter(
    (name) => !/[/\0]/.test(name) && name.isWellFormed() && !name.startsWith('.') && Buffer.byteLength(name) < 200,
  );

test('a name may hold characters that others take for the end of a line', () => {
  const names = ['a\u2028b', '\u2029', '\u0085.iso', '\v.iso'];
  const file = parseChecksumFile(Buffer.from(names.map((name) => `${'0'.repeat(64)}  ${name}\n`).join('')));
  for (const name of names) assert.equal(digestFor(file, name), `sha256:${'0'.repeat(64)}`);
});

test('what coreutils would write is read back', () => {
  fc.assert(
    fc.property(
      fc.uniqueArray(fileName, { minLength: 1, maxLength: 5 }),
      fc.constantFrom('  ', ' *', 'tag'),
      (names, mode) => {
        const digests = names.map((_, index): Digest => `sha256:${index.toString(16).padStart(64, '0')}`);
        const text = names.map((name, index) => coreutilsLine(name, digests[index] ?? 'sha256:', mode)).join('');
        const file = parseChecksumFile(Buffer.from(text));
        for (const [index, name] of names.entries()) assert.equal(digestFor(file, name), digests[index]);
      },
    ),
  );
});

function coreutilsLine(name: string, digest: Digest, mode: string): string {
  const hex = digest.slice('sha256:'.length);
  const escaped = name.replaceAll('\\', '\\\\').replaceAll('\n', '\\n').replaceAll('\r', '\\r');
  const prefix = escaped === name ? '' : '\\';
  return mode === 'tag' ? `${prefix}SHA256 (${escaped}) = ${hex}\n` : `${prefix}${hex}${mode}${escaped}\n`;
}

test('what the real sha256sum and openssl write is read', needs('sha256sum=coreutils', 'openssl'), () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'airlock-checksums-'));
  try {
    const names = ['plain.iso', 'two words', 'new\nline', 'back\\slash', '(1) = x', '*star'];
    for (const name of names) writeFileSync(path.join(folder, name), name);
    const commands = [['sha256sum'], ['sha256sum', '--binary'], ['sha256sum', '--tag']];
    for (const [command = '', ...args] of commands) {
      const file = parseChecksumFile(execFileSync(command, [...args, '--', ...names], { cwd: folder }));
      for (const name of names) assert.ok(digestFor(file, name), `${command} ${args} ${name}`);
    }
    const file = parseChecksumFile(execFileSync('openssl', ['dgst', '-sha256', 'plain.iso'], { cwd: folder }));
    assert.ok(digestFor(file, 'plain.iso'));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
