/**
 * One file from a medium into a repository: vouched for, read once, checked, stored, published. Nothing of it is
 * visible before all checks ran, and nothing is left of it when one fails.
 */
import path from 'node:path';
import { AirlockError, isAirlockError } from '../../errors.ts';
import type { BlobStat, BlobWriter, Digest } from '../blobs/blob-store.ts';
import { digestOf } from '../blobs/digest-of.ts';
import type { Artifact, Json, Verification } from '../catalog/artifact.ts';
import type { Entry } from '../catalog/catalog.ts';
import { quoteUnsafe } from '../formats/quote.ts';
import { requireNotRevoked } from '../revoked.ts';
import {
  commit,
  heard,
  interruptible,
  type Leases,
  leased,
  requireSpace,
  type StagingOptions,
  stage,
  throwIfAborted,
} from '../staging.ts';
import { type Announced, BROUGHT_BY, type Bringer } from './announced.ts';
import { type Contents, type Destination, type IngestContext, type Inspected, isProven } from './destination.ts';
import { type MediumFile, openMediumFile } from './medium.ts';
import { type Arrival, conflict, plan, publish } from './publish.ts';
import { findSidecars } from './sidecars.ts';
import { advice, checkSidecars, type Demands, summarize } from './vouching.ts';

export type { IngestContext } from './destination.ts';

export interface IngestOptions extends StagingOptions, Demands {}

export interface IngestOutcome {
  /**
   * `present`: nothing to do; `upgraded`: the bytes were there, and are better vouched for now; `completed`: they were
   * there, and what vouches for them or lies in them was added or mended.
   */
  readonly outcome: 'imported' | 'upgraded' | 'completed' | 'present';
  readonly file: string;
  readonly repository: string;
  readonly path: string;
  readonly artifact: Artifact;
  readonly warnings: readonly string[];
}

/** One file on its way. */
interface Import extends Announced {
  readonly context: IngestContext;
  readonly destination: Destination;
  readonly options: IngestOptions;
  /** On a medium: other files may lie there. */
  readonly folder?: string;
  /** Brings the bytes. The caller ends the writer. */
  readonly stage: () => Promise<BlobWriter>;
  /** Ends it where it is not stored. */
  readonly letGo: (writer: BlobWriter, error: unknown) => Promise<void>;
}

const throwAway = (writer: BlobWriter): Promise<void> => writer.cancel();

const BY_HAND: Bringer = { channel: 'downloads', source: 'downloads' };

/**
 * @param file on a medium
 * @throws file.not-found, repository.kind, checksum.*, signature.*, trust.revoked, path.conflict, space.insufficient,
 *   source.lost, interrupted, and what `destination.inspect` throws
 */
export async function ingestFile(
  context: IngestContext,
  file: string,
  destination: Destination,
  options: IngestOptions,
): Promise<IngestOutcome> {
  await requireKind(context, destination);
  const medium = await openMediumFile(file, { signal: options.signal });
  try {
    const found = await findSidecars(file, context.keys);
    const { name, mtime } = medium;
    const folder = path.dirname(file);
    const it = { context, file, name, mtime, found, bringer: BY_HAND, destination, options, folder };
    const stageMedium = async () => {
      await requireSpace(context.blobs, medium.size);
      options.progress.start(quoteUnsafe(name), medium.size);
      return await stage(context.blobs, medium, options);
    };
    return await ingest({ ...it, stage: stageMedium, letGo: throwAway }, (known) => digestOnMedium(it, medium, known));
  } finally {
    await medium.close();
  }
}

/**
 * As ingestFile, for bytes that are staged already, wherever they came from.
 * @param writer is ended in any case: suspended where the bytes are not to blame (`isNoFaultOfBytes`), so that they can be
 *   ingested later
 * @throws repository.kind, checksum.*, signature.*, trust.revoked, path.conflict, interrupted, what `destination.inspect` throws
 */
export async function ingestStaged(
  context: IngestContext,
  announced: Announced,
  writer: BlobWriter,
  destination: Destination,
  options: IngestOptions,
): Promise<IngestOutcome> {
  const staged = { stage: () => Promise.resolve(writer), letGo: keepOrThrowAway };
  try {
    await requireKind(context, destination);
    const it: Import = { ...announced, context, destination, options, ...staged };
    return await ingest(it, async () => (await writer.seal()).digest);
  } catch (error) {
    await keepOrThrowAway(writer, error);
    throw error;
  } finally {
    await writer.cancel();
  }
}

/** True for what keeps staged bytes from being published, and would not keep them from it another time. */
export function isNoFaultOfBytes(error: unknown): boolean {
  return isAirlockError(error, 'interrupted', 'catalog.busy', 'revision.moved');
}

async function keepOrThrowAway(writer: BlobWriter, error: unknown): Promise<void> {
  if (isNoFaultOfBytes(error)) await writer.suspend().catch(() => undefined);
  await writer.cancel();
}

/**
 * Takes note of what vouches for a file that is published already, without reading its bytes again.
 * @throws checksum.mismatch, signature.*, path.conflict, blob.missing if it is not published, or its bytes are not proven
 */
export async function vouchForPublished(
  context: IngestContext,
  announced: Announced,
  destination: Destination,
  options: IngestOptions,
): Promise<IngestOutcome> {
  const gone = () => Promise.reject(missing(announced.name));
  const it: Import = { ...announced, context, destination, options, stage: gone, letGo: throwAway };
  return await ingest(it, (known) => Promise.resolve(known.artifact.digest));
}

/** @param digestThere of the bytes that come; undefined: they are others than those that are known */
async function ingest(it: Import, digestThere: (known: Entry) => Promise<Digest | undefined>): Promise<IngestOutcome> {
  const { context, file, name, destination, found } = it;
  const revoked = await context.revoked();
  // Before gigabytes are read.
  for (const { target, digest } of found.sidecars) if (target === name) requireNotRevoked(revoked, name, digest);
  const known = await context.catalog.lookup(destination.repository, destination.path);
  if (known === undefined || !(await isProven(context, known))) return await ingestNew(it);
  const digest = await digestThere(known);
  if (digest === known.artifact.digest) return await vouchAgain(it, known);
  if (destination.replace === true) return await ingestNew(it);
  if (digest !== undefined) await checkSidecars(found, name, digest);
  throw conflict(file, destination, known);
}

/** Before anything is read: a slip of the pen should not cost minutes. */
async function requireKind({ catalog }: IngestContext, { repository, repositoryKind }: Destination): Promise<void> {
  const there = await catalog.repository(repository);
  if (there === undefined || there.kind === repositoryKind) return;
  throw new AirlockError(
    'repository.kind',
    `The repository ${repository} is of kind ${there.kind}, not ${repositoryKind}. Choose another repository.`,
  );
}

async function ingestNew(it: Import): Promise<IngestOutcome> {
  const { context, name, folder, destination, found, options } = it;
  const writer = await it.stage();
  try {
    const { digest, size } = await writer.seal();
    requireNotRevoked(await context.revoked(), name, digest);
    const { inFile } = writer;
    const readAt = writer.readAt.bind(writer);
    const staged = interruptible({ size, inFile, readAt }, options.signal);
    const { checks, proven } = await checkSidecars(found, name, digest, {
      ...options,
      folder,
      inside: async (name) => await destination.inside?.(staged, name),
    });
    const { facts, warnings, contents } = await destination.inspect(staged, { digest, size });
    throwIfAborted(options.signal);
    const artifact = describe(it, { digest, size }, facts, summarize(checks));
    const done = await publish(context, arrivalOf(it, artifact, proven, contents), {
      store: (leases) => commit(context, writer, leases),
      cancel: (error) => it.letGo(writer, error),
    });
    return outcomeOf(it, 'imported', done.artifact, [...warnings, ...done.sidecars.warnings]);
  } catch (error) {
    await it.letGo(writer, error);
    throw error;
  } finally {
    await writer.cancel();
    options.progress.stop();
  }
}

/** The bytes are there. Sidecars may have come since, or a key: then what is recorded becomes better. */
async function vouchAgain(it: Import, known: Entry): Promise<IngestOutcome> {
  const { context, name, found } = it;
  const { checks, proven } = await checkSidecars(found, name, known.artifact.digest);
  const { facts, warnings, contents } = await inspectAgain(it, known);
  const adopted = adopt(it, known.artifact);
  const artifact = { ...adopted, facts: { ...adopted.facts, ...facts }, verification: summarize(checks) };
  const arrival = arrivalOf(it, artifact, proven, contents);
  const { isPresent, sidecars } = await plan(context, arrival);
  const isComplete = sidecars.puts.length === 0 && sidecars.remove.length === 0 && contents === undefined;
  const isAdopted = adopted !== known.artifact;
  if (isPresent && isComplete && !isAdopted) return outcomeOf(it, 'present', known.artifact, warnings);
  try {
    const done = await publish(context, arrival, { store: (leases) => stillThere(it, known, leases) });
    const outcome = !isPresent ? 'upgraded' : isComplete ? 'present' : 'completed';
    return outcomeOf(it, outcome, done.artifact, [...warnings, ...done.sidecars.warnings]);
  } catch (error) {
    if (!isAirlockError(error, 'blob.missing')) throw error;
    return await ingestNew(it);
  }
}

/** What a person imported is theirs: whoever brought it before does not take it away again. */
function adopt({ bringer: { channel, source, mark } }: Import, artifact: Artifact): Artifact {
  const { [BROUGHT_BY]: before, ...facts } = artifact.facts;
  return mark !== undefined || before === undefined ? artifact : { ...artifact, channel, source, facts };
}

/** Looks into stored bytes whose content could not be published when they came. */
async function inspectAgain({ context, destination, options }: Import, { artifact }: Entry): Promise<Inspected> {
  if ((await destination.isComplete?.(artifact)) !== false) return { facts: {}, warnings: [] };
  const reader = await context.blobs.open(artifact.digest);
  try {
    options.progress.start(quoteUnsafe(artifact.name), artifact.size);
    return await destination.inspect(interruptible(reader, options.signal), artifact);
  } finally {
    options.progress.stop();
    await reader.close();
  }
}

/** @throws blob.missing if somebody took the bytes away, or touched them, since they were looked at */
async function stillThere({ context }: Import, { artifact }: Entry, leases: Leases): Promise<BlobStat> {
  const stat = await leased(context, artifact.digest, leases);
  if (stat !== undefined) return stat;
  throw missing(artifact.name);
}

function missing(name: string): AirlockError {
  return new AirlockError('blob.missing', `The bytes of ${quoteUnsafe(name)} went away. Import it again.`);
}

function arrivalOf(
  { file, destination, options }: Import,
  artifact: Artifact,
  sidecars: Arrival['sidecars'],
  contents: Contents | undefined,
): Arrival {
  return { file, destination, artifact, sidecars, contents, demands: options };
}

function outcomeOf(
  { file, destination: { repository, path: to }, found }: Import,
  outcome: IngestOutcome['outcome'],
  artifact: Artifact,
  warnings: readonly string[],
): IngestOutcome {
  const known = outcome === 'present' || outcome === 'completed' ? [] : advice(artifact.verification);
  return { outcome, file, repository, path: to, artifact, warnings: [...known, ...found.warnings, ...warnings] };
}

/**
 * Quick where a sidecar names the digest that is here, or size and time are those of the last import; else the medium
 * is read.
 * @returns undefined if the medium was not read, and has other bytes all the same
 */
async function digestOnMedium(
  { found: { sidecars }, destination, options }: Pick<Import, 'found' | 'destination' | 'options'>,
  medium: MediumFile,
  { artifact: { digest, size, facts } }: Entry,
): Promise<Digest | undefined> {
  const named = sidecars.find((sidecar) => sidecar.target === medium.name);
  if (size === medium.size) {
    const isKnown = named === undefined ? facts.modified === medium.mtime : named.digest === digest;
    if (isKnown) return digest;
  } else if (named === undefined || destination.replace === true) {
    return undefined;
  }
  options.progress.start(quoteUnsafe(medium.name), medium.size);
  try {
    return await digestOf(medium, heard(options));
  } finally {
    options.progress.stop();
  }
}

function describe(
  { destination, name, mtime, bringer: { channel, source, mark } }: Import,
  { digest, size }: Pick<Artifact, 'digest' | 'size'>,
  facts: { readonly [key: string]: Json },
  verification: Verification,
): Artifact {
  return {
    digest,
    size,
    kind: destination.kind,
    name,
    release: destination.release,
    channel,
    source,
    facts: { ...facts, modified: mtime, ...(mark === undefined ? {} : { [BROUGHT_BY]: mark }) },
    verification,
  };
}
