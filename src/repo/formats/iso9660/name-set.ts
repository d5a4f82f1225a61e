/**
 * The names of one directory, to notice when one comes twice. Keeps 53 bits of each name instead of the name, so that
 * a million long names stay small; two different names that look equal here are expected once in 10^4 million-file
 * directories.
 */
export class NameSet {
  readonly #seen = new Set<number>();

  /** @returns false if the name was added before. */
  add(name: string): boolean {
    const size = this.#seen.size;
    this.#seen.add(hash53(name));
    return this.#seen.size > size;
  }
}

/** Two 32-bit multiplicative hashes, mixed with each other at the end. Not for secrets. */
function hash53(text: string): number {
  let high = 0xdeadbeef;
  let low = 0x41c6ce57;
  for (let i = 0; i < text.length; i += 1) {
    const unit = text.charCodeAt(i);
    high = Math.imul(high ^ unit, 0x9e3779b1);
    low = Math.imul(low ^ unit, 0x5f356495);
  }
  high = Math.imul(high ^ (high >>> 16), 0x85ebca6b) ^ Math.imul(low ^ (low >>> 13), 0xc2b2ae35);
  low = Math.imul(low ^ (low >>> 16), 0x85ebca6b) ^ Math.imul(high ^ (high >>> 13), 0xc2b2ae35);
  return (high & 0x1fffff) * 2 ** 32 + (low >>> 0);
}
