import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { formatSftpUrl, isSftpUrl, parseSftpUrl } from '../../../src/sync/carriers/sftp-address.ts';
import { failsWith } from '../../conformance/carrier.ts';

test('an address is a user, a host, a port and an absolute path', () => {
  const cases: [string, string, string, number, string][] = [
    ['sftp://u@h/a', 'u', 'h', 22, '/a'],
    ['SFTP://u@H.Example:2222/a/b/', 'u', 'h.example', 2222, '/a/b'],
    ['sftp://u@h', 'u', 'h', 22, '/'],
    ['sftp://a%40b@[2001:DB8::1]:1/x%20y', 'a@b', '2001:db8::1', 1, '/x y'],
    ['sftp://u@h/a/../b', 'u', 'h', 22, '/b'],
  ];
  for (const [text, user, host, port, path] of cases) {
    assert.ok(isSftpUrl(text));
    assert.deepEqual(parseSftpUrl(text), { user, host, port, path }, text);
  }
  assert.ok(!isSftpUrl('/media/stick') && !isSftpUrl('sftp') && !isSftpUrl('./sftp:x/'));
});

test('what is written reads as the same address', () => {
  const segment = fc
    .string({ unit: 'binary', minLength: 1, maxLength: 8 })
    .filter((each) => !/[/\p{Cc}\p{Cs}]|^\.+$/u.test(each));
  const user = fc.string({ minLength: 1, maxLength: 8 });
  const path = fc.array(segment, { minLength: 1, maxLength: 3 }).map((each) => `/${each.join('/')}`);
  const host = fc.constantFrom('h.example', '10.0.0.1', '2001:db8::1');
  fc.assert(
    fc.property(fc.record({ user, host, port: fc.integer({ min: 1, max: 65_535 }), path }), (address) => {
      assert.deepEqual(parseSftpUrl(formatSftpUrl(address)), { ...address });
    }),
  );
});

test('anything else is refused, and a password is not repeated', async () => {
  const wrong = [
    'sftp:',
    'sftp://',
    'sftp://h/a',
    'sftp://u@h/a?b',
    'sftp://u@h/a#b',
    'sftp://u@h/%zz',
    'sftp://u@h/a%00b',
  ];
  for (const text of [...wrong, 'sftp://u@h:99999/x', 'sftp:///a', 'sftp://u%0a@h/x']) {
    await failsWith('usage.invalid', async () => parseSftpUrl(text), text);
  }
  for (const text of ['sftp://u:s3cret@h/a', 'sftp://u:s3cret@h:99999/a']) {
    const error = await failsWith('usage.invalid', async () => parseSftpUrl(text));
    assert.doesNotMatch(error.message, /s3cret/);
  }
});
