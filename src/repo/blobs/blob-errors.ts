/** What every driver says in the same case. */

import { AirlockError } from '../../errors.ts';
import type { Digest } from './blob-store.ts';

/** What `open` says of a blob that is not here. */
export function missingBlob(digest: Digest): AirlockError {
  return new AirlockError('blob.missing', `${digest} is not stored here. Import it again.`, { details: { digest } });
}

/** What `resume` says of an identifier that names nothing. */
export function missingPartial(id: string): AirlockError {
  return new AirlockError(
    'blob.missing',
    `There is no partial file ${JSON.stringify(id)} to go on with. Start again from the first byte.`,
    { details: { id } },
  );
}

/** What `resume` says of a partial file whose writer lives. */
export function busyPartial(id: string): AirlockError {
  return new AirlockError(
    'blob.busy',
    `The partial file ${id} is being written by somebody else. Wait until that is done, or stop it.`,
    { details: { id } },
  );
}

/** What a reader says when its blob was cut, or cannot be read, under its hands. */
export function damagedBlob(digest: Digest, what: string, cause?: unknown): AirlockError {
  return new AirlockError(
    'blob.damaged',
    `The stored copy of ${digest} ${what}. Run \`airlock verify --repair\`, or import it again.`,
    { cause, details: { digest } },
  );
}

/** For calls to a writer after its `commit`, `suspend` or `cancel`. */
export function writerHasEnded(id: string): AirlockError {
  return new AirlockError('internal', `The writer ${id} was used after its end. Please report this with the command.`);
}

/** For calls to a store after its `close`. */
export function storeIsClosed(): AirlockError {
  return new AirlockError('internal', 'The blob store was used after it was closed. Please report this.');
}
