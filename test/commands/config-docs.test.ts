/** What people read of the configuration says what the program does: the commented example, and docs/configuration.md. */
import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { variableOf } from '../../src/config/environment.ts';
import { exampleFile, referenceTables } from '../../src/config/example.ts';
import { flattened } from '../../src/config/keys.ts';
import { configKeys, parseConfig, printConfig } from '../../src/config.ts';
import { airlock } from '../support/cli.ts';
import { tempDir } from '../support/temp-dir.ts';

const DOCS = path.join(import.meta.dirname, '..', '..', 'docs', 'configuration.md');
const BEGIN =
  '<!-- From here on made from src/config.ts: UPDATE_DOCS=1 node --test test/commands/config-docs.test.ts -->';

test('every key is explained, and has a default or an example', () => {
  for (const { path: key, description, kind, default: standard, example } of flattened(configKeys())) {
    const name = key.join('.');
    assert.match(description, /^.{10,}$/, `${name} has no description`);
    assert.match(description, /[.]$/, `${name}: ${description}`);
    if (kind !== 'section' && kind !== 'rules')
      assert.notEqual(standard ?? example, undefined, `${name} has no example`);
  }
});

test('the example sets nothing; with all keys set, it can be used', async (t) => {
  const { stdout, code } = await airlock(['--data', await tempDir(t), 'config', 'print', '--example']);
  assert.equal(code, 0);
  assert.equal(stdout, exampleFile(configKeys()));
  const defaults = printConfig(parseConfig('', 'defaults'));
  assert.equal(printConfig(parseConfig(stdout, 'example')), defaults);
  assert.equal((await airlock(['config', 'print', '--defaults'])).stdout, defaults);

  // A # with one blank after it begins a text; every other one sets a key aside.
  const all = stdout.replaceAll(/^( *)#(?! \S|$)/gm, '$1');
  const set = parseConfig(all, 'all');
  assert.equal(Object.keys(set.upstreams).length, 1);
  assert.deepEqual(
    set.upstreams.ssr?.mirror.map(({ kind }) => kind),
    ['releases', 'rpm', 'policy'],
  );
  for (const { path: key } of flattened(configKeys())) {
    assert.match(all, new RegExp(`^[ -]*${key.at(-1)}:`, 'm'), key.join('.'));
  }
  assert.notEqual(printConfig(set), defaults);
});

test('docs/configuration.md is up to date', async () => {
  const text = await readFile(DOCS, 'utf8');
  const [introduction = ''] = text.split(BEGIN);
  const fresh = `${introduction}${BEGIN}\n\n${referenceTables(configKeys())}\n`;
  if (process.env.UPDATE_DOCS === '1') await writeFile(DOCS, fresh);
  else assert.equal(text, fresh, `it is not; what it should be:\n${fresh}\nWrite it with UPDATE_DOCS=1.`);
});

test('variables of the environment do not mean two keys', () => {
  const variables = flattened(configKeys()).flatMap((key) => variableOf(key) ?? []);
  assert.equal(new Set(variables).size, variables.length);
  assert.ok(variables.includes('AIRLOCK_LOG_MAX_SIZE') && variables.includes('AIRLOCK_CACHE_FRESH_REPODATA'));
});
