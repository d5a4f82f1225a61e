/** Policy texts that are here already: what a bundle says of the same bytes. */
import { isDeepStrictEqual } from 'node:util';
import type { Artifact, Json } from '../../repo/catalog/artifact.ts';

/**
 * What is to be said of a text from now on. A bundle knows better what an earlier one brought, and which version is the
 * newest; the releases that people named at either side go together.
 * @param isBrought an earlier bundle brought it
 * @returns undefined if that is said already
 */
export function joinPolicyFacts(live: Artifact, sent: Artifact, isBrought: boolean): Artifact | undefined {
  const isNewer = Number(sent.facts.version) > Number(live.facts.version);
  const known = isBrought || isNewer ? { ...sent, source: live.source } : live;
  const releases = [...new Set([...releasesOf(live), ...releasesOf(sent)])];
  const joined = { ...known, facts: { ...known.facts, releases } };
  return isDeepStrictEqual(joined.facts, live.facts) ? undefined : joined;
}

function releasesOf({ facts }: Artifact): Json[] {
  return Array.isArray(facts.releases) ? [...facts.releases] : [];
}
