import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import SftpClient from 'ssh2-sftp-client';
import { AirlockError, isAirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import { quoteUnsafe } from '../../repo/formats/quote.ts';
import { throwIfAborted } from '../../repo/staging.ts';
import { formatSftpUrl, type SftpAddress } from './sftp-address.ts';
import { type ConnectOptions, credentialsOf, type HostCheck, hostCheckOf, type SftpLogin } from './sftp-login.ts';

/** The requests of SFTP, version 3 (draft-ietf-secsh-filexfer-02), and those that OpenSSH adds. */
export type Sftp = Awaited<ReturnType<SftpClient['connect']>>;

export interface SessionOptions extends SftpLogin {
  /** Bulk reads and writes, and a connection under way, throw `interrupted` once it has fired. */
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds. Default: those of limits.carrier. */
  readonly connectTimeout?: number;
  readonly idleTimeout?: number;
}

/** What a server answers to a request that fails (SSH_FX_…). */
export const STATUS = {
  eof: 1,
  noSuchFile: 2,
  permissionDenied: 3,
  failure: 4,
  badMessage: 5,
  unsupported: 8,
} as const;

type Done<T> = (error: Error | null | undefined, value: T) => void;

/** A connection to an SFTP server whose key was checked. Whoever opened it closes it. */
export class SftpSession {
  /** For messages. */
  readonly where: string;
  readonly signal: AbortSignal | undefined;
  readonly #sftp: Sftp;
  readonly #client: SftpClient;
  readonly #socket: Socket;
  readonly #idleTimeout: number;
  /** What waits for an answer; each is told when the connection ends. */
  readonly #pending = new Set<(error: AirlockError) => void>();
  readonly #waiting: (() => void)[] = [];
  #free: number = limits.carrier.requests;
  #idle: NodeJS.Timeout | undefined;
  #lost: AirlockError | undefined;

  private constructor(sftp: Sftp, client: SftpClient, socket: Socket, address: SftpAddress, options: SessionOptions) {
    this.#sftp = sftp;
    this.#client = client;
    this.#socket = socket;
    this.where = formatSftpUrl(address);
    this.signal = options.signal;
    this.#idleTimeout = options.idleTimeout ?? limits.carrier.idleTimeout;
    socket.on('close', () => this.#end('the connection was closed'));
    client.on('close', () => this.#end('the connection was closed'));
    sftp.on('close', () => this.#end('the server ended the session'));
    sftp.on('error', (error: unknown) => {
      this.#end(`the server speaks no SFTP any more: ${error instanceof Error ? error.message : String(error)}`);
      socket.destroy();
    });
  }

  /**
   * Connects, checks the server's key, and only then logs in.
   * @throws usage.invalid, file.not-found for what is to log in with; ssh.host-key, ssh.authentication,
   *   carrier.unreachable, interrupted
   */
  static async open(address: SftpAddress, options: SessionOptions): Promise<SftpSession> {
    const check = await hostCheckOf(address, options);
    const credentials = await credentialsOf(options);
    let refusal: AirlockError | undefined;
    for (const algorithms of check.attempts) {
      try {
        return await SftpSession.#attempt(address, options, { check, credentials, algorithms });
      } catch (error) {
        const isOther = isAirlockError(error, 'ssh.host-key') && error.details.reason !== 'revoked';
        if (refusal === undefined ? !isOther : !isOther && !isAirlockError(error, 'carrier.unreachable')) throw error;
        refusal ??= isOther ? error : undefined;
      }
    }
    throw refusal;
  }

  static async #attempt(address: SftpAddress, options: SessionOptions, how: How): Promise<SftpSession> {
    if (options.signal !== undefined) throwIfAborted(options.signal);
    const socket = connect({ host: address.host, port: address.port, keepAlive: true, noDelay: true });
    const attempt = new Attempt(address, socket, options);
    try {
      const client = new SftpClient('airlock', {
        error: () => undefined,
        end: () => undefined,
        close: () => undefined,
      });
      client.on('error', (error) => attempt.heard(error)); // the client's own errors do not say at which step
      const sftp = await attempt.run(client, how);
      return new SftpSession(sftp, client, socket, address, options);
    } catch (error) {
      socket.destroy();
      throw error;
    }
  }

  /**
   * Sends one request and waits for its answer.
   * @param start gives the request to `sftp`, with the callback
   * @throws source.lost once the connection has ended or nothing was answered for too long; what the server answered
   */
  call<T>(start: (sftp: Sftp, done: Done<T>) => void): Promise<T> {
    if (this.#lost !== undefined) return Promise.reject(this.#lost);
    return new Promise<T>((resolve, reject) => {
      this.#pending.add(reject);
      this.#watch();
      const end: Done<T> = (error, value) => {
        if (!this.#pending.delete(reject)) return;
        this.#watch();
        if (error) reject(this.#answered(error));
        else resolve(value);
      };
      try {
        start(this.#sftp, end);
      } catch (error) {
        this.#pending.delete(reject);
        this.#watch();
        reject(error);
      }
    });
  }

  /** As `call`, for an extension. @returns undefined if the server does not know it */
  async extension<T>(start: (sftp: Sftp, done: Done<T>) => void): Promise<{ value: T } | undefined> {
    try {
      return { value: await this.call(start) };
    } catch (error) {
      const isMissing = error instanceof Error && error.message === 'Server does not support this extended request';
      if (isMissing || statusOf(error) === STATUS.unsupported) return undefined;
      throw error;
    }
  }

  /** Waits for its turn among the bulk requests; `release` ends it. @throws interrupted */
  async acquire(): Promise<void> {
    if (this.signal !== undefined) throwIfAborted(this.signal);
    if (this.#free > 0) {
      this.#free--;
      return;
    }
    await new Promise<void>((resolve) => {
      this.#waiting.push(resolve);
    });
  }

  release(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#free++;
    else next();
  }

  /** Says goodbye, for a short while; then hangs up. Twice is harmless. */
  async close(): Promise<void> {
    this.#end('it was closed by us');
    if (this.#socket.destroyed) return;
    const closed = once(this.#socket, 'close').catch(() => undefined);
    this.#client.end().catch(() => undefined);
    await Promise.race([closed, sleep(limits.carrier.closeWait, undefined, { ref: false })]);
    this.#socket.destroy();
  }

  /** What is no answer of the server comes from ssh2: the connection ended, or the answer was no answer to that. */
  #answered(error: Error): Error {
    if (statusOf(error) !== undefined) return error;
    if (error.message === 'No response from server') this.#end('the server ended the session');
    if (this.#lost !== undefined) return this.#lost;
    return new AirlockError(
      'storage.failed',
      `${quoteUnsafe(this.where)} gives answers that fit no request (${quoteUnsafe(error.message)}). Use another SFTP server.`,
      { cause: error, details: { where: this.where } },
    );
  }

  /** Time runs only while answers are due, and anew after each one. */
  #watch(): void {
    clearTimeout(this.#idle);
    if (this.#pending.size === 0) return;
    this.#idle = setTimeout(() => {
      this.#end(`the server answered nothing for ${Math.ceil(this.#idleTimeout / 1000)} s`);
      this.#socket.destroy();
    }, this.#idleTimeout);
  }

  #end(why: string): void {
    if (this.#lost !== undefined) return;
    this.#lost = new AirlockError(
      'source.lost',
      `The connection to ${quoteUnsafe(this.where)} is gone: ${why}. What is there is incomplete. Run the same command again: it goes on where it was.`,
      { details: { where: this.where } },
    );
    clearTimeout(this.#idle);
    for (const reject of this.#pending) reject(this.#lost);
    this.#pending.clear();
    for (const next of this.#waiting.splice(0)) next();
  }
}

/** The number of SSH_FX_… that a server answered, or undefined for other errors. */
export function statusOf(error: unknown): number | undefined {
  const code = error instanceof Error ? (error as { code?: unknown }).code : undefined;
  return typeof code === 'number' ? code : undefined;
}

/** The step of a connection at which ssh2 says that it failed. */
function levelOf(error: unknown): unknown {
  return error instanceof Error ? (error as { level?: unknown }).level : undefined;
}

interface How {
  readonly check: HostCheck;
  readonly credentials: ConnectOptions;
  readonly algorithms: HostCheck['attempts'][number];
}

/** One attempt to connect and log in. */
class Attempt {
  readonly #address: SftpAddress;
  readonly #socket: Socket;
  readonly #options: SessionOptions;
  #refusal: AirlockError | undefined;
  #hasVerified = false;
  #first: unknown;

  constructor(address: SftpAddress, socket: Socket, options: SessionOptions) {
    this.#address = address;
    this.#socket = socket;
    this.#options = options;
    socket.on('error', (error) => this.heard(error)); // a socket nobody listens to would end the process
  }

  /** Of several errors the first one tells why. */
  heard(error: unknown): void {
    this.#first ??= error;
  }

  async run(client: SftpClient, { check, credentials, algorithms }: How): Promise<Sftp> {
    const { connectTimeout = limits.carrier.connectTimeout, signal } = this.#options;
    const timer = setTimeout(() => this.#giveUp(new Error(`no answer within ${connectTimeout} ms`)), connectTimeout);
    const abort = () => this.#giveUp(new Error('stopped'));
    signal?.addEventListener('abort', abort, { once: true });
    try {
      const failed = once(this.#socket, 'close').then(() => {
        throw new Error('the connection was closed');
      });
      const sftp = client.connect({
        ...credentials,
        sock: this.#socket,
        username: this.#address.user,
        readyTimeout: 0,
        algorithms: { serverHostKey: [...algorithms] },
        hostVerifier: (key: Buffer) => this.#verify(check, key),
      });
      return await Promise.race([sftp, failed]);
    } catch (error) {
      if (signal !== undefined) throwIfAborted(signal);
      throw this.#explain(error);
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener('abort', abort);
    }
  }

  /** ssh2 takes any key unless this says no; it asks before it sends a word about the user. */
  #verify(check: HostCheck, key: Buffer): boolean {
    this.#refusal = check.refusal(key);
    this.#hasVerified = this.#refusal === undefined;
    return this.#hasVerified;
  }

  #giveUp(why: Error): void {
    this.heard(why);
    this.#socket.destroy();
  }

  #explain(error: unknown): AirlockError {
    if (this.#refusal !== undefined) return this.#refusal;
    if (isAirlockError(error)) return error;
    const where = quoteUnsafe(formatSftpUrl(this.#address));
    const cause = this.#first ?? error;
    const why = (each: unknown) => (each instanceof Error ? each.message : String(each));
    const all = `${why(error)} ${why(cause)}`;
    if (/privateKey|passphrase/i.test(all)) {
      return new AirlockError(
        'usage.invalid',
        `The file of --identity is no private key that can be used (${quoteUnsafe(why(error))}). If it has a passphrase, give --passphrase-file FILE.`,
        { cause },
      );
    }
    if (levelOf(cause) === 'agent') {
      return new AirlockError(
        'ssh.authentication',
        `The SSH agent does not answer as it should (${quoteUnsafe(why(cause))}). See that it runs ("ssh-add -l") and SSH_AUTH_SOCK names its socket, or give --identity FILE.`,
        { cause },
      );
    }
    if (levelOf(cause) === 'client-authentication' || /too many authentication/i.test(all)) {
      return new AirlockError(
        'ssh.authentication',
        `${where} does not let ${quoteUnsafe(this.#address.user)} in. Check the user's name, and that the server knows this key (authorized_keys) or password.`,
        { cause },
      );
    }
    const remedy = this.#hasVerified
      ? 'It is there, but its SFTP service did not start: see its log, and that this user may use SFTP.'
      : 'Check the name and the port, that the server runs, and the network.';
    return new AirlockError(
      'carrier.unreachable',
      `${where} cannot be reached (${quoteUnsafe(why(cause))}). ${remedy}`,
      {
        cause,
        details: { where: formatSftpUrl(this.#address) },
      },
    );
  }
}
