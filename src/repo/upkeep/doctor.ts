/**
 * `doctor`: looks at a data directory as a whole, quickly (no blob is hashed: that is `verify`), and changes nothing.
 */

import { storageFailure, systemCode } from '../../errors.ts';
import { limits } from '../../limits.ts';
import type { BlobStat, BlobStore, Digest } from '../blobs/blob-store.ts';
import type { BlobRecord, Catalog } from '../catalog/catalog.ts';
import type { RevisionLog } from '../catalog/revision-log.ts';
import { quoteUnsafe } from '../formats/quote.ts';
import { throwIfAborted } from '../staging.ts';

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
  /** At most limits.catalog.findings, of each kind of fault. */
  readonly findings: readonly Finding[];
}

/** @throws interrupted */
export async function examine(
  blobs: BlobStore,
  catalog: Catalog,
  log: RevisionLog,
  signal: AbortSignal,
): Promise<DoctorReport> {
  const findings: Finding[] = (await catalog.check()).map((line) =>
    error(`The catalog is damaged (${line}). Run "airlock doctor --rebuild-catalog".`),
  );
  for (const check of [
    checkBlobs(blobs, catalog, signal),
    checkStrays(blobs, catalog, signal),
    checkEntries(catalog, signal),
    checkLog(catalog, log, signal),
  ]) {
    for (const finding of await some(check)) findings.push(finding);
  }
  const totals = await catalog.totals();
  return {
    healthy: !findings.some(({ severity }) => severity === 'error'),
    ...totals,
    freeBytes: await blobs.freeSpace(),
    findings,
  };
}

/** The first ones, and how many more there are. */
async function some(findings: AsyncIterable<Finding>): Promise<Finding[]> {
  const shown: Finding[] = [];
  let more = 0;
  for await (const finding of findings) {
    if (shown.length < limits.catalog.findings) shown.push(finding);
    else more += 1;
  }
  if (more > 0) shown.push(error(`${more} more of the same kind.`));
  return shown;
}

async function* checkBlobs(blobs: BlobStore, catalog: Catalog, signal: AbortSignal): AsyncIterable<Finding> {
  let after: Digest | undefined;
  do {
    const page = await catalog.blobs({ limit: limits.catalog.page, ...(after === undefined ? {} : { after }) });
    for (const record of page) {
      throwIfAborted(signal);
      const fault = await faultOf(blobs, record);
      // Looked at before it was pruned?
      if (fault !== undefined && (await catalog.blob(record.digest)) !== undefined)
        yield await lostBlob(catalog, record.digest, fault);
    }
    after = page.at(-1)?.digest;
  } while (after !== undefined);
}

async function faultOf(blobs: BlobStore, { digest, size }: BlobRecord): Promise<string | undefined> {
  let stat: BlobStat | undefined;
  try {
    stat = await blobs.stat(digest);
  } catch (cause) {
    if (systemCode(cause) !== 'EIO') throw cause;
    return 'cannot be read from the disk: check the disk';
  }
  if (stat === undefined) return 'is missing';
  return stat.size === size ? undefined : 'has another size than it should';
}

async function lostBlob(catalog: Catalog, digest: Digest, fault: string): Promise<Finding> {
  const paths = (await catalog.entriesOf(digest)).map((entry) => quoteUnsafe(`${entry.repository}/${entry.path}`));
  return error(
    `${digest} (${paths.join(', ') || 'not published'}) ${fault}. Run "airlock verify", then import the file again.`,
  );
}

/** What is stored and not recorded. */
async function* checkStrays(blobs: BlobStore, catalog: Catalog, signal: AbortSignal): AsyncIterable<Finding> {
  let strays = 0;
  try {
    for await (const { digest } of blobs.list()) {
      throwIfAborted(signal);
      if ((await catalog.blob(digest)) === undefined) strays += 1;
    }
  } catch (cause) {
    const failure = storageFailure(cause);
    if (failure === undefined) throw cause;
    yield error(`The stored blobs cannot all be listed. ${failure.message}`);
  }
  if (strays > 0)
    yield warning(
      `${strays} stored blobs are not in the catalog. "airlock prune" removes them, unless an import is under way.`,
    );
}

/** What is published and not recorded: its blob was found wrong, and taken out of sight. */
async function* checkEntries(catalog: Catalog, signal: AbortSignal): AsyncIterable<Finding> {
  for await (const { repository, path, artifact } of catalog.lostEntries()) {
    throwIfAborted(signal);
    yield error(
      `${quoteUnsafe(`${repository}/${path}`)} is published, and its bytes (${artifact.digest}) are gone. Import it again, or take it out with "airlock verify --repair".`,
    );
  }
}

async function* checkLog(catalog: Catalog, log: RevisionLog, signal: AbortSignal): AsyncIterable<Finding> {
  for (const { name, published } of await catalog.repositories()) {
    const fault = await logFault({ catalog, log, signal }, name, published);
    if (fault !== undefined) yield error(fault);
  }
}

async function logFault(
  { catalog, log, signal }: { catalog: Catalog; log: RevisionLog; signal: AbortSignal },
  name: string,
  published: number,
): Promise<string | undefined> {
  let count = 0;
  try {
    for await (const { lines } of log.revisions(name)) {
      for await (const _ of lines) throwIfAborted(signal);
      count += 1;
    }
  } catch (cause) {
    throwIfAborted(signal);
    return cause instanceof Error ? cause.message : String(cause);
  }
  const publishedNow = (await catalog.repository(name))?.published ?? published; // others go on
  if (count >= published && count <= publishedNow) return undefined;
  return `${name} has ${published} revisions in the catalog and ${count} revision files. Restore DATA/revisions/${name} from a backup, or "airlock doctor --rebuild-catalog" to go by the files.`;
}

const error = (message: string): Finding => ({ severity: 'error', message });
const warning = (message: string): Finding => ({ severity: 'warning', message });
