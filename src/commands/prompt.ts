import { createInterface } from 'node:readline/promises';

/**
 * Asks on a terminal. Where standard input is none, nobody can answer, and the answer is yes.
 * @returns false unless the answer begins with y
 */
export async function confirm(question: string, { force }: { force: boolean }): Promise<boolean> {
  if (force || !process.stdin.isTTY) return true;
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return /^y/i.test((await terminal.question(`${question} [y/N]: `)).trim());
  } finally {
    terminal.close();
  }
}
