import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Source, Sources, type SourceType } from '../../src/proxy/sources.ts';
import { testBytes } from '../repo/http/support.ts';
import { Origin } from '../support/origin.ts';
import { read, scene, sourceAt } from './scene.ts';

const nowhere = { url: 'http://127.0.0.1:1' };

function sources(t: { after(work: () => void): void }, sourceType: SourceType, offlineMode: boolean): Sources {
  const made = new Sources({
    peer: sourceAt(nowhere, 'peer'),
    conductors: [sourceAt(nowhere), sourceAt(nowhere)],
    internet: new Map([['ssr', sourceAt(nowhere, 'internet')]]),
    sourceType,
    offlineMode,
  });
  t.after(() => made.close());
  return made;
}

test('source type and offline mode say who is asked, and in which order', (t) => {
  const kinds = (type: SourceType, offline: boolean, key: string) =>
    sources(t, type, offline)
      .candidates(key)
      .map(({ source, path }) => `${source.kind} ${path}`);
  const [key, near] = ['upstreams/ssr/6.3/a b.iso', 'upstreams/ssr/6.3/a%20b.iso'];
  const conductors = [`conductor ${near}`, `conductor ${near}`];
  const internet = 'internet 6.3/a%20b.iso';
  assert.deepEqual(kinds('prefer-conductor', false, key), [`peer ${near}`, ...conductors, internet]);
  assert.deepEqual(kinds('conductor-only', false, key), [`peer ${near}`, ...conductors]);
  assert.deepEqual(kinds('internet-only', false, key), [`peer ${near}`, internet]);
  for (const type of ['prefer-conductor', 'conductor-only', 'internet-only'] as const) {
    assert.deepEqual(kinds(type, true, key), [`peer ${near}`, ...conductors], 'offline mode overrides the type');
  }
  assert.deepEqual(kinds('internet-only', false, 'repos/images/x'), ['peer repos/images/x']);
  assert.equal(kinds('prefer-conductor', false, 'upstreams/other/x').length, 3);
});

test('a peer that is followed is asked for nothing that its repositories hold', (t) => {
  const followed = new Sources({
    peer: sourceAt(nowhere, 'peer'),
    followsPeer: true,
    conductors: [],
    internet: new Map([['ssr', sourceAt(nowhere, 'internet')]]),
    sourceType: 'internet-only',
    offlineMode: false,
  });
  t.after(() => followed.close());
  assert.deepEqual(followed.candidates('repos/images/x'), []);
  assert.deepEqual(followed.neighbours, []);
  assert.deepEqual(
    followed.candidates('upstreams/ssr/x').map(({ source }) => source.kind),
    ['peer', 'internet'],
  );
});

function fail(source: Source, times: number): void {
  for (let i = 0; i < times; i += 1) source.health.note(new Error('failed'));
}

test('a source is left when six of its last ten requests failed, and none before the tenth', (t) => {
  const [a, b] = [sourceAt(nowhere), sourceAt(nowhere)];
  const options = { conductors: [a, b], internet: new Map(), sourceType: 'conductor-only', offlineMode: true } as const;
  const both = new Sources(options);
  t.after(() => both.close());
  const asked = () => both.candidates('repos/x').map(({ source }) => source);
  fail(a, 9);
  assert.deepEqual(asked(), [a, b]);
  fail(a, 1);
  assert.deepEqual(asked(), [b]);
  for (let i = 0; i < 4; i += 1) a.health.note();
  assert.deepEqual(asked(), [b]);
  a.health.note();
  assert.deepEqual(asked(), [a, b], 'five of the last ten');
  fail(a, 10);
  fail(b, 10);
  assert.deepEqual(asked(), [a, b], 'nobody else is left');
  a.health.forget();
  assert.deepEqual(asked(), [a]);
});

test('requests count for health, missing files do not', async (t) => {
  const origin = await Origin.start(t);
  const source = sourceAt(origin);
  const { pull } = await scene(t, { conductors: [source] });
  for (let i = 0; i < 10; i += 1) await pull.open(`repos/${i}`);
  assert.deepEqual([source.health.failed, source.health.isLeft], [0, false]);
  origin.broken = 500;
  for (let i = 0; i < 6; i += 1) await assert.rejects(pull.open('repos/x'));
  assert.equal(source.health.isLeft, true);
  assert.match(source.health.trouble ?? '', /500/);
  origin.broken = undefined;
  origin.files.set('/repos/x', { bytes: testBytes(10) });
  await read(pull, 'repos/x');
  assert.equal(source.health.trouble, null, 'the last remaining one is tried, and its trouble is over');
});
