/** However many ask at once, a source is asked once: for heads, and whether what is kept is current. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { metric, testBytes, until } from '../repo/http/support.ts';
import { Origin } from '../support/origin.ts';
import { get, router } from './router.ts';

/** Requests that are being answered, that for this number included. */
function inFlight(url: string): Promise<number> {
  return metric({ url, port: 0, close: async () => undefined }, 'airlock_http_in_flight');
}

const PATH = '/repos/images/6.3/x.iso';

test('HEAD of what is not here is asked once, and keeps nothing', async (t) => {
  const origin = await Origin.start(t);
  const gate = Promise.withResolvers<void>();
  origin.files.set(PATH, async (_request, response) => {
    await gate.promise;
    response.writeHead(200, { 'content-length': 1000, etag: '"1"' }).end();
  });
  const { url, access, repository } = await router(t, { conductors: [origin] });
  const asking = Array.from({ length: 30 }, () => get(`${url}${PATH}`, { method: 'HEAD' }));
  await until('all ask', async () => (await inFlight(url)) > 30); // and whoever counts
  gate.resolve();
  const heads = await Promise.all(asking);
  assert.deepEqual([...new Set(heads.map(({ headers }) => headers.get('content-length')))], ['1000']);
  assert.deepEqual([origin.of(PATH, 'HEAD').length, origin.of(PATH).length], [1, 0]);
  const how = (await access()).map(({ cache }) => cache);
  assert.equal(how.filter((each) => each === 'airlock; fwd=miss').length, 1);
  assert.equal(how.filter((each) => each === 'airlock; fwd=miss; collapsed').length, 29);
  assert.deepEqual(await repository.catalog.pulledPage({ limit: 10 }), []);
  await get(`${url}${PATH}`, { method: 'HEAD' });
  assert.equal(origin.of(PATH, 'HEAD').length, 2, 'the next one is a question of its own');
});

test('one who leaves takes nothing from the others who wait for a HEAD', async (t) => {
  const origin = await Origin.start(t);
  const gate = Promise.withResolvers<void>();
  origin.files.set(PATH, async (_request, response) => {
    await gate.promise;
    response.writeHead(200, { 'content-length': 5 }).end();
  });
  const { url } = await router(t, { conductors: [origin] });
  const patience = new AbortController();
  const hasty = get(`${url}${PATH}`, { method: 'HEAD', signal: patience.signal });
  const patient = get(`${url}${PATH}`, { method: 'HEAD' });
  await until('both ask', async () => (await inFlight(url)) > 2);
  patience.abort();
  await assert.rejects(hasty);
  gate.resolve();
  assert.equal((await patient).headers.get('content-length'), '5');
  assert.equal(origin.of(PATH, 'HEAD').length, 1);
});

test('HEAD and GET of what is not current any more ask together, once', async (t) => {
  const origin = await Origin.start(t);
  const path = '/repos/x/metadata';
  const headers = { 'cache-control': 'max-age=60' };
  origin.files.set(path, { bytes: testBytes(500), etag: '"1"', headers });
  const made = await router(t, { conductors: [origin] });
  await get(`${made.url}${path}`);
  await until('it is kept', () => made.fills() === 0);
  const gate = Promise.withResolvers<void>();
  origin.files.set(path, async (request, response) => {
    assert.equal(request.headers['if-none-match'], '"1"');
    await gate.promise;
    response.writeHead(304, { etag: '"1"', ...headers }).end();
  });
  made.clock += 61_000;
  const methods = Array.from({ length: 20 }, (_, index) => (index % 2 === 0 ? 'GET' : 'HEAD'));
  const asking = methods.map((method) => get(`${made.url}${path}`, { method }));
  await until('all ask', async () => (await inFlight(made.url)) > 20);
  gate.resolve();
  const all = await Promise.all(asking);
  assert.deepEqual([...new Set(all.map(({ cache }) => cache))], ['HIT']);
  const statuses = new Set(all.map((each) => each.headers.get('cache-status')));
  assert.deepEqual(
    statuses,
    new Set(['airlock; fwd=stale; fwd-status=304', 'airlock; fwd=stale; fwd-status=304; collapsed']),
  );
  assert.deepEqual([origin.of(path).length, origin.of(path, 'HEAD').length], [2, 0]);
  assert.deepEqual([...new Set(all.map((each) => each.headers.get('age')))], ['0']);
});
