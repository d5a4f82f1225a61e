/** Changes of RPM repositories that stand alone, each in a transaction of its own. */
import { untilSettled } from '../catalog/until-settled.ts';
import { abandon, endLeases, Leases } from '../staging.ts';
import { isVerbatim, type PackageEdit, type PackagesContext, prepareChange } from './prepare-change.ts';

/** @returns the published revision @throws as prepareChange; nothing is left then */
export async function changePackages(context: PackagesContext, edit: PackageEdit): Promise<number> {
  const leases = new Leases();
  try {
    return await untilSettled(async () => {
      const change = await prepareChange(context, edit, leases);
      return await context.catalog.transaction(async (tx) => {
        const revision = await change.publish(tx);
        await endLeases(tx, leases);
        return revision;
      });
    });
  } catch (error) {
    await abandon(context, leases);
    throw error;
  }
}

/**
 * Takes keys that came, went or changed into every RPM repository: those that clients check packages with, and the one
 * that signs metadata. Those with a vendor's own metadata get theirs from the next sync.
 * @returns the published revision of each
 */
export async function refreshKeys(context: PackagesContext, reason: string): Promise<Record<string, number>> {
  const revisions: Record<string, number> = {};
  for (const { name, kind, published } of await context.catalog.repositories()) {
    if (kind !== 'rpm' || published === 0 || (await isVerbatim(context.catalog, name))) continue;
    const revision = await changePackages(context, { repository: name, reason });
    if (revision !== published) revisions[name] = revision;
  }
  return revisions;
}
