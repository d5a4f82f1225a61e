import assert from 'node:assert/strict';
import type { IncomingHttpHeaders } from 'node:http';
import { describe, test } from 'node:test';
import {
  evaluateConditions,
  parseHttpDate,
  rangeApplies,
  type Validators,
} from '../../../src/repo/http/conditionals.ts';

const content: Validators = {
  etag: '"sha256:aa"',
  modified: new Date(Date.UTC(2021, 10, 18, 19, 54, 30, 700)),
  freshness: 'immutable',
};
const SAME = 'Thu, 18 Nov 2021 19:54:30 GMT';
const BEFORE = 'Thu, 18 Nov 2021 19:54:29 GMT';

describe('preconditions', () => {
  const cases: [string, IncomingHttpHeaders, 'proceed' | 'not-modified' | 'failed'][] = [
    ['none', {}, 'proceed'],
    ['If-None-Match of this', { 'if-none-match': '"sha256:aa"' }, 'not-modified'],
    ['If-None-Match compares weakly', { 'if-none-match': 'W/"sha256:aa"' }, 'not-modified'],
    ['If-None-Match in a list', { 'if-none-match': '"a,b", "sha256:aa"' }, 'not-modified'],
    ['If-None-Match *', { 'if-none-match': '*' }, 'not-modified'],
    ['If-None-Match of another', { 'if-none-match': '"sha256:bb"' }, 'proceed'],
    ['If-None-Match unreadable', { 'if-none-match': 'sha256:aa' }, 'proceed'],
    ['If-None-Match outweighs If-Modified-Since', { 'if-none-match': '"x"', 'if-modified-since': SAME }, 'proceed'],
    ['If-Modified-Since the same second', { 'if-modified-since': SAME }, 'not-modified'],
    ['If-Modified-Since earlier', { 'if-modified-since': BEFORE }, 'proceed'],
    ['If-Modified-Since unreadable', { 'if-modified-since': 'yesterday' }, 'proceed'],
    ['If-Match of this', { 'if-match': '"sha256:aa"' }, 'proceed'],
    ['If-Match *', { 'if-match': '*' }, 'proceed'],
    ['If-Match of another', { 'if-match': '"sha256:bb"' }, 'failed'],
    ['If-Match compares strongly', { 'if-match': 'W/"sha256:aa"' }, 'failed'],
    ['If-Match unreadable', { 'if-match': 'sha256:aa' }, 'failed'],
    ['If-Match outweighs If-Unmodified-Since', { 'if-match': '*', 'if-unmodified-since': BEFORE }, 'proceed'],
    ['If-Match holds, If-None-Match too', { 'if-match': '*', 'if-none-match': '*' }, 'not-modified'],
    ['If-Unmodified-Since the same second', { 'if-unmodified-since': SAME }, 'proceed'],
    ['If-Unmodified-Since earlier', { 'if-unmodified-since': BEFORE }, 'failed'],
    ['If-Unmodified-Since unreadable', { 'if-unmodified-since': 'x' }, 'proceed'],
  ];
  for (const [name, headers, expected] of cases) {
    test(name, () => assert.equal(evaluateConditions(headers, content), expected));
  }

  test('a weak entity tag never matches strongly', () => {
    const weak = { ...content, etag: 'W/"5"' };
    assert.equal(evaluateConditions({ 'if-match': 'W/"5"' }, weak), 'failed');
    assert.equal(evaluateConditions({ 'if-none-match': '"5"' }, weak), 'not-modified');
    assert.equal(rangeApplies('W/"5"', weak), false);
  });

  test('content without validators', () => {
    const bare = { etag: null, modified: null, freshness: 'revalidate' } as const;
    assert.equal(evaluateConditions({ 'if-none-match': '"x"', 'if-modified-since': SAME }, bare), 'proceed');
    assert.equal(evaluateConditions({ 'if-match': '"x"' }, bare), 'failed');
    assert.equal(rangeApplies(SAME, bare), false);
  });
});

describe('If-Range', () => {
  const cases: [string | undefined, boolean][] = [
    [undefined, true],
    ['"sha256:aa"', true],
    ['W/"sha256:aa"', false],
    ['"sha256:bb"', false],
    [SAME, true],
    [BEFORE, false],
    ['Thu, 18 Nov 2021 19:54:31 GMT', false],
    ['garbage', false],
  ];
  for (const [field, expected] of cases) {
    test(String(field), () => assert.equal(rangeApplies(field, content), expected));
  }

  test('a date does not vouch for what can be replaced', () => {
    assert.equal(rangeApplies(SAME, { ...content, freshness: 'revalidate' }), false);
  });
});

describe('HTTP dates', () => {
  const time = Date.UTC(1994, 10, 6, 8, 49, 37);
  const cases: [string, number | undefined][] = [
    ['Sun, 06 Nov 1994 08:49:37 GMT', time],
    ['Sunday, 06-Nov-94 08:49:37 GMT', time],
    ['Sun Nov  6 08:49:37 1994', time],
    ['Sun, 31 Feb 1994 08:49:37 GMT', undefined],
    ['Sun, 06 Nov 1994 25:49:37 GMT', undefined],
    ['Sun, 06 Nox 1994 08:49:37 GMT', undefined],
    ['1994-11-06T08:49:37Z', undefined],
    ['', undefined],
  ];
  for (const [text, expected] of cases) test(text, () => assert.equal(parseHttpDate(text), expected));
});
