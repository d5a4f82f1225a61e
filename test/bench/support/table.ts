import type { Row } from './bench.ts';

const HEAD = ['', 'target', 'result', 'met', 'Airlock', 'peer'];

/** Rows as a Markdown table, with a line feed at its end. */
export function formatTable(rows: readonly Row[]): string {
  const lines = rows.map(({ what, target, result, isMet, airlock, peer }) => [
    what,
    target,
    result,
    isMet === undefined ? '' : isMet ? 'yes' : '**no**',
    airlock,
    peer,
  ]);
  return [HEAD, HEAD.map(() => '---'), ...lines].map((cells) => `| ${cells.join(' | ')} |\n`).join('');
}

/** `1.21×`, with a third digit where it is small. */
export function formatRatio(ratio: number): string {
  return `${ratio.toFixed(ratio < 0.1 ? 3 : 2)}×`;
}

/** `2.08 GB/s`, decimal. */
export function formatByteRate(bytesPerSecond: number): string {
  return bytesPerSecond >= 1e9
    ? `${(bytesPerSecond / 1e9).toFixed(2)} GB/s`
    : `${Math.round(bytesPerSecond / 1e6)} MB/s`;
}

/** `38,100/s` */
export function formatRate(perSecond: number): string {
  return `${(perSecond >= 1000 ? Math.round(perSecond / 100) * 100 : Math.round(perSecond)).toLocaleString('en')}/s`;
}

export function formatMemory(bytes: number): string {
  return `${Math.round(bytes / 2 ** 20)} MiB`;
}

export function formatSeconds(seconds: number): string {
  return `${seconds.toFixed(2)} s`;
}
