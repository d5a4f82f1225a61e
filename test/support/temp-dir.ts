import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import type { Scope } from './scope.ts';

/** A folder of its own for a test, removed after it. */
export async function tempDir(t: Scope): Promise<string> {
  const dir = await mkdtemp(path.join(os.tmpdir(), 'airlock-test-'));
  t.after(() => rm(dir, { recursive: true, force: true }));
  return dir;
}
