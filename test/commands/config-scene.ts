/** Configuration files, and what "config check" says of them. */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { loadConfig } from '../../src/app.ts';
import { isAirlockError } from '../../src/errors.ts';
import { airlockJson } from '../support/cli.ts';
import { tempDir } from '../support/temp-dir.ts';

interface Refusal {
  readonly error: { readonly code: string; readonly message: string };
}

/** The file, in a folder of its own. */
export async function configFile(t: TestContext, text: string): Promise<string> {
  const file = path.join(await tempDir(t), 'airlock.yaml');
  await writeFile(file, text);
  return file;
}

export async function assertRefused(file: string, message: RegExp, words: readonly string[] = []): Promise<string> {
  const { code, json } = await airlockJson<Refusal>([...words, '--config', file, 'config', 'check']);
  assert.equal(json.error.code, 'config.invalid');
  assert.match(json.error.message, message);
  assert.equal(code, 2);
  return json.error.message;
}

/** As `assertRefused`, for a file that cannot be read as a configuration, without a process: all commands tell this error. */
export async function assertNotRead(file: string, message: RegExp): Promise<string> {
  const error = await loadConfig({ dataDir: path.dirname(file), configFile: file }).then(
    () => assert.fail('it was read'),
    (cause: unknown) => cause,
  );
  assert.ok(isAirlockError(error, 'config.invalid'), String(error));
  assert.match(error.message, message);
  assert.equal(error.exitCode, 2);
  return error.message;
}
