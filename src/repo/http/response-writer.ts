import type { ServerResponse } from 'node:http';

/**
 * Writes to a response one piece after the other, waiting until the system has taken each: then its buffer may be
 * used again, and a slow client holds one piece and no more.
 */
export class ResponseWriter {
  readonly #response: ServerResponse;
  #isClosed = false;
  #waiting: ((isTaken: boolean) => void) | undefined;

  constructor(response: ServerResponse) {
    this.#response = response;
    this.#isClosed = response.destroyed;
    response.once('close', () => {
      this.#isClosed = true;
      this.#waiting?.(false);
    });
  }

  /** @returns false once the client is gone; the piece is no longer looked at then either */
  write(piece: Uint8Array): Promise<boolean> {
    if (this.#isClosed) return Promise.resolve(false);
    return new Promise((resolve) => {
      this.#waiting = resolve;
      // A failed write is followed by `close`; until then the socket may still look at the piece.
      this.#response.write(piece, (error) => {
        if (error == null) resolve(true);
      });
    });
  }
}
