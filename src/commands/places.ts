/** Where bundles travel, as users name it: folders, and `sftp://` with what a login needs. */
import type { Command } from 'commander';
import type { Carrier } from '../sync/carriers/carrier.ts';
import { openCarrier } from '../sync/carriers/open-carrier.ts';

export interface PlaceFlags {
  readonly identity?: string;
  readonly passphraseFile?: string;
  readonly passwordFile?: string;
  readonly knownHosts?: string;
  readonly hostKey?: string[];
}

/** Adds the flags of a login. */
export function placeOptions(command: Command): Command {
  return command
    .option('--identity <file>', 'for sftp://: a private key')
    .option('--passphrase-file <file>', 'for sftp://: a file with the passphrase of that key')
    .option('--password-file <file>', 'for sftp://: a file with the password')
    .option('--known-hosts <file>', 'for sftp://: known host keys, such as ~/.ssh/known_hosts')
    .option('--host-key <fingerprints...>', 'for sftp://: pinned host keys, SHA256:…');
}

interface PlaceOptions {
  readonly flags: PlaceFlags;
  readonly signal: AbortSignal;
}

/** Opens a place for some work, and closes it. @throws as openCarrier */
export async function withPlace<T>(
  name: string,
  options: PlaceOptions,
  work: (place: Carrier) => Promise<T>,
): Promise<T> {
  const { identity, passphraseFile, passwordFile, knownHosts, hostKey: hostKeys } = options.flags;
  const login = { identity, passphraseFile, passwordFile, knownHosts, hostKeys };
  const place = await openCarrier(name, { login, signal: options.signal });
  try {
    return await work(place);
  } finally {
    await place.close();
  }
}

/** As `withPlace`, for several at once. */
export async function withPlaces<T>(
  names: readonly string[],
  options: PlaceOptions,
  work: (places: readonly Carrier[]) => Promise<T>,
): Promise<T> {
  const [first, ...others] = names;
  if (first === undefined) return await work([]);
  return await withPlace(first, options, (place) => {
    return withPlaces(others, options, (places) => work([place, ...places]));
  });
}
