/** A data directory with small files in it, for tests of what keeps it in order. */
import { createHash } from 'node:crypto';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { airlock, airlockJson, type CliOptions, type CliResult } from '../../support/cli.ts';
import { straceFor } from '../../support/strace.ts';
import { tempDir } from '../../support/temp-dir.ts';
import { putFile } from '../../support/with-app.ts';

export interface Scene {
  readonly dir: string;
  readonly data: string;
  run(...args: string[]): Promise<CliResult>;
  json<T>(...args: string[]): Promise<CliResult & { json: T }>;
  /** As `run`, with more options. */
  runWith(options: CliOptions, ...args: string[]): Promise<CliResult>;
  /** Imports text under this path of the repository `tools`, without a command. @returns the file of its blob */
  add(at: string, text: string): Promise<string>;
}

/** @param data where the data directory is; by default in a folder of the test's own */
export async function makeScene(t: TestContext, data?: string): Promise<Scene> {
  const dir = await tempDir(t);
  const place = data ?? path.join(dir, 'data');
  return {
    dir,
    data: place,
    run: (...args) => airlock(['--data', place, ...args]),
    runWith: (options, ...args) => airlock(['--data', place, ...args], options),
    json: <T>(...args: string[]) => airlockJson<T>(['--data', place, ...args]),
    async add(at, text) {
      const file = path.join(dir, 'from', at);
      await mkdir(path.dirname(file), { recursive: true });
      await writeFile(file, text);
      await putFile(place, 'tools', at, file);
      return blobFile(place, text);
    },
  };
}

/** Where the blob with this content lies. */
export function blobFile(data: string, content: string): string {
  const hex = createHash('sha256').update(content).digest('hex');
  return path.join(data, 'blobs', 'sha256', hex.slice(0, 2), hex);
}

/** Changes a byte of a blob, as nothing of ours ever does. */
export async function rot(blob: string): Promise<void> {
  const bytes = await readFile(blob);
  bytes[0] = (bytes[0] ?? 0) ^ 1;
  await rm(blob);
  await writeFile(blob, bytes);
}

/** What strace is asked to run a command with, to do something to calls on one file. */
export function injecting(dir: string, file: string, call: string, fault: string): readonly string[] {
  const log = path.join(dir, 'trace');
  return [...straceFor(fault), '-qq', '-o', log, '-P', file, '-e', `trace=${call}`, '-e', `inject=${call}:${fault}`];
}
