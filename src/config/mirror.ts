/**
 * What an upstream's `mirror:` list and `schedule:` may say.
 */
import { z } from 'zod';
import { isAirlockError } from '../errors.ts';
import { limits } from '../limits.ts';
import { isRepositoryName } from '../repo/catalog/names.ts';
import { quote } from '../repo/formats/quote.ts';
import { parseRange } from '../repo/formats/releases/semver-range.ts';
import { SIGNATURE_POLICIES } from '../repo/formats/rpm/signature-policy.ts';
import { isReleaseName } from '../repo/policies/policy-name.ts';
import { formatDuration, parseDuration } from './values.ts';

const path = z
  .string()
  .refine(
    isPath,
    'is no path below the url; write it as it stands there, such as generic-128t-isos-release-local, or "." for the url itself',
  );

const pathDoc = (example: string) => ({
  title: 'path',
  description: 'Where it lies, below the url; "." is the url itself.',
  examples: [example],
});

/** The path of a rule as it goes behind the url: without slashes around it, empty for `.`. */
export function sitePath(path: string): string {
  return path === '.' ? '' : path.replace(/^\/+|\/+$/g, '');
}

function isPath(text: string): boolean {
  if (text === '.') return true;
  const segments = sitePath(text).split('/');
  return (
    text.length <= limits.path.bytes &&
    segments.length <= limits.path.depth &&
    segments.every((segment) => /^[\x21-\x7e]+$/.test(segment) && !/^\.{1,2}$/.test(segment)) &&
    !/[\\?#]|^[a-z][a-z0-9+.-]*:\/\//i.test(text)
  );
}

const range = z.string().superRefine((text, context) => {
  try {
    parseRange(text, 'ssr');
  } catch (error) {
    if (!isAirlockError(error)) throw error;
    context.addIssue(`is no range of releases. ${error.message}`);
  }
});

const count = z
  .number({ error: 'is no number; write how many, such as 2' })
  .int('is no whole number')
  .min(1, 'is too few; the least is 1')
  .max(limits.mirror.files, 'is too many');

function words<const Word extends string>(...known: [Word, ...Word[]]) {
  const each = z.enum(known, { error: ({ input }) => `is ${show(input)}; known are ${known.join(', ')}` });
  return z.array(each, { error: `is no list; write [${known[0]}]` }).min(1, 'is empty; leave the key out');
}

function show(input: unknown): string {
  return typeof input === 'string' ? quote(input) : `no word (${JSON.stringify(input)})`;
}

const MILESTONE = /^(?:r\d{1,9}|sts|lts|release|(?:alpha|beta|snapshot)\d{0,9}|rc\d{1,9})$/;

const releases = z
  .strictObject({
    kind: z.literal('releases').meta({ description: 'Images of releases, as the vendor names them.' }),
    path: path.meta(pathDoc('generic-128t-isos-release-local')),
    select: range.default('*').meta({ description: 'A range of releases.', examples: ['>=6.2 <6.4'] }),
    prereleases: z.boolean().default(false).meta({ description: 'Alpha, beta, rc and snapshot, too.' }),
    newest: count
      .optional()
      .meta({ description: 'So many newest releases of each train (6.3); all by default.', examples: [2] }),
    keep: count.optional().meta({
      description:
        'So many newest releases of each train stay of what this rule brought; by default as many as newest.',
      examples: [4],
    }),
    pinned: z
      .array(z.string().min(1))
      .default([])
      .meta({ description: 'Releases, or other parts of a path, that never go.', examples: [['6.2.5']] }),
    arch: words('x86_64', 'aarch64', 'noarch')
      .optional()
      .meta({ description: 'Of these only; all by default.', examples: [['x86_64']] }),
    kinds: words('image', 'package')
      .optional()
      .meta({ description: 'Image-based, package-based, or both (default).', examples: [['image']] }),
    formats: words('iso', 'tar', 'qcow2', 'qcow', 'raw.gz', 'ztp.raw.gz')
      .optional()
      .meta({ description: 'Of these only; all by default.', examples: [['iso']] }),
    milestones: z
      .array(z.string().regex(MILESTONE, 'is no milestone; write such as r2, sts or lts'), {
        error: 'is no list; write [sts, lts]',
      })
      .min(1, 'is empty; leave the key out')
      .optional()
      .meta({ description: 'Of these only; all by default.', examples: [['lts', 'sts']] }),
    checkRpmSignature: z
      .enum(SIGNATURE_POLICIES)
      .optional()
      .meta({ description: 'What is asked of the packages in package-based images.', examples: ['required'] }),
  })
  .refine(({ newest, keep }) => keep === undefined || newest === undefined || keep >= newest, {
    path: ['keep'],
    error: 'is less than newest: what is fetched would be removed at once',
  });

/** Patterns of package names, `128T-*`. */
const patterns = z
  .array(z.string().regex(/^[A-Za-z0-9._+*?-]{1,255}$/, 'is no pattern of package names; write such as 128T-*'))
  .default([]);

const below = z.union([path, z.url({ protocol: /^https?$/ })], {
  error: 'is neither a path below the url nor a web address',
});

const rpm = z.strictObject({
  kind: z.literal('rpm').meta({ description: 'A repository of packages.' }),
  path: path.meta(pathDoc('rpm-128t-release-local')),
  repository: z
    .string()
    .refine(isRepositoryName, 'is no name of a repository; write such as ssr-plugins-el7-x86_64')
    .meta({ description: 'Where it goes here.', examples: ['ssr-plugins-el7-x86_64'] }),
  policy: z
    .enum(['immediate', 'on-demand'], { error: 'is neither immediate nor on-demand' })
    .default('immediate')
    .meta({ description: 'All at each sync, or packages when somebody asks for them.' }),
  newest: count
    .optional()
    .meta({ description: 'So many newest versions of each package, with what they require.', examples: [2] }),
  mirrorlist: below.optional().meta({
    description: 'Where the site lists its mirrors, below the url or at a web address.',
    examples: ['mirrorlist.txt'],
  }),
  metalink: below
    .optional()
    .meta({ description: 'As mirrorlist, in the format of that name.', examples: ['metalink.xml'] }),
  include: patterns.meta({
    description: 'Patterns of the packages that are wanted; all by default.',
    examples: [['128T-*']],
  }),
  exclude: patterns.meta({ description: 'Patterns of those that are not.', examples: [['*-debuginfo']] }),
});

const policy = z.strictObject({
  kind: z.literal('policy').meta({ description: 'One IAM policy text.' }),
  path: path.meta(pathDoc('IAM_access_policy_for_CloudN.txt')),
  name: z
    .string()
    .refine(
      (name) => /^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/.test(name) && !name.includes('..'),
      'is no name of a policy; write such as aviatrix-app-policy',
    )
    .meta({ description: 'Its name here.', examples: ['aviatrix-app-policy'] }),
  holdWidening: z.boolean().default(false).meta({ description: 'A version that allows more waits for approval.' }),
  releases: z
    .array(z.string().refine(isReleaseName, 'names no release; write such as 6.9.161'), {
      error: 'is no list; write [6.9.161]',
    })
    .max(limits.policy.releases, 'is too long')
    .optional()
    .meta({ description: 'Releases that what lies there now goes with.', examples: [['6.9.161']] }),
});

/** One rule of `mirror:`. */
export const mirrorRule = z.discriminatedUnion('kind', [releases, rpm, policy], {
  error: ({ code }) => (code === 'invalid_union' ? 'is no kind of rule; write releases, rpm or policy' : undefined),
});

export type MirrorRuleConfig = z.output<typeof mirrorRule>;

/** Two rules for one repository would take out of it what the other brought, again and again. */
export function requireOneRuleEach(
  upstreams: Readonly<Record<string, { readonly mirror: readonly MirrorRuleConfig[] }>>,
  context: z.RefinementCtx,
): void {
  const known = new Map<string, string>();
  for (const [name, { mirror }] of Object.entries(upstreams)) {
    for (const [index, rule] of mirror.entries()) {
      if (rule.kind !== 'rpm') continue;
      const first = known.get(rule.repository);
      known.set(rule.repository, first ?? `the one for ${quote(rule.path)} of upstream ${name}`);
      if (first === undefined) continue;
      const message = `is the repository of another rule, too: ${first}. Give each rule a repository of its own`;
      context.addIssue({ code: 'custom', path: [name, 'mirror', index, 'repository'], message });
    }
  }
}

/** `every 12h` → milliseconds. */
export const interval = z
  .string()
  .meta({ title: 'interval, such as every 12h' })
  .transform((text, context) => {
    const time = parseDuration(/^every (.*)$/s.exec(text.trim())?.[1] ?? '');
    if (time === undefined) {
      context.addIssue(`${quote(text)} is no interval; write such as "every 12h"`);
    } else if (time < limits.mirror.leastInterval) {
      context.addIssue(
        `${quote(text)} is too often; the least is every ${formatDuration(limits.mirror.leastInterval)}`,
      );
    } else if (time > limits.config.duration) {
      context.addIssue(`${quote(text)} is too seldom; the most is every ${formatDuration(limits.config.duration)}`);
    }
    return time ?? z.NEVER;
  });

export function formatInterval(milliseconds: number): string {
  return `every ${formatDuration(milliseconds)}`;
}
