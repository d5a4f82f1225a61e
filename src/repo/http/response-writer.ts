import type { ServerResponse } from 'node:http';

/**
 * Writes to a response one piece after the other, waiting until the system has taken each: then its buffer may be
 * used again, and a slow client holds one piece and no more.
 */
export class ResponseWriter {
  readonly #response: ServerResponse;
  #isClosed: boolean;
  #settle: ((isTaken: boolean) => void) | undefined;
  readonly #wait = (resolve: (isTaken: boolean) => void) => {
    this.#settle = resolve;
  };
  /** A failed write is followed by `close`; until then the socket may still look at the piece. */
  readonly #onTaken = (error: Error | null | undefined) => {
    if (error == null) this.#settle?.(true);
  };

  constructor(response: ServerResponse) {
    this.#response = response;
    this.#isClosed = response.destroyed;
    response.once('close', () => {
      this.#isClosed = true;
      this.#settle?.(false);
    });
  }

  /**
   * To be called again only when the last call has come back.
   * @returns false once the client is gone; the piece is no longer looked at then either
   */
  write(piece: Uint8Array): Promise<boolean> {
    if (this.#isClosed) return Promise.resolve(false);
    const taken = new Promise(this.#wait);
    this.#response.write(piece, this.#onTaken);
    return taken;
  }
}
