import { AirlockError } from '../../errors.ts';
import { quote } from '../../repo/formats/quote.ts';

/** It stands in file names on FAT, in names of TUF roles and in target paths. */
const SITE_NAME = /^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$/;
const TOP_LEVEL = ['root', 'timestamp', 'snapshot', 'targets'];

/** @returns the name, if it can name a site. @throws usage.invalid */
export function siteName(name: string): string {
  if (isSiteName(name)) return name;
  throw new AirlockError(
    'usage.invalid',
    `${quote(name)} cannot name a site. Use 1 to 32 lower-case letters, digits and dashes, not ${TOP_LEVEL.join(', ')}.`,
  );
}

/** True for what `siteName` lets pass. */
export function isSiteName(name: string): boolean {
  return SITE_NAME.test(name) && !TOP_LEVEL.includes(name);
}
