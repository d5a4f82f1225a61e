import type { Manifest } from './manifest.ts';
import { COMMIT, SUMS } from './names.ts';

/** For the person who holds the medium. @param here volumes on this medium */
export function readmeText(
  {
    site,
    sequence,
    created,
    volumes,
    repositories,
  }: Pick<Manifest, 'site' | 'sequence' | 'created' | 'volumes' | 'repositories'>,
  here: readonly string[],
): string {
  const elsewhere = volumes.map(({ name }) => name).filter((name) => !here.includes(name));
  return [
    `Software for the site "${site}", bundle ${sequence}, made on ${created.slice(0, 10)}.`,
    '',
    'At the site, with this medium plugged in (it may be write-protected):',
    '',
    '  airlock bundle inspect DIR      shows what this is',
    '  airlock import bundle DIR       checks it and takes it in',
    '',
    'where DIR is this folder or the one above it.',
    '',
    `On this medium: ${here.length === 0 ? 'no volumes' : here.join(', ')}.`,
    ...(elsewhere.length === 0
      ? []
      : [`On other media of the same bundle: ${elsewhere.join(', ')}. Name all folders at once.`]),
    ...repositories.map(({ name, entries }) => `Repository ${name}: ${entries} files.`),
    '',
    `Copies are checked with: sha256sum --check --ignore-missing ${SUMS}`,
    `If the file ${COMMIT} is missing, the medium was pulled too early: write it again.`,
    'Nothing here is secret, and nothing here needs to be trusted: the site checks every byte against its root of trust.',
    '',
  ].join('\n');
}
