/** "proxy status" where somebody else answers in place of an Airlock. */
import assert from 'node:assert/strict';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import { limits } from '../../src/limits.ts';
import { airlock } from '../support/cli.ts';
import { tempDir } from '../support/temp-dir.ts';

async function refusalOf(t: TestContext, answer: http.RequestListener): Promise<string> {
  const server = http.createServer(answer).listen(0, '127.0.0.1');
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  await new Promise((resolve) => server.once('listening', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const { code, stderr } = await airlock(['--data', await tempDir(t), 'proxy', 'status', '--url', url]);
  assert.equal(code, 8, stderr);
  assert.ok(stderr.length < 1000);
  assert.match(stderr, /error \(upstream\.failed\)/);
  return stderr;
}

test('a login page', async (t) => {
  const stderr = await refusalOf(t, (_request, response) => response.end('<!doctype html><title>Log in</title>'));
  assert.match(stderr, /What answers at http:\S+ is no Airlock \(no JSON at \/api\/v1\//);
});

test('a body without end is not read', async (t) => {
  const piece = Buffer.alloc(1024 * 1024, ' ');
  const stderr = await refusalOf(t, (_request, response) => {
    const more = () => {
      while (!response.destroyed && response.write(piece));
    };
    response.on('drain', more);
    more();
  });
  assert.match(stderr, new RegExp(`is no Airlock \\(more than ${limits.apiAnswer} bytes`));
});

test('a refusal that says very much', async (t) => {
  await refusalOf(t, (_request, response) => response.writeHead(403).end('no '.repeat(100_000)));
});
