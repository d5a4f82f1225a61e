import type { Carrier } from './carrier.ts';
import { openDirectoryCarrier } from './directory-carrier.ts';
import { isSftpUrl, parseSftpUrl } from './sftp-address.ts';
import { openSftpCarrier } from './sftp-carrier.ts';
import type { SftpLogin } from './sftp-login.ts';

export interface OpenCarrierOptions {
  /** For `sftp://`. */
  readonly login?: SftpLogin;
  /** Reads and writes throw `interrupted` once it has fired. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Opens what a user names: a folder, or `sftp://USER@HOST[:PORT]/ABSOLUTE/PATH`. The caller closes it.
 * Without a key, an agent or a password in `login`, the agent of SSH_AUTH_SOCK is asked.
 * @throws file.not-found if there is no such folder; usage.invalid; source.lost; for `sftp://` also ssh.host-key,
 *   ssh.authentication, carrier.unreachable, interrupted
 */
export async function openCarrier(place: string, { login = {}, signal }: OpenCarrierOptions = {}): Promise<Carrier> {
  if (!isSftpUrl(place)) return await openDirectoryCarrier(place, { signal });
  const agent = login.agent ?? process.env.SSH_AUTH_SOCK;
  return await openSftpCarrier(parseSftpUrl(place), { ...login, agent, signal });
}
