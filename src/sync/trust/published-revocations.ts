/** The export station's list of revoked content: `DATA/keys/publisher/revocations.json`. Every bundle carries it. */
import path from 'node:path';
import { limits } from '../../limits.ts';
import { makeDirectory, writeFileDurably } from '../../repo/blobs/durable.ts';
import { readSmallFile } from '../../repo/ingest/medium.ts';
import { NO_REVOCATIONS, parseRevocations, REVOCATIONS, type Revocations } from './revocations.ts';

/** As it goes into a bundle. @throws trust.invalid if it is damaged */
export async function publishedRevocations(dataDir: string): Promise<Buffer> {
  const bytes = await readSmallFile(fileOf(dataDir), limits.trust.revocationsBytes, { otherwise: 'trust.invalid' });
  return bytes ?? bytesOf(NO_REVOCATIONS);
}

/** Adds content to the list, durably. What is there already is left as it is. */
export async function revoke(dataDir: string, content: Revocations['revoked']): Promise<Revocations> {
  const { version, revoked, format } = parseRevocations(await publishedRevocations(dataDir));
  const known = new Set(revoked.map(({ digest }) => digest));
  const more = content.filter(({ digest }) => !known.has(digest));
  if (more.length === 0) return { format, version, revoked };
  const list: Revocations = { format, version: version + 1, revoked: [...revoked, ...more] };
  await makeDirectory(path.dirname(fileOf(dataDir)));
  await writeFileDurably(fileOf(dataDir), bytesOf(list));
  return list;
}

function bytesOf(list: Revocations): Buffer {
  return Buffer.from(`${JSON.stringify(list, undefined, 1)}\n`);
}

function fileOf(dataDir: string): string {
  return path.join(dataDir, 'keys', 'publisher', REVOCATIONS);
}
