/** What became of a text, for people. */
import type { BroughtPolicy } from './bring.ts';
import { versionPath } from './policy-name.ts';

/** Why a version is held, and what to do about it; a clause. */
export function whyHeld({ version, before, waitsFor }: BroughtPolicy): string {
  const path = versionPath(version.name, version.version);
  const widens = `it makes more possible than ${before ?? 'before'}, or may do so: look at "airlock policy diff ${before ?? version.name} ${path}", then "airlock policy approve ${path}"`;
  const waits = `it is one part of a set and waits for ${waitsFor.join(', ')}: bring these too, changed or not`;
  return [...(version.held?.widens === true ? [widens] : []), ...(waitsFor.length > 0 ? [waits] : [])].join('; ');
}

/** What somebody should know who did not look on: a line each. */
export function warningsOf(brought: BroughtPolicy): string[] {
  const { outcome, version, before } = brought;
  const path = versionPath(version.name, version.version);
  if (outcome === 'held') return [`${path} is held and not published: ${whyHeld(brought)}`];
  if (outcome !== 'published' || before === null || version.widening !== 'yes') return [];
  return [`${path} makes more possible than ${before}: see "airlock policy diff ${before} ${path}"`];
}
