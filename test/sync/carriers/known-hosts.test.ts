import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { KnownHosts, knownName } from '../../../src/sync/carriers/known-hosts.ts';
import { needs } from '../../support/needs.ts';
import { keygen, publicKey } from '../../support/ssh-server.ts';
import { tempDir } from '../../support/temp-dir.ts';

const PATTERNS = [
  'h.example',
  'H.Example,other',
  '*.example',
  '*',
  '?.example',
  '*,!h.example',
  '!h.example,*',
  '!h.example',
  '[h.example]:2222',
  '[*]:2222',
  '10.0.0.*',
  '*.*.*.*',
  'h.exampl',
  '*h*e*x*',
  '[2001:db8::1]:2222',
  '2001:db8::1',
  '|1|nonsense',
  '|2|a|b',
];
const HOSTS: [string, number][] = [
  ['h.example', 22],
  ['h.example', 2222],
  ['other', 22],
  ['10.0.0.7', 22],
  ['2001:db8::1', 22],
  ['2001:db8::1', 2222],
  ['x', 22],
];

test('lines speak of the hosts that ssh-keygen finds them for', needs('ssh-keygen=openssh-client'), async (t) => {
  const dir = await tempDir(t);
  keygen(path.join(dir, 'key'), 'ed25519');
  const key = publicKey(path.join(dir, 'key'));
  const wire = Buffer.from(key.split(' ')[1] ?? '', 'base64');
  const file = path.join(dir, 'known_hosts');
  writeFileSync(file, `${HOSTS.map((each) => `${knownName(...each)} ${key}`).join('\n')}\n`);
  execFileSync('ssh-keygen', ['-q', '-H', '-f', file], { stdio: 'ignore' });
  const hashed = readFileSync(file, 'utf8').trim().split('\n');
  const lines = [...PATTERNS.map((pattern) => `${pattern} ${key} comment`), ...hashed];
  writeFileSync(file, `${lines.join('\n')}\n`);
  for (const [host, port] of HOSTS) {
    const { stdout } = spawnSync('ssh-keygen', ['-F', knownName(host, port), '-f', file], { encoding: 'utf8' });
    const expected = [...stdout.matchAll(/found: line (\d+)/g)].map(([, number]) => lines[Number(number) - 1]);
    const found = lines.filter((line) => KnownHosts.of(line, { host, port }).judge(wire) === 'known');
    assert.deepEqual(found, expected, knownName(host, port));
    assert.ok(found.length >= 2);
  }
});

test('a line that would take for ever elsewhere takes no time', () => {
  const key = Buffer.concat([Buffer.from([0, 0, 0, 11]), Buffer.from('ssh-ed25519'), Buffer.alloc(36)]);
  const line = `${'*a'.repeat(2000)}b ssh-ed25519 ${key.toString('base64')}`;
  assert.equal(KnownHosts.of(line, { host: 'a'.repeat(2000), port: 22 }).judge(key), 'unknown');
});
