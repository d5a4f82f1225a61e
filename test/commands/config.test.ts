import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdir, truncate, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, test } from 'node:test';
import { airlock, airlockJson } from '../support/cli.ts';
import { tempDir } from '../support/temp-dir.ts';
import { assertNotRead, assertRefused, configFile } from './config-scene.ts';

describe('what a configuration may say', () => {
  test('sections and keys with nothing behind them have their defaults', async (t) => {
    const file = await configFile(t, 'log:\nprune:\n  grace:\nmemoryCache:\n');
    const { code, stdout } = await airlock(['--config', file, 'config', 'print']);
    assert.equal(code, 0);
    assert.equal(stdout, (await airlock(['--config', await configFile(t, ''), 'config', 'print'])).stdout);
    assert.match(stdout, /memoryCache: 32MiB[\s\S]*maxSize: 64MiB[\s\S]*grace: 1d/);
  });

  test('also keys of the rules in a list', async (t) => {
    const rule = '{ kind: releases, path: a, select: }';
    const text = `upstreams:\n  ssr:\n    url: https://a.example\n    mirror: [${rule}]\n    keys:\n`;
    const { code, stderr } = await airlock(['--config', await configFile(t, text), 'config', 'print']);
    assert.equal(code, 0, stderr);
  });

  test('0 needs no unit', async (t) => {
    const file = await configFile(t, 'memoryCache: 0\nprune: { grace: 0 }\n');
    const { json } = await airlockJson<{ memoryCache: number; prune: { grace: number } }>([
      '--config',
      file,
      'config',
      'print',
    ]);
    assert.equal(json.memoryCache, 0);
    assert.equal(json.prune.grace, 0);
  });

  test('how content is fetched and kept, with every key', async (t) => {
    const text = `maxClientBandwidth: 5Mbit
cache:
  size: 20GiB
  pinned: [ "6.3" ]
  fresh: { repodata: 2min, listings: source, metadata: 1h }
  stale: 7d
  missing: 0
download: { attempts: 0, timeout: 5h, maxRetryDelay: 10min, abandoned: 12.5% }
`;
    const { stdout } = await airlock(['--config', await configFile(t, text), 'config', 'print']);
    assert.match(
      stdout,
      /maxClientBandwidth: 5000000bit\ncache:\n {2}size: 20GiB\n {2}pinned:\n {4}- "6\.3"\n {2}fresh:\n {4}repodata: 2min\n {4}listings: source\n {4}metadata: 1h\n {2}stale: 7d\n {2}missing: 0s\ndownload:\n {2}attempts: 0\n {2}timeout: 5h\n {2}maxRetryDelay: 10min\n {2}abandoned: 12\.5%/,
    );
    const again = await configFile(t, stdout);
    assert.equal((await airlock(['--config', again, 'config', 'print'])).stdout, stdout);
    const defaults = (await airlock(['--config', await configFile(t, ''), 'config', 'print'])).stdout;
    assert.match(defaults, /maxClientBandwidth: unlimited\n/);
    assert.match(defaults, /repodata: source\n[\s\S]*stale: 30d\n {2}missing: 10s\n/);
    assert.match(defaults, /attempts: 10\n {2}timeout: 3h\n {2}maxRetryDelay: 1h\n {2}abandoned: finish\n/);
  });

  test('what "config print" prints can be read, and prints the same', async (t) => {
    const file = await configFile(t, 'memoryCache: 1000B\nprune: { grace: 0 }\nlog: { file: a.log, maxFiles: 9 }\n');
    const { stdout } = await airlock(['--config', file, 'config', 'print']);
    const again = await configFile(t, stdout);
    assert.equal((await airlock(['--config', again, 'config', 'print'])).stdout, stdout);
  });
});

test('secrets are not printed', async (t) => {
  const upstream =
    '{ url: "https://a.example/b", username: { env: USER_NAME }, password: hunter2, maxBandwidth: 20Mbit }';
  const file = await configFile(t, `upstreams: { ssr: ${upstream} }\n`);
  for (const words of [[], ['--json']]) {
    const { code, stdout } = await airlock(['--config', file, ...words, 'config', 'print']);
    assert.equal(code, 0);
    assert.match(stdout, /env"?: "?USER_NAME/);
    assert.doesNotMatch(stdout, /hunter2/);
  }
});

test('a secret that is no text for want of quotes is not told', async (t) => {
  for (const secret of ['*hunter2', '|hunter2', '!a!hunter2 x', ']hunter2']) {
    const file = await configFile(t, `upstreams:\n  ssr:\n    url: https://a.example\n    password: ${secret}\n`);
    assert.doesNotMatch(await assertRefused(file, /airlock\.yaml:4: /), /hunter2/, secret);
  }
});

describe('refused with its line', () => {
  const cases: [what: string, text: string, message: RegExp][] = [
    ['a size without a unit', '\nmemoryCache: 32\n', /airlock\.yaml:2: memoryCache: 32 is not a size; .*unit/],
    ['a duration without a unit', 'prune:\n  grace: 5\n', /airlock\.yaml:2: prune\.grace: 5 is not a duration; .*unit/],
    ['a negative size', 'memoryCache: -5MiB\n', /airlock\.yaml:1: memoryCache: "-5MiB" is not a size/],
    ['a negative number', 'memoryCache: -5\n', /airlock\.yaml:1: memoryCache: -5 is not a size/],
    [
      'a cache larger than memory',
      'memoryCache: 1048576TiB\n',
      /airlock\.yaml:1: memoryCache: .* is too much; the most is/,
    ],
    ['a unit that is none', 'memoryCache: 1EiB\n', /airlock\.yaml:1: memoryCache: "1EiB" is not a size/],
    ['a grace of centuries', 'prune: { grace: 999999d }\n', /airlock\.yaml:1: prune\.grace: .* is too long/],
    ['a log kept in tiny files', 'log: { maxSize: 1KiB }\n', /airlock\.yaml:1: log\.maxSize: "1KiB" is too small/],
    ['a URL with a password', 'conductors: ["http://u:p@a"]\n', /airlock\.yaml:1: conductors\.0: is not a web address/],
    ['an upstream without a URL', 'upstreams:\n  ssr:\n    ca: x\n', /airlock\.yaml:\d: upstreams\.ssr\.url/],
    ['a bandwidth in words', 'maxBandwidth: much\n', /airlock\.yaml:1: maxBandwidth: "much" is not a bandwidth/],
    [
      'freshness without a unit',
      'cache:\n  fresh: { metadata: 5 }\n',
      /:2: cache\.fresh\.metadata: is neither "source" nor a duration/,
    ],
    [
      'freshness of a year',
      'cache: { fresh: { listings: 365d } }\n',
      /:1: cache\.fresh\.listings: is too long; the most is 30d/,
    ],
    ['freshness of images', 'cache:\n  fresh:\n    images: 1d\n', /:3: .*images/],
    ['attempts as a word', 'download: { attempts: many }\n', /:1: download\.attempts: is no number/],
    ['too many attempts', 'download: { attempts: 256 }\n', /:1: download\.attempts: is too many; the most is 255/],
    ['a hasty timeout', 'download:\n  timeout: 5min\n', /:2: download\.timeout: is too short; the least is 30min/],
    ['a retry delay of a week', 'download: { maxRetryDelay: 7d }\n', /:1: download\.maxRetryDelay: .*most is 1d/],
    ['abandoned as a word', 'download: { abandoned: stop }\n', /:1: download\.abandoned: "stop" is neither "finish"/],
    ['abandoned beyond the end', 'download: { abandoned: 101% }\n', /:1: download\.abandoned: "101%" is neither/],
    ['no bandwidth for clients', 'maxClientBandwidth: 0\n', /:1: maxClientBandwidth: 0 is not a bandwidth/],
    ['an unknown source type', 'sourceType: moon\n', /airlock\.yaml:1: sourceType: /],
    ['an alias of nothing', 'listen: 0.0.0.0:1\nlog: *nothing\n', /airlock\.yaml:2: there is no such anchor before/],
    [
      'an alias of what it stands in',
      'log: &a\n  level: *a\n',
      /airlock\.yaml:2: this alias leads to what it stands in/,
    ],
    ['very many aliases', `a: &a 1\nb: [${Array(100_000).fill('*a').join()}]\n`, /:2: there are more than 100 aliases/],
    [
      'an upstream without anything',
      'listen: 0.0.0.0:1\nupstreams:\n  ssr:\n',
      /airlock\.yaml:3: upstreams\.ssr: has nothing behind it/,
    ],
    ['aliases of aliases', bomb(), /airlock\.yaml:1: Excessive alias count/],
    ['no UTF-8', '', /it is not UTF-8/],
    ['deep nesting', '['.repeat(500_000), /airlock\.yaml:1: /],
  ];
  for (const [what, text, message] of cases) {
    test(what, async (t) => {
      const file = await configFile(t, text);
      if (what === 'no UTF-8') await writeFile(file, Buffer.from([0x6c, 0xff, 0xfe]));
      assert.ok((await assertNotRead(file, message)).length < 10_000);
    });
  }

  test('several faults, in the order of their lines', async (t) => {
    const text = 'prune:\n  grace: 5\nmemoryCache: 32\nlog:\n  leve: x\n  level: loud\nlisten: 4\n';
    const message = await assertRefused(await configFile(t, text), /./);
    const lines = [...message.matchAll(/airlock\.yaml:(\d+):/g)].map(([, line]) => Number(line));
    assert.deepEqual(lines, [2, 3, 5, 6, 7]);
  });
});

describe('what is no configuration file', () => {
  test('a folder', async (t) => {
    await assertRefused(await tempDir(t), /it is a folder/);
  });

  test('a folder in the place of the default file', async (t) => {
    const data = await tempDir(t);
    await mkdir(path.join(data, 'airlock.yaml'));
    const { code, stderr } = await airlock(['--data', data, 'repo', 'list']);
    assert.match(stderr, /error \(config\.invalid\): .*it is a folder/);
    assert.equal(code, 2);
  });

  test('a named pipe, which nobody writes to', async (t) => {
    const file = path.join(await tempDir(t), 'fifo');
    execFileSync('mkfifo', [file]);
    await assertRefused(file, /it is no regular file/);
  });

  test('a huge file, which is not read', async (t) => {
    const file = await configFile(t, '');
    await truncate(file, 3 * 2 ** 30);
    await assertRefused(file, /it is larger than 1MiB/);
  });

  test('one that is not there', async (t) => {
    const { code, stderr } = await airlock(['--config', path.join(await tempDir(t), 'no.yaml'), 'config', 'check']);
    assert.match(stderr, /error \(file\.not-found\)/);
    assert.equal(code, 3);
  });
});

function bomb(): string {
  const lines = ['a0: &a0 [x, x, x, x, x, x, x, x, x]'];
  for (let number = 1; number < 8; number += 1) {
    const alias = `*a${number - 1}`;
    lines.push(`a${number}: &a${number} [${Array(9).fill(alias).join(', ')}]`);
  }
  return `${lines.join('\n')}\n`;
}
