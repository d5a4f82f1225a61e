import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { airlock, startServer } from '../support/cli.ts';
import { tempDir } from '../support/temp-dir.ts';

/** The file, in a folder of its own. */
async function configFile(t: TestContext, text: string): Promise<string> {
  const file = path.join(await tempDir(t), 'airlock.yaml');
  await writeFile(file, text);
  return file;
}

describe('variables of the environment', () => {
  const print = (file: string, env: Record<string, string>) => airlock(['--config', file, 'config', 'print'], { env });

  test('count more than the file, and less than a flag', async (t) => {
    const file = await configFile(t, 'log: { level: warn, maxFiles: 3 }\nofflineMode: true\n');
    const { stdout } = await print(file, {
      AIRLOCK_LOG_LEVEL: 'debug',
      AIRLOCK_OFFLINE_MODE: 'false',
      AIRLOCK_CACHE_FRESH_LISTINGS: '2min',
      AIRLOCK_DOWNLOAD_ATTEMPTS: '7',
      AIRLOCK_CONDUCTORS: 'http://a:8480, http://b:8480',
      AIRLOCK_LISTEN: '127.0.0.1:1',
      AIRLOCK_MEMORY_CACHE: '',
    });
    assert.match(stdout, /^listen: 127\.0\.0\.1:1$/m);
    assert.match(stdout, /level: debug\n(?:.*\n)* {2}maxFiles: 3/);
    assert.match(stdout, /^offlineMode: false$/m);
    assert.match(stdout, /listings: 2min/);
    assert.match(stdout, /attempts: 7/);
    assert.match(stdout, /conductors:\n {2}- http:\/\/a:8480\n {2}- http:\/\/b:8480/);
    assert.match(stdout, /memoryCache: 32MiB/);
    const server = await startServer(t, await tempDir(t), { env: { AIRLOCK_LISTEN: '127.0.0.1:1' } });
    assert.doesNotMatch(server.url, /:1$/, '--listen was given');
  });

  test('name another file', async (t) => {
    const env = { AIRLOCK_CONFIG: await configFile(t, 'listen: 127.0.0.1:4711\n') };
    assert.match((await airlock(['config', 'print'], { env })).stdout, /^listen: 127\.0\.0\.1:4711$/m);
  });

  test('are named where they are wrong', async (t) => {
    const file = await configFile(t, 'listen: 0.0.0.0:1\nprune: { grace: 5 }\nlog: 7\n');
    const { code, stderr } = await print(file, {
      AIRLOCK_LISTEN: 'here',
      AIRLOCK_OFFLINE_MODE: 'maybe',
      AIRLOCK_LOG_LEVEL: 'info',
    });
    assert.equal(code, 2);
    assert.match(stderr, /AIRLOCK_LISTEN: listen: is not an address/);
    assert.match(stderr, /AIRLOCK_OFFLINE_MODE: offlineMode: /);
    assert.match(stderr, /airlock\.yaml:2: prune\.grace/);
    assert.match(stderr, /airlock\.yaml:3: log: /);
  });

  for (const [variable, nearest] of [
    ['AIRLOCK_LOG_LEVLE', 'AIRLOCK_LOG_LEVEL'],
    ['AIRLOCK_LISTN', 'AIRLOCK_LISTEN'],
    ['AIRLOCK_OFFLINEMODE', 'AIRLOCK_OFFLINE_MODE'],
    ['AIRLOCK_CACHE_PLACE', 'AIRLOCK_CACHE_S'],
  ]) {
    test(`${variable} is none, and might be meant as one`, async (t) => {
      const { code, stderr } = await print(await configFile(t, ''), { [variable ?? '']: 'x' });
      assert.equal(code, 2);
      assert.match(stderr, new RegExp(`${variable}: there is no such key; the nearest is ${nearest}`));
    });
  }

  test('of others are no matter', async (t) => {
    const upstream = '{ url: "https://a.example", password: { env: AIRLOCK_LOG_SECRET } }';
    const file = await configFile(t, `upstreams: { ssr: ${upstream} }\n`);
    const env = { AIRLOCK_PORT: 'tcp://10.0.0.1:8480', AIRLOCK_SERVICE_HOST: '10.0.0.1', AIRLOCK_LOG_SECRET: 'x' };
    const { code, stdout, stderr } = await print(file, { ...env, AIRLOCK_DEBUG: '1' });
    assert.equal(code, 0, stderr);
    assert.doesNotMatch(stdout, /10\.0\.0\.1/);
  });
});
