import assert from 'node:assert/strict';
import test from 'node:test';
import { AirlockError } from '../../../src/errors.ts';
import { quote } from '../../../src/repo/formats/quote.ts';
import {
  describeRelease,
  describeReleases,
  parseRelease,
  parseReleases,
  requireReleases,
} from '../../../src/repo/formats/releases/release.ts';

test('the JSON of a file', () => {
  assert.deepEqual(describeRelease('128T-5.4.0-104.el7.OTP.v1.x86_64.iso.sha256sum.asc'), {
    input: '128T-5.4.0-104.el7.OTP.v1.x86_64.iso.sha256sum.asc',
    ok: true,
    vendor: 'ssr',
    product: '128T',
    major: 5,
    minor: 4,
    patch: 0,
    build: 104,
    milestone: null,
    dist: 'el7',
    arch: 'x86_64',
    kind: 'package',
    form: 'iso',
    sidecar: 'sha256sum.asc',
  });
});

test('the JSON of an Aviatrix release and of nonsense', () => {
  const nothing = {
    ...{ vendor: null, product: null, major: null, minor: null, patch: null, build: null, milestone: null },
    ...{ dist: null, arch: null, kind: null, form: null, sidecar: null },
  };
  assert.deepEqual(describeReleases(['UserConnect-6.6.123 (6.5,6.6)', '7.1.XXXX', '']), [
    {
      ...nothing,
      ...{ input: 'UserConnect-6.6.123 (6.5,6.6)', ok: true, vendor: 'aviatrix', product: 'UserConnect' },
      ...{ major: 6, minor: 6, build: 123, form: 'version' },
    },
    { ...nothing, input: '7.1.XXXX', ok: false },
    { ...nothing, input: '', ok: false },
  ]);
});

function vendors(...names: string[]): (string | undefined)[] {
  return parseReleases(names).map((release) => release?.vendor);
}

test('a bare X.Y.Z is Session Smart unless the other names given are Aviatrix', () => {
  assert.equal(parseRelease('6.5.100')?.vendor, 'ssr');
  assert.deepEqual(vendors('6.5.100', '6.8.1148'), ['ssr', 'ssr']);
  assert.deepEqual(vendors('6.5.100', 'UserConnect-6.6.123'), ['aviatrix', 'aviatrix']);
  assert.deepEqual(vendors('6.5-1804.1922', '6.5.2608'), ['aviatrix', 'aviatrix']);
  assert.deepEqual(vendors('6.3.0', '6.3.0-107r1'), ['ssr', 'ssr']);
  assert.deepEqual(vendors('6.3.0', '6.3.0-107r1', 'UserConnect-6.6.123'), ['ssr', 'ssr', 'aviatrix']);
  assert.deepEqual(vendors('6.5.100', 'nonsense', 'R6.4.2776'), ['aviatrix', undefined, 'aviatrix']);
  assert.deepEqual(vendors('SSR-6.3.0', 'R6.4.2776'), ['ssr', 'aviatrix']);
  assert.deepEqual(describeReleases(['6.5.100', 'R6.4.2776'])[0], {
    ...describeRelease('R6.5.100'),
    input: '6.5.100',
  });
});

test('names that cannot be read are named, and nothing in them reaches a terminal', () => {
  const bad = '\u001b[31m\u202e7.1.XXXX';
  assert.throws(
    () => requireReleases(['6.3.0', bad, 'x'.repeat(300)]),
    (error) => {
      assert.ok(error instanceof AirlockError);
      assert.equal(error.code, 'release.unparsable');
      assert.equal(error.exitCode, 4);
      assert.match(error.message, /"\\u001b\[31m\\u202e7\.1\.XXXX"/);
      assert.match(error.message, /"x{100}…"/);
      assert.match(error.message, /Write versions as/);
      assert.deepEqual(error.details.names, [bad, 'x'.repeat(300)]);
      return true;
    },
  );
  assert.throws(() => requireReleases(Array(1000).fill('?')), /and 990 more/);
  assert.equal(quote('6.3.0'), '"6.3.0"');
});
