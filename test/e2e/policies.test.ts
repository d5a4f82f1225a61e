/** Policy texts from a stick: imported, compared, served. */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { startServer } from '../support/cli.ts';
import { newConductor } from '../support/conductor.ts';
import { tempDir } from '../support/temp-dir.ts';

interface Listed {
  readonly name: string;
  readonly version: number;
  readonly widening: string | null;
  readonly releases: readonly string[];
  readonly held: { readonly widens: boolean } | null;
}

const policy = (...actions: string[]) =>
  `${JSON.stringify({ Version: '2012-10-17', Statement: [{ Effect: 'Allow', Action: actions, Resource: '*' }] })}`;

test('a policy text becomes versions that are compared, approved and served', async (t) => {
  const conductor = await newConductor(t);
  const stick = await tempDir(t);
  const file = async (name: string, content: string) => {
    await writeFile(path.join(stick, name), content);
    return path.join(stick, name);
  };
  const first = await file('app.txt', policy('ec2:RunInstances'));
  await conductor.done('import', 'policy', 'app', first, 'release', '6.8');
  const second = await file('app.txt', policy('ec2:*'));
  const held = await conductor.done('import', 'policy', 'app', second, '--release', '6.9', '--hold-widening');
  assert.match(held.stdout, /app@2 is held and not published/);
  await conductor.done('import', 'policy', 'page', await file('page', '<script>alert(1)</script>\n'));

  const { server } = await conductor.serve();
  const get = (name: string) => fetch(`${server.url}/repos/policies/${name}`);
  const before = await get('app');
  assert.equal(await before.text(), policy('ec2:RunInstances'));
  assert.equal(before.headers.get('content-type'), 'application/json');
  assert.equal(before.headers.get('cache-control'), 'no-cache');
  assert.equal((await get('app@2')).status, 404);

  const { widening, granted } = await conductor.json<{ widening: string; granted: string[] }>(
    'policy',
    'diff',
    'app',
    'app@2',
  );
  assert.deepEqual([widening, granted], ['yes', ['ec2:*']]);
  await conductor.done('policy', 'approve', 'app@2');
  assert.equal(await (await get('app')).text(), policy('ec2:*'));
  const version = await get('app@1');
  assert.equal(await version.text(), policy('ec2:RunInstances'));
  assert.match(version.headers.get('cache-control') ?? '', /immutable/);
  const page = await get('page');
  assert.equal(page.headers.get('content-type'), 'text/plain; charset=utf-8');
  assert.equal(page.headers.get('x-content-type-options'), 'nosniff');
  await server.stop();

  const listed = await conductor.json<Listed[]>('policy', 'list', '--release', '6.9');
  assert.deepEqual(
    listed.map(({ name, version: number, widening: wider, held: hold }) => [name, number, wider, hold]),
    [['app', 2, 'yes', null]],
  );
  assert.match((await conductor.done('policy', 'list')).stdout, /app@1 .* 6\.8/);
  assert.equal((await conductor.done('policy', 'show', 'app@1')).stdout, `${policy('ec2:RunInstances')}\n`);
  assert.equal((await conductor.refuses(3, 'policy', 'show', 'other')).code, 'policy.not-found');
  assert.equal((await conductor.refuses(3, 'policy', 'approve', 'app@7')).code, 'policy.not-found');
  assert.equal((await conductor.refuses(2, 'policy', 'show', 'app@x')).code, 'usage.invalid');
});

test('lint tells what AWS would refuse, of files and of what is here', async (t) => {
  const conductor = await newConductor(t);
  const stick = await tempDir(t);
  const bad = path.join(stick, 'bad.json');
  await writeFile(bad, policy('ec2RunInstances'));
  const { code, stdout } = await conductor.run('policy', 'lint', bad);
  assert.equal(code, 4);
  assert.match(stdout, /error \(action\).*"ec2RunInstances" can match no action/);
  assert.match((await conductor.done('import', 'policy', 'bad', bad)).stdout, /published[\s\S]*error \(action\)/);
  assert.equal((await conductor.run('policy', 'lint', 'bad@1')).code, 4);
  const empty = path.join(stick, 'empty.json');
  await writeFile(empty, '');
  assert.equal((await conductor.refuses(4, 'import', 'policy', 'empty', empty)).code, 'policy.empty');
  await conductor.done('import', 'policy', 'empty', empty, 'force');
  await writeFile(`${bad}.sha256sum`, `${'0'.repeat(64)}  bad.json\n`);
  assert.equal((await conductor.refuses(4, 'import', 'policy', 'other', bad)).code, 'checksum.mismatch');
});

test('policies come back when the catalog is made anew', async (t) => {
  const conductor = await newConductor(t);
  const file = path.join(await tempDir(t), 'app.txt');
  await writeFile(file, policy('ec2:RunInstances'));
  await conductor.done('import', 'policy', 'app', file, 'release', '6.8');
  const before = await conductor.json('policy', 'list');
  await conductor.done('doctor', '--rebuild-catalog');
  assert.deepEqual(await conductor.json('policy', 'list'), before);
  const server = await startServer(t, conductor.data);
  assert.equal((await fetch(`${server.url}/repos/policies/app`)).headers.get('content-type'), 'application/json');
});
