/** A table in Markdown. Cells may hold anything that fits on a line. */
export function table(headings: readonly string[], rows: readonly (readonly string[])[]): string {
  const escaped = rows.map((row) => row.map((cell) => cell.replaceAll('|', '\\|').replaceAll('<', '&lt;')));
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  return [line(headings), line(headings.map(() => '---')), ...escaped.map(line)]
    .join('\n')
    .replace(/`[^`]*`/g, (code) => code.replaceAll('&lt;', '<'));
}
