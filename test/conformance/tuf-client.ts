/**
 * A TUF client over the workflow that bundles are verified with, for the public conformance suite.
 */
import { createHash } from 'node:crypto';
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { parseArgs } from 'node:util';
import type { TargetFile } from '@tufjs/models';
import { refresh, type Verified } from '../../src/sync/trust/workflow.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    'metadata-dir': { type: 'string', default: '' },
    'metadata-url': { type: 'string', default: '' },
    'target-name': { type: 'string', default: '' },
    'target-base-url': { type: 'string', default: '' },
    'target-dir': { type: 'string', default: '' },
  },
});
const dir = values['metadata-dir'];

try {
  await run(positionals);
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}

async function run([command, file = '']: readonly string[]): Promise<void> {
  if (command === 'init') {
    await mkdir(dir, { recursive: true });
    await copyFile(file, path.join(dir, 'root.json'));
  } else if (command === 'refresh') {
    await update();
  } else if (command === 'download') {
    await download(await update());
  } else {
    throw new Error('commands: init, refresh, download');
  }
}

async function update(): Promise<Verified> {
  const fileOf = (role: string) => path.join(dir, `${encodeURIComponent(role)}.json`);
  return await refresh({
    source: { fetch: (name, limit) => get(`${values['metadata-url']}/${encodeURIComponent(name)}`, limit) },
    trusted: {
      read: (role) => readFile(fileOf(role)).catch(() => undefined),
      keep: (role, bytes) => writeFile(fileOf(role), bytes),
    },
    now: new Date(),
  });
}

async function download(verified: Verified): Promise<void> {
  const name = values['target-name'];
  const found = await verified.find(name);
  if (found === undefined) throw new Error(`no role vouches for ${name}`);
  const file = path.join(values['target-dir'], encodeURIComponent(name));
  const stored = await readFile(file).catch(() => undefined);
  if (stored !== undefined && isTarget(stored, found.target)) return;
  const { consistentSnapshot } = verified.root.signed;
  const [hash = ''] = Object.values(found.target.hashes);
  const remote = consistentSnapshot
    ? path.posix.join(path.posix.dirname(name), `${hash}.${path.posix.basename(name)}`)
    : name;
  const bytes = await get(`${values['target-base-url']}/${remote}`, found.target.length);
  if (bytes === undefined || !isTarget(bytes, found.target)) throw new Error(`${name} is not what the metadata says`);
  await mkdir(values['target-dir'], { recursive: true });
  await writeFile(file, bytes);
}

function isTarget(bytes: Buffer, { length, hashes }: TargetFile): boolean {
  const isRight = ([algorithm, hash]: [string, string]) => createHash(algorithm).update(bytes).digest('hex') === hash;
  return bytes.length === length && Object.entries(hashes).every(isRight);
}

/** @returns undefined if there is no such file. Reads no more than `limit` bytes. */
async function get(url: string, limit: number): Promise<Buffer | undefined> {
  const response = await fetch(url);
  if (response.status === 404 || response.status === 403) return undefined;
  if (!response.ok || response.body === null) throw new Error(`${url}: ${response.status}`);
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const part of response.body) {
    size += part.byteLength;
    if (size > limit) throw new Error(`${url} is longer than ${limit} bytes`);
    parts.push(part);
  }
  return Buffer.concat(parts);
}
