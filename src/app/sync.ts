/**
 * How mirroring is put together from the configuration: the site, what may sign there, and its rules.
 */
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { App } from '../app.ts';
import { type MirrorRuleConfig, sitePath } from '../config/mirror.ts';
import type { Config } from '../config.ts';
import { AirlockError, isAirlockError } from '../errors.ts';
import { limits } from '../limits.ts';
import { makeDirectory } from '../repo/blobs/durable.ts';
import { ProcessLock } from '../repo/blobs/process-lock.ts';
import { quote } from '../repo/formats/quote.ts';
import type { IngestContext } from '../repo/ingest/destination.ts';
import { policySet } from '../repo/policies/policy-name.ts';
import type { Progress } from '../repo/progress.ts';
import { Bandwidth } from '../repo/upstream/bandwidth.ts';
import { noteEnd, noteFailure, noteStart } from '../sync/mirror/history.ts';
import { siteMemory } from '../sync/mirror/memory.ts';
import { type MirrorStep, outcomeOf, type SyncReport, syncSite } from '../sync/mirror/mirror.ts';
import type { PoliciesReport, PolicyRule } from '../sync/mirror/policies.ts';
import type { RpmRule } from '../sync/mirror/rpm.ts';
import type { MirrorSite } from '../sync/mirror/rule.ts';
import { configuredKeys } from './upstream-keys.ts';
import { type UpstreamSite, upstreamSite } from './upstream-sites.ts';

type UpstreamConfig = Config['upstreams'][string];
type RuleOf<Kind extends MirrorRuleConfig['kind']> = Extract<MirrorRuleConfig, { kind: Kind }>;

export interface SyncOptions {
  readonly dryRun: boolean;
  readonly progress: Progress;
  readonly signal: AbortSignal;
  readonly onForecast: (forecast: SyncReport['forecast']) => void;
  /** Only the rule of this package repository, and all packages, whatever its policy. Default: all rules, as they say. */
  readonly complete?: string;
}

/**
 * Mirrors one upstream by its rules, and writes down what came of it.
 * @throws upstream.not-found, upstream.offline before anything is asked for, upstream.busy if another process is at it,
 *   config.invalid, and what syncSite throws
 */
export async function syncUpstream(app: App, name: string, options: SyncOptions): Promise<SyncReport> {
  const upstream = upstreamOf(app.config, name);
  if (upstream.mirror.length === 0) throw noRules(name);
  requireOnline(app.config, name);
  const { dryRun, complete } = options;
  const only = complete === undefined ? null : `rpm ${complete}`;
  return await noted(app, { name, only, dryRun }, async () => {
    const report = await run(app, name, upstream, options);
    return { result: report, report };
  });
}

/** What is being mirrored: all rules of an upstream, or (`only`) some. */
interface Noted {
  readonly name: string;
  readonly only: string | null;
  readonly dryRun: boolean;
}

/**
 * Works while nobody else mirrors the upstream, and writes down what came of it, unless it was a dry run.
 * @throws upstream.busy, and what `work` throws
 */
async function noted<T>(
  { dataDir, catalog }: App,
  { name, only, dryRun }: Noted,
  work: () => Promise<{ result: T; report: Parameters<typeof noteEnd>[2] }>,
): Promise<T> {
  const lock = await lockUpstream(dataDir, name);
  const begin = { upstream: name, startedAt: new Date(), only };
  try {
    if (!dryRun) await noteStart(catalog, begin);
    const { result, report } = await work();
    if (!dryRun) await noteEnd(catalog, begin, report);
    return result;
  } catch (error) {
    const known = isAirlockError(error) ? error : new AirlockError('internal', String(error), { cause: error });
    if (!dryRun) await noteFailure(catalog, { ...begin, endedAt: new Date() }, known);
    throw error;
  } finally {
    lock.release();
  }
}

/**
 * Asks the site of one policy for its text, now, and writes down what came of it; parts of one policy (`…-expanded-1`, `-2`)
 * are asked for together.
 * @throws policy.not-found if no rule brings it, usage.ambiguous if several upstreams do, and what syncUpstream throws
 */
export async function fetchPolicy(
  app: App,
  policy: string,
  options: Omit<SyncOptions, 'onForecast'>,
): Promise<PoliciesReport> {
  const { name, rules } = policyRules(app.config, policy);
  requireOnline(app.config, name);
  const only = rules.map((rule) => `policy ${rule.name}`).join(', ');
  return await noted(app, { name, only, dryRun: options.dryRun }, async () => {
    const { mirrorPolicies } = await import('../sync/mirror/policies.ts');
    const result = await withSite(app, name, options, (site) => mirrorPolicies(site, rules));
    return { result, report: { endedAt: new Date(), outcome: outcomeOf([result]), rules: [result] } };
  });
}

function policyRules({ upstreams }: Config, policy: string): { name: string; rules: PolicyRule[] } {
  const found = Object.entries(upstreams).flatMap(([name, { mirror }]) => {
    const all = mirror.filter((rule) => rule.kind === 'policy');
    if (all.every((rule) => rule.name !== policy)) return [];
    const set = policySet(policy)?.stem;
    const rules = all.filter((rule) => rule.name === policy || (set && policySet(rule.name)?.stem === set));
    return [{ name, rules: rules.map((rule) => ({ ...rule, path: sitePath(rule.path) })) }];
  });
  const [first, second] = found;
  if (first === undefined) {
    throw new AirlockError(
      'policy.not-found',
      `No rule of an upstream brings policy ${quote(policy)}. Add "{ kind: policy, path: PATH, name: NAME }" to the "mirror:" list of an upstream in airlock.yaml, or bring a file with "airlock import policy".`,
    );
  }
  if (second === undefined) return first;
  const names = found.map(({ name }) => name);
  throw new AirlockError(
    'usage.ambiguous',
    `Several upstreams bring policy ${quote(policy)}: ${names.join(', ')}. Give one of the rules another name.`,
    { details: { upstreams: names } },
  );
}

/** Whether some process is mirroring an upstream. */
export function isSyncing(dataDir: string, name: string): boolean {
  try {
    const lock = ProcessLock.tryShare(lockFile(dataDir, name));
    lock?.release();
    return lock === undefined;
  } catch {
    return false; // nobody ever did
  }
}

/** @throws upstream.not-found, with those there are */
export function upstreamOf({ upstreams }: Config, name: string): UpstreamConfig {
  const upstream = Object.hasOwn(upstreams, name) ? upstreams[name] : undefined;
  if (upstream !== undefined) return upstream;
  const known = Object.keys(upstreams);
  const list = known.length === 0 ? 'The configuration names none' : `There are: ${known.join(', ')}`;
  throw new AirlockError(
    'upstream.not-found',
    `No upstream is called ${quote(name)}. ${list}; "upstreams:" in airlock.yaml names them.`,
    { details: { known } },
  );
}

async function run(
  app: App,
  name: string,
  upstream: UpstreamConfig,
  { onForecast, complete, ...options }: SyncOptions,
): Promise<SyncReport> {
  return await withSite(app, name, options, async (site, parts) => {
    const rule = complete === undefined ? undefined : rpmRule(upstream, complete);
    const steps =
      rule === undefined
        ? await stepsOf(upstream.mirror, parts)
        : [await rpmStep({ ...rule, complete: true }, parts.at, parts.keyring)];
    return await syncSite(site, steps, onForecast);
  });
}

/** Makes the site of an upstream, and lets go of it once `work` is done. */
async function withSite<T>(
  app: App,
  name: string,
  options: Omit<SyncOptions, 'onForecast'>,
  work: (site: MirrorSite, parts: StepParts) => Promise<T>,
): Promise<T> {
  const { dataDir, config, catalog } = app;
  const upstream = upstreamOf(config, name);
  const at = await upstreamSite(dataDir, name, upstream);
  const keys = await configuredKeys(dataDir, `upstreams.${name}.keys`, upstream.keys);
  const ingest = await app.ingest();
  // Only here: it takes its time to load.
  const { HttpUpstream } = await import('../repo/upstream/http-upstream.ts');
  const site = {
    ...options,
    name,
    upstream: new HttpUpstream(at),
    bandwidth: new Bandwidth(Math.min(at.bandwidth, config.maxBandwidth / 8)),
    ingest: { ...ingest, keys, upstreamKeys: [...ingest.keys, ...(ingest.upstreamKeys ?? [])] },
    memory: siteMemory(catalog, name),
    now: () => new Date(),
  };
  try {
    return await work(site, { at, config, keyring: ingest });
  } finally {
    site.upstream.close();
  }
}

interface StepParts {
  readonly at: UpstreamSite;
  readonly config: Config;
  /** With the keys that are pinned here. */
  readonly keyring: IngestContext;
}

/** Rules in their order; all that bring policies run together, for some make sense only with others. */
async function stepsOf(rules: readonly MirrorRuleConfig[], { at, config, keyring }: StepParts): Promise<MirrorStep[]> {
  const steps: MirrorStep[] = [];
  for (const rule of rules) {
    if (rule.kind === 'releases') steps.push(await releasesStep(rule, config, keyring));
    else if (rule.kind === 'rpm') steps.push(await rpmStep(rule, at, keyring));
  }
  const policies = rules.filter((rule) => rule.kind === 'policy');
  if (policies.length > 0) steps.push(await policiesStep(policies));
  return steps;
}

async function releasesStep(rule: RuleOf<'releases'>, config: Config, keyring: IngestContext): Promise<MirrorStep> {
  const { mirrorReleases } = await import('../sync/mirror/releases.ts');
  const { checkRpmSignature: said, keep = rule.newest, pinned, path: below, ...selection } = rule;
  return {
    rule: `releases ${below}`,
    run: (site) => {
      const { hasKeys, ingest } = whoMaySign(site, keyring);
      const signatures = said ?? (ingest.keys.length > 0 ? 'required' : 'disabled');
      return mirrorReleases(
        { ...site, ingest },
        {
          ...selection,
          path: sitePath(below),
          keep,
          pinned: [...pinned, ...config.cache.pinned],
          requireSignature: hasKeys,
          requireChecksum: config.requireVerified,
          policy: { signatures, acceptWeakDigests: false, isExplicit: said !== undefined },
        },
      );
    },
  };
}

/** Without keys of its own, what a person pinned here says who may sign for a site; checksums suffice then. */
function whoMaySign({ ingest }: MirrorSite, keyring: IngestContext): { hasKeys: boolean; ingest: IngestContext } {
  const hasKeys = ingest.keys.length > 0;
  return { hasKeys, ingest: hasKeys ? ingest : { ...ingest, keys: keyring.keys } };
}

/** The one that brings a repository. */
export function rpmRule({ mirror }: Pick<UpstreamConfig, 'mirror'>, repository: string): RuleOf<'rpm'> | undefined {
  return mirror.filter((rule) => rule.kind === 'rpm').find((rule) => rule.repository === repository);
}

async function rpmStep(
  rule: RuleOf<'rpm'> & Pick<RpmRule, 'complete'>,
  at: UpstreamSite,
  keyring: IngestContext,
): Promise<MirrorStep> {
  const { mirrorRpm } = await import('../sync/mirror/rpm.ts');
  const { HttpUpstream } = await import('../repo/upstream/http-upstream.ts');
  const named = new Set([new URL(at.url).hostname, ...at.hosts]);
  // A mirror is no business of the site's user name and password, unless it is the site itself.
  const { username: _user, password: _password, ...anybody } = at;
  const mirrorAt = (url: URL) => {
    if (!named.has(url.hostname)) return undefined;
    const isSite = url.origin === new URL(at.url).origin;
    return new HttpUpstream({ ...(isSite ? at : anybody), url: url.href });
  };
  const below = { ...rule, path: sitePath(rule.path) };
  return {
    rule: `rpm ${rule.path}`,
    run: (site) => {
      const { hasKeys, ingest } = whoMaySign(site, keyring);
      return mirrorRpm({ ...site, ingest, mirrorAt }, { ...below, requireSignature: hasKeys });
    },
  };
}

async function policiesStep(rules: readonly RuleOf<'policy'>[]): Promise<MirrorStep> {
  const { mirrorPolicies } = await import('../sync/mirror/policies.ts');
  const places = rules.map((rule) => ({ ...rule, path: sitePath(rule.path) }));
  const rule = rules.length === 1 ? `policy ${rules[0]?.path}` : `${rules.length} policies`;
  return { rule, run: (site: MirrorSite) => mirrorPolicies(site, places) };
}

function noRules(name: string): AirlockError {
  return new AirlockError(
    'config.invalid',
    `upstreams.${name} has no "mirror:" list that says what to bring. Add rules to it in airlock.yaml, such as { kind: releases, path: PATH }.`,
  );
}

/** @throws upstream.offline */
function requireOnline({ offlineMode, sourceType }: Config, name: string): void {
  if (!offlineMode && sourceType !== 'conductor-only') return;
  const why = offlineMode ? 'offlineMode is true' : 'sourceType is conductor-only';
  throw new AirlockError(
    'upstream.offline',
    `${why}, so ${name} is not asked for anything. Bring content with "airlock import", or change the configuration.`,
  );
}

/** @throws upstream.busy */
async function lockUpstream(dataDir: string, name: string): Promise<ProcessLock> {
  const file = lockFile(dataDir, name);
  await makeDirectory(path.dirname(file));
  for (let attempt = 0; attempt < 5; attempt += 1) {
    const lock = ProcessLock.tryAcquire(file);
    if (lock !== undefined) return lock;
    await sleep(limits.catalog.busyPoll * 4); // somebody may just have looked whether it is taken
  }
  throw new AirlockError(
    'upstream.busy',
    `Another process is mirroring ${name}. Wait until it is done; "airlock upstream history ${name}" tells.`,
  );
}

function lockFile(dataDir: string, name: string): string {
  return path.join(dataDir, 'upstreams', `${name}.lock`);
}
