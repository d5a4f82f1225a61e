/**
 * What becomes of texts that were brought: published, held, or left as they are. Parts of one policy that was cut in several
 * (`…-expanded-1`, `-2`) go together or not at all.
 */
import type { Stores } from '../staging.ts';
import type { BroughtPolicy, PolicyText } from './bring.ts';
import { policySet } from './policy-name.ts';
import { newestVersion, type PolicyVersion, versionsAside } from './versions.ts';

/** What becomes of one text. */
export interface Planned {
  readonly text: PolicyText;
  /** New bytes, those of the newest held version, those that are published, or those that a person rejected. */
  readonly kind: 'new' | 'pending' | 'current' | 'rejected';
  /** As in BroughtPolicy. */
  readonly before: string | null;
  /** Known bytes that go with one more release now. */
  readonly isCompleted: boolean;
  readonly version: PolicyVersion;
}

/** A version as it is to be after this, and how that differs from what is. */
export interface Settled extends Omit<BroughtPolicy, 'along'> {
  readonly text: PolicyText;
  /** Publish it, keep it as held, or leave all as it is. */
  readonly write: 'publish' | 'hold' | 'nothing';
}

/** A version that is to be written down. */
export type Change = Pick<Settled, 'version' | 'write'>;

export async function settleSets(
  stores: Stores,
  planned: readonly Planned[],
): Promise<{ settled: Settled[]; along: Change[] }> {
  const along: Change[] = [];
  const missing = new Map<string, readonly string[]>();
  const stems = new Set(planned.map(({ version }) => policySet(version.name)?.stem));
  for (const stem of stems) {
    if (stem === undefined) continue;
    const own = planned.filter(({ version }) => policySet(version.name)?.stem === stem);
    const set = await lookAtSet(stores, stem, own);
    missing.set(stem, set.missing);
    if (set.missing.length === 0) along.push(...set.waiting.map((version) => published(version)));
  }
  const settled = planned.map((each): Settled => {
    const stem = policySet(each.version.name)?.stem;
    return settle(each, stem === undefined ? undefined : missing.get(stem));
  });
  return { settled, along };
}

/** @param missing parts of its set that are not here, or have to be approved; undefined: it stands alone */
function settle(
  { text, kind, before, version, isCompleted }: Planned,
  missing: readonly string[] | undefined,
): Settled {
  if (kind === 'current') {
    const how = { outcome: isCompleted ? 'completed' : 'present', write: isCompleted ? 'publish' : 'nothing' } as const;
    return { text, before, version, waitsFor: [], ...how };
  }
  if (kind === 'rejected') return { text, before, version, waitsFor: [], outcome: 'rejected', write: 'nothing' };
  const waits = missing !== undefined && missing.length > 0;
  // What was held because it makes more possible stays held, also where it is brought by somebody who would not ask.
  const widens = version.held?.widens === true;
  if (!widens && !waits) return { text, before, outcome: 'published', waitsFor: [], ...published(version) };
  const waitsFor = (missing ?? []).filter((name) => name !== version.name);
  return { text, before, outcome: 'held', version: { ...version, held: { widens, waits } }, waitsFor, write: 'hold' };
}

function published(version: PolicyVersion): { version: PolicyVersion; write: 'publish' } {
  return { version: { ...version, held: null }, write: 'publish' };
}

/**
 * The parts of a set: those that come now or were brought before and wait, and those that are missing, were rejected or
 * still have to be approved. A published part counts as missing: when one part changes, the others have to be brought again, changed or not.
 */
async function lookAtSet(
  stores: Stores,
  stem: string,
  own: readonly Planned[],
): Promise<{ missing: string[]; waiting: PolicyVersion[] }> {
  const missing: string[] = [];
  const waiting: PolicyVersion[] = [];
  for (const name of await partsOf(stores, stem, own)) {
    const now = own.find(({ version }) => version.name === name);
    const pending = await pendingVersion(stores, name, await newestVersion(stores.catalog, name));
    if (now !== undefined) {
      if (now.kind === 'rejected' || now.version.held?.widens === true) missing.push(name);
    } else if (pending?.held?.widens === false) waiting.push(pending);
    else missing.push(name);
  }
  return { missing, waiting };
}

/** Two at least, and as many as are known. */
async function partsOf({ catalog }: Stores, stem: string, own: readonly Planned[]): Promise<string[]> {
  let last = Math.max(2, ...own.map(({ version }) => policySet(version.name)?.part ?? 0));
  for (let part = last + 1; part <= 9; part += 1) {
    const name = `${stem}-${part}`;
    const isKnown = (await newestVersion(catalog, name)) ?? (await versionsAside(catalog, name))[0];
    if (isKnown !== undefined) last = part;
  }
  return Array.from({ length: last }, (_, index) => `${stem}-${index + 1}`);
}

/** What waits to take the place of what is published. Nothing does that is older than a version that was rejected. */
export async function pendingVersion(
  { catalog }: Stores,
  name: string,
  newest: PolicyVersion | undefined,
): Promise<PolicyVersion | undefined> {
  const last = (await versionsAside(catalog, name)).at(-1);
  return last !== undefined && last.held !== null && last.version > (newest?.version ?? 0) ? last : undefined;
}
