/** What pull-through did since the start. */
export class Counters {
  hits = 0;
  misses = 0;
  stale = 0;
  /** Of all these, requests that waited for what another one had asked for. */
  joined = 0;
  /** Bytes of content that was found here, as far as clients wanted all of it. */
  hitBytes = 0;
  /** Bytes that came from sources. */
  fetched = 0;
  stored = 0;
  missing = 0;
  mismatches = 0;
  refused = 0;
  failedFills = 0;
  /** Fills given up because nobody waited for them. */
  abandoned = 0;
  evicted = 0;
  /** Answers that ended before what they carried was proven. */
  unproven = 0;

  count(cache: 'HIT' | 'MISS' | 'STALE', bytes: number): void {
    if (cache === 'MISS') {
      this.misses += 1;
      return;
    }
    if (cache === 'HIT') this.hits += 1;
    else this.stale += 1;
    this.hitBytes += bytes;
  }
}
