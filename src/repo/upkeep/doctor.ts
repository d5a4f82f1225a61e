/**
 * `doctor`: looks at a data directory as a whole, quickly (no blob is hashed: that is `verify`), and changes nothing.
 */

import { limits } from '../../limits.ts';
import type { BlobStore, Digest } from '../blobs/blob-store.ts';
import type { Catalog } from '../catalog/catalog.ts';
import type { RevisionLog } from '../catalog/revision-log.ts';

export interface Finding {
  readonly severity: 'error' | 'warning';
  /** What is wrong and what to do. */
  readonly message: string;
}

export interface DoctorReport {
  readonly healthy: boolean;
  readonly blobs: number;
  readonly bytes: number;
  readonly freeBytes: number;
  readonly findings: readonly Finding[];
}

export async function examine(blobs: BlobStore, catalog: Catalog, log: RevisionLog): Promise<DoctorReport> {
  const findings: Finding[] = [
    ...(await catalog.check()).map((line) =>
      error(`The catalog is damaged (${line}). Run "airlock doctor --rebuild-catalog".`),
    ),
    ...(await checkBlobs(blobs, catalog)),
    ...(await checkLog(catalog, log)),
  ];
  const totals = await catalog.totals();
  return {
    healthy: !findings.some(({ severity }) => severity === 'error'),
    ...totals,
    freeBytes: await blobs.freeSpace(),
    findings,
  };
}

async function checkBlobs(blobs: BlobStore, catalog: Catalog): Promise<Finding[]> {
  const findings: Finding[] = [];
  let after: Digest | undefined;
  do {
    const page = await catalog.blobs({ limit: limits.catalog.page, ...(after === undefined ? {} : { after }) });
    for (const record of page) {
      const stat = await blobs.stat(record.digest);
      if (stat === undefined || stat.size !== record.size)
        findings.push(await lostBlob(catalog, record.digest, stat === undefined));
    }
    after = page.at(-1)?.digest;
  } while (after !== undefined);
  let strays = 0;
  for await (const { digest } of blobs.list()) if ((await catalog.blob(digest)) === undefined) strays += 1;
  if (strays > 0)
    findings.push(
      warning(
        `${strays} stored blobs are not in the catalog. "airlock prune" removes them, unless an import is under way.`,
      ),
    );
  return findings;
}

async function lostBlob(catalog: Catalog, digest: Digest, isMissing: boolean): Promise<Finding> {
  const paths = (await catalog.entriesOf(digest)).map((entry) => `${entry.repository}/${entry.path}`);
  const what = isMissing ? 'is missing' : 'has another size than it should';
  return error(
    `${digest} (${paths.join(', ') || 'not published'}) ${what}. Run "airlock verify", then import the file again.`,
  );
}

async function checkLog(catalog: Catalog, log: RevisionLog): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const { name, published } of await catalog.repositories()) {
    try {
      let count = 0;
      for await (const { lines } of log.revisions(name)) {
        for await (const _ of lines);
        count += 1;
      }
      if (count !== published)
        findings.push(
          error(
            `${name} has ${published} revisions in the catalog and ${count} revision files. Restore DATA/revisions/${name} from a backup, or "airlock doctor --rebuild-catalog" to go by the files.`,
          ),
        );
    } catch (cause) {
      findings.push(error(cause instanceof Error ? cause.message : String(cause)));
    }
  }
  return findings;
}

const error = (message: string): Finding => ({ severity: 'error', message });
const warning = (message: string): Finding => ({ severity: 'warning', message });
