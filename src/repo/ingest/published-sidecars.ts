/**
 * What an import does about the checksum and signature files that stand beside a published file: those that were proven
 * are served under their own names, byte for byte. A weaker one never takes the place of a stronger one, and nothing
 * takes the place of a file that is no such thing.
 */
import path from 'node:path';
import { AirlockError } from '../../errors.ts';
import type { Digest } from '../blobs/blob-store.ts';
import { digestOfBytes } from '../blobs/digest-of.ts';
import type { Artifact, Check } from '../catalog/artifact.ts';
import type { Entry } from '../catalog/catalog.ts';
import { quoteUnsafe } from '../formats/quote.ts';
import { type Destination, type IngestContext, isProven } from './destination.ts';
import type { Sidecar, SidecarFile } from './sidecars.ts';

/** A sidecar to be stored, and published under a path. */
export interface SidecarPut {
  readonly path: string;
  readonly bytes: Buffer;
  readonly artifact: Artifact;
}

export interface SidecarPlan {
  readonly puts: readonly SidecarPut[];
  /** Published paths that would lie or vouch for nothing afterwards. */
  readonly remove: readonly string[];
  readonly warnings: readonly string[];
}

/** The file that goes to the destination. */
export interface Owner {
  readonly name: string;
  /** What the path holds now, if these are other bytes, which will be replaced. */
  readonly replaced: Digest | undefined;
}

const NOTHING: SidecarPlan = { puts: [], remove: [], warnings: [] };

/** In the facts of a sidecar: the digest that it states. */
const STATES = 'states';

/** How much a sidecar's own signature is worth. */
const WORTH: { readonly [result in Check['result']]?: number } = { 'unknown-key': 1, passed: 2 };

/** @param sidecars those that were proven. @throws path.conflict if a file of another kind is in the way */
export async function planSidecars(
  context: IngestContext,
  destination: Destination,
  owner: Owner,
  sidecars: readonly Sidecar[],
): Promise<SidecarPlan> {
  const plans: SidecarPlan[] = [];
  for (const sidecar of sidecars) {
    if (sidecar.checksum.name !== `${sidecar.target}.sha256sum`) continue; // one for a whole folder
    plans.push(await planOne(context, destination, owner, sidecar));
  }
  const puts = plans.flatMap((plan) => plan.puts);
  const remove = [...plans.flatMap((plan) => plan.remove), ...(await lyingPaths(context, destination, owner))];
  return {
    puts,
    remove: remove.filter((each) => !puts.some((put) => put.path === each)),
    warnings: plans.flatMap((plan) => plan.warnings),
  };
}

/** What stands beside the path and speaks of the bytes that are replaced. */
async function lyingPaths(context: IngestContext, destination: Destination, { replaced }: Owner): Promise<string[]> {
  if (replaced === undefined) return [];
  const { checksum, signature } = await slotsBeside(context, destination, destination.path);
  return [checksum, signature].filter(({ entry }) => isStating(entry, [replaced])).map((slot) => slot.path);
}

/** A place beside a published file: what belongs there by the medium, and what is there. */
interface Slot {
  readonly path: string;
  readonly file: SidecarFile | undefined;
  readonly entry: Entry | undefined;
}

interface Pair {
  readonly checksum: Slot;
  readonly signature: Slot;
}

async function slotsBeside(
  { catalog }: IngestContext,
  { repository }: Destination,
  target: string,
  sidecar?: Sidecar,
): Promise<Pair> {
  const slot = async (path: string, file: SidecarFile | undefined) => ({
    path,
    file,
    entry: await catalog.lookup(repository, path),
  });
  return {
    checksum: await slot(`${target}.sha256sum`, sidecar?.checksum),
    signature: await slot(`${target}.sha256sum.asc`, sidecar?.signature),
  };
}

async function planOne(
  context: IngestContext,
  destination: Destination,
  owner: Owner,
  sidecar: Sidecar,
): Promise<SidecarPlan> {
  const isOwn = sidecar.target === owner.name;
  const target = isOwn ? destination.path : path.posix.join(path.posix.dirname(destination.path), sidecar.target);
  const there = isOwn ? undefined : await context.catalog.lookup(destination.repository, target);
  if (there !== undefined && there.artifact.digest !== sidecar.digest) return notKept(sidecar, there);
  const { checksum, signature } = await slotsBeside(context, destination, target, sidecar);
  const mayGo = [sidecar.digest, ...(isOwn && owner.replaced !== undefined ? [owner.replaced] : [])];
  for (const { file, entry } of [checksum, signature]) {
    if (file === undefined || entry === undefined || !isOther(entry, file) || isStating(entry, mayGo)) continue;
    if (isOwn) throw inTheWay(destination, file, entry);
    return notKept(sidecar, entry);
  }
  const isWeaker = isStating(checksum.entry, [sidecar.digest]) && !deserves(sidecar.signed, checksum.entry);
  const isChanged = isOther(checksum.entry, sidecar.checksum);
  if (isWeaker && isChanged) return NOTHING;
  const puts = [
    ...(await putsInto(context, checksum, isWeaker, destination, sidecar)),
    ...(await putsInto(context, signature, isWeaker, destination, sidecar)),
  ];
  // A signature that does not fit the new checksum file would only make it look forged.
  const isStale = isChanged && signature.file === undefined && isStating(signature.entry, mayGo);
  return { puts, remove: isStale ? [signature.path] : [], warnings: [] };
}

/** One or none: nothing is to be done about a file that is there, proven and vouched for no worse. */
async function putsInto(
  context: IngestContext,
  { path: to, file, entry }: Slot,
  isWeaker: boolean,
  destination: Destination,
  sidecar: Sidecar,
): Promise<SidecarPut[]> {
  if (file === undefined || (isWeaker && isOther(entry, file))) return [];
  const artifact = describe(destination, sidecar, file);
  const isGood = entry !== undefined && !isOther(entry, file);
  if (!isGood || (stated(entry) !== undefined && worthOf(entry.artifact) < worthOf(artifact))) {
    return [{ path: to, bytes: file.bytes, artifact }];
  }
  return (await isProven(context, entry)) ? [] : [{ path: to, bytes: file.bytes, artifact: entry.artifact }];
}

/** True if a sidecar may take the place of one that states the same: of two unknown signatures the first one stays. */
function deserves({ result }: Check, entry: Entry | undefined): boolean {
  const before = entry === undefined ? 0 : worthOf(entry.artifact);
  const now = WORTH[result] ?? 0;
  return result === 'unknown-key' ? now > before : now >= before;
}

function isOther(entry: Entry | undefined, file: SidecarFile): boolean {
  return entry !== undefined && entry.artifact.digest !== digestOfBytes(file.bytes);
}

/** True for a published sidecar that states one of these digests. */
function isStating(entry: Entry | undefined, digests: readonly Digest[]): boolean {
  return digests.some((digest) => stated(entry) === digest);
}

function describe(destination: Destination, { digest, signed }: Sidecar, { name, bytes }: SidecarFile): Artifact {
  return {
    digest: digestOfBytes(bytes),
    size: bytes.byteLength,
    kind: 'file',
    name,
    release: destination.release && { ...destination.release, kind: null },
    channel: 'downloads',
    source: 'downloads',
    facts: { [STATES]: digest },
    verification: {
      status: signed.result === 'passed' ? 'signature' : 'unverified',
      checks: signed.result === 'missing' ? [] : [signed],
    },
  };
}

/** The digest that a published sidecar states; undefined if it is none. */
function stated(entry: Entry | undefined): unknown {
  return entry?.artifact.facts[STATES];
}

function worthOf({ verification }: Artifact): number {
  return Math.max(0, ...verification.checks.map(({ result }) => WORTH[result] ?? 0));
}

function notKept({ checksum, target }: Sidecar, { path: there }: Entry): SidecarPlan {
  const warning = `${quoteUnsafe(checksum.name)} is right for the ${quoteUnsafe(target)} read here, but was not kept: ${quoteUnsafe(there)} holds something else`;
  return { puts: [], remove: [], warnings: [warning] };
}

function inTheWay({ repository }: Destination, file: SidecarFile, { path: there, artifact }: Entry): AirlockError {
  return new AirlockError(
    'path.conflict',
    `${quoteUnsafe(`${repository}/${there}`)} is where ${quoteUnsafe(file.name)} belongs, but it holds another file (${artifact.digest}) that is no checksum file of the same content. Nothing was imported. Import under another path, or move ${quoteUnsafe(file.name)} away from beside the file.`,
    { details: { repository, paths: [there], present: artifact.digest } },
  );
}
