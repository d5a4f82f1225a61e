/**
 * Which of the media types on offer the client likes best (RFC 9110, section 12.5.1).
 * @param accept the Accept field; absent or unreadable: anything will do
 * @param offers in our own order of preference, which decides between equals
 * @returns one of the offers; the first if the client likes none of them, for an answer is better than 406
 */
export function negotiate<T extends string>(accept: string | undefined, offers: readonly [T, ...T[]]): T {
  const ranges = (accept ?? '*/*').split(',').slice(0, MOST_RANGES).map(parseMediaRange);
  let best: T = offers[0];
  let bestQuality = 0;
  for (const offer of offers) {
    const quality = qualityOf(offer, ranges);
    if (quality > bestQuality) [best, bestQuality] = [offer, quality];
  }
  return best;
}

const MOST_RANGES = 100;

interface MediaRange {
  readonly type: string;
  readonly quality: number;
}

function parseMediaRange(text: string): MediaRange {
  const [type = '', ...parameters] = text.split(';').map((part) => part.trim().toLowerCase());
  const q = parameters.find((parameter) => parameter.startsWith('q='));
  const quality = q === undefined ? 1 : Number(q.slice(2));
  return { type, quality: quality >= 0 && quality <= 1 ? quality : 0 };
}

/** The most specific range that fits decides. */
function qualityOf(offer: string, ranges: readonly MediaRange[]): number {
  const group = `${offer.slice(0, offer.indexOf('/'))}/*`;
  for (const wanted of [offer, group, '*/*']) {
    const range = ranges.find(({ type }) => type === wanted);
    if (range !== undefined) return range.quality;
  }
  return 0;
}
