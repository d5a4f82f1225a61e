/**
 * The sparse file into which a content is fetched: what of it is there, what is being fetched, what comes next, and up
 * to where readers may go.
 */
import { limits } from '../limits.ts';
import type { BlobWriter, ByteRange } from '../repo/blobs/blob-store.ts';
import { Bell } from './bell.ts';

/** Bytes that somebody is fetching: `position` moves towards `end`. */
export interface Stretch {
  position: number;
  end: number;
}

export interface SpoolOptions {
  /** Of the whole content; null where nobody knows it yet. */
  readonly size: number | null;
  /** Parts of it can be asked for, and joined. */
  readonly canSkip: boolean;
  /** Readers are at several places: what is fetched is fetched in pieces. */
  readonly isScattered: boolean;
}

/** Ends of side stretches lie on a grid, so that readers cannot cut the spool into crumbs. */
const GRID = limits.chunk;

export class Spool {
  readonly writer: BlobWriter;
  /** Rings whenever bytes came, or somebody stopped fetching. */
  readonly bell = new Bell();
  readonly #size: number | null;
  readonly #stretches = new Set<Stretch>();
  #canSkip: boolean;
  #isScattered: boolean;
  #isWhole = false;

  constructor(writer: BlobWriter, { size, canSkip, isScattered }: SpoolOptions) {
    this.writer = writer;
    this.#size = size;
    this.#canSkip = canSkip;
    this.#isScattered = isScattered;
  }

  get canSkip(): boolean {
    return this.#canSkip;
  }

  /** Its source answers ranges with the whole content. */
  forbidSkipping(): void {
    this.#canSkip = false;
  }

  /** A body without a known length has come to its end. */
  markWhole(): void {
    this.#isWhole = true;
  }

  /** Somebody is fetching into it. */
  get isBusy(): boolean {
    return this.#stretches.size > 0;
  }

  /** Bytes that are there, whoever fetched them. */
  get progress(): number {
    return this.writer.have().reduce((sum, { start, end }) => sum + end - start, 0);
  }

  begin(stretch: Stretch): void {
    this.#stretches.add(stretch);
  }

  end(stretch: Stretch): void {
    this.#stretches.delete(stretch);
    this.bell.ring();
  }

  /** Puts the next bytes of a stretch in their place. @throws space.insufficient */
  async write(stretch: Stretch, bytes: Uint8Array): Promise<void> {
    await this.writer.writeAt(stretch.position, bytes);
    stretch.position += bytes.byteLength;
  }

  /** Up to where a reader at `position` may go: the last byte is held back until all are proven. */
  givable(position: number): number {
    const have = this.writer.have();
    return Math.min(firstGap(have, position), (this.#size ?? firstGap(have)) - 1);
  }

  /** The first bytes that are neither there nor being fetched. */
  nextGap(): ByteRange | undefined {
    const have = [
      ...this.writer.have(),
      ...[...this.#stretches].map(({ position, end }) => ({ start: position, end })),
    ];
    const ranges = have.toSorted((a, b) => a.start - b.start);
    const start = ranges.reduce((at, range) => (range.start <= at ? Math.max(at, range.end) : at), 0);
    if (this.#size === null) return this.#isWhole ? undefined : { start, end: Number.POSITIVE_INFINITY };
    if (start >= this.#size) return undefined;
    const next = ranges.find((range) => range.start > start)?.start ?? this.#size;
    return { start, end: this.#isScattered ? Math.min(next, start + limits.proxy.stretch) : next };
  }

  /**
   * What should be fetched on the side, so that somebody comes by at `position` soon. Whoever was to come by there later
   * now ends before it.
   * @param hint where the reader will stop
   * @returns undefined where the main stretch, or another one, is near, or nothing can be skipped
   */
  planAside(position: number, hint: number): Stretch | undefined {
    const size = this.#size;
    if (!this.#canSkip || size === null || position >= size - 1) return undefined;
    const stretches = [...this.#stretches];
    const coming = stretches.find((each) => each.position <= position && position < each.end);
    const isNear = coming !== undefined && position - coming.position <= limits.proxy.ahead;
    if (isNear || stretches.length >= limits.proxy.stretches) return undefined;
    const have = this.writer.have();
    if (firstGap(have, position) > position) return undefined;
    const behind = stretches.filter((each) => each.end <= position).map((each) => each.end);
    const start = Math.max(firstGap(have, position - (position % GRID)), ...behind);
    if (coming === undefined && start === firstGap(have) && stretches.length === 0) return undefined; // the main one's
    if (coming !== undefined) coming.end = Math.max(coming.position, start);
    this.#isScattered = true;
    const end = Math.min(
      size,
      start + limits.proxy.stretch,
      Math.ceil(Math.max(hint, position + 1) / GRID) * GRID,
      ...have.filter((range) => range.start > start).map((range) => range.start),
      ...stretches.filter((each) => each.position > start).map((each) => each.position),
    );
    return { position: start, end };
  }
}

/** The first position from `from` on that is in none of these ascending ranges. */
function firstGap(ranges: readonly ByteRange[], from = 0): number {
  const range = ranges.find((each) => each.end > from);
  return range === undefined || range.start > from ? from : range.end;
}
