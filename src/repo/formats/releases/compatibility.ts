import { AirlockError } from '../../../errors.ts';
import { quote } from '../quote.ts';
import { PUBLISHED_TRAINS } from './aviatrix-trains.ts';
import { type Condition, RULES, type Rule, type Side } from './compatibility-rules.ts';
import type { AviatrixRelease, ParsedRelease, SsrRelease } from './facts.ts';
import { compareReleases } from './order.ts';
import { trainOf, versionOf } from './release.ts';
import { sameRelease } from './same-release.ts';

export interface Finding {
  /** Id of the rule (compatibility-rules.ts). */
  readonly rule: string;
  readonly severity: 'error' | 'warning';
  /** What is wrong and what to do. */
  readonly message: string;
}

export interface Compatibility {
  /** No finding is an error. */
  readonly compatible: boolean;
  readonly findings: readonly Finding[];
}

/**
 * Whether a router on one release can run under a conductor on another; of Aviatrix, a gateway under a controller.
 * @throws AirlockError `usage.invalid` for what is no software release with a full number (an RPM, a gateway image,
 * a date release, `latest`, an Aviatrix train or letter), and for releases of different vendors.
 */
export function checkCompatibility(pair: {
  readonly conductor: ParsedRelease;
  readonly router: ParsedRelease;
}): Compatibility {
  const sides = numbered(pair);
  return judge('pair', sides, RULES);
}

/**
 * Whether one node can go from one release to another in one step. The way in several steps is not looked for here; of
 * an Aviatrix controller nextStep gives it. `role` is that of the node, `conductor` also for an Aviatrix controller.
 * `trains` are the Aviatrix trains in the order of publication, if a newer list than ours is at hand.
 * @throws AirlockError as checkCompatibility.
 */
export function checkUpgrade(upgrade: {
  readonly from: ParsedRelease;
  readonly to: ParsedRelease;
  readonly role?: 'conductor' | 'router';
  readonly trains?: readonly string[];
}): Compatibility {
  const { from, to, role = 'conductor', trains = PUBLISHED_TRAINS } = upgrade;
  const sides = { ...numbered({ from, to }), trains };
  const rules = RULES.filter((rule) => rule.role === undefined || rule.role === role);
  return judge('upgrade', sides, rules);
}

type Numbered = SsrRelease | AviatrixRelease;
type Sides = Partial<Record<Side, Numbered>> & { readonly trains?: readonly string[] };

function numbered(given: Partial<Record<Side, ParsedRelease>>): Partial<Record<Side, Numbered>> {
  const releases = Object.values(given);
  for (const release of releases) {
    if (!isNumbered(release)) {
      throw new AirlockError(
        'usage.invalid',
        `${quote(release.input)} does not name one software release by number. Give it as 6.3.5 or 6.3.5-37.sts ` +
          '(Session Smart), or as 6.6.123 (Aviatrix).',
      );
    }
  }
  if (new Set(releases.map(({ vendor }) => vendor)).size > 1) {
    throw new AirlockError(
      'usage.invalid',
      `${releases.map(({ input }) => quote(input)).join(' and ')} are of different vendors and never work together. ` +
        'Compare releases of one vendor.',
    );
  }
  return given as Partial<Record<Side, Numbered>>;
}

function isNumbered(release: ParsedRelease): release is Numbered {
  return release.scheme === 'ssr' || (release.scheme === 'aviatrix' && release.build !== null);
}

function judge(check: Rule['check'], sides: Sides, rules: readonly Rule[]): Compatibility {
  const vendor = (sides.conductor ?? sides.from)?.vendor;
  const broken = rules.filter(
    (rule) =>
      rule.check === check &&
      rule.vendor === vendor &&
      rule.when.every((condition) => holds(condition, sides)) &&
      !(rule.unless.length > 0 && rule.unless.every((condition) => holds(condition, sides))),
  );
  const findings = broken.map((rule) => ({
    rule: rule.id,
    severity: rule.severity,
    message: fill(rule.text, sides),
  }));
  return { compatible: findings.every(({ severity }) => severity !== 'error'), findings };
}

function holds(condition: Condition, sides: Sides): boolean {
  const release = sides[condition.side];
  if (release === undefined) return false;
  const other = (side: Side | undefined) => (side === undefined ? undefined : sides[side]);
  const above = other(condition.trainAtLeast);
  const before = other(condition.notBefore);
  const same = other(condition.sameAs);
  const train = other(condition.withinOneTrainOf);
  return (
    (condition.atLeast === undefined || compareNumbers(numbersOf(release), numbers(condition.atLeast)) >= 0) &&
    (condition.atMost === undefined || compareNumbers(numbersOf(release), numbers(condition.atMost)) <= 0) &&
    (condition.below === undefined || compareNumbers(numbersOf(release), numbers(condition.below)) < 0) &&
    (above === undefined || compareNumbers(numbersOf(release).slice(0, 2), numbersOf(above).slice(0, 2)) >= 0) &&
    (before === undefined || compareReleases(release, before) >= 0) &&
    (same === undefined || sameRelease(release, same)) &&
    (train === undefined || trainOf(release) === trainOf(train) || trainOf(release) === trainAfter(train, sides))
  );
}

function numbersOf({ major, minor, patch }: Numbered): number[] {
  return [major ?? 0, minor ?? 0, patch ?? 0];
}

function numbers(text: string): number[] {
  return text.split('.').map(Number);
}

function compareNumbers(a: readonly number[], b: readonly number[]): number {
  for (const [index, number] of a.entries()) {
    const difference = number - (b[index] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

function trainAfter(release: Numbered, { trains = [] }: Sides): string | undefined {
  const at = trains.indexOf(trainOf(release) ?? '');
  return at === -1 ? undefined : trains[at + 1];
}

function fill(text: string, sides: Sides): string {
  return text.replaceAll(/\{(\w+)(\.train)?\}/g, (whole, side: string, train?: string) => {
    if (side === 'next' && sides.from !== undefined)
      return trainAfter(sides.from, sides) ?? 'no train that is known yet';
    const release = sides[side as Side];
    if (release === undefined) return whole;
    return train === undefined ? versionOf(release) : (trainOf(release) ?? '');
  });
}
