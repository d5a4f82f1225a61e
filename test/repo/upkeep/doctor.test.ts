import assert from 'node:assert/strict';
import path from 'node:path';
import { test } from 'node:test';
import { needs } from '../../support/needs.ts';
import { needsTracing, startTraced } from '../../support/strace.ts';
import { injecting, makeScene } from './support.ts';

test('a blob at which the disk fails is a finding among others', needs('strace'), async (t) => {
  const { dir, runWith, add } = await makeScene(t);
  const blob = await add('one', 'one');
  await add('two', 'two');
  const wrapper = injecting(dir, blob, 'statx,lstat,newfstatat', 'error=EIO');
  const { code, stdout, stderr } = await runWith({ wrapper }, 'doctor');
  assert.equal(code, 4, stderr);
  assert.match(stdout, /error: sha256:[0-9a-f]{64} \(tools\/one\) cannot be read from the disk: check the disk\./);
  assert.match(stdout, /error: The stored blobs cannot all be listed\. The disk fails at /);
  assert.match(stdout, /^2 blobs/m);
});

test('stopped, it ends soon', needsTracing(), async (t) => {
  const { dir, data, add } = await makeScene(t);
  const blob = await add('one', 'one');
  await add('two', 'two');
  const hold = ['-P', blob, '-e', 'trace=statx', '-e', 'inject=statx:signal=SIGSTOP:when=1'];
  const running = await startTraced(['--data', data, 'doctor'], path.join(dir, 'trace'), hold, 'pool');
  t.after(() => running.child.kill('SIGKILL'));
  await running.stopped();
  running.child.kill('SIGTERM');
  running.child.kill('SIGCONT');
  const { code, stderr, stdout } = await running.result;
  assert.deepEqual([code, stdout], [5, ''], stderr);
});
