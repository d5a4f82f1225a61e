/**
 * The rule `kind: policy`: texts from mutable addresses become versions where their bytes are new, as imported ones do.
 * Parts of one policy (`…-expanded-1`, `-2`) come together or not at all; else one that fails keeps no other.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { AirlockError, isAirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import type { Catalog } from '../../repo/catalog/catalog.ts';
import { type BroughtPolicy, bringPolicies, type PolicyText, previewPolicies } from '../../repo/policies/bring.ts';
import { policySet, versionPath } from '../../repo/policies/policy-name.ts';
import { warningsOf } from '../../repo/policies/tell.ts';
import { newestVersion, type PolicyVersion, readVersion } from '../../repo/policies/versions.ts';
import { type FetchedPolicy, fetchPolicy, type PolicyPlace, type Traffic } from './fetch-policy.ts';
import type { MirrorFailure, MirrorSite, RuleReport } from './rule.ts';

export interface PolicyRule extends PolicyPlace {
  /** A version that makes more possible than the published one, or may do so, waits for `policy approve`. */
  readonly holdWidening: boolean;
  /** Releases that what lies there now goes with. */
  readonly releases?: readonly string[] | undefined;
}

/** A rule, and what its site holds. */
interface Fetched {
  readonly rule: PolicyRule;
  readonly text: FetchedPolicy;
}

/** What has come so far. */
interface Running {
  readonly site: MirrorSite;
  readonly traffic: Traffic;
  readonly added: string[];
  readonly warnings: string[];
  readonly policies: BroughtPolicy[];
}

export interface PoliciesReport extends RuleReport {
  /** Every text that was other than the last time, or about which there was more to say. In a dry run, as it would be. */
  readonly policies: readonly BroughtPolicy[];
}

/**
 * @param rules those of one site; their names differ
 * @throws config.invalid if two rules have one name, interrupted, and what bringPolicies throws
 */
export async function mirrorPolicies(site: MirrorSite, rules: readonly PolicyRule[]): Promise<PoliciesReport> {
  requireNames(rules);
  const run: Running = { site, traffic: { requests: 0, bytes: 0 }, added: [], warnings: [], policies: [] };
  const failures: MirrorFailure[] = [];
  let sets = setsOf(rules);
  for (let round = 1; sets.length > 0; round += 1) {
    if (round > 1) await pause(limits.mirror.retryDelay * 2 ** (round - 2), site.signal);
    const failed = await runRound(run, sets);
    const again = failed.filter((each) => each.failures.some(mayPass) && round < limits.mirror.rounds);
    const given = failed.filter((each) => !again.includes(each));
    failures.push(...given.flatMap((each) => each.failures));
    run.warnings.push(...given.flatMap(({ waiting }) => waiting));
    sets = again.map(({ set }) => set);
  }
  const { added, warnings, policies, traffic } = run;
  const rule = rules.length === 1 ? `policy ${rules[0]?.name}` : `${rules.length} policies`;
  return { rule, added, removed: [], failures, warnings, ...traffic, policies };
}

function requireNames(rules: readonly PolicyRule[]): void {
  const names = rules.map(({ name }) => name);
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice === undefined) return;
  throw new AirlockError(
    'config.invalid',
    `Two rules of one upstream bring policy ${twice}. Give one of them another name, or take it out.`,
  );
}

/** Rules of one set together, in the order of the first ones. */
function setsOf(rules: readonly PolicyRule[]): (readonly PolicyRule[])[] {
  const sets = new Map<string, PolicyRule[]>();
  for (const rule of rules) {
    const key = policySet(rule.name)?.stem ?? `${rule.name}@`;
    sets.set(key, [...(sets.get(key) ?? []), rule]);
  }
  return [...sets.values()];
}

/** A set of which not all could be fetched. */
interface FailedSet {
  readonly set: readonly PolicyRule[];
  readonly failures: readonly MirrorFailure[];
  /** What the others of the set miss, for a person. */
  readonly waiting: readonly string[];
}

/** Fetches and brings sets, several in one revision. @returns those of which not all could be fetched */
async function runRound(run: Running, sets: readonly (readonly PolicyRule[])[]): Promise<FailedSet[]> {
  const failed: FailedSet[] = [];
  let batch: Fetched[] = [];
  for (const set of sets) {
    const { fetched, failures } = await fetchSet(run, set);
    if (failures.length > 0) failed.push({ set, failures, waiting: waitingOf(fetched) });
    else if (await hasNews(run, fetched)) batch.push(...fetched);
    const bytes = batch.reduce((sum, { text }) => sum + (text.bytes?.byteLength ?? 0), 0);
    if (bytes < limits.policy.together) continue;
    await bring(run, batch);
    batch = [];
  }
  await bring(run, batch);
  return failed;
}

async function fetchSet(
  { site, traffic }: Running,
  set: readonly PolicyRule[],
): Promise<{ fetched: Fetched[]; failures: MirrorFailure[] }> {
  const fetched: Fetched[] = [];
  const failures: MirrorFailure[] = [];
  for (const rule of set) {
    try {
      const text = await fetchPolicy(site, rule, traffic);
      fetched.push({ rule, text });
      if (text.bytes !== undefined && text.known !== undefined) await remember(site, { rule, text }, text.known);
    } catch (error) {
      if (!isAirlockError(error) || !/^(?:upstream|policy|path|trust)\./.test(error.code)) throw error;
      failures.push({ path: rule.path, code: error.code, message: error.message });
    }
  }
  return { fetched, failures };
}

function waitingOf(fetched: readonly Fetched[]): string[] {
  const changed = fetched.filter(({ text }) => text.known === undefined).map(({ rule }) => rule.name);
  if (changed.length === 0) return [];
  return [`${changed.join(', ')} changed, and was not brought: parts of one policy come together or not at all`];
}

/** True for what may be otherwise a moment later. */
function mayPass({ code }: MirrorFailure): boolean {
  return code === 'upstream.unreachable' || code === 'upstream.failed';
}

/** @throws interrupted */
async function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  try {
    await sleep(milliseconds, undefined, { signal });
  } catch (cause) {
    throw new AirlockError('interrupted', 'Interrupted. What was brought stays; run the same command to go on.', {
      cause,
    });
  }
}

/** Whether something of a set is to be brought, and so all of it. */
async function hasNews({ site: { ingest } }: Running, set: readonly Fetched[]): Promise<boolean> {
  for (const { rule, text } of set) {
    if (text.known === undefined || (await hasMoreToSay(ingest.catalog, rule, text.known))) return true;
  }
  return false;
}

/** True for a version that waits for the others of its set, and for releases that nobody has named with it. */
async function hasMoreToSay(catalog: Catalog, { name, releases = [] }: PolicyRule, known: PolicyVersion) {
  if (known.held?.widens === false) return true;
  if (known.rejected !== null) return false;
  const current = known.held === null ? await newestVersion(catalog, name) : known;
  return current?.digest === known.digest && releases.some((release) => !current.releases.includes(release));
}

async function bring(run: Running, fetched: readonly Fetched[]): Promise<void> {
  if (fetched.length === 0) return;
  const { site } = run;
  const texts: PolicyText[] = [];
  for (const each of fetched) texts.push(await textOf(site, each));
  const reason = `sync ${site.name}: ${fetched.length === 1 ? `policy ${fetched[0]?.rule.name}` : `${fetched.length} policies`}`;
  const brought = site.dryRun
    ? await previewPolicies(site.ingest, texts)
    : await bringPolicies(site.ingest, texts, reason);
  for (const [index, each] of fetched.entries()) {
    const version = brought[index]?.version;
    if (version !== undefined) await remember(site, each, version);
  }
  for (const each of brought) {
    run.warnings.push(...warningsOf(each));
    if (each.outcome === 'published') run.added.push(...pathsOf(each.version.name, each.version.version));
  }
  for (const along of new Set(brought.flatMap((each) => each.along))) {
    const [name = '', version] = along.split('@');
    run.added.push(...pathsOf(name, Number(version)));
  }
  run.policies.push(...brought.filter(({ outcome }) => outcome !== 'present'));
}

function pathsOf(name: string, version: number): string[] {
  return [`policies/${name}`, `policies/${versionPath(name, version)}`];
}

async function textOf(site: MirrorSite, { rule, text }: Fetched): Promise<PolicyText> {
  const { etag, modified } = text;
  const bytes = text.bytes ?? (text.known && (await readVersion(site.ingest, text.known)));
  if (bytes === undefined) throw new TypeError('what was not sent is known');
  return {
    name: rule.name,
    bytes,
    fileName: fileName(rule.path),
    origin: { url: site.upstream.address(rule.path) },
    validators: {
      ...(etag === null ? {} : { etag }),
      ...(modified === null ? {} : { lastModified: modified.toUTCString() }),
    },
    at: site.now(),
    verification: { status: 'unverified', checks: [] },
    channel: site.name,
    source: site.name,
    releases: rule.releases ?? [],
    holdWidening: rule.holdWidening,
  };
}

/** A name of the site is data: without its encoding if that makes sense. */
function fileName(path: string): string {
  const last = path.slice(path.lastIndexOf('/') + 1);
  try {
    return decodeURIComponent(last);
  } catch {
    return last;
  }
}

/** What a path held, for the next time. */
async function remember(
  { memory, dryRun }: MirrorSite,
  { rule, text: { etag, modified } }: Fetched,
  { digest, size }: PolicyVersion,
): Promise<void> {
  if (!dryRun) await memory.put(rule.path, { etag, modified, size, digest, isHeld: false });
}
