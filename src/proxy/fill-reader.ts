import type { BlobReader, Digest } from '../repo/blobs/blob-store.ts';

/** What a reader needs of its fill. */
export interface ReadableFill {
  readAt(into: Uint8Array, position: number, reader: FillReader): Promise<number>;
  openStored(digest: Digest): Promise<BlobReader>;
  left(reader: FillReader): void;
}

/** The view of one reader. The caller closes it. */
export class FillReader {
  readonly #fill: ReadableFill;
  /** Where it will stop reading, as far as it says so. */
  readonly hint: number | undefined;
  readonly signal: AbortSignal | undefined;
  /** It got bytes before all were there. */
  hasUnproven = false;
  #isClosed = false;
  #stored: Promise<BlobReader> | undefined;

  constructor(fill: ReadableFill, hint: number | undefined, signal: AbortSignal | undefined) {
    this.#fill = fill;
    this.hint = hint;
    this.signal = signal;
  }

  readAt(into: Uint8Array, position: number): Promise<number> {
    return this.#fill.readAt(into, position, this);
  }

  /** What the fill has become, opened once. */
  stored(digest: Digest): Promise<BlobReader> {
    this.#stored ??= this.#fill.openStored(digest);
    return this.#stored;
  }

  async close(): Promise<void> {
    if (!this.#isClosed) this.#fill.left(this);
    this.#isClosed = true;
    await this.#stored?.then(
      (reader) => reader.close(),
      () => undefined,
    );
  }
}
