/** Two artifacts of one content or one purpose: what is published of them. */
import type { Artifact } from '../catalog/artifact.ts';

/** By the releases that brought them; else by digest, so that it does not matter which came first. */
export function isNewer(a: Artifact, b: Artifact): boolean {
  const order = ({ origins = [] }: Artifact) =>
    origins
      .map(({ release }) => release?.orderKey ?? '')
      .sort()
      .at(-1);
  const [first, second] = [`${order(a)} ${a.digest}`, `${order(b)} ${b.digest}`];
  return first > second;
}

/** The same bytes came again: all that brought them is kept. Other bytes are for the catalog to refuse. */
export function joined(there: Artifact, arriving: Artifact): Artifact {
  if (there.digest !== arriving.digest) return arriving;
  const known = new Set((there.origins ?? []).map((origin) => JSON.stringify(origin)));
  const more = (arriving.origins ?? []).filter((origin) => !known.has(JSON.stringify(origin)));
  const isStronger = there.verification.status !== 'signature' && arriving.verification.status === 'signature';
  if (more.length === 0 && !isStronger) return there;
  return {
    ...there,
    verification: isStronger ? arriving.verification : there.verification,
    origins: [...(there.origins ?? []), ...more],
  };
}
