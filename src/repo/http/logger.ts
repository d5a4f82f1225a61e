import { storageFailure } from '../../errors.ts';
import type { TrustEvent } from '../trusted-blobs.ts';
import { shorten } from './access-log.ts';
import { publicError } from './error-answer.ts';
import type { Exchange } from './exchange.ts';

/** What is needed of a logger; pino fits. Facts first, then words for a person. */
export interface Logger {
  debug(facts: object, message: string): void;
  info(facts: object, message: string): void;
  warn(facts: object, message: string): void;
  error(facts: object, message: string): void;
}

/** Our own failures are errors. Clients' mistakes, and what passes, are not worth more than the access log's line. */
export function logFailure(logger: Logger, { request }: Exchange, error: unknown): void {
  const { status, code } = publicError(error);
  if (status < 500 || status === 503) return;
  const { message, stack, cause } =
    storageFailure(error) ?? (error instanceof Error ? error : new Error(String(error)));
  logger.error(
    { code, path: shorten(request.url ?? ''), error: message, stack, cause: String(cause ?? '') },
    'a request failed',
  );
}

export function logTrust(logger: Logger, event: TrustEvent): void {
  const { digest } = event;
  if (event.event === 'quarantined') {
    logger.error({ digest, artifacts: event.artifacts }, 'a stored blob was damaged, and is in quarantine now');
  } else if (event.event === 'proven') {
    logger.warn({ digest }, 'a stored blob was touched; its bytes are right');
  } else {
    const error = event.error instanceof Error ? event.error.message : String(event.error);
    logger.warn({ digest, error }, 'the catalog could not record that a stored blob is right');
  }
}
