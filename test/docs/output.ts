/** What commands print differs from run to run in some respects; what a document shows of it is compared without them. */

/**
 * True when `shown` is what was printed. Digests, fingerprints, dates, sizes, durations and the widths of columns may
 * differ; `…` alone on a line stands for any number of lines.
 */
export function isShown(shown: string, printed: string): boolean {
  const parts = normal(shown).split(/^…$\n?/m);
  const [first = '', ...others] = parts;
  const text = normal(printed);
  if (others.length === 0) return text === first;
  if (!text.startsWith(first)) return false;
  let at = first.length;
  for (const part of others) {
    const found = part === '' ? text.length : text.indexOf(part, at);
    if (found < 0) return false;
    at = found + part.length;
  }
  return at === text.length;
}

function normal(text: string): string {
  return text
    .replace(/[0-9a-fA-F]{16,}(?:…)?/g, 'HEX')
    .replace(/(?:[0-9A-F]{4} +){5,}[0-9A-F]{4}/g, 'HEX')
    .replace(/(?:[0-9A-F]{2}:){15,}[0-9A-F]{2}/g, 'HEX')
    .replace(/\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z| UTC)?)?/g, 'DATE')
    .replace(/\b\d+(?:\.\d+)? [kMGT]?B(?:\/s)?\b/g, 'SIZE')
    .replace(/\b\d+(?:\.\d+)? m?s\b/g, 'TIME')
    .replace(/=+/g, '=')
    .replace(/ +/g, ' ')
    .replace(/ $/gm, '');
}
