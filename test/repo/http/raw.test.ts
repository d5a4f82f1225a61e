import assert from 'node:assert/strict';
import net from 'node:net';
import { describe, type TestContext, test } from 'node:test';
import type { RunningServer } from '../../../src/repo/http/server.ts';
import { exchangeRaw, metric, TestRepository, testBytes, until } from './support.ts';

const body = testBytes(2000);
const large = testBytes(3_000_000, 2);

async function start(t: TestContext, limits: Record<string, number> = {}): Promise<RunningServer> {
  const repository = await TestRepository.make(t);
  await repository.put('files/f/body.bin', body);
  await repository.put('files/f/large.bin', large);
  return await repository.serve(t, { limits });
}

const GET = 'GET /repos/files/f/body.bin HTTP/1.1\r\nHost: x\r\n';
const statuses = (answer: string) => [...answer.matchAll(/HTTP\/1\.1 (\d{3})/g)].map(([, status]) => Number(status));

describe('malformed requests are answered 400 and the connection is closed', () => {
  const cases: Record<string, string> = {
    'Content-Length with Transfer-Encoding': `${GET}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    'two lengths': `${GET}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!`,
    'length that is no number': `${GET}Content-Length: +5\r\n\r\nhello`,
    'chunked not last': `${GET}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n`,
    'bare CR in a value': `${GET}X-A: 1\rX-B: 2\r\n\r\n`,
    'bare CR as line end': 'GET /repos/ HTTP/1.1\rHost: x\r\r',
    'space before the colon': `${GET}X-A : 1\r\n\r\n`,
    'folded field': `${GET}X-A: 1\r\n 2\r\n\r\n`,
    'NUL in a value': `${GET}X-A: a\0b\r\n\r\n`,
    'no Host': 'GET /repos/ HTTP/1.1\r\n\r\n',
    'HTTP/2 preface': 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
    'not HTTP': '\x16\x03\x01\x02\x00\x01\x00\x01\xfc',
    'control character in the target': 'GET /repos/\x01 HTTP/1.1\r\nHost: x\r\n\r\n',
  };
  for (const [name, request] of Object.entries(cases)) {
    test(name, async (t) => {
      const server = await start(t);
      const answer = await exchangeRaw(server.port, Buffer.from(request + GET, 'latin1'));
      assert.deepEqual(statuses(answer), [400]);
      assert.match(answer, /connection: close/i);
    });
  }

  test('too long a head is 431', async (t) => {
    const server = await start(t);
    const answer = await exchangeRaw(server.port, `${GET}X-A: ${'a'.repeat(20_000)}\r\n\r\n`);
    assert.deepEqual(statuses(answer), [431]);
  });
});

test('Host and X-Forwarded-* change nothing', async (t) => {
  const server = await start(t);
  const strip = (answer: string) => answer.replace(/^Date: .*$/gm, '');
  for (const path of ['/repos/files/f', '/repos/files/f/', '/repos/', '/', '/api/v1/openapi.json', '/repos/none']) {
    const ask = (fields: string) =>
      exchangeRaw(server.port, `GET ${path} HTTP/1.1\r\n${fields}\r\nConnection: close\r\n\r\n`);
    const plain = await ask('Host: 127.0.0.1');
    const evil = await ask(
      'Host: evil.example\r\nX-Forwarded-Host: evil.example\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Prefix: /evil\r\nForwarded: host=evil.example',
    );
    assert.equal(strip(evil), strip(plain));
    assert.doesNotMatch(evil, /evil/);
  }
});

test('the absolute form is read as the origin form, whatever host it names', async (t) => {
  const server = await start(t);
  const answer = await exchangeRaw(
    server.port,
    'GET http://evil.example/repos/files/f HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n',
  );
  assert.deepEqual(statuses(answer), [301]);
  assert.match(answer, /^Location: f\/\r$/m);
});

test('only GET, HEAD and OPTIONS are answered', async (t) => {
  const server = await start(t);
  for (const path of ['/repos/files/f/body.bin', '/api/v1/releases', '/', '/nothing']) {
    for (const method of ['POST', 'PUT', 'DELETE', 'PATCH', 'TRACE', 'PROPFIND', 'MKCOL']) {
      const answer = await exchangeRaw(
        server.port,
        `${method} ${path} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}`,
      );
      assert.deepEqual(statuses(answer), [405], `${method} ${path}`);
      assert.match(answer, /^Allow: GET, HEAD, OPTIONS\r$/m);
    }
    const options = await exchangeRaw(server.port, `OPTIONS ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
    assert.deepEqual(statuses(options), [204]);
    assert.match(options, /^Allow: GET, HEAD, OPTIONS\r$/m);
  }
  const tunnel = await exchangeRaw(server.port, 'CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n');
  assert.deepEqual(statuses(tunnel), [405]);
  const all = await exchangeRaw(server.port, 'OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
  assert.deepEqual(statuses(all), [204]);
});

test('a small body of a GET is skipped, a large one ends the connection', async (t) => {
  const server = await start(t);
  const next = `${GET}Connection: close\r\n\r\n`;
  const small = await exchangeRaw(server.port, `${GET}Content-Length: 5\r\n\r\nhello${next}`);
  assert.deepEqual(statuses(small), [200, 200]);
  for (const big of ['Content-Length: 100000000', 'Transfer-Encoding: chunked']) {
    const answer = await exchangeRaw(server.port, `${GET}${big}\r\n\r\n`);
    assert.deepEqual(statuses(answer), [200]);
    assert.match(answer, /^Connection: close\r$/m);
  }
});

test('pipelined requests are answered in order', async (t) => {
  const server = await start(t);
  const paths = ['body.bin', 'none', 'large.bin', 'body.bin', ''];
  const requests = paths.map((path) => `GET /repos/files/f/${path} HTTP/1.1\r\nHost: x\r\n\r\n`).join('');
  const answer = await exchangeRaw(server.port, `${requests}${GET}Connection: close\r\n\r\n`);
  assert.deepEqual(statuses(answer), [200, 404, 200, 200, 200, 200]);
  assert.ok(answer.includes(large.toString('latin1')));
});

test('HTTP/1.0 gets what it can read', async (t) => {
  const server = await start(t);
  for (const path of ['/repos/files/f/body.bin', '/repos/files/f/body.bin', '/repos/files/f/large.bin']) {
    const answer = await exchangeRaw(server.port, `GET ${path} HTTP/1.0\r\n\r\n`);
    assert.match(answer, /^HTTP\/1\.1 200/);
    assert.doesNotMatch(answer, /transfer-encoding/i);
    assert.ok(answer.endsWith((path.includes('large') ? large : body).toString('latin1')));
  }
});

test('whoever asks to close is closed', async (t) => {
  const server = await start(t);
  for (let i = 0; i < 2; i += 1) {
    const answer = await exchangeRaw(server.port, `${GET}Connection: close\r\n\r\n`);
    assert.deepEqual(statuses(answer), [200]);
    assert.match(answer, /^Connection: close\r$/m);
  }
});

test('slow senders are cut while others are served', async (t) => {
  const server = await start(t, { headersTimeout: 400, requestTimeout: 600 });
  const slow = Array.from({ length: 50 }, () => exchangeRaw(server.port, 'GET /repos/ HTTP/1.1\r\nHost: x\r\nX-'));
  const silent = exchangeRaw(server.port, '');
  const dripping = new Promise<string>((resolve) => {
    const socket = net.connect(server.port, '127.0.0.1');
    let answer = '';
    const drip = setInterval(() => socket.write('X-A: 1\r\n'), 50);
    socket.on('data', (chunk) => {
      answer += chunk.toString('latin1');
    });
    socket.on('error', () => undefined);
    socket.on('close', () => {
      clearInterval(drip);
      resolve(answer);
    });
    socket.write('GET /repos/ HTTP/1.1\r\n');
  });
  for (let i = 0; i < 5; i += 1) {
    assert.deepEqual(statuses(await exchangeRaw(server.port, `${GET}Connection: close\r\n\r\n`)), [200]);
  }
  for (const answer of await Promise.all(slow)) assert.deepEqual(statuses(answer), [408]);
  assert.deepEqual(statuses(await dripping), [408]);
  assert.ok(['', '408'].includes(String(statuses(await silent))));
});

test('a client that takes nothing is cut, one that takes little is not', async (t) => {
  const server = await start(t, { idleTimeout: 500 });
  const ask = 'GET /repos/files/f/large.bin HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(8);
  const stuck = net.connect(server.port, '127.0.0.1');
  stuck.on('error', () => undefined);
  stuck.pause();
  stuck.write(ask);

  const slow = net.connect(server.port, '127.0.0.1');
  slow.on('error', () => undefined);
  let taken = 0;
  slow.write(ask);
  const sip = setInterval(() => {
    taken += slow.read(Math.min(400_000, slow.readableLength || 1))?.length ?? 0;
  }, 20);
  slow.on('readable', () => undefined);
  await until('the stuck one is cut', async () => (await metric(server, 'airlock_http_in_flight')) === 1);
  stuck.destroy();
  await until('the slow one has all', () => taken >= 8 * large.length);
  clearInterval(sip);
  slow.destroy();
  await until('no buffers in use', async () => (await metric(server, 'airlock_http_buffer_bytes')) === 0);
});

test('clients that go away in mid-body leave nothing behind', async (t) => {
  const server = await start(t);
  for (let i = 0; i < 20; i += 1) {
    const socket = net.connect(server.port, '127.0.0.1');
    socket.on('error', () => undefined);
    socket.write('GET /repos/files/f/large.bin HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(5));
    await new Promise((resolve) => socket.once('data', resolve));
    socket.destroy();
  }
  await until('nothing in flight', async () => (await metric(server, 'airlock_http_in_flight')) === 1);
  assert.equal(await metric(server, 'airlock_http_buffer_bytes'), 0);
});

test('more connections than allowed are dropped', async (t) => {
  const server = await start(t, { connections: 3 });
  const open = Array.from({ length: 3 }, () => net.connect(server.port, '127.0.0.1'));
  await Promise.all(open.map((socket) => new Promise((resolve) => socket.once('connect', resolve))));
  for (const socket of open) socket.write(`${GET}\r\n`);
  await Promise.all(open.map((socket) => new Promise((resolve) => socket.once('data', resolve))));
  assert.equal(await exchangeRaw(server.port, `${GET}Connection: close\r\n\r\n`), '');
  for (const socket of open) socket.destroy();
  await until('there is room again', async () => {
    return (await exchangeRaw(server.port, `${GET}Connection: close\r\n\r\n`)) !== '';
  });
});

describe('paths', () => {
  const cases: [string, number][] = [
    ['/repos/files/f/body.bin', 200],
    ['/repos/files/f/%62ody.bin', 200],
    ['/repos/%66iles/f/body.bin', 200],
    ['/repos//files/f/body.bin', 404],
    ['/repos/files//f/body.bin', 404],
    ['//repos/files/f/body.bin', 404],
    ['/repos/files/f/body.bin/', 404],
    ['/repos/files/f//', 404],
    ['/repos/files/F/body.bin', 404],
    ['/repos/../repos/files/f/body.bin', 400],
    ['/repos/./files/f/body.bin', 400],
    ['/repos/files/f/..', 400],
    ['/repos/files/f/../', 400],
    ['/repos/files/%2e%2e/files/f/body.bin', 400],
    ['/repos/files/.%2E/', 400],
    ['/repos/files%2ff/body.bin', 400],
    ['/repos/files/f%5Cbody.bin', 400],
    ['/repos/files/f\\body.bin', 400],
    ['/repos/files/f/body.bin%00', 400],
    ['/repos/files/f/body.bin%0d%0aX:1', 400],
    ['/repos/files/f/%zz', 400],
    ['/repos/files/f/%', 400],
    ['/repos/files/f/%ff', 400],
    ['/repos/files/f/%c0%ae%c0%ae', 400],
    ['/repos/files/f/body.bin#x', 400],
    ['/repos/files/f/%252e%252e', 404],
    [`/repos/files/${'a'.repeat(2000)}`, 400],
    [`/repos/files/${'a/'.repeat(50)}a`, 400],
    ['/repos/none/', 404],
    ['/repos/none', 404],
    ['/reposx', 404],
    ['/repos/files/f', 301],
    ['/repos/files', 301],
    ['/repos', 301],
    ['/etc/passwd', 404],
    ['/%', 404],
    ['*', 404],
  ];
  for (const [path, status] of cases) {
    test(`${path.slice(0, 60)} → ${status}`, async (t) => {
      const server = await start(t);
      for (const round of ['cold', 'warm']) {
        const answer = await exchangeRaw(server.port, `GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
        assert.deepEqual(statuses(answer), [status], `${round}: ${answer.slice(0, 300)}`);
      }
    });
  }
});

test('errors are JSON, HTML or text as the client likes, and never tell where files lie', async (t) => {
  const server = await start(t);
  const ask = async (accept: string) => {
    return await fetch(new URL('/repos/files/%3Cb%3E', server.url), { headers: { accept } });
  };
  const json = await ask('*/*');
  assert.equal(json.headers.get('content-type'), 'application/json; charset=utf-8');
  const { error } = (await json.json()) as { error: { code: string; message: string; details: object } };
  assert.equal(error.code, 'path.not-found');
  assert.deepEqual(Object.keys(error), ['code', 'message', 'details']);
  const html = await ask('text/html,application/xhtml+xml,*/*;q=0.8');
  assert.equal(html.headers.get('content-type'), 'text/html; charset=utf-8');
  assert.match(await html.text(), /<h1>404 Not Found<\/h1>/);
  const text = await ask('text/plain');
  assert.equal(text.headers.get('content-type'), 'text/plain; charset=utf-8');
  assert.doesNotMatch(await text.text(), /[<{]/);
});
