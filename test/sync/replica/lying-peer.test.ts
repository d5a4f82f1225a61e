/** A peer that is not what it should be: refused by name, and nothing of it is visible. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import type http from 'node:http';
import { type TestContext, test } from 'node:test';
import { isAirlockError } from '../../../src/errors.ts';
import { limits } from '../../../src/limits.ts';
import { testArtifact } from '../../support/artifacts.ts';
import { Origin } from '../../support/origin.ts';
import { digestOf, look, Twin } from './twins.ts';

const GOOD = 'good bytes';
const DIGEST = digestOf(GOOD);

interface Lie {
  readonly state?: unknown;
  readonly head?: object;
  readonly lines?: readonly unknown[];
  /** In place of the bytes. */
  readonly blob?: (request: http.IncomingMessage, response: http.ServerResponse) => void;
  readonly size?: number;
}

const LINE = (path = 'x', size = GOOD.length) => ({
  path,
  digest: DIGEST,
  since: 1,
  isOwn: true,
  artifact: testArtifact(0, { digest: DIGEST, size, name: 'x' }),
  within: null,
});

/** A peer with a repository of one file, and one look at it. */
async function lookAt(t: TestContext, lie: Lie) {
  const origin = await Origin.start(t);
  const json = (value: unknown) => (_request: http.IncomingMessage, response: http.ServerResponse) =>
    response.end(`${typeof value === 'string' ? value : JSON.stringify(value)}\n`);
  const mark = { revision: 1, at: 1 };
  const repositories = [{ name: 'files', kind: 'file', ...mark, key: null }];
  origin.files.set('/api/v1/replica', json(lie.state ?? { format: 1, node: 'n', instance: 'i', repositories }));
  const lines = lie.lines ?? [LINE('x', lie.size), { end: 1 }];
  const head = {
    ...{ format: 1, node: 'n', kind: 'file', isVerbatim: false, ...mark, isCommon: true, seen: null, refused: [] },
    ...lie.head,
  };
  const answer = json(
    [head, ...lines].map((line) => (typeof line === 'string' ? line : JSON.stringify(line))).join('\n'),
  );
  const twin = await Twin.start(t);
  const node = 'replica.node';
  await twin.app.catalog.setMeta(node, '0'.repeat(32));
  origin.files.set(`/api/v1/replica/files?from=0&at=0&artifacts=0&node=${'0'.repeat(32)}`, answer);
  origin.files.set(`/api/v1/blobs/${DIGEST}`, lie.blob ?? { bytes: Buffer.from(GOOD), etag: `"${DIGEST}"` });
  const replicator = twin.replicatorOf(origin);
  const error = await look(replicator).then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  const code = isAirlockError(error) ? error.code : error;
  return { twin, code: code ?? replicator.standing.failures[0]?.code, replicator, origin };
}

test('one that tells the truth is believed', async (t) => {
  const { twin, code } = await lookAt(t, {});
  assert.equal(code, undefined);
  assert.deepEqual(await twin.holds(), { 'files/x': DIGEST });
});

test('bytes that are not what was asked for do not come in', async (t) => {
  const endless = (_request: http.IncomingMessage, response: http.ServerResponse) => {
    const piece = Buffer.alloc(64 * 1024);
    const more = () => {
      while (response.write(piece));
      response.once('drain', more);
    };
    more();
  };
  const sized = (bytes: Uint8Array, headers: Record<string, string> = {}) => {
    return (_request: http.IncomingMessage, response: http.ServerResponse) => {
      response.writeHead(200, headers);
      response.end(bytes);
    };
  };
  const lies: readonly (readonly [string, Lie])[] = [
    ['blob.digest-mismatch', { blob: sized(Buffer.from('evil bytes')) }],
    ['upstream.unusable', { blob: endless }],
    ['upstream.unusable', { blob: sized(Buffer.from('longer than it should be')) }],
    ['upstream.unusable', { blob: sized(Buffer.from(GOOD), { etag: `"${digestOf('other')}"` }) }],
    ['upstream.failed', { blob: sized(Buffer.from('short')), size: 10 }],
    ['upstream.unusable', { size: 4 }],
    ['blob.missing', { blob: (_request, response) => response.writeHead(404).end() }],
    ['blob.missing', { blob: (_request, response) => response.writeHead(500).end() }],
  ];
  for (const [expected, lie] of lies) {
    const { twin, code } = await lookAt(t, lie);
    assert.equal(code, expected);
    assert.deepEqual(await twin.holds(), {}, expected);
    assert.equal(await twin.app.catalog.blob(DIGEST), undefined);
  }
});

test('names that are none, and what else cannot be, is refused', async (t) => {
  const entry = LINE();
  const states: unknown[] = [
    'nonsense',
    {},
    { format: 2, node: 'n', instance: 'i', repositories: [] },
    ...['../x', 'A', '', 'a/b', 'x'.repeat(64)].map((name) => ({
      format: 1,
      node: 'n',
      instance: 'i',
      repositories: [{ name, kind: 'file', revision: 1, at: 1, key: null }],
    })),
    `{"format":1,"node":"${'x'.repeat(limits.replica.stateBytes + 100)}`,
  ];
  const lists: unknown[][] = [
    ...['../../etc/passwd', '/etc/passwd', 'a//b', 'a\\b', 'a\0b', 'x/..', ''].map((path) => [LINE(path), { end: 1 }]),
    [entry, entry, { end: 2 }],
    [LINE('y'), LINE('x'), { end: 2 }],
    [entry, { end: 2 }],
    [{ ...entry, digest: digestOf('other') }, { end: 1 }],
    [{ ...entry, digest: 'sha256:../..' }, { end: 1 }],
    [{ ...entry, artifact: undefined }, { end: 1 }],
    ['{"path":'],
    [{ path: 'x', digest: DIGEST }, { end: 1 }],
    ['x'.repeat(limits.replica.line + 100_000)],
  ];
  for (const lie of [...states.map((state) => ({ state })), ...lists.map((lines) => ({ lines }))]) {
    const { twin, code } = await lookAt(t, lie);
    assert.equal(code, 'peer.invalid', JSON.stringify(lie).slice(0, 200));
    assert.deepEqual(await twin.holds(), {});
  }
  for (const lines of [[], [entry]]) {
    const { twin, code } = await lookAt(t, { lines });
    assert.equal(code, 'upstream.failed', 'a listing without its end');
    assert.deepEqual(await twin.holds(), {});
  }
});

test('what cannot be had keeps nothing else from coming, and comes later', async (t) => {
  const other = randomBytes(100);
  const more = {
    ...LINE('y'),
    digest: digestOf(other),
    artifact: testArtifact(0, { digest: digestOf(other), size: 100 }),
  };
  const { twin, code, replicator, origin } = await lookAt(t, { lines: [LINE(), more, { end: 2 }] });
  assert.equal(code, 'blob.missing');
  assert.deepEqual(await twin.holds(), { 'files/x': DIGEST });
  origin.files.set(`/api/v1/blobs/${digestOf(other)}`, { bytes: other });
  const [[, listing] = []] = [...origin.files].filter(([at]) => at.includes('/replica/files'));
  if (listing !== undefined) {
    const at = `/api/v1/replica/files?from=1&at=1&artifacts=0&node=${'0'.repeat(32)}`;
    origin.files.set(at, listing);
  }
  await look(replicator);
  assert.deepEqual(await twin.holds(), { 'files/x': DIGEST, 'files/y': digestOf(other) });
  assert.deepEqual(replicator.standing.failures, []);
});

test('a server that is its own peer is told so', async (t) => {
  const { twin } = await lookAt(t, {});
  const { instance } = (await (await fetch(`${twin.server.url}/api/v1/replica`)).json()) as { instance: string };
  const replicator = twin.replicatorOf(twin.server, instance);
  await assert.rejects(look(replicator), { code: 'config.invalid' });
});
