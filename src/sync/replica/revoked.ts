/**
 * What the site's list of revoked content takes out of a plan: the twin may not know that list yet, and whoever put such
 * content there does not put it here.
 */
import { AirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import type { Digest } from '../../repo/blobs/blob-store.ts';
import { quoteUnsafe } from '../../repo/formats/quote.ts';
import { withoutImages } from '../../repo/packages/without-images.ts';
import type { Unavailable } from './bring.ts';
import type { Taken } from './findings.ts';
import { type RepositoryPlan, without } from './plan.ts';

/**
 * @param revoked as revocations.json has it: also packages go that nothing but revoked images brought
 * @returns the plan without them, and why
 * @throws trust.revoked if there is more of it than can be remembered; nothing of the repository is to be taken over then
 */
export function withoutRevoked(
  plan: RepositoryPlan,
  revoked: ReadonlySet<Digest>,
): { readonly plan: RepositoryPlan; readonly refused: Unavailable } {
  const refused = new Map<Digest, AirlockError>();
  if (revoked.size === 0) return { plan, refused };
  const inImages = withoutImages(revoked);
  const { repository } = plan;
  const take = plan.take.map((each): Taken => {
    const { path, artifact } = each;
    const isRevoked = revoked.has(artifact.digest);
    const left = isRevoked ? 'withdrawn' : inImages({ artifact });
    if (typeof left !== 'string') return { ...each, artifact: left };
    refused.set(artifact.digest, leftThere(`${repository}/${path}`, artifact.digest));
    return each;
  });
  const [first] = refused.values();
  if (first !== undefined && refused.size > limits.replica.refused) throw first;
  return { plan: without({ ...plan, take }, refused), refused };
}

function leftThere(at: string, digest: Digest): AirlockError {
  return new AirlockError(
    'trust.revoked',
    `The peer publishes ${quoteUnsafe(at)} (${digest}), which was revoked for this site. It is not taken over. Delete it there, and import the newest bundle there, so that it is refused there, too.`,
    { details: { path: at, digest } },
  );
}
