/**
 * A running server's certificate is renewed by putting new files in the place of the old ones.
 */
import type { Logger } from './logger.ts';
import { readTls, type TlsConfig, type TlsMaterial } from './tls.ts';

export interface TlsRenewalOptions {
  readonly dataDir: string;
  readonly tls: TlsConfig;
  readonly logger: Logger;
  /** What the server began with. */
  readonly first: TlsMaterial;
  /** Takes what was read anew. */
  readonly renew: (tls: TlsMaterial) => void;
}

export interface TlsRenewal {
  /** Reads the files again. If they cannot be used, that is logged, and the server goes on with what it has. */
  reload(): Promise<void>;
  stop(): void;
}

const DAY = 24 * 60 * 60_000;

/** Logs what is to be said of the certificate; from then on reads the files once a day, and whenever it is asked to. */
export function startTlsRenewal({ dataDir, tls, logger, first, renew }: TlsRenewalOptions): TlsRenewal {
  let current = first.facts.fingerprint;
  const warn = ({ warnings }: TlsMaterial) => {
    for (const warning of warnings) logger.warn({ part: 'tls' }, warning);
  };
  const reload = async () => {
    try {
      const read = await readTls(dataDir, tls);
      renew(read);
      const { subject, until, fingerprint } = read.facts;
      if (fingerprint !== current) logger.info({ subject, until, fingerprint }, 'the certificate was renewed');
      current = fingerprint;
      warn(read);
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      logger.error({ error: why }, 'the certificate could not be renewed; the server goes on with the one it has');
    }
  };
  warn(first);
  const daily = setInterval(() => void reload(), DAY).unref();
  return { reload, stop: () => clearInterval(daily) };
}
