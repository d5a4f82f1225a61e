/** What a login needs: whom to believe to be the server, and with what to answer it. */
import type SftpClient from 'ssh2-sftp-client';
import { AirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import { quote, quoteUnsafe } from '../../repo/formats/quote.ts';
import { readSmallFile } from '../../repo/ingest/medium.ts';
import { fingerprintOf, KnownHosts, keyTypeOf, knownName } from './known-hosts.ts';
import { formatSftpUrl, type SftpAddress } from './sftp-address.ts';

/** Files and pins that the user names. */
export interface SftpLogin {
  /** A private key file. */
  readonly identity?: string | undefined;
  /** A file with the passphrase of `identity` on its first line. */
  readonly passphraseFile?: string | undefined;
  /** A file with the password on its first line. */
  readonly passwordFile?: string | undefined;
  /** Socket of an agent; asked if neither a key nor a password is given. */
  readonly agent?: string | undefined;
  /** A known_hosts file. */
  readonly knownHosts?: string | undefined;
  /** Pinned keys: `SHA256:…`, as ssh-keygen -l shows them. With any, `knownHosts` only revokes. */
  readonly hostKeys?: readonly string[] | undefined;
}

export type ConnectOptions = SftpClient.ConnectOptions;

/** Checks the key that a server shows. */
export interface HostCheck {
  /**
   * Host key algorithms, those of known keys first. With pins there are more lists, of one type each: a server has several
   * keys and shows the best that both sides can use, while the pinned one may be another.
   */
  readonly attempts: readonly (readonly HostKeyAlgorithm[])[];
  /** @returns why not: ssh.host-key. @param key as it goes over the wire */
  refusal(key: Buffer): AirlockError | undefined;
}

type HostKeyAlgorithm = (typeof ALGORITHMS)[number][1][number];

/** SHA-1 signatures (`ssh-rsa`) and DSA are not taken. */
const ALGORITHMS = [
  ['ssh-ed25519', ['ssh-ed25519']],
  ['ecdsa-sha2-nistp256', ['ecdsa-sha2-nistp256']],
  ['ecdsa-sha2-nistp384', ['ecdsa-sha2-nistp384']],
  ['ecdsa-sha2-nistp521', ['ecdsa-sha2-nistp521']],
  ['ssh-rsa', ['rsa-sha2-512', 'rsa-sha2-256']],
] as const;

const FINGERPRINT = /^SHA256:[A-Za-z0-9+/]{43}=?$/;

/** @throws usage.invalid without a pin and without a file, and for what is no fingerprint; file.not-found, source.lost */
export async function hostCheckOf(address: SftpAddress, { knownHosts, hostKeys = [] }: SftpLogin): Promise<HostCheck> {
  const wrong = hostKeys.find((pin) => !FINGERPRINT.test(pin));
  if (wrong !== undefined) {
    throw new AirlockError(
      'usage.invalid',
      `${quote(wrong)} is no fingerprint of a host key. Give it as "ssh-keygen -l -f ssh_host_ed25519_key.pub" on the server shows it: SHA256: and 43 characters.`,
    );
  }
  if (knownHosts === undefined && hostKeys.length === 0) {
    throw new AirlockError(
      'usage.invalid',
      `Nothing says which key ${address.host} has, so anybody could pose as it. Give --known-hosts FILE (such as ~/.ssh/known_hosts), or --host-key SHA256:… with the fingerprint that the server's owner tells.`,
    );
  }
  const text = knownHosts === undefined ? '' : await readText(knownHosts, limits.carrier.knownHosts);
  const known = KnownHosts.of(text, address);
  const pins = new Set(hostKeys.map((pin) => pin.replace(/=$/, '')));
  return {
    attempts: [algorithmsFor(known.types), ...(pins.size === 0 ? [] : ALGORITHMS.map(([, algorithms]) => algorithms))],
    refusal(key) {
      const verdict = known.judge(key);
      const isGood = pins.size > 0 ? pins.has(fingerprintOf(key)) && verdict !== 'revoked' : verdict === 'known';
      if (isGood) return undefined;
      return refused(address, key, { verdict: verdict === 'known' ? 'changed' : verdict, pins, known });
    },
  };
}

/**
 * The part of the connection's options that answers the server's question who we are.
 * @throws usage.invalid if there is nothing to log in with; file.not-found, source.lost
 */
export async function credentialsOf(login: SftpLogin): Promise<ConnectOptions> {
  const { identity, passphraseFile, passwordFile, agent } = login;
  const methods: ('publickey' | 'password' | 'agent')[] = [];
  const options: ConnectOptions = {};
  if (identity !== undefined) {
    options.privateKey = await readText(identity, limits.keyFile);
    methods.push('publickey');
    if (passphraseFile !== undefined) options.passphrase = await readSecret(passphraseFile);
  }
  if (passwordFile !== undefined) {
    options.password = await readSecret(passwordFile);
    methods.push('password');
  }
  if (methods.length === 0 && agent !== undefined && agent !== '') {
    options.agent = agent;
    methods.push('agent');
  }
  if (methods.length === 0) {
    throw new AirlockError(
      'usage.invalid',
      'Nothing to log in with. Give --identity FILE with a private key, start an SSH agent (SSH_AUTH_SOCK), or give --password-file FILE.',
    );
  }
  return { ...options, authHandler: methods };
}

function algorithmsFor(types: readonly string[]): HostKeyAlgorithm[] {
  const isKnown = ([type]: (typeof ALGORITHMS)[number]) => types.includes(type);
  const sorted = [...ALGORITHMS.filter(isKnown), ...ALGORITHMS.filter((each) => !isKnown(each))];
  return sorted.flatMap(([, algorithms]) => [...algorithms]);
}

interface Refusal {
  readonly verdict: 'revoked' | 'changed' | 'unknown';
  readonly pins: ReadonlySet<string>;
  readonly known: KnownHosts;
}

function refused(address: SftpAddress, key: Buffer, { verdict, pins, known }: Refusal): AirlockError {
  const reason = pins.size > 0 && verdict !== 'revoked' ? 'changed' : verdict;
  const [type, fingerprint] = [keyTypeOf(key), fingerprintOf(key)];
  const name = knownName(address.host, address.port);
  const why = {
    revoked: "This key is marked @revoked: whoever holds it may be a thief. Ask the server's owner.",
    changed: `Another one is ${pins.size > 0 ? 'pinned' : 'known'}: the server was set up anew, or somebody poses as it. Ask the server's owner which key it has before you trust this one.`,
    unknown: known.onlyAuthorities
      ? `The known_hosts file has only @cert-authority lines for ${name}, and certificates are not supported. Compare the fingerprint with the server's owner, and give it: --host-key ${fingerprint}.`
      : `Nothing is known of ${name}. Compare the fingerprint with the server's owner, and add the key to the known_hosts file, or give --host-key ${fingerprint}.`,
  }[reason];
  return new AirlockError(
    'ssh.host-key',
    `${formatSftpUrl(address)} shows the ${type || 'unreadable'} key ${fingerprint}. ${why} Nothing was sent.`,
    { details: { reason, type, fingerprint, host: name } },
  );
}

async function readText(file: string, limit: number): Promise<string> {
  const bytes = await readSmallFile(file, limit);
  if (bytes !== undefined) return bytes.toString('utf8');
  throw new AirlockError('file.not-found', `There is no file ${quoteUnsafe(file)}.`);
}

/** The first line. */
async function readSecret(file: string): Promise<string> {
  const [line = ''] = (await readText(file, limits.carrier.secretFile)).split(/\r?\n/, 1);
  if (line !== '') return line;
  throw new AirlockError('usage.invalid', `${quoteUnsafe(file)} is empty: nothing stands on its first line.`);
}
