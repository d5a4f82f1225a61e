/**
 * Who waits for a fill. When nobody has for a while, it is asked whether it should go on.
 */
export class Interest {
  readonly #after: number;
  readonly #nobody: () => void;
  #count = 0;
  #timer: NodeJS.Timeout | undefined;

  /** @param after milliseconds. Nobody waits at first. `nobody` may be called several times */
  constructor(after: number, nobody: () => void) {
    this.#after = after;
    this.#nobody = nobody;
    this.#watch();
  }

  come(): void {
    this.#count += 1;
    this.end();
  }

  go(): void {
    this.#count -= 1;
    if (this.#count === 0) this.#watch();
  }

  /** Asks no more until somebody comes and goes. */
  end(): void {
    clearTimeout(this.#timer);
  }

  #watch(): void {
    this.#timer = setTimeout(this.#nobody, this.#after).unref();
  }
}
