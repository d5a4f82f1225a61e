import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import supertest from 'supertest';
import { z } from 'zod';
import { describeReleases } from '../../../src/repo/available.ts';
import type { Digest } from '../../../src/repo/blobs/blob-store.ts';
import type { RunningServer } from '../../../src/repo/http/server.ts';
import { testRelease } from '../../support/artifacts.ts';
import { TestRepository, testBytes } from './support.ts';

interface Started {
  readonly repository: TestRepository;
  readonly server: RunningServer;
  readonly digest: Digest;
}

async function start(t: TestContext): Promise<Started> {
  const repository = await TestRepository.make(t);
  const digest = await repository.put('images/6.3/SSR-6.3.3.iso', testBytes(1000), {
    kind: 'image',
    release: testRelease(3, { dist: 'el7' }),
    facts: { volume: 'SSR', nested: { list: [1, null, true] } },
    verification: {
      status: 'signature',
      checks: [{ check: 'signature', result: 'passed', file: 'x.asc', keyId: 'AB', fingerprint: 'CD' }],
    },
  });
  await repository.put('images/6.3/SSR-6.3.10.iso', testBytes(2000), {
    kind: 'image',
    release: testRelease(10, { kind: 'package', arch: null }),
  });
  await repository.put('images/6.3/SSR-6.3.10.iso.sha256sum', testBytes(64), {
    release: testRelease(10, { kind: null }),
  });
  return { repository, server: await repository.serve(t), digest };
}

test('every answer is as the OpenAPI document says', async (t) => {
  const { server, digest } = await start(t);
  const document = (await supertest(server.url).get('/api/v1/openapi.json').expect(200)).body;
  assert.equal(document.openapi, '3.1.0');
  const parameters: Record<string, string> = { name: 'images', digest };
  for (const [template, { get }] of Object.entries<PathItem>(document.paths)) {
    const path = template.replace(/\{(\w+)\}/g, (_, name: string) => parameters[name] ?? '');
    for (const parameter of get.parameters) assert.ok(parameter.description.length > 5);
    const answer = await supertest(server.url).get(path).expect(200);
    schemaOf(get.responses['200']).parse(answer.body);
    assert.throws(() => schemaOf(get.responses['200']).parse({ other: 1 }), path);
    const failed = await supertest(server.url).get(`${path}/none`).expect(404);
    schemaOf(get.responses.default).parse(failed.body);
  }
});

interface PathItem {
  readonly get: {
    readonly parameters: readonly { description: string }[];
    readonly responses: { readonly '200': Content; readonly default: Content };
  };
}

interface Content {
  readonly content: { readonly 'application/json': { readonly schema: z.core.JSONSchema.JSONSchema } };
}

function schemaOf({ content }: Content): z.ZodType {
  return z.fromJSONSchema(content['application/json'].schema);
}

test('releases, newest first, without their sidecars', async (t) => {
  const { repository, server, digest } = await start(t);
  const { body } = await supertest(server.url).get('/api/v1/releases').expect(200);
  assert.deepEqual(
    body.map(({ version }: { version: string }) => version),
    ['6.3.10', '6.3.3'],
  );
  assert.deepEqual(body[1], {
    release: '6.3',
    version: '6.3.3',
    product: 'SSR',
    kind: 'image',
    arch: 'x86_64',
    dist: 'el7',
    file: 'SSR-6.3.3.iso',
    repository: 'images',
    path: '6.3/SSR-6.3.3.iso',
    size: 1000,
    digest,
    channel: 'downloads',
    source: 'downloads',
    verification: 'signature',
  });
  assert.deepEqual(body, describeReleases(await repository.catalog.releases()));
  const one = await supertest(server.url).get('/api/v1/releases?release=6.3').expect(200);
  assert.deepEqual(one.body, body);
  assert.deepEqual((await supertest(server.url).get('/api/v1/releases?release=9.9').expect(200)).body, []);
});

test('a repository tells its revisions', async (t) => {
  const { server } = await start(t);
  const { body } = await supertest(server.url).get('/api/v1/repositories/images').expect(200);
  assert.equal(body.published, 3);
  assert.deepEqual(
    body.revisions.map(({ number }: { number: number }) => number),
    [3, 2, 1],
  );
  const none = await supertest(server.url).get('/api/v1/repositories/none').expect(404);
  assert.equal(none.body.error.code, 'repository.not-found');
});

test('an artifact tells where it is and what vouches for it', async (t) => {
  const { server, digest } = await start(t);
  const { body } = await supertest(server.url).get(`/api/v1/artifacts/${digest}`).expect(200);
  assert.equal(body.size, 1000);
  assert.equal(body.published.length, 1);
  assert.equal(body.published[0].path, '6.3/SSR-6.3.3.iso');
  assert.equal(body.published[0].verification.status, 'signature');
  assert.deepEqual(body.published[0].facts, { volume: 'SSR', nested: { list: [1, null, true] } });
  const bad = await supertest(server.url).get('/api/v1/artifacts/sha256:zz').expect(400);
  assert.equal(bad.body.error.code, 'http.bad-request');
  const none = await supertest(server.url)
    .get(`/api/v1/artifacts/sha256:${'0'.repeat(64)}`)
    .expect(404);
  assert.equal(none.body.error.code, 'digest.not-found');
});

test('what is not there is not there', async (t) => {
  const { server } = await start(t);
  for (const path of ['/api', '/api/v1', '/api/v2/releases', '/favicon.ico', '/api/v1/releases/x']) {
    const { body } = await supertest(server.url).get(path).expect(404);
    assert.equal(body.error.code, 'path.not-found');
  }
  await supertest(server.url).get('/api/v1/repositories/%ff').expect(400);
  const front = await supertest(server.url)
    .get('/')
    .expect(200)
    .expect('Content-Type', /text\/html/);
  assert.match(front.text, /Airlock/);
  assert.match(front.text, /href="\/repos\/"/);
  assert.equal(front.headers['x-powered-by'], undefined);
});
