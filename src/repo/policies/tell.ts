/** What became of a text, for people. */
import { AirlockError } from '../../errors.ts';
import { quoteUnsafe } from '../formats/quote.ts';
import type { BroughtPolicy } from './bring.ts';
import { versionPath } from './policy-name.ts';
import type { PolicyVersion } from './versions.ts';

/** Why a version is held, and what to do about it; a clause. */
export function whyHeld({ version, before, waitsFor }: BroughtPolicy): string {
  const path = versionPath(version.name, version.version);
  const widens = `it makes more possible than ${before ?? 'before'}, or may do so: look at "airlock policy diff ${before ?? version.name} ${path}", then "airlock policy approve ${path}" or "airlock policy reject ${path}"`;
  const waits = `it is one part of a set and waits for ${waitsFor.join(', ')}: bring these too, changed or not`;
  return [...(version.held?.widens === true ? [widens] : []), ...(waitsFor.length > 0 ? [waits] : [])].join('; ');
}

/** When a version was rejected, and why; a clause. */
export function whyRejected({ rejected }: PolicyVersion): string {
  const reason = rejected?.reason == null ? '' : ` (${quoteUnsafe(rejected.reason)})`;
  return `was rejected on ${rejected?.at.slice(0, 10)}${reason}`;
}

/** @returns policy.rejected, for whoever would publish the version all the same */
export function rejectedError(version: PolicyVersion): AirlockError {
  const path = versionPath(version.name, version.version);
  const { rejected } = version;
  return new AirlockError(
    'policy.rejected',
    `${path} has these very bytes, and ${whyRejected(version)}: it is not published. Bring another text, or take that back with "airlock policy approve ${path} --rejected".`,
    { details: { name: version.name, version: version.version, rejected } },
  );
}

/** What somebody should know who did not look on: a line each. */
export function warningsOf(brought: BroughtPolicy): string[] {
  const { outcome, version, before } = brought;
  const path = versionPath(version.name, version.version);
  if (outcome === 'held') return [`${path} is held and not published: ${whyHeld(brought)}`];
  if (outcome === 'rejected') return [`${path} ${whyRejected(version)}, and its site still has it: it stays out`];
  if (outcome !== 'published' || before === null || version.widening !== 'yes') return [];
  return [`${path} makes more possible than ${before}: see "airlock policy diff ${before} ${path}"`];
}
