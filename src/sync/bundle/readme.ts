import type { Manifest } from './manifest.ts';
import { COMMIT, SUMS } from './names.ts';

/**
 * For the person who holds the medium.
 * @param here volumes on this medium
 * @param program name of the offline package of Airlock, if it is on this medium
 */
export function readmeText(
  {
    site,
    sequence,
    created,
    volumes,
    parity,
    repositories,
  }: Pick<Manifest, 'site' | 'sequence' | 'created' | 'volumes' | 'parity' | 'repositories'>,
  here: readonly string[],
  program?: string,
): string {
  const files = parity === undefined ? volumes : [...volumes, parity];
  const elsewhere = files.map(({ name }) => name).filter((name) => !here.includes(name));
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
    ...(program === undefined ? [] : howToStart(program)),
    `On this medium: ${here.length === 0 ? 'no volumes' : here.join(', ')}.`,
    ...(elsewhere.length === 0
      ? []
      : [`On other media of the same bundle: ${elsewhere.join(', ')}. Name all folders at once.`]),
    ...(parity === undefined
      ? []
      : [`If one volume is lost or damaged, ${parity.name} makes up for it: bring that and all others.`]),
    ...repositories.map(({ name, entries }) => `Repository ${name}: ${entries} files.`),
    '',
    `Copies are checked with: sha256sum --check --ignore-missing ${SUMS}`,
    `If the file ${COMMIT} is missing, the medium was pulled too early: write it again.`,
    'Nothing here is secret, and nothing here needs to be trusted: the site checks every byte against its root of trust.',
    '',
  ].join('\n');
}

function howToStart(program: string): string[] {
  const folder = program.replace(/\.tar\.gz$/, '');
  return [
    'No Airlock there yet, or an older one? It is on this medium. Copy it to a disk, and as root:',
    '',
    `  tar -xzf ${program}`,
    `  ${folder}/system/install.sh`,
    '',
    `Before that, compare its SHA-256 with what the sender told you in another way; ${SUMS} beside it only tells`,
    'of bad copies. An Airlock that is there already checks it by the signature: airlock bundle verify DIR.',
    '',
  ];
}
