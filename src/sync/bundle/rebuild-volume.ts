/**
 * A volume that is lost or damaged, made up for by the parity volume and all others. None of its bytes is kept: each is
 * computed when it is read, and whoever reads it checks it as if it came from a medium, blob by blob.
 */
import { AirlockError } from '../../errors.ts';
import { quoteUnsafe } from '../../repo/formats/quote.ts';
import type { FoundFolder } from './find-bundles.ts';
import type { Manifest } from './manifest.ts';
import { type OpenVolume, openVolume } from './open-volume.ts';
import { xorOf } from './parity.ts';

/** Why a volume had to be rebuilt. */
export type Lost = 'missing' | 'damaged';

export interface RebuiltVolume extends OpenVolume {
  readonly why: Lost;
  /** What it is computed from. Its `close` closes them. */
  readonly sources: readonly OpenVolume[];
}

/**
 * @param number of the volume, from 1 on
 * @returns the names of what would be needed for it and is not here, either; none for a bundle without parity
 * @throws source.lost, interrupted
 */
export async function rebuildVolume(
  { volumes, parity }: Pick<Manifest, 'volumes' | 'parity'>,
  number: number,
  { why, folders }: { why: Lost; folders: readonly FoundFolder[] },
): Promise<RebuiltVolume | readonly string[]> {
  const lost = volumes[number - 1];
  if (parity === undefined || lost === undefined) return [];
  const sources: OpenVolume[] = [];
  const close = async () => {
    for (const { file } of sources) await file.close();
  };
  try {
    const lacking: string[] = [];
    for (const listed of [...volumes.filter((each) => each !== lost), parity]) {
      const source = await openVolume(listed, folders);
      if (source === undefined) lacking.push(listed.name);
      else sources.push(source);
    }
    if (lacking.length > 0) {
      await close();
      return lacking;
    }
  } catch (error) {
    await close();
    throw error;
  }
  const files = sources.map(({ file }) => file);
  return {
    name: lost.name,
    where: `rebuilt with ${parity.name}`,
    why,
    sources,
    file: { ...xorOf(files, lost.size), close },
  };
}

/** What to throw where more is lost than parity makes up for. @param damaged what else than that volume, or more than one */
export function beyondParity(
  { site, parity }: Pick<Manifest, 'site' | 'parity'>,
  damaged: readonly OpenVolume[],
  rebuilt: RebuiltVolume | undefined,
): AirlockError {
  const lost = [
    ...(rebuilt === undefined ? [] : [`${rebuilt.name} is ${rebuilt.why}`]),
    ...damaged.map(({ name, where }) => `${name} at ${quoteUnsafe(where)} is damaged`),
  ];
  const names = [...(rebuilt === undefined ? [] : [rebuilt.name]), ...damaged.map(({ name }) => name)];
  return new AirlockError(
    'blob.digest-mismatch',
    `${lost.join(', and ')}: ${parity?.name ?? 'parity'} makes up for one, not for ${lost.length}. Nothing was published. Write all but one of them again ("airlock export --site ${site} --resume --to DIR"), and run the same command: it goes on.`,
    { details: { volumes: names } },
  );
}
