import { createInterface, type Interface } from 'node:readline';
import { escapeControls } from '../repo/formats/quote.ts';
import { interrupted, interruption } from './interruption.ts';

/**
 * Asks on a terminal. Where standard input is none, nobody can answer, and the answer is yes.
 * @param question names from outside may stand in it
 * @returns false unless the answer begins with y; Ctrl-D is no answer
 * @throws interrupted at Ctrl-C and SIGTERM
 */
export async function confirm(question: string, { force }: { force: boolean }): Promise<boolean> {
  if (force || !process.stdin.isTTY) return true;
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return /^y/i.test((await answerTo(`${escapeControls(question)} [y/N]: `, terminal)).trim());
  } finally {
    terminal.close();
  }
}

function answerTo(question: string, terminal: Interface): Promise<string> {
  return new Promise((resolve, reject) => {
    const giveUp = () => {
      process.stderr.write('\n');
      reject(interrupted());
    };
    // While a question waits the terminal is raw: Ctrl-C comes as a character, and other signals as signals.
    terminal.once('SIGINT', giveUp).once('close', () => resolve(''));
    if (interruption.aborted) giveUp();
    interruption.addEventListener('abort', giveUp, { once: true });
    terminal.question(question, resolve);
  });
}
