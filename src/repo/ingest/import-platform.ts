/**
 * `import platform`: what a router's base system provides, so that missing dependencies of packages can be told.
 */
import path from 'node:path';
import type { ByteSource } from '../blobs/blob-store.ts';
import { linesOf, notAList, PLATFORM } from '../packages/platform.ts';
import { parseProvide } from '../packages/resolve.ts';
import { type IngestContext, type IngestOptions, type IngestOutcome, ingestFile } from './ingest-file.ts';

/**
 * @param file the output of `rpm -qa --provides`; a later one of the same name replaces it, another name adds to it
 * @throws platform.invalid, and what ingestFile throws
 */
export async function importPlatform(
  context: IngestContext,
  file: string,
  options: IngestOptions,
): Promise<IngestOutcome> {
  const full = path.resolve(file);
  return await ingestFile(
    context,
    full,
    {
      repository: PLATFORM,
      repositoryKind: 'file',
      path: path.basename(full),
      kind: 'file',
      release: null,
      replace: true,
      wayOut: '',
      inspect: async (staged) => ({ facts: { provides: await countProvides(staged, full) }, warnings: [] }),
    },
    options,
  );
}

/** @throws platform.invalid unless every line that is not empty is a capability */
async function countProvides(staged: ByteSource, file: string): Promise<number> {
  let [count, line] = [0, 0];
  for await (const text of linesOf(staged, (number) => notAList(file, number))) {
    line += 1;
    if (text.trim() === '') continue;
    if (parseProvide(text) === undefined) throw notAList(file, line);
    count += 1;
  }
  if (count === 0) throw notAList(file, 1);
  return count;
}
