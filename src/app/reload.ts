/**
 * What a running server shows to others and knows them by, read anew: certificates, keys and secrets are renewed by putting
 * new files in the place of the old ones.
 */
import type { Logger } from '../repo/http/logger.ts';

export interface Reload {
  /** Reads the files again. If they cannot be used, that is logged, and the server goes on with what it has. */
  now(): Promise<void>;
  stop(): void;
}

const DAY = 24 * 60 * 60_000;

/**
 * Reads once a day, and whenever it is asked to.
 * @param read what is there; takes all of it or throws
 */
export function startReload(logger: Logger, read: () => Promise<void>): Reload {
  const now = async () => {
    try {
      await read();
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      const message = 'certificates and secrets for other servers cannot be used; this server goes on with what it has';
      logger.error({ part: 'tls', error: why }, message);
    }
  };
  const daily = setInterval(() => void now(), DAY).unref();
  return { now, stop: () => clearInterval(daily) };
}
