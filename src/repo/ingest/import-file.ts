/**
 * `import file`: any file under a chosen path of a `file` repository. Sidecars beside it are checked and kept, as with images.
 */
import path from 'node:path';
import { repositoryName, repositoryPath } from '../catalog/names.ts';
import { type IngestContext, type IngestOptions, type IngestOutcome, ingestFile } from './ingest-file.ts';

export interface ImportFileTarget {
  /** Made, of kind `file`, if it is not there. */
  readonly repository: string;
  readonly path: string;
  /** Replace other bytes under this path. */
  readonly replace?: boolean;
}

/** @throws path.invalid, repository.kind, and what ingestFile throws */
export async function importFile(
  context: IngestContext,
  file: string,
  target: ImportFileTarget,
  options: IngestOptions,
): Promise<IngestOutcome> {
  return await ingestFile(
    context,
    path.resolve(file),
    {
      repository: repositoryName(target.repository),
      repositoryKind: 'file',
      path: repositoryPath(target.path),
      kind: 'file',
      release: null,
      replace: target.replace ?? false,
      wayOut: 'Add --replace to put the new ones in their place, or choose another --path.',
      inspect: () => Promise.resolve({ facts: {}, warnings: [] }),
    },
    options,
  );
}
