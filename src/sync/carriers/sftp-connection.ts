import { setTimeout as sleep } from 'node:timers/promises';
import { isAirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import { throwIfAborted } from '../../repo/staging.ts';
import type { SftpAddress } from './sftp-address.ts';
import { type SessionOptions, SftpSession } from './sftp-session.ts';

export interface ConnectionOptions extends SessionOptions {
  /** Milliseconds before the second attempt to connect again; then each time twice as long. Default: that of limits.carrier. */
  readonly reconnectDelay?: number;
}

/** The session of a carrier and of its folders, and the next one once that is lost. Whoever opened it closes its session. */
export class SftpConnection {
  readonly #address: SftpAddress;
  readonly #options: ConnectionOptions;
  #session: SftpSession;

  private constructor(session: SftpSession, address: SftpAddress, options: ConnectionOptions) {
    this.#session = session;
    this.#address = address;
    this.#options = options;
  }

  /** @throws as SftpSession.open */
  static async open(address: SftpAddress, options: ConnectionOptions): Promise<SftpConnection> {
    return new SftpConnection(await SftpSession.open(address, options), address, options);
  }

  get session(): SftpSession {
    return this.#session;
  }

  /**
   * Hangs up, and connects again: the server's key is checked as it was the first time.
   * @throws as SftpSession.open; carrier.unreachable only after limits.carrier.reconnects attempts
   */
  async reconnect(): Promise<void> {
    const { signal, reconnectDelay = limits.carrier.reconnectDelay } = this.#options;
    await this.#session.close();
    for (let attempt = 1, delay = reconnectDelay; ; attempt += 1, delay *= 2) {
      try {
        this.#session = await SftpSession.open(this.#address, this.#options);
        return;
      } catch (error) {
        if (attempt === limits.carrier.reconnects || !isAirlockError(error, 'carrier.unreachable')) throw error;
      }
      await sleep(delay, undefined, signal === undefined ? {} : { signal }).catch(() => undefined);
      if (signal !== undefined) throwIfAborted(signal);
    }
  }
}
