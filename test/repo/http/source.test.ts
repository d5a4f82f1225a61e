/** Content from a source that is not a repository: slow, of unknown size or digest, failing at its end. */
import assert from 'node:assert/strict';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import { AirlockError } from '../../../src/errors.ts';
import type { ArtifactFacts, ArtifactSource, OpenArtifact, OpenOptions } from '../../../src/repo/artifact-source.ts';
import { BufferPool } from '../../../src/repo/http/buffer-pool.ts';
import { answerContent } from '../../../src/repo/http/content.ts';
import { answerError } from '../../../src/repo/http/error-answer.ts';
import type { Exchange } from '../../../src/repo/http/exchange.ts';
import { testBytes, until } from './support.ts';

const bytes = testBytes(1_000_000);
const pool = new BufferPool();

/** Gives its bytes in small parts, as they come from far away. */
class FillingSource implements ArtifactSource {
  readonly opened: (OpenOptions | undefined)[] = [];
  readonly #facts: Partial<ArtifactFacts>;
  readonly #part: (position: number) => Promise<number>;
  closed = 0;

  constructor(facts: Partial<ArtifactFacts>, part: (position: number) => Promise<number> = async () => 7000) {
    this.#facts = facts;
    this.#part = part;
  }

  async open(path: string, options?: OpenOptions): Promise<OpenArtifact | undefined> {
    if (path !== 'x') return undefined;
    this.opened.push(options);
    return {
      facts: {
        name: 'x.rpm',
        digest: null,
        size: null,
        modified: null,
        etag: null,
        freshness: 'revalidate',
        verification: 'unverified',
        ...this.#facts,
      },
      headers: ['X-Cache', 'MISS', 'Age', '3'],
      readAt: async (into, position) => {
        const length = Math.min(into.length, bytes.length - position, await this.#part(position));
        return bytes.copy(into, 0, position, position + length);
      },
      close: async () => {
        this.closed += 1;
      },
    };
  }
}

async function serve(t: TestContext, source: ArtifactSource): Promise<string> {
  const server = http.createServer((request, response) => {
    const exchange: Exchange = { request, response, started: 0, remote: '', kind: 'content', bytes: 0 };
    answerContent(source, (request.url ?? '').slice(1), exchange, pool)
      .then((isThere) => isThere || answerError(exchange, new AirlockError('path.not-found', 'no')))
      .catch((error: unknown) => answerError(exchange, error));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

test('content of unknown size comes whole, without ranges', async (t) => {
  const source = new FillingSource({});
  const url = await serve(t, source);
  const answer = await fetch(`${url}/x`, { headers: { range: 'bytes=0-9' } });
  assert.equal(answer.status, 200);
  assert.equal(answer.headers.get('transfer-encoding'), 'chunked');
  assert.equal(answer.headers.get('accept-ranges'), 'none');
  assert.equal(answer.headers.get('etag'), null);
  assert.equal(answer.headers.get('x-cache'), 'MISS');
  assert.equal(answer.headers.get('x-verification'), 'unverified');
  assert.ok(Buffer.from(await answer.arrayBuffer()).equals(bytes));
  assert.equal((await fetch(`${url}/y`)).status, 404);
  assert.equal(source.closed, 1);
});

test('short reads are joined, and ranges told to the source before it knows anything', async (t) => {
  const source = new FillingSource({ size: bytes.length, etag: 'W/"upstream"' });
  const url = await serve(t, source);
  for (const [range, hint, start, end] of [
    ['bytes=10-99999', { start: 10, end: 100_000 }, 10, 100_000],
    ['bytes=-5', { suffix: 5 }, bytes.length - 5, bytes.length],
    ['bytes=999990-', { start: 999_990 }, 999_990, bytes.length],
  ] as const) {
    const answer = await fetch(`${url}/x`, { headers: { range } });
    assert.equal(answer.status, 206);
    assert.ok(Buffer.from(await answer.arrayBuffer()).equals(bytes.subarray(start, end)));
    assert.deepEqual(source.opened.at(-1)?.range, hint);
  }
  const cached = await fetch(`${url}/x`, { headers: { 'if-none-match': '"upstream"' } });
  assert.equal(cached.status, 304);
  assert.equal(cached.headers.get('x-cache'), 'MISS');
  await fetch(`${url}/x`, { method: 'HEAD' });
  assert.equal(source.opened.at(-1)?.factsOnly, true);
  assert.equal(source.closed, source.opened.length);
});

test('a failure before the first byte is an error, one at the end cuts the connection', async (t) => {
  const lost = () => Promise.reject(new AirlockError('source.lost', 'The upstream went away.'));
  const atOnce = await fetch(`${await serve(t, new FillingSource({ size: bytes.length }, lost))}/x`);
  assert.equal(atOnce.status, 502);

  const unproven = (position: number) => (position < 900_000 ? Promise.resolve(7000) : lost());
  for (const size of [bytes.length, null]) {
    const source = new FillingSource({ size }, unproven);
    const answer = await fetch(`${await serve(t, source)}/x`);
    assert.equal(answer.status, 200);
    await assert.rejects(answer.arrayBuffer());
    await until('closed', () => source.closed === 1);
  }
  const short = new FillingSource({ size: bytes.length + 1 });
  await assert.rejects((await fetch(`${await serve(t, short)}/x`)).arrayBuffer());
  await until('all buffers are back', () => pool.inUse === 0);
});

test('a source that is slow to give learns that the client is gone', async (t) => {
  let signal: AbortSignal | undefined;
  const source = new FillingSource({ size: bytes.length }, (position) => {
    if (position < 100_000) return Promise.resolve(7000);
    signal = source.opened.at(-1)?.signal;
    return new Promise((_resolve, reject) => signal?.addEventListener('abort', () => reject(new Error('gone'))));
  });
  const url = await serve(t, source);
  const request = http.get(`${url}/x`, (response) => {
    response.once('data', () => response.destroy());
  });
  request.on('error', () => undefined);
  await until('closed', () => source.closed === 1);
  assert.equal(signal?.aborted, true);
  await until('all buffers are back', () => pool.inUse === 0);
});
